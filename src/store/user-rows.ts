// How users and records are written in rows, and read from them.

import type { SourceId, UserId } from '../domain/ids.ts'
import { firstValue, type Grant, type RecordOnFile, type User } from '../domain/model.ts'
import { foldKey } from '../domain/schema.ts'
import { fromJson, toDate } from './db.ts'
import { toProfile, writeProfile } from './profile-format.ts'
import { type LongRecord, readLongRecord, readRecord } from './record-format.ts'
import type { Sealer } from './sealing.ts'

export interface UserRow {
  id: UserId
  state: User['state']
  profile: unknown
  grants: unknown
  waiting: unknown
  revision: number
  version: number
  state_by: string | null
}

export interface RecordRow {
  record: unknown
  sealed: Uint8Array | null
  source_id: SourceId | null
  external_key: string
  missing_since?: unknown
}

export const USER_COLUMNS = [
  'users.id',
  'users.state',
  'users.state_by',
  'users.profile',
  'users.grants',
  'users.waiting',
  'users.revision',
  'users.version',
] as const
export const RECORD_COLUMNS = ['r.record', 'r.sealed', 'r.source_id', 'r.external_key'] as const
/** Where a link is at hand, too. */
export const LINKED_COLUMNS = [...RECORD_COLUMNS, 'lr.missing_since'] as const

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
    version: row.version,
    ...(row.state_by === null || row.state_by === undefined ? {} : { stateBy: row.state_by }),
  }
}

export function placeOf(source: SourceId, externalKey: string): string {
  return `record ${source} ${externalKey}`
}

/** Sealed; or in the clear, as an earlier release kept it. */
export function toRecord({ record, sealed, source_id, external_key, missing_since }: RecordRow, sealer: Sealer): RecordOnFile {
  const kept =
    sealed && source_id ? readRecord(sealer.open(sealed, placeOf(source_id, external_key))) : readLongRecord(fromJson<LongRecord>(record))
  return missing_since === null || missing_since === undefined ? kept : { ...kept, missingSince: toDate(missing_since) }
}
