// Reads the groups below their base, before anybody is read. A group counts as it was found: by what it names as members. Who is
// in a posixGroup only by gidNumber, and who is in a dynamic group, is not seen.

import type { LdapSettings } from '../../domain/documents/source.ts'
import { FeedFailure, type FeedGroup, type FeedLimits } from '../../flows/feed-ports.ts'
import type { Connection } from './connection.ts'
import { type Directory, LASTING } from './directory.ts'
import { filterOf } from './filters.ts'
import { MEMBERS, Memberships } from './memberships.ts'
import { remainder } from './ranges.ts'
import { pages, type Search } from './search.ts'
import { type Entry, entryOf, firstValue, valuesOf } from './values.ts'

export type GroupSettings = NonNullable<LdapSettings['groups']>

export interface GroupsAsk {
  readonly settings: GroupSettings
  readonly pageSize: number
  readonly limits: FeedLimits
}

export interface Gathered {
  readonly memberships: Memberships
  /** By number: those that are newer than what was asked about. */
  readonly changed: ReadonlySet<number>
}

/** @param note is asked of each group whether it has changed */
export async function gatherMemberships(
  connection: Connection,
  directory: Directory,
  ask: GroupsAsk,
  note: (group: Entry) => boolean,
): Promise<Gathered> {
  const memberships = new Memberships(ask.settings.nested)
  const changed = new Set<number>()
  for await (const { kept } of pages(connection, searchFor(directory, ask), (message) => {
    const entry = entryOf(message)
    const group = memberships.add(entry, nameOf(entry, ask.settings))
    if (memberships.size > ask.limits.rows)
      throw new FeedFailure('too-large', `there are more than ${ask.limits.rows} groups; feed.rows does not allow it`)
    if (note(entry)) changed.add(group)
    return { group, dn: entry.dn, more: entry.more }
  })) {
    for (const { group, dn, more } of kept) {
      for (const one of more) {
        for await (const values of remainder(connection, dn, one, ask.limits.rows)) memberships.addMembers(group, one.name, values)
      }
    }
  }
  return { memberships, changed }
}

export async function* readGroups(connection: Connection, directory: Directory, ask: GroupsAsk): AsyncGenerator<FeedGroup[], void, void> {
  for await (const { kept } of pages(connection, searchFor(directory, ask), (message) => {
    const entry = entryOf(message)
    const id = LASTING[directory.vendor].flatMap((name) => valuesOf(entry, name))[0] ?? entry.dn
    const members = MEMBERS.reduce((sum, name) => sum + valuesOf(entry, name).length, 0)
    return { id, name: nameOf(entry, ask.settings), members, dn: entry.dn, more: entry.more }
  })) {
    const groups: FeedGroup[] = []
    for (const { id, name, members, dn, more } of kept) {
      let count = members
      for (const one of more) for await (const values of remainder(connection, dn, one, ask.limits.rows)) count += values.length
      groups.push({ id, name, members: count })
    }
    if (groups.length) yield groups
  }
}

/** What it shares with a trial of the settings. */
export function searchFor({ vendor }: Directory, { settings, pageSize }: GroupsAsk): Search {
  const { base, filter, name } = settings
  return {
    base,
    scope: 'sub',
    filter: filterOf(filter, 'ldap.groups.filter'),
    attributes: [...new Set([name, ...MEMBERS, 'objectSid', 'uSNChanged', 'modifyTimestamp', ...LASTING[vendor]])],
    pageSize,
    doing: `search for groups below ${base}`,
  }
}

function nameOf(entry: Entry, { name }: GroupSettings): string {
  return firstValue(entry, name) ?? entry.dn
}
