// Writes changes of users: user, keys, link, record, seats and audit events together, of one person or of a thousand, with the
// same statements. The only place where a user's row is written.

import { actorName } from '../domain/events.ts'
import type { SourceId, UserId } from '../domain/ids.ts'
import type { Transition } from '../domain/lifecycle.ts'
import type { ExternalId, RecordOnFile } from '../domain/model.ts'
import type { Change } from '../domain/settle.ts'
import {
  type CommitContext,
  PolicyMoved,
  type ReadyCommits,
  type Relink,
  type StateChange,
  type Tx,
  type UserCommit,
} from '../flows/ports.ts'
import { telling } from './audit.ts'
import { amongKeys, type Cell, type Columns, insertion, insertRows, runAll, type Statement, updating } from './bulk.ts'
import { erase } from './erase.ts'
import { holdNewcomers } from './newcomers.ts'
import { writeRecord } from './record-format.ts'
import { makeTombstone } from './tombstones.ts'
import { holdRow, inside, type TxQueries } from './transactions.ts'
import { eventsOf } from './user-events.ts'
import { placeOf, RECORD_COLUMNS, type RecordRow, toRecord, userColumns } from './user-rows.ts'

export async function commit(tx: Tx, change: UserCommit, context: CommitContext): Promise<void> {
  return commitAll(tx, ready(inside(tx), [change], context))
}

export async function commitAll(tx: Tx, commits: ReadyCommits): Promise<void> {
  const db = inside(tx)
  for (const step of (commits as Steps).steps) await step(db)
}

type Step = (db: TxQueries) => Promise<void>
interface Steps extends ReadyCommits {
  readonly steps: readonly Step[]
}

/** What it takes to write something down: no connection. */
type Place = Pick<TxQueries, 'dialect' | 'sealer'>

/** In the order in which they are to be written, all that needs no look at the database written down already. */
export function ready({ dialect, sealer }: Place, commits: readonly UserCommit[], context: CommitContext): ReadyCommits {
  const steps: Step[] = []
  const changes: Change[] = []
  for (const one of commits) {
    if (one.kind === 'relink') steps.push((db) => relink(db, one, context))
    else if (one.kind === 'state') steps.push((db) => changeState(db, one, context))
    else changes.push(one)
  }
  if (changes.length) steps.push(...writing({ dialect, sealer }, changes, context))
  steps.push((db) => moveSeats(db, commits))
  for (const one of commits)
    if (one.kind === 'state' && one.transition.to === 'erased') steps.push((db) => erase(db, one.user.id, context.now))
  const events = commits.flatMap((one) => eventsOf(one, context))
  steps.push(all(telling(dialect, events)))
  return { ready: true, steps } as Steps
}

function all(statements: readonly Statement[]): Step {
  return (db) => runAll(db, statements)
}

const USER: Columns = [
  ['id', 'text'],
  ['user_name', 'text'],
  ['user_name_key', 'text'],
  ['profile', 'json'],
  ['grants', 'json'],
  ['waiting', 'json'],
  ['revision', 'number'],
  ['updated_at', 'time'],
]
const NEW_USER: Columns = [
  ...USER,
  ['state', 'text'],
  ['state_since', 'time'],
  ['state_by', 'text'],
  ['created_at', 'time'],
  ['version', 'number'],
]
const LINK: Columns = [
  ['source_id', 'text'],
  ['external_key', 'text'],
  ['external_id', 'text'],
  ['user_id', 'text'],
  ['linked_at', 'time'],
  ['digest', 'text'],
]
const HEARD: Columns = [
  ['source_id', 'text'],
  ['external_key', 'text'],
  ['digest', 'text'],
  ['missing_since', 'time'],
]
const RECORD: Columns = [
  ['source_id', 'text'],
  ['external_key', 'text'],
  ['sealed', 'bytes'],
  ['trimmed', 'flag'],
  ['observed_at', 'time'],
]
const KEY: Columns = [
  ['name', 'text'],
  ['value', 'text'],
  ['user_id', 'text'],
  ['is_unique', 'flag'],
]

function writing({ dialect, sealer }: Place, changes: readonly Change[], context: CommitContext): readonly Step[] {
  const { now } = context
  const created = changes.filter(({ kind }) => kind === 'create')
  const moved = changes.filter(({ kind, userMoved, revisionMoved }) => kind !== 'create' && (userMoved || revisionMoved))
  const rowOf = ({ user }: Change): Cell[] => {
    const { user_name, user_name_key, profile, grants, waiting, revision } = userColumns(user)
    return [user.id, user_name, user_name_key, profile, grants, waiting, revision, now]
  }
  const steps: Step[] = []
  if (changes.some(({ userMoved }) => userMoved)) steps.push((db) => samePolicy(db, changes))
  if (created.length) {
    const keys = created.flatMap(({ keys = [] }) => keys)
    steps.push((db) => holdNewcomers(db, keys))
    const rows = created.map((one) => [...rowOf(one), one.user.state, now, actorName(context.actor), now, 1])
    steps.push(all(insertion(dialect, 'users', NEW_USER, rows)))
  }
  if (moved.length) steps.push(all(updating(dialect, 'users', USER, moved.map(rowOf))))
  steps.push((db) => countUp(db, changes))
  const transitions = changes.flatMap(({ user, transition }) => (transition ? [{ id: user.id, transition }] : []))
  steps.push((db) => writeStates(db, transitions, context))
  return [...steps, ...keysWritten(dialect, changes), ...linksWritten({ dialect, sealer }, changes, context)]
}

/** Whoever has read a user's version can tell by it that something was written since. */
async function countUp(db: TxQueries, changes: readonly Change[]): Promise<void> {
  const ids = changes
    .filter(({ kind, userMoved, recordMoved, link }) => kind !== 'create' && (userMoved || recordMoved || link))
    .map(({ user }) => user.id)
  if (ids.length) await db.raw(`update users set version = version + 1 where ${amongKeys(db.dialect, 'id')}`, [JSON.stringify(ids)])
}

function linksWritten(place: Place, changes: readonly Change[], { now, digests }: CommitContext): readonly Step[] {
  const { dialect } = place
  const steps: Step[] = []
  const links: Cell[][] = []
  const heard: Cell[][] = []
  const fresh: Cell[][] = []
  const records: Cell[][] = []
  for (const { kind, user, record, link, recordMoved } of changes) {
    if (!record) continue
    const { source, externalId } = record
    const digest = digests?.get(record) ?? null
    const replaces = link?.replaces
    if (replaces) steps.push((db) => removeLink(db, source, replaces, user.id))
    if (link) links.push([source, externalId.key, externalId.value, user.id, now, digest])
    // What was worded otherwise and says the same is known by its new wording the next time.
    else if (recordMoved || digest !== null) heard.push([source, externalId.key, digest, record.missingSince ?? null])
    // Of somebody new there is nothing yet that it could take the place of.
    if (link || recordMoved) (kind === 'create' ? fresh : records).push(recordRow(place, record))
  }
  return [
    ...steps,
    all(insertion(dialect, 'links', LINK, links)),
    ...(heard.length ? [all(updating(dialect, 'links', HEARD, heard, { keys: 2 }))] : []),
    all(insertion(dialect, 'source_records', RECORD, fresh)),
    all(insertion(dialect, 'source_records', RECORD, records, KEEP_NEWEST)),
  ]
}

const KEEP_NEWEST =
  'on conflict (source_id, external_key) do update set record = null, sealed = excluded.sealed, trimmed = excluded.trimmed, observed_at = excluded.observed_at'

function recordRow({ sealer }: Place, record: RecordOnFile): Cell[] {
  const { source, externalId, observedAt } = record
  return [source, externalId.key, sealer.seal(writeRecord(record), placeOf(source, externalId.key)), false, observedAt]
}

async function removeLink(db: TxQueries, source: SourceId, { key }: ExternalId, user: UserId): Promise<void> {
  await db('links').where({ source_id: source, external_key: key }).delete()
  await db('source_records').where({ source_id: source, external_key: key }).delete()
  const digest = await makeTombstone(db, source, key)
  await db('former_names').insert({ source_id: source, digest, user_id: user }).onConflict(['source_id', 'digest']).merge(['user_id'])
}

/** What a source has said goes with its link, under the new name. */
async function relink(db: TxQueries, { user, source, externalId, replaces }: Relink, { now }: CommitContext): Promise<void> {
  if (replaces) {
    const row: RecordRow | undefined = await db('source_records as r')
      .where({ source_id: source, external_key: replaces.key })
      .first(...RECORD_COLUMNS)
    const record = row && toRecord(row, db.sealer)
    await removeLink(db, source, replaces, user.id)
    if (record) await insertRows(db, 'source_records', RECORD, [recordRow(db, { ...record, externalId })], KEEP_NEWEST)
  }
  await insertRows(db, 'links', LINK, [[source, externalId.key, externalId.value, user.id, now, null]])
  await db('users').where({ id: user.id }).increment('version', 1)
}

async function changeState(db: TxQueries, { user, transition }: StateChange, context: CommitContext): Promise<void> {
  await writeStates(db, [{ id: user.id, transition }], context)
  const { grants, waiting, revision } = user
  const due = { grants: JSON.stringify(grants), waiting: JSON.stringify(waiting), revision }
  await db('users').where({ id: user.id }).update(due).increment('version', 1)
}

/** From this state only: what has changed meanwhile is not overwritten. */
async function writeStates(
  db: TxQueries,
  transitions: readonly { readonly id: UserId; readonly transition: Transition }[],
  { actor, now }: CommitContext,
): Promise<void> {
  for (const { id, transition } of transitions) {
    const { from, to, reason } = transition
    const written: unknown = await db('users')
      .where({ id, state: from })
      .update({ state: to, state_since: now, state_reason: reason, state_by: actorName(actor), updated_at: now })
    // The row was moved along with the profile, or by nobody.
    if (!written) throw new Error(`${id} is not ${from} any more`)
  }
}

/** A newer policy may find people by other keys, and has seen to it for everybody who was there; this comes too late for that. */
async function samePolicy(db: TxQueries, changes: readonly Change[]): Promise<void> {
  const row: { revision: number } | undefined = await db('policy_revision').first('revision').modify(holdRow, 'policy_revision', 'forShare')
  // Whoever is shut out is derived again when they come back, whatever the policy is then.
  const moved = changes.filter(({ userMoved, user }) => userMoved && user.revision !== 0)
  if (row && moved.some(({ user }) => row.revision > user.revision)) throw new PolicyMoved('the policy was changed meanwhile; try again')
}

function keysWritten(dialect: Place['dialect'], changes: readonly Change[]): readonly Step[] {
  const keyed = changes.filter(({ keys }) => keys)
  const stale = keyed.filter(({ kind }) => kind !== 'create').map(({ user }) => user.id)
  const rows = keyed.flatMap(({ user, keys = [] }) => keys.map(({ name, value, unique }): Cell[] => [name, value, user.id, unique]))
  // What is the same in many rows is handed over once; and an index is quicker to write in its order.
  const order = new Map(rows.map((row) => [row, `${row[0]} ${row[1]}`]))
  rows.sort((a, b) => ((order.get(a) as string) < (order.get(b) as string) ? -1 : 1))
  const forget: Step = (db) =>
    db.raw(`delete from user_keys where ${amongKeys(dialect, 'user_id')}`, [JSON.stringify(stale)]).then(() => {})
  return [...(stale.length ? [forget] : []), all(insertion(dialect, 'user_keys', KEY, rows))]
}

async function moveSeats(db: TxQueries, commits: readonly UserCommit[]): Promise<void> {
  const seats = new Map<string, number>()
  for (const one of commits) {
    if (one.kind === 'relink') continue
    for (const [name, by] of Object.entries(one.entitled.seats)) seats.set(name, (seats.get(name) ?? 0) + by)
  }
  // In one order for everybody, so that two transactions cannot wait for each other.
  for (const name of [...seats.keys()].sort()) {
    await db.raw(
      'insert into licence_seats (name, taken) values (?, ?) on conflict (name) do update set taken = licence_seats.taken + excluded.taken',
      [name, seats.get(name) as number],
    )
  }
}
