// Writes changes of users: user, keys, link, record, seats and audit events together, of one person or of a thousand, with the
// same statements. The only place where a user's row is written.

import { actorName } from '../domain/events.ts'
import type { SourceId, UserId } from '../domain/ids.ts'
import type { Transition } from '../domain/lifecycle.ts'
import type { ExternalId, RecordOnFile } from '../domain/model.ts'
import type { Change } from '../domain/settle.ts'
import { type CommitContext, PolicyMoved, type Relink, type StateChange, type Tx, type UserCommit } from '../flows/ports.ts'
import { writeAudit } from './audit.ts'
import { amongKeys, type Cell, type Columns, insertRows, updateRows } from './bulk.ts'
import { erase } from './erase.ts'
import { holdNewcomers } from './newcomers.ts'
import { writeRecord } from './record-format.ts'
import { makeTombstone } from './tombstones.ts'
import { holdRow, inside, type TxQueries } from './transactions.ts'
import { eventsOf } from './user-events.ts'
import { placeOf, RECORD_COLUMNS, type RecordRow, toRecord, userColumns } from './user-rows.ts'

export async function commit(tx: Tx, change: UserCommit, context: CommitContext): Promise<void> {
  return commitAll(tx, [change], context)
}

export async function commitAll(tx: Tx, commits: readonly UserCommit[], context: CommitContext): Promise<void> {
  const db = inside(tx)
  const changes: Change[] = []
  for (const one of commits) {
    if (one.kind === 'relink') await relink(db, one, context)
    else if (one.kind === 'state') await changeState(db, one, context)
    else changes.push(one)
  }
  if (changes.length) await writeChanges(db, changes, context)
  await moveSeats(db, commits)
  for (const one of commits) if (one.kind === 'state' && one.transition.to === 'erased') await erase(db, one.user.id, context.now)
  const events = commits.flatMap((one) => eventsOf(one, context))
  await writeAudit(tx, events)
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

async function writeChanges(db: TxQueries, changes: readonly Change[], context: CommitContext): Promise<void> {
  const { now } = context
  const created = changes.filter(({ kind }) => kind === 'create')
  const moved = changes.filter(({ kind, userMoved, revisionMoved }) => kind !== 'create' && (userMoved || revisionMoved))
  const rowOf = ({ user }: Change): Cell[] => {
    const { user_name, user_name_key, profile, grants, waiting, revision } = userColumns(user)
    return [user.id, user_name, user_name_key, profile, grants, waiting, revision, now]
  }
  if (changes.some(({ userMoved }) => userMoved)) await samePolicy(db, changes)
  if (created.length) {
    await holdNewcomers(
      db,
      created.flatMap(({ keys = [] }) => keys),
    )
    await insertRows(
      db,
      'users',
      NEW_USER,
      created.map((one) => [...rowOf(one), one.user.state, now, actorName(context.actor), now, 1]),
    )
  }
  if (moved.length) await updateRows(db, 'users', USER, moved.map(rowOf))
  await countUp(db, changes)
  const transitions = changes.flatMap(({ user, transition }) => (transition ? [{ id: user.id, transition }] : []))
  await writeStates(db, transitions, context)
  await writeKeys(db, changes)
  await writeLinks(db, changes, context)
}

/** Whoever has read a user's version can tell by it that something was written since. */
async function countUp(db: TxQueries, changes: readonly Change[]): Promise<void> {
  const ids = changes
    .filter(({ kind, userMoved, recordMoved, link }) => kind !== 'create' && (userMoved || recordMoved || link))
    .map(({ user }) => user.id)
  if (ids.length) await db.raw(`update users set version = version + 1 where ${amongKeys(db.dialect, 'id')}`, [JSON.stringify(ids)])
}

async function writeLinks(db: TxQueries, changes: readonly Change[], { now, digests }: CommitContext): Promise<void> {
  const links: Cell[][] = []
  const heard: Cell[][] = []
  const fresh: Cell[][] = []
  const records: Cell[][] = []
  for (const { kind, user, record, link, recordMoved } of changes) {
    if (!record) continue
    const { source, externalId } = record
    const digest = digests?.get(record) ?? null
    if (link?.replaces) await removeLink(db, source, link.replaces, user.id)
    if (link) links.push([source, externalId.key, externalId.value, user.id, now, digest])
    else if (recordMoved) heard.push([source, externalId.key, digest, record.missingSince ?? null])
    // Of somebody new there is nothing yet that it could take the place of.
    if (link || recordMoved) (kind === 'create' ? fresh : records).push(recordRow(db, record))
  }
  if (links.length) await insertRows(db, 'links', LINK, links)
  if (heard.length) await updateRows(db, 'links', HEARD, heard, { keys: 2 })
  if (fresh.length) await insertRows(db, 'source_records', RECORD, fresh)
  if (records.length) await insertRows(db, 'source_records', RECORD, records, KEEP_NEWEST)
}

const KEEP_NEWEST =
  'on conflict (source_id, external_key) do update set record = null, sealed = excluded.sealed, trimmed = excluded.trimmed, observed_at = excluded.observed_at'

function recordRow(db: TxQueries, record: RecordOnFile): Cell[] {
  const { source, externalId, observedAt } = record
  return [source, externalId.key, db.sealer.seal(writeRecord(record), placeOf(source, externalId.key)), false, observedAt]
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

async function writeKeys(db: TxQueries, changes: readonly Change[]): Promise<void> {
  const keyed = changes.filter(({ keys }) => keys)
  const stale = keyed.filter(({ kind }) => kind !== 'create').map(({ user }) => user.id)
  if (stale.length) await db.raw(`delete from user_keys where ${amongKeys(db.dialect, 'user_id')}`, [JSON.stringify(stale)])
  const rows = keyed.flatMap(({ user, keys = [] }) => keys.map(({ name, value, unique }): Cell[] => [name, value, user.id, unique]))
  if (rows.length) await insertRows(db, 'user_keys', KEY, rows)
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
