// One import from its beginning to its end: take up what a crash has left, read and plan, judge the whole, apply what goes ahead by
// itself. One at a time for each source, on all nodes together; whoever works on a run says so every few seconds, and a run of
// which nothing is heard any more is taken up by the next one who looks.

import { type Actor, actorName } from '../domain/events.ts'
import type { RunId } from '../domain/ids.ts'
import type { ImportSource, Policy } from '../domain/policy.ts'
import type { ImportRules, SourcePolicy } from '../domain/source-policy.ts'
import { type ApplyPorts, applyImport } from './apply-import.ts'
import { askedAbout } from './asked-about.ts'
import { type Connector, FeedFailure } from './feed-ports.ts'
import type { Holder, ImportRun, Running } from './import-ports.ts'
import { PolicyMoved, type Tx } from './ports.ts'
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
    details: {
      ...(ask.file === undefined ? {} : { file: ask.file }),
      ...(ask.planOnly ? { planOnly: true } : {}),
      ...(mode === 'incremental' && ask.connector.changesShowLeavers ? { seesLeavers: true } : {}),
    },
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
    if (resumed.state === 'running') return { outcome: 'busy', run: resumed }
  }
  const run = await holding(ports, { run: fresh, holder, clock, stop: ask.stop }, (held) =>
    work(ports, { ...ask, stop: held.stop }, fresh, held.keep),
  )
  // Whoever was not heard of for too long finds that somebody else goes on with it.
  return run.state === 'running' ? { outcome: 'busy', run } : { outcome: 'ended', run, ...(resumed ? { resumed } : {}) }
}

/** Nobody works on it any more, as far as can be known. */
export function isLeft(
  { holder, heldUntil }: Running,
  { now, isGone }: { readonly now: Date; readonly isGone: (holder: Holder) => boolean },
): boolean {
  return holder === undefined || heldUntil === undefined || heldUntil <= now || isGone(holder)
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
      const { run } = running
      if (!isLeft(running, { now, isGone })) return { busy: true, run }
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

/** What had begun to be applied goes on where it was left; the rest is put down by name. */
export async function resume(ports: RunImportPorts, ask: RunImport, run: ImportRun): Promise<ImportRun> {
  const { clock, source } = ask
  if (run.kind === 'undo' || run.phase === 'reading')
    return ports.inTransaction((tx) => putDown(ports, tx, { ...ask, name: source.name }, run))
  return holding(ports, { run, holder: ask.holder, clock, stop: ask.stop }, (held) => apply(ports, ask, run, held.keep))
}

/** Read to its end and judged: a person could say yes to it, and has not. */
export function isWholePlan({ phase, details }: ImportRun): boolean {
  return phase === 'reading' && details.feed !== undefined
}

/** What nobody works on any more ends by name; a plan that is whole waits as it did. What was applied, or taken back, stands. */
export async function putDown(
  ports: RunImportPorts,
  tx: Tx,
  { actor, clock, name }: Pick<RunImport, 'actor' | 'clock'> & { readonly name: string | undefined },
  run: ImportRun,
): Promise<ImportRun> {
  const now = clock()
  if (isWholePlan(run)) {
    const waits: ImportRun = { ...run, state: run.details.causes ? 'held' : 'planned' }
    await ports.imports.put(tx, waits, now)
    return waits
  }
  const why =
    run.kind === 'undo'
      ? 'it was interrupted; what it had taken back by then stays so'
      : run.phase === 'reading'
        ? 'it was interrupted while it read; nobody was changed'
        : 'it was interrupted; what it had applied by then stands'
  const failed: ImportRun = { ...run, state: 'failed', details: { ...run.details, failure: { code: 'interrupted', why } }, finishedAt: now }
  await ports.imports.put(tx, failed, now)
  if (run.kind === 'import' && run.phase === 'reading') await ports.imports.discard(tx, run.id)
  await tell(ports, tx, { actor, now, name }, failed, 'run.failed')
  return failed
}

/** Says that it goes on while it does, and stops when somebody wants that. */
export async function holding<Result>(
  ports: RunImportPorts,
  { run, holder, clock, stop }: { run: ImportRun; holder: Holder; clock: () => Date; stop: AbortSignal },
  work: (held: { stop: AbortSignal; keep: Keep }) => Promise<Result>,
): Promise<Result> {
  const stopped = new AbortController()
  const either = AbortSignal.any([stop, stopped.signal])
  const until = (now: Date) => new Date(now.getTime() + LEASE_MS)
  const keep = async (tx: Tx, next: ImportRun) => {
    const now = clock()
    if (either.aborted || !(await ports.imports.keep(tx, next, { holder, now, until: until(now) }))) {
      stopped.abort()
      throw new FeedFailure('cancelled', 'the run was stopped')
    }
  }
  // How far it is, is written with what was done, and never apart from it.
  const beat = setInterval(() => {
    ports
      .inTransaction((tx) => ports.imports.beat(tx, run.id, { holder, until: until(clock()) }))
      .then((ours) => ours || stopped.abort())
      .catch(() => {})
  }, LEASE_MS / 6)
  beat.unref()
  try {
    return await work({ stop: either, keep })
  } finally {
    clearInterval(beat)
  }
}

export type Keep = (tx: Tx, run: ImportRun) => Promise<void>

async function work(ports: RunImportPorts, ask: RunImport, fresh: ImportRun, keep: Keep): Promise<ImportRun> {
  const { source, policy, connector, mode, clock, stop, approved, planOnly, onProgress = () => {} } = ask
  let run = fresh
  try {
    const { cursor } = await ports.importReads.usual(source.id)
    const since = mode === 'incremental' ? cursor : undefined
    if (mode === 'incremental' && (!connector.readChanges || since === undefined)) {
      const why = connector.readChanges ? 'there was no full run yet' : `a source of kind ${connector.kind} cannot say what has changed`
      throw new FeedFailure('misconfigured', `${why}; run a full import`)
    }
    run = await stageImport(ports, { run, source, policy, connector, since, clock, stop, keep, onProgress })
    const held = run.details.causes && !approved
    if (held || planOnly) {
      const state = held ? 'held' : 'planned'
      const waits: ImportRun = { ...run, state, counts: { ...run.counts, waiting: await waitingOf(ports, run.id) } }
      await ports.inTransaction((tx) => settle(ports, tx, ask, waits, held ? 'run.held' : 'run.planned'))
      return waits
    }
    const told = approved ? { approvedBy: run.actor, approvedAt: clock().toISOString() } : {}
    const turned: ImportRun = { ...run, phase: 'applying', details: { ...run.details, ...told } }
    const stay = approved ? await askedAbout(ports, run.id) : undefined
    await ports.inTransaction(async (tx) => {
      if (stay) await ports.imports.approveAll(tx, run.id, { stay })
      await keep(tx, turned)
      await ports.imports.supersede(tx, turned, clock())
    })
    run = turned
  } catch (error) {
    return fail(ports, ask, run, error)
  }
  return apply(ports, ask, run, keep)
}

export type Applying = Pick<RunImport, 'source' | 'policy' | 'actor' | 'clock' | 'holder' | 'onProgress'>

/** From the last row that was applied to the end of what is approved. */
export async function apply(ports: RunImportPorts, ask: Applying, begun: ImportRun, keep: Keep): Promise<ImportRun> {
  const { source, policy, clock, onProgress = () => {} } = ask
  let run = begun
  try {
    if (run.revision !== policy.revision) throw new FeedFailure('changed', POLICY_CHANGED)
    run = await applyImport(ports, { run, source: source.policy, policy, clock, keep, onProgress })
    return await finish(ports, ask, run)
  } catch (error) {
    return fail(ports, ask, run, error)
  }
}

export const POLICY_CHANGED = 'the policy was changed since this was planned, so the plan does not hold any more; import again'

/** By the name that a run ends with. */
export function named(error: unknown): unknown {
  return error instanceof PolicyMoved ? new FeedFailure('changed', POLICY_CHANGED, { cause: error }) : error
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
    // Whoever was left out, because they had moved, is to be named again by the next one who asks for what has changed.
    const on = cursorAfter !== undefined && !(run.mode === 'incremental' && run.counts.moved)
    if (believed || on)
      await ports.imports.keepState(tx, run.source, {
        ...(believed ? { usual: feed } : {}),
        ...(on ? { cursor: cursorAfter } : {}),
      })
  })
  return run
}

type Telling = Pick<RunImport, 'actor' | 'clock' | 'source' | 'holder'>

async function waitingOf({ importReads }: RunImportPorts, run: RunId): Promise<number> {
  return importReads.count(run, 'waiting')
}

/** Ends it by name. @throws what is nobody's word for how a run ends */
export async function fail(
  ports: RunImportPorts,
  {
    actor,
    clock,
    holder,
    source,
  }: Pick<Telling, 'actor' | 'clock' | 'holder'> & { readonly source: { readonly name: string } | undefined },
  run: ImportRun,
  thrown: unknown,
): Promise<ImportRun> {
  const now = clock()
  const error = named(thrown)
  const stopped = error instanceof FeedFailure && error.code === 'cancelled'
  const failure = { code: error instanceof FeedFailure ? `feed.${error.code}` : 'fault', why: (error as Error).message }
  const current = (await ports.importReads.run(run.id)) ?? run
  const failed: ImportRun = {
    ...current,
    state: stopped ? 'cancelled' : 'failed',
    details: { ...current.details, failure },
    finishedAt: now,
  }
  const ours = await ports.inTransaction(async (tx) => {
    if (!(await ports.imports.release(tx, failed, { holder, now }))) return false
    if (current.kind === 'import' && current.phase === 'reading') await ports.imports.discard(tx, run.id)
    await tell(ports, tx, { actor, now, name: source?.name }, failed, stopped ? 'run.cancelled' : 'run.failed')
    return true
  })
  if (!(error instanceof FeedFailure)) throw error
  // Whoever stopped it, or goes on with it, has said so already.
  return ours ? failed : ((await ports.importReads.run(run.id)) ?? failed)
}

type RunEvent = 'run.held' | 'run.planned' | 'run.finished' | 'run.failed' | 'run.cancelled'

/** @throws FeedFailure where it is not this holder's any more */
async function settle(
  ports: RunImportPorts,
  tx: Tx,
  { actor, clock, source, holder }: Telling,
  run: ImportRun,
  kind: RunEvent,
): Promise<void> {
  const now = clock()
  if (!(await ports.imports.release(tx, run, { holder, now }))) throw new FeedFailure('cancelled', 'the run was stopped')
  await tell(ports, tx, { actor, now, name: source.name }, run, kind)
}

async function tell(
  ports: RunImportPorts,
  tx: Tx,
  { actor, now, name }: { readonly actor: Actor; readonly now: Date; readonly name: string | undefined },
  run: ImportRun,
  kind: RunEvent,
): Promise<void> {
  const { causes, failure } = run.details
  const details = {
    kind: run.kind,
    ...(name === undefined ? {} : { source: name }),
    mode: run.mode,
    ...run.counts,
    ...(causes ? { because: causes.map(({ code }) => code) } : {}),
    ...(failure ? { failure: failure.code } : {}),
  }
  await ports.audit.write(tx, [{ kind, at: now, actor, run: run.id, source: run.source, details }])
}
