// One import from its beginning to its end: take up what a crash has left, read and plan, judge the whole, apply what goes ahead by
// itself. One at a time for each source, on all nodes together; whoever works on a run says so every few seconds, and a run of
// which nothing is heard any more is taken up by the next one who looks.

import { type Actor, actorName } from '../domain/events.ts'
import type { RunId } from '../domain/ids.ts'
import type { ImportSource, Policy } from '../domain/policy.ts'
import type { ImportRules, SourcePolicy } from '../domain/source-policy.ts'
import { type ApplyPorts, applyImport } from './apply-import.ts'
import { type Connector, FeedFailure } from './feed-ports.ts'
import type { Holder, ImportRun } from './import-ports.ts'
import type { Tx } from './ports.ts'
import { type StagePorts, stageImport } from './stage-import.ts'

export type RunImportPorts = StagePorts & ApplyPorts

/** A source whose document fits. */
export type SourceInForce = ImportSource & { readonly policy: SourcePolicy & { readonly imports: ImportRules } }

export interface RunImport {
  /** The run's id, where whoever began it had to know it beforehand. */
  readonly id?: RunId
  readonly source: SourceInForce
  readonly policy: Policy
  readonly connector: Connector
  readonly mode: 'full' | 'incremental'
  /** Apply nothing; a person looks first. */
  readonly planOnly: boolean
  /** A person has said beforehand that all of it may go ahead, whatever holds it. */
  readonly approved: boolean
  readonly file?: string
  /** Only take up what was left, and begin nothing new. */
  readonly resumeOnly?: boolean
  readonly actor: Actor
  readonly holder: Holder
  /** Whether whoever held a run is certainly gone. */
  readonly isGone: (holder: Holder) => boolean
  readonly clock: () => Date
  readonly stop: AbortSignal
  readonly onProgress?: (run: ImportRun) => void
}

export type ImportEnd =
  | { readonly outcome: 'nothing' }
  | { readonly outcome: 'busy'; readonly run: ImportRun }
  | { readonly outcome: 'ended'; readonly run: ImportRun; readonly resumed?: ImportRun }

/** How long others believe that a run goes on without having heard of it. */
export const LEASE_MS = 60_000

export async function runImport(ports: RunImportPorts, ask: RunImport): Promise<ImportEnd> {
  const { clock, holder, source, mode, policy } = ask
  const fresh: ImportRun = {
    id: ask.id ?? ports.mint.id('run', clock()),
    kind: 'import',
    source: source.id,
    mode,
    state: 'running',
    phase: 'reading',
    revision: policy.revision,
    cursor: 0,
    counts: {},
    details: { ...(ask.file === undefined ? {} : { file: ask.file }), ...(ask.planOnly ? { planOnly: true } : {}) },
    startedAt: clock(),
    actor: actorName(ask.actor),
  }
  let resumed: ImportRun | undefined
  for (;;) {
    const begun = await begin(ports, ask, fresh)
    if (begun === 'begun') break
    if (begun === 'nothing') return resumed ? { outcome: 'ended', run: resumed } : { outcome: 'nothing' }
    if (begun.busy) return { outcome: 'busy', run: begun.run }
    resumed = await resume(ports, ask, begun.run)
  }
  const run = await holding(ports, { run: fresh, holder, clock, stop: ask.stop }, (held) =>
    work(ports, { ...ask, stop: held.stop }, fresh, held.keep),
  )
  return { outcome: 'ended', run, ...(resumed ? { resumed } : {}) }
}

async function begin(
  ports: RunImportPorts,
  { source, actor, holder, isGone, clock, resumeOnly }: RunImport,
  fresh: ImportRun,
): Promise<'begun' | 'nothing' | { readonly busy: boolean; readonly run: ImportRun }> {
  const now = clock()
  return ports.inTransaction(async (tx) => {
    const running = await ports.imports.running(tx, source.id)
    const until = new Date(now.getTime() + LEASE_MS)
    if (running) {
      const { run, holder: other, heldUntil } = running
      const left = other === undefined || heldUntil === undefined || heldUntil <= now || isGone(other)
      if (!left) return { busy: true, run }
      await ports.imports.hold(tx, run.id, { holder, until })
      return { busy: false, run }
    }
    if (resumeOnly) return 'nothing'
    await ports.imports.begin(tx, fresh, { actor, holder, until })
    const details = { kind: fresh.kind, source: source.name, mode: fresh.mode }
    await ports.audit.write(tx, [{ kind: 'run.started', at: now, actor, run: fresh.id, source: source.id, details }])
    return 'begun'
  })
}

/** What was only read is forgotten; what had begun to be applied goes on where it was left. */
export async function resume(ports: RunImportPorts, ask: RunImport, run: ImportRun): Promise<ImportRun> {
  const { clock } = ask
  if (run.phase === 'reading') {
    const why = 'it was interrupted while it read; nobody was changed'
    const failed: ImportRun = {
      ...run,
      state: 'failed',
      details: { ...run.details, failure: { code: 'interrupted', why } },
      finishedAt: clock(),
    }
    await ports.inTransaction(async (tx) => {
      await ports.imports.discard(tx, run.id)
      await end(ports, tx, ask, failed)
    })
    return failed
  }
  return holding(ports, { run, holder: ask.holder, clock, stop: ask.stop }, (held) => apply(ports, ask, run, held.keep))
}

/** Says that it goes on while it does, and stops when somebody wants that. */
export async function holding(
  ports: RunImportPorts,
  { run, holder, clock, stop }: { run: ImportRun; holder: Holder; clock: () => Date; stop: AbortSignal },
  work: (held: { stop: AbortSignal; keep: (tx: Tx, run: ImportRun) => Promise<void> }) => Promise<ImportRun>,
): Promise<ImportRun> {
  const stopped = new AbortController()
  let latest = run
  const keep = async (tx: Tx, next: ImportRun) => {
    const now = clock()
    if (!(await ports.imports.keep(tx, next, { holder, now, until: new Date(now.getTime() + LEASE_MS) }))) {
      stopped.abort()
      throw new FeedFailure('cancelled', 'the run was stopped')
    }
    latest = next
  }
  const beat = setInterval(() => {
    ports.inTransaction((tx) => keep(tx, latest)).catch(() => {})
  }, LEASE_MS / 6)
  beat.unref()
  try {
    return await work({ stop: AbortSignal.any([stop, stopped.signal]), keep })
  } finally {
    clearInterval(beat)
  }
}

type Keep = (tx: Tx, run: ImportRun) => Promise<void>

async function work(ports: RunImportPorts, ask: RunImport, fresh: ImportRun, keep: Keep): Promise<ImportRun> {
  const { source, policy, connector, mode, actor, clock, stop, approved, planOnly, onProgress = () => {} } = ask
  let run = fresh
  try {
    const { cursor } = await ports.importReads.usual(source.id)
    const since = mode === 'incremental' ? cursor : undefined
    if (mode === 'incremental' && (!connector.readChanges || since === undefined)) {
      const why = connector.readChanges ? 'there was no full run yet' : `a source of kind ${connector.kind} cannot say what has changed`
      throw new FeedFailure('misconfigured', `${why}; run a full import`)
    }
    run = await stageImport(ports, { run, source, policy, connector, since, actor, clock, stop, keep, onProgress })
  } catch (error) {
    return fail(ports, ask, run, error)
  }
  const held = run.details.causes && !approved
  if (held || planOnly) {
    const state = held ? 'held' : 'planned'
    run = { ...run, state, counts: { ...run.counts, waiting: await waitingOf(ports, run.id) } }
    await ports.inTransaction((tx) => settle(ports, tx, ask, run, held ? 'run.held' : 'run.planned'))
    return run
  }
  run = { ...run, phase: 'applying' }
  await ports.inTransaction(async (tx) => {
    if (approved) {
      await ports.imports.approveAll(tx, run.id)
      run = { ...run, details: { ...run.details, approvedBy: run.actor, approvedAt: clock().toISOString() } }
    }
    await keep(tx, run)
    await ports.imports.supersede(tx, run, clock())
  })
  return apply(ports, ask, run, keep)
}

export type Applying = Pick<RunImport, 'source' | 'policy' | 'actor' | 'clock' | 'onProgress'>

/** From the last row that was applied to the end of what is approved. */
export async function apply(ports: RunImportPorts, ask: Applying, begun: ImportRun, keep: Keep): Promise<ImportRun> {
  const { source, policy, clock, onProgress = () => {} } = ask
  let run = begun
  try {
    if (run.revision !== policy.revision)
      throw new FeedFailure('changed', 'the policy was changed since this was planned, so the plan does not hold any more; import again')
    run = await applyImport(ports, { run, source: source.policy, policy, clock, keep, onProgress })
  } catch (error) {
    return fail(ports, ask, run, error)
  }
  return finish(ports, ask, run)
}

/** All that was approved is applied; what waits is told. */
export async function finish(ports: RunImportPorts, ask: Telling, applied: ImportRun): Promise<ImportRun> {
  const waiting = await waitingOf(ports, applied.id)
  const run: ImportRun = {
    ...applied,
    state: waiting ? 'waiting' : 'done',
    counts: { ...applied.counts, waiting },
    finishedAt: ask.clock(),
  }
  await ports.inTransaction(async (tx) => {
    await settle(ports, tx, ask, run, 'run.finished')
    const { feed, cursorAfter, leaversUnknown } = run.details
    const believed = run.mode === 'full' && feed && !leaversUnknown
    if (believed || cursorAfter !== undefined)
      await ports.imports.keepState(tx, run.source, {
        ...(believed ? { usual: feed } : {}),
        ...(cursorAfter === undefined ? {} : { cursor: cursorAfter }),
      })
  })
  return run
}

type Telling = Pick<RunImport, 'actor' | 'clock' | 'source'>

async function waitingOf({ importReads }: RunImportPorts, run: RunId): Promise<number> {
  return importReads.count(run, 'waiting')
}

async function fail(ports: RunImportPorts, ask: Telling, run: ImportRun, error: unknown): Promise<ImportRun> {
  const now = ask.clock()
  const stopped = error instanceof FeedFailure && error.code === 'cancelled'
  const failure = { code: error instanceof FeedFailure ? `feed.${error.code}` : 'fault', why: (error as Error).message }
  const current = await ports.importReads.run(run.id)
  // Whoever stopped it has said so already.
  if (stopped && current && current.state !== 'running') return current
  const base = current ?? run
  const failed: ImportRun = {
    ...base,
    state: stopped ? 'cancelled' : 'failed',
    details: { ...base.details, failure },
    finishedAt: now,
  }
  await ports.inTransaction(async (tx) => {
    if (base.phase === 'reading') await ports.imports.discard(tx, run.id)
    await end(ports, tx, ask, failed)
  })
  if (!(error instanceof FeedFailure)) throw error
  return failed
}

async function end(ports: RunImportPorts, tx: Tx, ask: Telling, run: ImportRun): Promise<void> {
  await settle(ports, tx, ask, run, run.state === 'cancelled' ? 'run.cancelled' : 'run.failed')
}

async function settle(
  ports: RunImportPorts,
  tx: Tx,
  { actor, clock, source }: Telling,
  run: ImportRun,
  kind: 'run.held' | 'run.planned' | 'run.finished' | 'run.failed' | 'run.cancelled',
): Promise<void> {
  const now = clock()
  await ports.imports.put(tx, run, now)
  const { causes, failure } = run.details
  const details = {
    kind: run.kind,
    source: source.name,
    mode: run.mode,
    ...run.counts,
    ...(causes ? { because: causes.map(({ code }) => code) } : {}),
    ...(failure ? { failure: failure.code } : {}),
  }
  await ports.audit.write(tx, [{ kind, at: now, actor, run: run.id, source: run.source, details }])
}
