// Keeps users, links, source records and the audit events of their changes. `commit` is the only way a user changes.

import { foldKey } from '../domain/attributes.ts'
import type { Known, Prepared } from '../domain/decide.ts'
import type { AuditEvent } from '../domain/events.ts'
import type { UserId } from '../domain/ids.ts'
import { type AttributeOnFile, firstValue, type Profile, type ProfileValue, type RecordOnFile, type User } from '../domain/model.ts'
import type { CommitContext, Tx, UserCommit, Users } from '../flows/ports.ts'
import { writeAudit } from './audit.ts'
import { fromJson, toDate } from './db.ts'
import { inside } from './transactions.ts'

interface UserRow {
  id: UserId
  state: User['state']
  profile: unknown
}

interface RecordRow {
  record: unknown
}

export const users: Users = { lookUp, take, commit }

async function lookUp(tx: Tx, { said, externalId, unique }: Prepared): Promise<Known> {
  const db = inside(tx)
  // The link leads to the user, the user's links to all that any source has said: one row for each record.
  const rows: (UserRow & RecordRow)[] = await db('links')
    .join('users', 'users.id', 'links.user_id')
    .join('links as all', 'all.user_id', 'users.id')
    .join('source_records as r', (on) => on.on('r.source_id', 'all.source_id').andOn('r.external_key', 'all.external_key'))
    .where({ 'links.source_id': said.source, 'links.external_key': externalId.key })
    .select('users.id', 'users.state', 'users.profile', 'r.record')
    .modify(holdRow, 'users')
  const linked = rows[0] && toUser(rows[0])
  const owners: { user: UserId; attribute: string }[] = []
  for (const { attribute, key } of unique) {
    // Today the one unique attribute is the user name, which has a column and a unique key of its own.
    if (linked && foldKey(firstValue(linked.profile, attribute) ?? '') === key) continue
    const owner: { id: UserId } | undefined = await db('users').where({ user_name_key: key }).select('id').first()
    if (owner) owners.push({ user: owner.id, attribute })
  }
  return { ...(linked ? { linked } : {}), owners, records: rows.map((row) => toRecord(row.record)) }
}

async function take(tx: Tx, id: UserId): Promise<User | undefined> {
  const row: UserRow | undefined = await inside(tx)('users').where({ id }).select('id', 'state', 'profile').modify(holdRow, 'users').first()
  return row && toUser(row)
}

async function commit(tx: Tx, change: UserCommit, context: CommitContext): Promise<void> {
  const db = inside(tx)
  const { user } = change
  const { now } = context
  if (change.kind === 'deprovision') {
    const state = { state: user.state, state_since: now, state_reason: change.reason, updated_at: now }
    await db('users').where({ id: user.id }).update(state)
    await writeAudit(tx, eventsOf(change, context))
    return
  }
  if (change.kind === 'create') {
    await db('users').insert({
      id: user.id,
      state: user.state,
      state_since: now,
      created_at: now,
      updated_at: now,
      ...profileColumns(user.profile),
    })
  } else if (change.profileMoved) {
    await db('users')
      .where({ id: user.id })
      .update({ updated_at: now, ...profileColumns(user.profile) })
  }
  const { source, externalId } = change.record
  const subject = { source_id: source, external_key: externalId.key }
  const record = { record: JSON.stringify(change.record), observed_at: change.record.observedAt }
  if (change.link) {
    await db('links').insert({ ...subject, external_id: externalId.value, user_id: user.id, linked_at: now })
    await db('source_records').insert({ ...subject, ...record })
  } else if (change.recordMoved) {
    await db('source_records').where(subject).update(record)
  }
  await writeAudit(tx, eventsOf(change, context))
}

function eventsOf(change: UserCommit, { actor, now, signIn }: CommitContext): readonly AuditEvent[] {
  const common = { at: now, actor, user: change.user.id, ...(signIn ? { signIn } : {}) }
  if (change.kind === 'deprovision') return [{ ...common, kind: 'user.deprovisioned', details: { reason: change.reason } }]
  const { source, externalId } = change.record
  const events: AuditEvent[] = []
  if (change.kind === 'create') events.push({ ...common, kind: 'user.created', details: { attributes: change.attributes } })
  if (change.link) events.push({ ...common, kind: 'user.linked', source, details: { externalId: externalId.value } })
  if (change.kind === 'update') events.push({ ...common, kind: 'user.updated', source, details: { attributes: change.attributes } })
  return events
}

function profileColumns(profile: Profile) {
  const userName = firstValue(profile, 'userName')
  if (userName === undefined) throw new Error('a user without a user name cannot be kept')
  return { user_name: userName, user_name_key: foldKey(userName), profile: JSON.stringify(profile) }
}

/** Two sign-ins of one person wait for each other. SQLite's writer is alone anyway. */
function holdRow(query: { client?: { dialect?: string }; forUpdate(table: string): unknown }, table: string): void {
  if (query.client?.dialect === 'postgresql') query.forUpdate(table)
}

export function toUser(row: UserRow): User {
  return { id: row.id, state: row.state, profile: toProfile(row.profile) }
}

export function toProfile(column: unknown): Profile {
  const values = fromJson<Record<string, ProfileValue & { since: string }>>(column)
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, { ...value, since: new Date(value.since) }]))
}

export function toRecord(column: unknown): RecordOnFile {
  const kept = fromJson<RecordOnFile & { observedAt: string }>(column)
  const attributes: Record<string, AttributeOnFile> = Object.create(null)
  for (const [name, value] of Object.entries(kept.attributes)) attributes[name] = { ...value, since: toDate(new Date(value.since)) }
  return {
    ...kept,
    ...(kept.nameId ? { nameId: { ...kept.nameId, since: new Date(kept.nameId.since) } } : {}),
    attributes,
    observedAt: new Date(kept.observedAt),
  }
}
