// Reads people and groups from an LDAP directory (RFC 4511), Active Directory among them. What the rows hold, and what a feed of
// changes cannot see, stands in `rows`, `people` and `changes`; this is what a source is offered of it.

import { type Connector, type Feed, FeedFailure, type FeedGroup } from '../../flows/feed-ports.ts'
import { discoverIn } from '../discovery.ts'
import { type Connection, connect, type LdapAsk } from './connection.ts'
import { attributesToAskFor, type Directory, directoryOf } from './directory.ts'
import { filterOf } from './filters.ts'
import { type GroupSettings, readGroups, searchFor } from './groups.ts'
import { readPeople, showsLeavers } from './people.ts'
import { columnsOf } from './rows.ts'
import { pages, type Search } from './search.ts'
import { firstValue } from './values.ts'

export function ldapConnector(ask: LdapAsk): Connector {
  const { settings } = ask
  const { groups } = settings
  const read = async (signal: AbortSignal, cursor?: string): Promise<Feed> => ({
    columns: columnsOf(settings),
    batches: readPeople(ask, signal, cursor),
  })
  return {
    kind: 'ldap',
    changesShowLeavers: showsLeavers(settings),
    test: (signal) => tried(ask, signal),
    readFull: (signal) => read(signal),
    readChanges: (cursor, signal) => read(signal, cursor),
    discover: async (signal) => discoverIn(await read(signal)),
    ...(groups ? { readGroups: (signal: AbortSignal) => groupsOf(ask, groups, signal) } : {}),
  }
}

async function* groupsOf(ask: LdapAsk, settings: GroupSettings, signal: AbortSignal): AsyncGenerator<readonly FeedGroup[], void, void> {
  const connection = await connect(ask, signal)
  try {
    const directory = await directoryOf(connection, ask.settings.vendor)
    yield* readGroups(connection, directory, { settings, pageSize: ask.settings.pageSize, limits: ask.limits })
  } finally {
    connection.close()
  }
}

async function tried(ask: LdapAsk, signal: AbortSignal): Promise<string> {
  const { settings, limits } = ask
  const { base, scope, groups, pageSize } = settings
  const connection = await connect(ask, signal)
  try {
    const directory = await directoryOf(connection, settings.vendor)
    const filter = filterOf(settings.filter, 'ldap.filter')
    const attributes = attributesToAskFor(directory, settings.attributes)
    const said = [
      `${productOf(directory)} answers at ${connection.server}, ${connection.encrypted ? 'encrypted' : 'not encrypted'}`,
      await identityOf(connection, directory, ask),
      await firstPage(connection, 'the filter finds', { base, scope, filter, attributes, pageSize, doing: `search below ${base}` }),
    ]
    if (groups)
      said.push(await firstPage(connection, 'the filter for groups finds', searchFor(directory, { settings: groups, pageSize, limits })))
    if (directory.vendor === 'active-directory' && !showsLeavers(settings))
      said.push('with ldap.vendor: active-directory the changes show who was deleted')
    return said.join('; ')
  } finally {
    connection.close()
  }
}

function productOf({ vendor, root }: Directory): string {
  const product = { 'active-directory': 'Active Directory', openldap: 'OpenLDAP', other: 'an LDAP server' }[vendor]
  const maker = firstValue(root, 'vendorName')
  return maker === undefined ? product : `${product} (${maker})`
}

/** RFC 4532. */
const WHO_AM_I = '1.3.6.1.4.1.4203.1.11.3'

async function identityOf(connection: Connection, { offers }: Directory, { settings: { bind } }: LdapAsk): Promise<string> {
  const said = offers.has(WHO_AM_I) ? await connection.whoAmI(WHO_AM_I) : undefined
  return bind ? `signed in as ${said ?? bind.dn}` : 'nobody is signed in'
}

/** RFC 4511 section 4.5.1.8: no attributes at all. */
const NO_ATTRIBUTES = ['1.1']

async function firstPage(connection: Connection, what: string, search: Search): Promise<string> {
  for await (const { kept, references, more } of pages(connection, { ...search, attributes: NO_ATTRIBUTES }, () => true)) {
    // A page may be empty although there is more.
    if (!kept.length && more) continue
    const others = references ? ` (references to other servers are passed over: ${references})` : ''
    return `below ${search.base} ${what} ${kept.length}${more ? ' and more' : ''}${others}`
  }
  throw new FeedFailure('malformed', `${connection.server} ended the search without a page`)
}
