// How users and records are written in rows, and read from them.

import type { SourceId, UserId } from '../domain/ids.ts'
import { firstValue, type Grant, type Profile, type ProfileValue, type RecordOnFile, type User } from '../domain/model.ts'
import { foldKey } from '../domain/schema.ts'
import { fromJson } from './db.ts'
import { type LongRecord, momentOf, readLongRecord, readRecord } from './record-format.ts'
import type { Sealer } from './sealing.ts'

export interface UserRow {
  id: UserId
  state: User['state']
  profile: unknown
  grants: unknown
  waiting: unknown
  revision: number
}

export interface RecordRow {
  record: unknown
  sealed: Uint8Array | null
  source_id: SourceId | null
  external_key: string
}

export const USER_COLUMNS = ['users.id', 'users.state', 'users.profile', 'users.grants', 'users.waiting', 'users.revision'] as const
export const RECORD_COLUMNS = ['r.record', 'r.sealed', 'r.source_id', 'r.external_key'] as const

/** A user's own row, but for the state and the times. */
export function userColumns({ profile, grants, waiting, revision }: User) {
  const userName = firstValue(profile, 'userName')
  if (userName === undefined) throw new Error('a user without a user name cannot be kept')
  return {
    user_name: userName,
    user_name_key: foldKey(userName),
    profile: writeProfile(profile),
    grants: JSON.stringify(grants),
    waiting: JSON.stringify(waiting),
    revision,
  }
}

export function toUser(row: UserRow): User {
  // Most people hold and wait for nothing.
  const grants = row.grants === '[]' ? [] : fromJson<(Grant & { since: string })[]>(row.grants)
  return {
    id: row.id,
    state: row.state,
    profile: toProfile(row.profile),
    grants: grants.map((grant) => ({ ...grant, since: new Date(grant.since) })),
    waiting: row.waiting === '[]' ? [] : fromJson<string[]>(row.waiting),
    revision: row.revision,
  }
}

/** Times as numbers, which are read in a fraction of the time. */
function writeProfile(profile: Profile): string {
  const kept: Record<string, unknown> = {}
  for (const name in profile) {
    const value = profile[name] as ProfileValue
    kept[name] = { ...value, since: value.since.getTime() }
  }
  return JSON.stringify(kept)
}

export function toProfile(column: unknown): Profile {
  const values = fromJson<Record<string, ProfileValue & { since: string | number }>>(column)
  for (const name in values) {
    const value = values[name] as { since: string | number | Date }
    value.since = typeof value.since === 'number' ? momentOf(value.since) : new Date(value.since)
  }
  return values as unknown as Profile
}

export function placeOf(source: SourceId, externalKey: string): string {
  return `record ${source} ${externalKey}`
}

/** Sealed; or in the clear, as an earlier release kept it. */
export function toRecord({ record, sealed, source_id, external_key }: RecordRow, sealer: Sealer): RecordOnFile {
  if (sealed && source_id) return readRecord(sealer.open(sealed, placeOf(source_id, external_key)))
  return readLongRecord(fromJson<LongRecord>(record))
}
