// Takes an applied run back: whom it made is gone again, whom it linked is not linked any more, what it changed is as it was, whose
// access it ended has it again. A row whose person was changed since, by anybody, stands in its own way and is left and told.

import { decideAgain } from '../domain/decide.ts'
import { type Actor, actorName } from '../domain/events.ts'
import type { RunId } from '../domain/ids.ts'
import { type LifecycleState, type Transition, transition } from '../domain/lifecycle.ts'
import type { User } from '../domain/model.ts'
import type { Policy } from '../domain/policy.ts'
import { isRefusal } from '../domain/refusals.ts'
import { answering } from './answering.ts'
import { endAccess } from './end-access.ts'
import { FeedFailure } from './feed-ports.ts'
import type { Holder, ImportRun, PlanRow, Restoration } from './import-ports.ts'
import type { Tx } from './ports.ts'
import { fail, holding, isLeft, type Keep, LEASE_MS, putDown, type RunImportPorts } from './run-import.ts'

export interface UndoImport {
  readonly run: RunId
  readonly policy: Policy
  /** Only tell what would happen. */
  readonly planOnly: boolean
  readonly actor: Actor
  readonly holder: Holder
  readonly isGone: (holder: Holder) => boolean
  readonly clock: () => Date
  readonly stop: AbortSignal
  readonly onProgress?: (done: number) => void
}

export type Undone =
  | {
      readonly outcome: 'undone' | 'planned'
      readonly run: ImportRun
      readonly back: number
      readonly left: readonly LeftRow[]
      readonly leftCount: number
    }
  | { readonly outcome: 'refused'; readonly why: string }

export interface LeftRow {
  readonly place: string
  readonly key: string
  readonly why: string
}

const BATCH = 200
const MOST_TOLD = 100

/** @throws FeedFailure where it was stopped, or the policy was changed: what was taken back by then stays so, and the run says it */
export async function undoImport(ports: RunImportPorts, ask: UndoImport): Promise<Undone> {
  const { planOnly, holder, clock, stop } = ask
  const begun = await begin(ports, ask)
  if (typeof begun === 'string') return { outcome: 'refused', why: begun }
  const { taken, undo } = begun
  const told: Told = { back: undo.counts.undone ?? 0, left: [], leftCount: 0 }
  const walk = async (each: (rows: readonly PlanRow[]) => Promise<readonly TakenBack[]>) => {
    for (let after = 0; ; ) {
      const rows = await ports.importReads.applied(taken.id, after, BATCH)
      const last = rows.at(-1)
      if (!last) return
      after = last.seq
      const outcomes = await each(rows)
      for (const [at, row] of rows.entries()) note(told, row, outcomes[at] as TakenBack)
      ask.onProgress?.(told.back + told.leftCount)
    }
  }
  if (planOnly) {
    await walk(async (rows) => {
      const people = await ports.importReads.people(rows.map(({ planned: { user } }) => user ?? ('' as never)))
      return rows.map((row, at) => inTheWay(row, people[at]?.linked) ?? 'back')
    })
    return { outcome: 'planned', run: undo, ...told }
  }
  const run = await holding(ports, { run: undo, holder, clock, stop }, async ({ keep }) => {
    let current = undo
    try {
      await walk(async (rows) => {
        const { run, outcomes } = await takeBackAll(ports, ask, { rows, taken, undo: current, keep })
        current = run
        return outcomes
      })
      return await end(ports, ask, { taken, undo: current })
    } catch (error) {
      return fail(ports, { ...ask, source: ask.policy.sources.get(undo.source) }, current, error)
    }
  })
  if (run.state !== 'done') {
    const why = run.details.failure?.code === 'feed.changed' ? 'the policy was changed meanwhile' : 'it was stopped'
    throw new FeedFailure('cancelled', `${why}; ${told.back} were taken back by then, and taking it back again does the rest`)
  }
  return { outcome: 'undone', run, ...told }
}

interface Told {
  back: number
  readonly left: LeftRow[]
  leftCount: number
}

/** nothing: there was nothing to take back. Or why the row is left as it is. */
type TakenBack = 'back' | 'nothing' | { readonly why: string }

function note(told: Told, { place, externalId }: PlanRow, outcome: TakenBack): void {
  if (outcome === 'back') told.back++
  else if (outcome !== 'nothing' && told.leftCount++ < MOST_TOLD) told.left.push({ place, key: externalId.value, why: outcome.why })
}

/** A string: why it cannot be. */
async function begin(
  ports: RunImportPorts,
  { run: id, policy, planOnly, actor, holder, isGone, clock }: UndoImport,
): Promise<{ readonly taken: ImportRun; readonly undo: ImportRun } | string> {
  const now = clock()
  const until = new Date(now.getTime() + LEASE_MS)
  return ports.inTransaction(async (tx) => {
    const found = await ports.imports.take(tx, id)
    if (!found) return `there is no import ${id}`
    if (found.kind === 'undo') return 'it is a taking back itself; import again to bring things back to what the source says'
    const running = await ports.imports.running(tx, found.source)
    if (found.details.undoneBy) return `it was taken back already (${found.details.undoneBy})`
    if (!(found.counts.applied ?? 0)) return 'it has applied nothing, so there is nothing to take back'
    if (running && !isLeft(running, { now, isGone })) return `the source is being imported (${running.run.id})`
    // They go from the first on.
    const [first] = await ports.importReads.rows(id, { after: 0, size: 1 })
    if (first?.seq !== 1) return 'its rows are not kept any more (GATEHOUSE_KEEP_PLANS_DAYS)'
    const fresh: ImportRun = {
      id: ports.mint.id('run', now),
      kind: 'undo',
      source: found.source,
      mode: found.mode,
      state: 'running',
      phase: 'applying',
      revision: policy.revision,
      cursor: 0,
      counts: {},
      details: { undoes: id },
      startedAt: now,
      actor: actorName(actor),
    }
    if (planOnly) return { taken: found, undo: fresh }
    const left = running?.run
    if (left?.details.undoes === id) {
      // It goes on where it was left; whoever is in the way is met again.
      await ports.imports.hold(tx, left.id, { holder, until })
      return { taken: found, undo: { ...left, counts: { ...left.counts, moved: 0 } } }
    }
    if (left) await putDown(ports, tx, { actor, clock, name: policy.sources.get(left.source)?.name }, left)
    await ports.imports.begin(tx, fresh, { actor, holder, until })
    await ports.audit.write(tx, [
      { kind: 'run.started', at: now, actor, run: fresh.id, source: fresh.source, details: { kind: 'undo', undoes: id } },
    ])
    return { taken: left?.id === id ? ((await ports.imports.take(tx, id)) ?? found) : found, undo: fresh }
  })
}

async function takeBackAll(
  ports: RunImportPorts,
  ask: UndoImport,
  { rows, taken, undo, keep }: { rows: readonly PlanRow[]; taken: ImportRun; undo: ImportRun; keep: Keep },
): Promise<{ readonly run: ImportRun; readonly outcomes: readonly TakenBack[] }> {
  return ports.inTransaction(async (tx) => {
    const outcomes: TakenBack[] = []
    for (const row of rows) outcomes.push(await takeBack(ports, tx, ask, { row, undo, taken }))
    const done = rows.filter((_, at) => typeof outcomes[at] === 'string')
    await ports.imports.setStatus(
      tx,
      taken.id,
      done.map(({ seq }) => seq),
      'undone',
    )
    const { undone = 0, moved = 0 } = undo.counts
    const back = outcomes.filter((one) => one === 'back').length
    const run = { ...undo, counts: { ...undo.counts, undone: undone + back, moved: moved + rows.length - done.length } }
    await keep(tx, run)
    return { run, outcomes }
  })
}

async function end(
  ports: RunImportPorts,
  { actor, holder, clock }: UndoImport,
  { taken, undo }: { taken: ImportRun; undo: ImportRun },
): Promise<ImportRun> {
  const now = clock()
  const done: ImportRun = { ...undo, state: 'done', finishedAt: now }
  await ports.inTransaction(async (tx) => {
    if (!(await ports.imports.release(tx, done, { holder, now }))) throw new FeedFailure('cancelled', 'the run was stopped')
    await ports.imports.withdraw(tx, taken.id)
    const counts = { ...taken.counts, waiting: 0 }
    await ports.imports.put(tx, { ...taken, state: 'undone', counts, details: { ...taken.details, undoneBy: undo.id } }, now)
    await ports.audit.write(tx, [
      { kind: 'run.finished', at: now, actor, run: undo.id, source: undo.source, details: { kind: 'undo', ...undo.counts } },
    ])
  })
  return done
}

/** What is newer than what is to be taken back; undefined: nothing stands in its way. */
function inTheWay(row: PlanRow, user: User | undefined): Exclude<TakenBack, 'back'> | undefined {
  const { decision, basis = 0, harms } = row.planned
  if (!user) return NOT_HERE
  if (user.state === 'erased') return { why: 'the person was erased' }
  // The source had said the same of them before.
  if (decision === 'unchanged' && user.version === basis) return 'nothing'
  if (user.version !== basis + 1) return { why: 'the person was changed since' }
  // Of whom it has tied for the first time, nothing was said before.
  const isFirst = decision === 'create' || (decision === 'link' && !harms.includes('moved'))
  return isFirst || row.before ? undefined : NOT_KEPT
}

const NOT_HERE = { why: 'the person is not here any more' }
const NOT_KEPT = { why: 'what was there before is not kept' }

async function takeBack(
  ports: RunImportPorts,
  tx: Tx,
  { policy, actor, clock }: UndoImport,
  { row, undo, taken }: { row: PlanRow; undo: ImportRun; taken: ImportRun },
): Promise<TakenBack> {
  const now = clock()
  const by = { actor, now, run: undo.id }
  const { decision, user: id, to } = row.planned
  const known = id && (await ports.users.take(tx, id))
  const no = inTheWay(row, known?.linked)
  if (no !== undefined || !known) return no ?? NOT_HERE
  const user = known.linked
  const { externalId, before } = row
  const { source } = taken
  if (decision === 'create') {
    if (await ports.importReads.hasSignedIn(tx, user.id)) return { why: 'the person has signed in since' }
    await ports.sessions.end(tx, { user: user.id })
    await ports.imports.restore(tx, [{ how: 'unmake', user, externalId, source }], by)
    return 'back'
  }
  const was = to === undefined ? user.state : await ports.importReads.stateBefore(tx, user.id, taken.id)
  if (was === undefined) return NOT_KEPT
  const way = wayBack(user.state, was, `taking back ${taken.id}`)
  if (!way) return { why: `they were ${was}, and nobody becomes that again` }
  // What follows from the records as they were.
  const records = known.records.filter((one) => one.source !== source || one.externalId.key !== externalId.key)
  const stale = { ...user, state: way.at(-1)?.to ?? user.state, revision: 0 }
  const asWas = { linked: stale, records: before ? [...records, before] : records }
  const outcome = await answering(ports.users, tx, decideAgain(asWas, policy, now))
  if (isRefusal(outcome)) return { why: outcome.detail }

  await ports.leavings.cancel(tx, source, [user.id])
  await ports.imports.restore(tx, [restorationOf(row, user, source)], by)
  const entitled = { grants: user.grants, gained: [], lost: [], waiting: user.waiting, seats: {} }
  for (const step of way) {
    const then = { ...stale, state: step.to }
    await ports.users.commit(tx, { kind: 'state', user: then, transition: step, entitled }, by)
    await endAccess(ports, tx, { ...by, user: then, transition: step, policy })
  }
  await ports.users.commit(tx, outcome, by)
  return 'back'
}

function restorationOf({ externalId, before }: PlanRow, user: User, source: ImportRun['source']): Restoration {
  if (before?.externalId.key === externalId.key) return { how: 'record', user, record: before }
  return { how: 'unlink', user, externalId, source, ...(before ? { replaced: before } : {}) }
}

/** Each step a lawful one; undefined: there is none. Whoever was shut out for a while is let in for a moment, in which nobody can come. */
function wayBack(from: LifecycleState, to: LifecycleState, reason: string): readonly Transition[] | undefined {
  if (from === to) return []
  const direct = transition(from, to, reason)
  if (direct) return [direct]
  const [open, shut] = [transition(from, 'active', reason), transition('active', to, reason)]
  return open && shut ? [open, shut] : undefined
}
