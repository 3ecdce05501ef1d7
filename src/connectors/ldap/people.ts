// Reads people: everybody, or whoever changed. The groups come first, then page by page whoever fits the filter; never more than a
// page is held. When a group has changed, those who are in it now come with the changes, because their groups may be others. Whoever
// was taken out of one, or was in one that is no more, is seen by the next full run and not before: their own entry has not changed,
// and the group does not name them any longer.

import { EqualityFilter, type Filter, OrFilter } from 'ldapts'
import type { LdapSettings } from '../../domain/documents/source.ts'
import { type FeedBatch, type FeedEnd, FeedFailure, type FeedFault, type FeedLimits, type FeedRow } from '../../flows/feed-ports.ts'
import { accountStateOf } from './account-state.ts'
import { changesOf, type Since } from './changes.ts'
import { type Connection, cancelled, connect, type LdapAsk } from './connection.ts'
import { readDeleted } from './deleted.ts'
import { attributesToAskFor, directoryOf, type Vendor } from './directory.ts'
import { both, filterOf } from './filters.ts'
import { type Gathered, gatherMemberships } from './groups.ts'
import { foldName } from './names.ts'
import { remainder } from './ranges.ts'
import { rowOf } from './rows.ts'
import { pages } from './search.ts'
import { type Entry, entryOf, withMore } from './values.ts'

const PAGE_BYTES = 64 * 1024 * 1024

/** Only where the document says what it is: whoever asks has to know it before there is a connection. */
export function showsLeavers({ vendor }: LdapSettings): boolean {
  return vendor === 'active-directory'
}

/** @param cursor undefined: everybody */
export async function* readPeople(ask: LdapAsk, signal: AbortSignal, cursor: string | undefined): AsyncGenerator<FeedBatch, FeedEnd, void> {
  const { settings, limits } = ask
  const { base, scope, pageSize } = settings
  const now = new Date()
  const filter = filterOf(settings.filter, 'ldap.filter')
  const connection = await connect(ask, signal)
  try {
    const directory = await directoryOf(connection, settings.vendor)
    const { vendor } = directory
    const attributes = attributesToAskFor(directory, settings.attributes)
    const changes = await changesOf(connection, directory, cursor)
    const { since } = changes
    const gathered =
      settings.groups &&
      (await gatherMemberships(connection, directory, { settings: settings.groups, pageSize, limits }, (group) => {
        changes.note(group)
        return since?.has(group) ?? false
      }))
    let done = 0
    if (since && showsLeavers(settings)) {
      for await (const rows of readDeleted(connection, directory, { base, pageSize, since })) {
        done += rows.length
        yield { rows, faults: [], done }
      }
    }
    const seen = new Set<string>()
    const isMeant = (entry: Entry) => !since || ((since.has(entry) || isAffected(entry, gathered)) && isNew(seen, entry))
    for (const one of since ? filtersFor(filter, since, gathered, vendor) : [filter]) {
      const search = { base, scope, filter: one, attributes, pageSize, doing: `search below ${base}` }
      const page = new Budget()
      const found = pages(connection, search, (message) => {
        const entry = page.spend(entryOf(message))
        changes.note(entry)
        return entry
      })
      for await (const { kept } of found) {
        page.renew()
        const rows: FeedRow[] = []
        const faults: FeedFault[] = []
        for (const partial of kept.filter(isMeant)) {
          const entry = await whole(connection, partial, limits)
          const said = { state: accountStateOf(entry, now), groups: gathered?.memberships.namesFor(entry) }
          const row = rowOf(entry, said, { settings, vendor, limits })
          if ('attributes' in row) rows.push(row)
          else faults.push(row)
        }
        done += rows.length + faults.length
        if (rows.length || faults.length) yield { rows, faults, done }
        if (signal.aborted) throw cancelled()
      }
    }
    const next = changes.cursor()
    return next === undefined ? {} : { cursor: next }
  } finally {
    connection.close()
  }
}

/** What a page may hold that is kept. */
class Budget {
  #held = 0

  spend(entry: Entry): Entry {
    this.#held += entry.size
    if (this.#held > PAGE_BYTES)
      throw new FeedFailure('too-large', `a page holds more than ${PAGE_BYTES} bytes: make ldap.pageSize smaller`)
    return entry
  }

  renew(): void {
    this.#held = 0
  }
}

async function whole(connection: Connection, partial: Entry, limits: FeedLimits): Promise<Entry> {
  let entry = partial
  for (const one of partial.more) {
    for await (const values of remainder(connection, partial.dn, one, limits.rows)) {
      entry = withMore(entry, one.name, values)
      if (entry.size > limits.rowBytes) return entry
    }
  }
  return entry
}

function isAffected(entry: Entry, gathered: Gathered | undefined): boolean {
  return gathered !== undefined && gathered.changed.size > 0 && gathered.memberships.isIn(entry, gathered.changed)
}

function isNew(seen: Set<string>, { dn }: Entry): boolean {
  const name = foldName(dn)
  return !seen.has(name) && seen.add(name).has(name)
}

/** What holds an entry’s own name, where it can be searched for (entryDN: RFC 5020). */
const OWN_NAME: Readonly<Record<Vendor, string | undefined>> = {
  'active-directory': 'distinguishedName',
  openldap: 'entryDN',
  other: undefined,
}
const AT_ONCE = 50
/** Beyond that, it is quicker to look at everybody. */
const MOST = 2_000

/** Whoever changed, and whoever is in a group that did. More may come than is meant. */
function filtersFor(filter: Filter, since: Since, gathered: Gathered | undefined, vendor: Vendor): readonly Filter[] {
  const changed = both(filter, since.filter)
  if (!gathered?.changed.size) return [changed]
  const { names, logins, primary } = gathered.memberships.membersOf(gathered.changed)
  const ownName = OWN_NAME[vendor]
  if (ownName === undefined || names.length + logins.length > MOST) return [filter]
  const wanted = [
    ...names.map((value) => new EqualityFilter({ attribute: ownName, value })),
    ...logins.map((value) => new EqualityFilter({ attribute: 'uid', value })),
    ...primary.map((value) => new EqualityFilter({ attribute: 'primaryGroupID', value })),
  ]
  const filters = [changed]
  for (let i = 0; i < wanted.length; i += AT_ONCE) filters.push(both(filter, new OrFilter({ filters: wanted.slice(i, i + AT_ONCE) })))
  return filters
}
