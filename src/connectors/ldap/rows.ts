// Makes rows of entries: what the document asks for, what tells them apart, and what we say of them ourselves: `dn`, `accountState`
// and, where groups are read, `groups`. An attribute that was asked for by name and is not there is an empty one.

import { bare } from '../../domain/bare.ts'
import type { LdapSettings } from '../../domain/documents/source.ts'
import type { FeedFault, FeedLimits, FeedRow } from '../../flows/feed-ports.ts'
import type { AccountState } from './account-state.ts'
import { LASTING, type Vendor } from './directory.ts'
import { type Entry, inOrder, valuesOf } from './values.ts'

export interface Said {
  readonly state: AccountState
  readonly groups: readonly string[] | undefined
}

/** Names that the document lists; undefined: it does not, and whatever there is comes. */
export function listed({ attributes }: LdapSettings): readonly string[] | undefined {
  return attributes?.some((name) => name === '*' || name === '+' || name.startsWith('@')) ? undefined : attributes
}

/** What rows may have, where the document lists it. */
export function columnsOf(settings: LdapSettings): readonly string[] | undefined {
  const names = listed(settings)
  if (!names) return undefined
  const lasting = settings.vendor === 'auto' ? Object.values(LASTING).flat() : LASTING[settings.vendor]
  return [...new Set([...names, ...lasting, 'dn', 'accountState', ...(settings.groups ? ['groups'] : [])])].sort(inOrder)
}

export function rowOf(
  entry: Entry,
  { state, groups }: Said,
  { settings, vendor, limits }: { settings: LdapSettings; vendor: Vendor; limits: FeedLimits },
): FeedRow | FeedFault {
  const place = entry.dn
  const found = new Map<string, readonly string[]>()
  const names = listed(settings)
  if (names) {
    for (const name of LASTING[vendor]) if (valuesOf(entry, name).length) found.set(name, valuesOf(entry, name))
    for (const name of names) found.set(name, valuesOf(entry, name))
  } else for (const { name, values } of entry.attributes.values()) found.set(name, values)
  found.set('dn', [entry.dn]).set('accountState', [state])
  if (groups) found.set('groups', groups)
  if (found.size > limits.columns) return { place, why: `it has ${found.size} attributes; feed.columns allows ${limits.columns}` }
  if (entry.size > limits.rowBytes) return { place, why: `it holds ${entry.size} bytes; ${limits.rowBytes} are allowed` }
  return { place, attributes: sortedByName(found) }
}

/** What a directory keeps of somebody who was deleted. */
export function goneRow(entry: Entry, names: readonly string[]): FeedRow {
  const found = names.map((name) => [name, valuesOf(entry, name)] as const).filter(([, values]) => values.length)
  return { place: entry.dn, attributes: sortedByName(new Map([...found, ['dn', [entry.dn]]])), gone: true }
}

function sortedByName(found: ReadonlyMap<string, readonly string[]>): Record<string, readonly string[]> {
  const attributes = bare<readonly string[]>()
  for (const name of [...found.keys()].sort(inOrder)) attributes[name] = found.get(name) as readonly string[]
  return attributes
}
