// Takes an applied run back: whom it made is gone again, whom it linked is not linked any more, what it changed is as it was, whose
// access it ended has it again. A row whose person was changed since, by anybody, stands in its own way and is left and told.

import { decideAgain } from '../domain/decide.ts'
import { type Actor, actorName } from '../domain/events.ts'
import type { RunId } from '../domain/ids.ts'
import { transition } from '../domain/lifecycle.ts'
import type { User } from '../domain/model.ts'
import type { Policy } from '../domain/policy.ts'
import { isRefusal } from '../domain/refusals.ts'
import { answering } from './answering.ts'
import { endAccess } from './end-access.ts'
import type { Holder, ImportRun, PlanRow } from './import-ports.ts'
import type { Tx } from './ports.ts'
import { holding, LEASE_MS, type RunImportPorts } from './run-import.ts'

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

export async function undoImport(ports: RunImportPorts, ask: UndoImport): Promise<Undone> {
  const { actor, holder, isGone, clock, stop, planOnly } = ask
  const now = clock()
  const taken = await ports.inTransaction(async (tx): Promise<ImportRun | string> => {
    const run = await ports.imports.take(tx, ask.run)
    if (run?.kind !== 'import') return `there is no import ${ask.run}`
    if (run.details.undoneBy) return `it was taken back already (${run.details.undoneBy})`
    if (!(run.counts.applied ?? 0)) return 'it has applied nothing, so there is nothing to take back'
    const running = await ports.imports.running(tx, run.source)
    if (running && !(running.holder !== undefined && isGone(running.holder))) return `the source is being imported (${running.run.id})`
    return run
  })
  if (typeof taken === 'string') return { outcome: 'refused', why: taken }

  const left: LeftRow[] = []
  let leftCount = 0
  let back = 0
  const note = ({ place, externalId }: PlanRow, why: string) => {
    leftCount++
    if (left.length < MOST_TOLD) left.push({ place, key: externalId.value, why })
  }
  const undo: ImportRun = {
    id: ports.mint.id('run', now),
    kind: 'undo',
    source: taken.source,
    mode: taken.mode,
    state: 'running',
    phase: 'applying',
    revision: ask.policy.revision,
    cursor: 0,
    counts: {},
    details: { undoes: taken.id },
    startedAt: now,
    actor: actorName(actor),
  }
  const walk = async (each: (rows: readonly PlanRow[]) => Promise<void>) => {
    for (let after = 0; ; ) {
      const rows = await ports.importReads.applied(taken.id, after, BATCH)
      const last = rows.at(-1)
      if (!last) return
      after = last.seq
      await each(rows)
      ask.onProgress?.(back + leftCount)
    }
  }
  if (planOnly) {
    await walk(async (rows) => {
      const people = await ports.importReads.people(rows.map(({ planned: { user } }) => user ?? ('' as never)))
      for (const [at, row] of rows.entries()) {
        const why = inTheWay(row, people[at]?.linked)
        if (why === undefined) back++
        else note(row, why)
      }
    })
    return { outcome: 'planned', run: undo, back, left, leftCount }
  }

  await ports.inTransaction(async (tx) => {
    await ports.imports.begin(tx, undo, { actor, holder, until: new Date(now.getTime() + LEASE_MS) })
    await ports.audit.write(tx, [
      { kind: 'run.started', at: now, actor, run: undo.id, source: undo.source, details: { kind: 'undo', undoes: taken.id } },
    ])
  })
  const run = await holding(ports, { run: undo, holder, clock, stop }, async ({ keep }) => {
    let current = undo
    await walk(async (rows) => {
      current = await ports.inTransaction(async (tx) => {
        const done: number[] = []
        const told: [PlanRow, string][] = []
        for (const row of rows) {
          const why = await takeBack(ports, tx, ask, { row, undo: current, source: taken.source })
          if (why === undefined) done.push(row.seq)
          else told.push([row, why])
        }
        await ports.imports.setStatus(tx, taken.id, done, 'undone')
        const counts = {
          ...current.counts,
          undone: (current.counts.undone ?? 0) + done.length,
          moved: (current.counts.moved ?? 0) + told.length,
        }
        const next = { ...current, counts }
        await keep(tx, next)
        back = counts.undone
        leftCount = counts.moved
        if (left.length < MOST_TOLD)
          left.push(
            ...told.map(([{ place, externalId }, why]) => ({ place, key: externalId.value, why })).slice(0, MOST_TOLD - left.length),
          )
        return next
      })
    })
    const ended = clock()
    current = { ...current, state: 'done', finishedAt: ended }
    await ports.inTransaction(async (tx) => {
      await ports.imports.put(tx, current, ended)
      await ports.imports.put(tx, { ...taken, state: 'undone', details: { ...taken.details, undoneBy: current.id } }, ended)
      await ports.audit.write(tx, [
        { kind: 'run.finished', at: ended, actor, run: current.id, source: current.source, details: { kind: 'undo', ...current.counts } },
      ])
    })
    return current
  })
  return { outcome: 'undone', run, back, left, leftCount }
}

/** What is newer than what is to be taken back. */
function inTheWay({ planned, before }: PlanRow, user: User | undefined): string | undefined {
  if (!user) return 'the person is not here any more'
  if (user.state === 'erased') return 'the person was erased'
  const expected = (planned.basis ?? 0) + 1
  if (user.version !== expected) return 'the person was changed since'
  if (planned.decision !== 'create' && planned.decision !== 'link' && !before) return 'what was there before is not kept'
  return undefined
}

async function takeBack(
  ports: RunImportPorts,
  tx: Tx,
  { policy, actor, clock }: UndoImport,
  { row, undo, source }: { row: PlanRow; undo: ImportRun; source: ImportRun['source'] },
): Promise<string | undefined> {
  const now = clock()
  const { decision, user: id, to } = row.planned
  const known = id && (await ports.users.take(tx, id))
  const no = inTheWay(row, known?.linked)
  if (no !== undefined || !known) return no ?? 'the person is not here any more'
  const user = known.linked
  const { externalId, before } = row
  if (decision === 'create') {
    if (await ports.importReads.hasSignedIn(tx, user.id)) return 'the person has signed in since'
    await ports.sessions.end(tx, { user: user.id })
    await ports.imports.restore(tx, [{ how: 'unmake', user, externalId, source }], { actor, now, run: undo.id })
    return undefined
  }
  await ports.leavings.cancel(tx, source, [user.id])
  await ports.imports.restore(tx, [before ? { how: 'record', user, record: before } : { how: 'unlink', user, externalId, source }], {
    actor,
    now,
    run: undo.id,
  })
  if (to !== undefined) {
    const reason = `taking back ${undo.details.undoes}`
    const was = to === 'active' ? 'suspended' : 'active'
    const lawful = transition(user.state, was, reason)
    if (lawful) {
      const reopened = { ...user, state: lawful.to, revision: 0 }
      const entitled = { grants: user.grants, gained: [], lost: [], waiting: user.waiting, seats: {} }
      await ports.users.commit(tx, { kind: 'state', user: reopened, transition: lawful, entitled }, { actor, now, run: undo.id })
      await endAccess(ports, tx, { user: reopened, transition: lawful, policy, actor, now, run: undo.id })
    }
  }
  // What follows from the records as they are now.
  const again = await ports.users.take(tx, user.id)
  if (!again) return undefined
  const stale = { ...again, linked: { ...again.linked, revision: 0 } }
  const outcome = await answering(ports.users, tx, decideAgain(stale, policy, now))
  if (!isRefusal(outcome)) await ports.users.commit(tx, outcome, { actor, now, run: undo.id })
  return undefined
}
