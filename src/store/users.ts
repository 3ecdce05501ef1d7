// Keeps users, their keys, links, source records, seats, and the audit events of their changes. `commit` is the only way a
// user changes. Records are encrypted; profiles are not, because the gate reads them with every request.

import type { Known, Question } from '../domain/deciding.ts'
import type { Entitled } from '../domain/entitlements.ts'
import { actorName } from '../domain/events.ts'
import type { SourceId, UserId } from '../domain/ids.ts'
import { type Key, type KeyKind, keysOf } from '../domain/keys.ts'
import type { Transition } from '../domain/lifecycle.ts'
import type { Holder } from '../domain/matching.ts'
import type { ExternalId, RecordOnFile, User } from '../domain/model.ts'
import type { Change } from '../domain/settle.ts'
import { type CommitContext, type KeyClash, PolicyMoved, type Relink, type Tx, type UserCommit, type Users } from '../flows/ports.ts'
import { writeAudit } from './audit.ts'
import { erase } from './erase.ts'
import { writeRecord } from './record-format.ts'
import type { Sealer } from './sealing.ts'
import { makeTombstone, tombstoneOf } from './tombstones.ts'
import { holdRow, inside, type TxQueries } from './transactions.ts'
import { eventsOf } from './user-events.ts'
import {
  placeOf,
  RECORD_COLUMNS,
  type RecordRow,
  toProfile,
  toRecord,
  toUser,
  USER_COLUMNS,
  type UserRow,
  userColumns,
} from './user-rows.ts'

export const users: Users = { answer, take, commit, rekey }

async function answer(tx: Tx, question: Question): Promise<unknown> {
  return answerFrom(inside(tx), question)
}

/** In a transaction whoever an answer is about is held; outside of one it is only looked at. */
type Asking = Pick<TxQueries, 'sealer' | 'holds'> & ((table: string) => ReturnType<TxQueries>)

export async function answerFrom(db: Asking, question: Question): Promise<unknown> {
  switch (question.about) {
    case 'subject':
      return subject(db, question.source, question.externalId)
    case 'user':
      return known(await theOne(db, question.user), db.sealer)
    case 'holders':
      return holders(db, question.source, question.keys)
    case 'seats': {
      const rows: { name: string; taken: number }[] = await db('licence_seats').whereIn('name', [...question.licences])
      return new Map(rows.map(({ name, taken }) => [name, taken]))
    }
  }
}

async function take(tx: Tx, id: UserId): Promise<(Known & { readonly linked: User }) | undefined> {
  const db = inside(tx)
  const found = known(await theOne(db, id), db.sealer)
  return found.linked ? { ...found, linked: found.linked } : undefined
}

/** The link leads to the user, the user's links to all that any source has said. */
async function subject(db: Asking, source: SourceId, { key }: ExternalId): Promise<Known> {
  const rows = await linkedTo(db, source, key)
  if (rows.length) return known(rows, db.sealer)
  const tombstone = await tombstoneOf(db, source, key)
  const gone = tombstone === undefined ? [] : await linkedTo(db, source, tombstone)
  if (gone.length) return known(gone, db.sealer)
  const settled = await db('match_cases').where({ source_id: source, external_key: key, verdict: 'new' }).first('id')
  return { records: [], settledAsNew: settled !== undefined }
}

function linkedTo(db: Asking, source: SourceId, key: string): Promise<(UserRow & RecordRow)[]> {
  const linked = db('links').join('users', 'users.id', 'links.user_id').where({ 'links.source_id': source, 'links.external_key': key })
  return linked.modify(withRecords, db)
}

function theOne(db: Asking, id: UserId): Promise<(UserRow & RecordRow)[]> {
  return db('users').where({ 'users.id': id }).modify(withRecords, db)
}

/** Of the users of a query, each with every record on file: one row for each record. */
function withRecords(users: ReturnType<TxQueries>, { holds }: Asking): void {
  users
    .leftJoin('links as all', 'all.user_id', 'users.id')
    .leftJoin('source_records as r', (on) => on.on('r.source_id', 'all.source_id').andOn('r.external_key', 'all.external_key'))
    .select(...USER_COLUMNS, ...RECORD_COLUMNS)
    .modify(holdRow, holds ? 'users' : undefined)
}

function known(rows: readonly (UserRow & RecordRow)[], sealer: Sealer): Known {
  const [first] = rows
  return {
    ...(first ? { linked: toUser(first) } : {}),
    records: rows.flatMap((row) => (row.source_id === null ? [] : [toRecord(row, sealer)])),
  }
}

/** A few of each key are enough to say that there are several. */
const MOST_HOLDERS = 20

async function holders(db: Asking, source: SourceId, keys: readonly Key[]): Promise<readonly Holder[]> {
  const found: Holder[] = []
  for (const key of keys) {
    const rows: UserRow[] = await db('user_keys')
      .join('users', 'users.id', 'user_keys.user_id')
      .where({ name: key.name, value: key.value })
      .orderBy('users.id')
      .limit(MOST_HOLDERS)
      .select(...USER_COLUMNS)
    for (const row of rows) {
      const links: { external_key: string; external_id: string }[] = await db('links').where({ source_id: source, user_id: row.id })
      found.push({ key, user: toUser(row), links: links.map((link) => ({ key: link.external_key, value: link.external_id })) })
    }
  }
  return found
}

async function commit(tx: Tx, change: UserCommit, context: CommitContext): Promise<void> {
  const db = inside(tx)
  if (change.kind === 'relink') {
    await relink(db, change, context)
  } else if (change.kind === 'state') {
    await writeState(db, change.user.id, change.transition, context)
    const { grants, waiting, revision } = change.user
    const due = { grants: JSON.stringify(grants), waiting: JSON.stringify(waiting), revision }
    await db('users').where({ id: change.user.id }).update(due)
    await moveSeats(db, change.entitled)
    if (change.transition.to === 'erased') await erase(db, change.user.id, context.now)
  } else {
    await writeChange(db, change, context)
  }
  await writeAudit(tx, eventsOf(change, context))
}

async function writeChange(db: TxQueries, change: Change, context: CommitContext): Promise<void> {
  const { user, keys, link, record, transition } = change
  const { now } = context
  if (change.kind === 'create') {
    await db('users').insert({
      id: user.id,
      state: user.state,
      state_since: now,
      state_by: actorName(context.actor),
      created_at: now,
      updated_at: now,
      ...userColumns(user),
    })
  } else if (change.userMoved || change.revisionMoved) {
    await db('users')
      .where({ id: user.id })
      .update({ updated_at: now, ...userColumns(user) })
  }
  if (transition) await writeState(db, user.id, transition, context)
  if (change.userMoved) await samePolicy(db, user)
  if (keys) await writeKeys(db, user.id, keys, change.kind === 'create')
  await moveSeats(db, change.entitled)
  if (!record) return
  const { source, externalId } = record
  const place = { source_id: source, external_key: externalId.key }
  if (link?.replaces) await removeLink(db, source, link.replaces, user.id)
  if (link) await db('links').insert({ ...place, external_id: externalId.value, user_id: user.id, linked_at: now })
  if (link || change.recordMoved) await keepRecord(db, record)
}

async function keepRecord(db: TxQueries, record: RecordOnFile): Promise<void> {
  const { source, externalId, observedAt } = record
  const sealed = db.sealer.seal(writeRecord(record), placeOf(source, externalId.key))
  await db('source_records')
    .insert({ source_id: source, external_key: externalId.key, record: null, sealed, trimmed: false, observed_at: observedAt })
    .onConflict(['source_id', 'external_key'])
    .merge(['record', 'sealed', 'trimmed', 'observed_at'])
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
    if (record) await keepRecord(db, { ...record, externalId })
  }
  const place = { source_id: source, external_key: externalId.key }
  await db('links').insert({ ...place, external_id: externalId.value, user_id: user.id, linked_at: now })
}

/** From this state only: what has changed meanwhile is not overwritten. */
async function writeState(db: TxQueries, id: UserId, { from, to, reason }: Transition, context: CommitContext): Promise<void> {
  const { now } = context
  const written: unknown = await db('users')
    .where({ id, state: from })
    .update({ state: to, state_since: now, state_reason: reason, state_by: actorName(context.actor), updated_at: now })
  // The row was moved along with the profile, or by nobody.
  if (!written) throw new Error(`${id} is not ${from} any more`)
}

/** A newer policy may find people by other keys, and has seen to it for everybody who was there; this comes too late for that. */
async function samePolicy(db: TxQueries, { revision }: User): Promise<void> {
  const row: { revision: number } | undefined = await db('policy_revision').first('revision').modify(holdRow, 'policy_revision', 'forShare')
  if (row && row.revision > revision) throw new PolicyMoved('the policy was changed meanwhile; try again')
}

async function writeKeys(db: TxQueries, id: UserId, keys: readonly Key[], fresh: boolean): Promise<void> {
  if (!fresh) await db('user_keys').where({ user_id: id }).delete()
  const rows = keys.map(({ name, value, unique }) => ({ name, value, user_id: id, is_unique: unique }))
  if (rows.length) await db('user_keys').insert(rows)
}

async function moveSeats(db: TxQueries, { seats }: Entitled): Promise<void> {
  // In one order for everybody, so that two transactions cannot wait for each other.
  for (const name of Object.keys(seats).sort()) {
    await db.raw(
      'insert into licence_seats (name, taken) values (?, ?) on conflict (name) do update set taken = licence_seats.taken + excluded.taken',
      [name, seats[name] as number],
    )
  }
}

const BATCH = 500

async function rekey(tx: Tx, kinds: readonly KeyKind[]): Promise<readonly KeyClash[]> {
  const db = inside(tx)
  await db('user_keys').delete()
  for (let after = ''; ; ) {
    const rows: { id: UserId; profile: unknown }[] = await db('users')
      .where('id', '>', after)
      .whereNot({ state: 'erased' })
      .orderBy('id')
      .limit(BATCH)
      .select('id', 'profile')
    const last = rows.at(-1)
    if (!last) break
    after = last.id
    const keys = rows.flatMap(({ id, profile }) =>
      // Unique only once it is known that they are.
      keysOf(toProfile(profile), kinds).map(({ name, value }) => ({ name, value, user_id: id, is_unique: false })),
    )
    for (let i = 0; i < keys.length; i += BATCH) await db('user_keys').insert(keys.slice(i, i + BATCH))
  }
  const clashes: KeyClash[] = []
  for (const { name, unique } of kinds) {
    if (!unique) continue
    const shared: { value: string }[] = await db('user_keys')
      .where({ name })
      .groupBy('value')
      .havingRaw('count(*) > 1')
      .orderBy('value')
      .limit(20)
      .select('value')
    for (const { value } of shared) {
      const who: { user_id: UserId }[] = await db('user_keys').where({ name, value }).orderBy('user_id').limit(5).select('user_id')
      clashes.push({ name, value, users: who.map((one) => one.user_id) })
    }
    if (!clashes.length) await db('user_keys').where({ name }).update({ is_unique: true })
  }
  return clashes
}
