// Decides what counts as changed since a cursor, and which cursor a run ends with. Active Directory counts its changes, each copy
// for itself; elsewhere there is only the time of the last change, in whole seconds of the server's clock. Neither sees somebody
// who no longer fits the filter or was moved out of the base, nor an account that expires or a lock that runs out as time goes by;
// nor does the time see what was written by a server whose clock is behind. A full run does.

import { type Filter, GreaterThanEqualsFilter, OrFilter } from 'ldapts'
import { FeedFailure } from '../../flows/feed-ports.ts'
import { asGeneralizedTime, generalizedTime } from './account-state.ts'
import type { Connection } from './connection.ts'
import { copyOf, type Directory } from './directory.ts'
import { type Entry, firstValue } from './values.ts'

export interface Changes {
  /** Notices what a cursor follows from; asked of everything that is read. */
  note(entry: Entry): void
  /** What to ask from the next time; undefined: the directory does not say when anything changed. */
  cursor(): string | undefined
  /** Undefined: everybody is meant. */
  readonly since?: Since
}

export interface Since {
  readonly filter: Filter
  has(entry: Entry): boolean
}

/** To be called before anything is searched: what changes while a run goes on has to be in the next one. */
export async function changesOf(connection: Connection, directory: Directory, cursor: string | undefined): Promise<Changes> {
  return directory.vendor === 'active-directory' ? byNumber(connection, directory, cursor) : byTime(cursor)
}

async function byNumber(connection: Connection, directory: Directory, cursor: string | undefined): Promise<Changes> {
  const highest = countOf(firstValue(directory.root, 'highestCommittedUSN'))
  const copy = await copyOf(connection, directory)
  const changes: Changes = {
    note: () => undefined,
    cursor: () => (highest === undefined || copy === undefined ? undefined : `usn:${highest}:${copy}`),
  }
  if (cursor === undefined) return changes
  const [, number = '', of] = /^usn:(\d+):(.+)$/s.exec(cursor) ?? otherKind()
  if (of !== copy) throw new FeedFailure('changed', 'the cursor is of another domain controller; a full run is needed')
  const last = BigInt(number)
  if (highest === undefined || last > highest)
    throw new FeedFailure('changed', 'the domain controller counts fewer changes than it did before; a full run is needed')
  const has = (entry: Entry) => (countOf(firstValue(entry, 'uSNChanged')) ?? 0n) > last
  return { ...changes, since: { filter: new GreaterThanEqualsFilter({ attribute: 'uSNChanged', value: String(last + 1n) }), has } }
}

function countOf(value: string | undefined): bigint | undefined {
  return value !== undefined && /^\d{1,20}$/.test(value) ? BigInt(value) : undefined
}

const SECOND = 1_000

/**
 * Nobody says what time it is at the server. But what was changed last was changed before now, so the run began at the server no
 * earlier than that time, less as long as the run took: from there on, nothing is missed. Some rows come twice.
 */
function byTime(cursor: string | undefined): Changes {
  const began = performance.now()
  const from = cursor === undefined ? undefined : (generalizedTime(/^time:(.+)$/.exec(cursor)?.[1]) ?? otherKind())
  let latest: number | undefined
  const changes: Changes = {
    note(entry) {
      const at = generalizedTime(firstValue(entry, 'modifyTimestamp'))
      if (at !== undefined && (latest === undefined || at > latest)) latest = at
    },
    cursor() {
      if (latest === undefined) return cursor
      // A server whose clock was ahead may have left a time that is yet to come.
      const safe = Math.min(latest, Date.now()) - (performance.now() - began) - SECOND
      return from !== undefined && safe < from ? cursor : `time:${asGeneralizedTime(safe)}`
    },
  }
  if (from === undefined) return changes
  const atLeast = (attribute: string) => new GreaterThanEqualsFilter({ attribute, value: asGeneralizedTime(from) })
  return {
    ...changes,
    since: {
      // A lock after wrong passwords leaves the time of the last change alone.
      filter: new OrFilter({ filters: [atLeast('modifyTimestamp'), atLeast('pwdAccountLockedTime')] }),
      has: (entry) => ['modifyTimestamp', 'pwdAccountLockedTime'].some((name) => (generalizedTime(firstValue(entry, name)) ?? 0) >= from),
    },
  }
}

function otherKind(): never {
  throw new FeedFailure('changed', 'the cursor is of another kind of directory; a full run is needed')
}
