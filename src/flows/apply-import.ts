// Does exactly what a plan says. Each batch is decided again, by the same decision, on everything as it is now: a row whose user
// has moved since, or that would come to something else, is left out and said so. A batch and its place are written together, so
// that whoever goes on after a crash doubles nothing and leaves nothing out.

import { type Known, NOBODY, type Question } from '../domain/deciding.ts'
import { licencesOf, type SeatsTaken } from '../domain/entitlements.ts'
import type { Actor } from '../domain/events.ts'
import type { UserId } from '../domain/ids.ts'
import type { Holder } from '../domain/matching.ts'
import type { RecordOnFile } from '../domain/model.ts'
import { type Planned, planned, sameEffect } from '../domain/plan.ts'
import type { Policy } from '../domain/policy.ts'
import { isRefusal } from '../domain/refusals.ts'
import type { Change } from '../domain/settle.ts'
import type { ImportRules, SourcePolicy } from '../domain/source-policy.ts'
import { sparing } from './answering.ts'
import { decideRows } from './decide-rows.ts'
import { type EndAccessPorts, endAccess } from './end-access.ts'
import type { ImportReads, ImportRun, Imports, Leavings, PlanRow } from './import-ports.ts'
import type { Mint, ReadyCommits, Transactions, Tx, Users } from './ports.ts'

export type ApplyPorts = Transactions &
  EndAccessPorts & { imports: Imports; importReads: ImportReads; users: Users; leavings: Leavings; mint: Mint }

export interface ApplyImport {
  readonly run: ImportRun
  readonly source: SourcePolicy & { readonly imports: ImportRules }
  readonly policy: Policy
  readonly clock: () => Date
  readonly keep: (tx: Tx, run: ImportRun) => Promise<void>
  readonly onProgress: (run: ImportRun) => void
}

/** So many rows are one transaction. */
const BATCH = 1_000

/** @returns the run as it was left: still running, with all approved rows behind it */
export async function applyImport(ports: ApplyPorts, ask: ApplyImport): Promise<ImportRun> {
  let run = ask.run
  // While one batch is written, the next are decided; what the first changes of their people shows in their versions. How many seats
  // of a licence are free does not.
  const most = licencesOf(ask.policy.entitlements).size ? 1 : AHEAD
  let newcomers = 0
  let much = BATCH
  const ahead = [decideBatch(ports, ask, run.cursor)]
  for (;;) {
    while (ahead.length < most) ahead.push(decideNext(ports, ask, ahead.at(-1) as Promise<Batch>))
    const batch = await (ahead.shift() as Promise<Batch>)
    if (!batch.rows.length) return run
    run = await writeBatch(ports, { ...ask, run }, batch)
    newcomers += batch.fits.filter(({ change }) => change.kind === 'create').length
    if (newcomers >= much * GROWTH) {
      much = newcomers
      await ports.inTransaction((tx) => ports.imports.grew(tx, 'people'))
    }
    if (!ahead.length) ahead.push(decideBatch(ports, ask, batch.cursor))
    ask.onProgress(run)
  }
}

/** Whenever there are so many times as many newcomers as the last time, the database is told. */
const GROWTH = 4

/** So many batches are decided and not written yet. */
const AHEAD = 2

function decideNext(ports: ApplyPorts, ask: ApplyImport, before: Promise<Batch>): Promise<Batch> {
  const next = before.then((batch) => (batch.rows.length ? decideBatch(ports, ask, batch.cursor) : batch))
  // Told where it is awaited.
  next.catch(() => {})
  return next
}

/** Rows that a person has picked, whatever their place. */
export async function applyRows(ports: ApplyPorts, ask: ApplyImport, rows: readonly PlanRow[]): Promise<ImportRun> {
  let { run } = ask
  for (let i = 0; i < rows.length; i += BATCH) {
    const some = rows.slice(i, i + BATCH)
    run = await writeBatch(ports, { ...ask, run }, { ...(await decideAgain(ports, ask, some, false)), cursor: run.cursor, picked: true })
    ask.onProgress(run)
  }
  return run
}

interface Batch {
  readonly rows: readonly PlanRow[]
  readonly fits: readonly RowChange[]
  readonly ready: ReadyCommits
  /** Rows that are not as they were planned, or cannot be applied beside another. */
  readonly left: readonly number[]
  readonly cursor: number
  readonly now: Date
  /** Newcomers were taken for such without asking; the transaction has to make sure. */
  readonly presumed: boolean
  /** Apart from the order of the plan: their status is written with them. */
  readonly picked?: boolean
}

interface RowChange {
  readonly row: PlanRow
  readonly change: Change
}

async function decideBatch(ports: ApplyPorts, ask: ApplyImport, after: number): Promise<Batch> {
  const rows = await ports.importReads.rows(ask.run.id, { after, size: BATCH, status: 'approved' })
  return { ...(await decideAgain(ports, ask, rows, true)), cursor: rows.at(-1)?.seq ?? after }
}

/** @param presuming that who was nobody when it was planned is nobody still */
async function decideAgain(
  ports: ApplyPorts,
  { run, source, policy, clock }: ApplyImport,
  rows: readonly PlanRow[],
  presuming: boolean,
): Promise<Omit<Batch, 'cursor'>> {
  const now = clock()
  const { answerAll } = ports.importReads
  const presumed = ({ about }: Question, place: number) => {
    if (!presuming || rows[place]?.planned.decision !== 'create') return undefined
    return about === 'subject' ? NOBODY : about === 'holders' ? NO_HOLDERS : undefined
  }
  const decided = await decideRows(
    rows.map(({ externalId, said, gone, chosen, planned: { user } }) => ({
      externalId,
      said: gone ? undefined : said,
      fresh: user ?? ports.mint.id('usr', now),
      ...(chosen === undefined ? {} : { chosen }),
    })),
    {
      source,
      policy,
      run: run.id,
      now,
      askAll: sparing(answerAll, presumed),
    },
  )
  const licences = licencesOf(policy.entitlements)
  const changes: RowChange[] = []
  const moved: number[] = []
  for (const [at, row] of rows.entries()) {
    const decision = decided[at]?.decision
    const again = decision && planned(decision, source.imports)
    const change = decision && !isRefusal(decision.outcome) ? decision.outcome : undefined
    // Nobody has moved, and it comes to the same. Who gets one of the last seats is nobody's plan: whoever comes first.
    const same = (one: Planned) => (licences.size ? { ...one, gained: one.gained.filter((name) => !licences.has(name)) } : one)
    if (change && again && again.basis === row.planned.basis && sameEffect(same(again), same({ ...row.planned, status: again.status })))
      changes.push({ row, change })
    else moved.push(row.seq)
  }
  const { fits, others } = apart(changes)
  const digests = new Map<RecordOnFile, string>()
  for (const { row, change } of fits) if (change.record && row.digest !== undefined) digests.set(change.record, row.digest)
  const ready = ports.users.ready(
    fits.map(({ change }) => change),
    { actor: speaker(source), now, run: run.id, digests },
  )
  const left = [...moved, ...others]
  return { rows, fits, ready, left, now, presumed: presuming && rows.some(({ planned: { decision } }) => decision === 'create') }
}

/** It is the source who says so; who has begun the run is on the run. */
function speaker({ id, name }: SourcePolicy): Actor {
  return { kind: 'source', id, name }
}

const NO_HOLDERS: readonly Holder[] = []

async function writeBatch(ports: ApplyPorts, ask: ApplyImport, batch: Batch): Promise<ImportRun> {
  for (let attempt = 1; ; attempt++) {
    const written = await tryBatch(ports, ask, batch)
    if (written) return written
    // Somebody was moved between the decision and this; they are told apart by deciding again.
    if (attempt === MOST_ATTEMPTS) throw new Error('people are moved faster than an import can be applied')
    batch = { ...batch, ...(await decideAgain(ports, ask, batch.rows, false)) }
  }
}

const MOST_ATTEMPTS = 10

/** Undefined: somebody has moved since it was decided. */
async function tryBatch(ports: ApplyPorts, { run, source, policy, keep }: ApplyImport, batch: Batch): Promise<ImportRun | undefined> {
  const { fits, ready, left, now } = batch
  const actor = speaker(source)
  const createsMany = fits.some(({ change }) => change.kind === 'create')
  const write = async (tx: Tx) => {
    if (!(await unmoved(ports, tx, source, { changes: fits, presumed: batch.presumed }))) return undefined
    if (!(await seated(ports, tx, { policy, changes: fits }))) return undefined
    await ports.users.commitAll(tx, ready)
    await endings(ports, tx, { run, actor, source, policy, fits, now })
    if (left.length) await ports.imports.setStatus(tx, run.id, left, 'moved')
    if (batch.picked)
      await ports.imports.setStatus(
        tx,
        run.id,
        fits.map(({ row }) => row.seq),
        'applied',
      )
    const { counts } = run
    const next: ImportRun = {
      ...run,
      cursor: batch.cursor,
      counts: { ...counts, applied: (counts.applied ?? 0) + fits.length, moved: (counts.moved ?? 0) + left.length },
    }
    await keep(tx, next)
    return next
  }
  return ports.inTransaction(write, { createsMany })
}

/** Two rows that mean one person are not applied together: the second would not know of the first. */
function apart(changes: readonly RowChange[]): { readonly fits: readonly RowChange[]; readonly others: readonly number[] } {
  const users = new Set<UserId>()
  const others: number[] = []
  const fits = changes.filter(({ row, change }) => {
    if (users.has(change.user.id)) {
      others.push(row.seq)
      return false
    }
    users.add(change.user.id)
    return true
  })
  return { fits, others }
}

/** Nobody has written any of these users since, nobody has come who would have been found, and no name was taken. */
async function unmoved(
  ports: ApplyPorts,
  tx: Tx,
  source: SourcePolicy,
  { changes, presumed }: { changes: readonly RowChange[]; presumed: boolean },
): Promise<boolean> {
  const known = changes.filter(({ change }) => change.kind !== 'create')
  if (known.length) {
    const versions = await ports.imports.versions(
      tx,
      known.map(({ change }) => change.user.id),
    )
    if (!known.every(({ change }) => versions.get(change.user.id) === change.user.version)) return false
  }
  const matching = new Set(source.matching.map(({ key }) => key.name))
  const claimed = ({ kind, keys = [] }: Change) => keys.filter(({ unique, name }) => unique || (kind === 'create' && matching.has(name)))
  const created = changes.filter(({ change }) => change.kind === 'create')
  if (presumed && created.length) {
    const subjects = created.map(({ row }) => row.externalId)
    const keys = created.flatMap(({ change }) => claimed(change))
    // Where that is not plain, all are decided again with everything asked.
    if (!(await ports.imports.areNobody(tx, source.id, subjects, keys))) return false
  }
  const others = presumed ? changes.filter(({ change }) => change.kind !== 'create') : changes
  const newcomers = others.filter(({ change }) => change.link || change.kind === 'create')
  const subjects = await ports.users.answerAll(
    tx,
    newcomers.map(({ row }) => ({ about: 'subject', source: source.id, externalId: row.externalId })),
  )
  if ((subjects as readonly Known[]).some(({ linked }) => linked)) return false
  // Whom a person has called new looks like somebody, and is not to be told from them again.
  const settled = new Set(
    newcomers.filter(({ row }, at) => row.chosen === 'new' || (subjects[at] as Known).settledAsNew).map(({ change }) => change),
  )
  const asked = others.flatMap(({ change }) => {
    const wanted = claimed(change).filter(({ unique }) => unique || !settled.has(change))
    return wanted.length ? [{ user: change.user.id, keys: wanted }] : []
  })
  const holders = await ports.users.answerAll(
    tx,
    asked.map(({ keys }) => ({ about: 'holders', source: source.id, keys })),
  )
  return asked.every(({ user }, at) => (holders[at] as readonly Holder[]).every((holder) => holder.user.id === user))
}

/** Nobody has taken a seat since that was free when these were decided about. */
async function seated(ports: ApplyPorts, tx: Tx, { policy, changes }: { policy: Policy; changes: readonly RowChange[] }): Promise<boolean> {
  const wanted = new Map<string, number>()
  for (const { change } of changes)
    for (const [name, by] of Object.entries(change.entitled.seats)) if (by > 0) wanted.set(name, (wanted.get(name) ?? 0) + by)
  if (!wanted.size) return true
  const [taken] = (await ports.users.answerAll(tx, [{ about: 'seats', licences: [...wanted.keys()] }])) as readonly [SeatsTaken]
  const licences = licencesOf(policy.entitlements)
  return [...wanted].every(([name, by]) => (taken.get(name) ?? 0) + by <= (licences.get(name) ?? 0))
}

/** What goes with the end of somebody's access, and with a return. */
async function endings(
  ports: ApplyPorts,
  tx: Tx,
  {
    run,
    actor,
    source,
    policy,
    fits,
    now,
  }: Pick<ApplyImport, 'run' | 'source' | 'policy'> & { actor: Actor; fits: readonly RowChange[]; now: Date },
): Promise<void> {
  const stays = fits.flatMap(({ row, change }) => (row.gone || change.leaving || change.kind === 'create' ? [] : [change.user.id]))
  if (stays.length) await ports.leavings.cancel(tx, source.id, stays)
  for (const { row, change } of fits) {
    const { user, transition, leaving } = change
    if (leaving) {
      await ports.leavings.keep(tx, { ...leaving, user: user.id, source: source.id, externalKey: row.externalId.key, run: run.id })
      const details = { to: leaving.to, due: leaving.due.toISOString(), reason: leaving.reason }
      await ports.audit.write(tx, [{ kind: 'user.missing', at: now, actor, user: user.id, source: source.id, run: run.id, details }])
    }
    if (transition) await endAccess(ports, tx, { user, transition, policy, actor, now, run: run.id })
  }
}
