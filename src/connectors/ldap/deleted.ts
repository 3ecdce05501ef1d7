// Reads who was deleted from an Active Directory: it keeps them for a while, in a container of their own, with little more than what
// tells them apart ([MS-ADTS] section 3.1.1.5.5). An account that may not look there sees nobody; a full run shows them then.

import { AndFilter, Control, EqualityFilter, OrFilter } from 'ldapts'
import type { FeedRow } from '../../flows/feed-ports.ts'
import type { Since } from './changes.ts'
import type { Connection } from './connection.ts'
import { type Directory, LASTING, namingContextOf } from './directory.ts'
import { isRefusedSight } from './failures.ts'
import { goneRow } from './rows.ts'
import { pages, type Search } from './search.ts'
import { type Entry, entryOf, firstValue } from './values.ts'

/** LDAP_SERVER_SHOW_DELETED_OID, [MS-ADTS] section 3.1.1.3.4.1.14. */
const SHOW_DELETED = '1.2.840.113556.1.4.417'
/** GUID_DELETED_OBJECTS_CONTAINER_W, [MS-ADTS] section 6.1.1.4. */
const CONTAINER = '18E2EA80684F11D2B9AA00C04F79F805'

const LOGIN = 'sAMAccountName'

export interface DeletedAsk {
  readonly base: string
  readonly pageSize: number
  readonly since: Since
}

export async function* readDeleted(connection: Connection, directory: Directory, ask: DeletedAsk): AsyncGenerator<FeedRow[], void, void> {
  const context = namingContextOf(directory, ask.base)
  if (context === undefined) return
  const names = [...LASTING[directory.vendor], 'objectSid', LOGIN]
  const search: Search = {
    base: `<WKGUID=${CONTAINER},${context}>`,
    scope: 'one',
    filter: new AndFilter({ filters: [new EqualityFilter({ attribute: 'isDeleted', value: 'TRUE' }), ask.since.filter] }),
    attributes: names,
    pageSize: ask.pageSize,
    controls: [new Control(SHOW_DELETED, { critical: true })],
    doing: 'search for who was deleted',
  }
  try {
    for await (const { kept } of pages(connection, search, entryOf)) {
      const taken = await loginsInUse(connection, context, kept, ask.pageSize)
      const isFree = (entry: Entry) => !taken.has(firstValue(entry, LOGIN)?.toLowerCase() ?? '')
      if (kept.length) yield kept.map((entry) => goneRow(entry, isFree(entry) ? names : names.filter((name) => name !== LOGIN)))
    }
  } catch (error) {
    if (!isRefusedSight(error)) throw error
  }
}

const AT_ONCE = 50

/** Logins are given to others once they are free, and whoever has one now is not gone. */
async function loginsInUse(
  connection: Connection,
  base: string,
  deleted: readonly Entry[],
  pageSize: number,
): Promise<ReadonlySet<string>> {
  const logins = deleted.flatMap((entry) => firstValue(entry, LOGIN) ?? [])
  const taken = new Set<string>()
  for (let i = 0; i < logins.length; i += AT_ONCE) {
    const filters = logins.slice(i, i + AT_ONCE).map((value) => new EqualityFilter({ attribute: LOGIN, value }))
    const search: Search = {
      base,
      scope: 'sub',
      filter: new OrFilter({ filters }),
      attributes: [LOGIN],
      pageSize,
      doing: 'search for logins that were given again',
    }
    for await (const { kept } of pages(connection, search, entryOf))
      for (const entry of kept) taken.add((firstValue(entry, LOGIN) ?? '').toLowerCase())
  }
  return taken
}
