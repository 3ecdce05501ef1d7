// Who is a member of what, as the groups of SCIM say it (RFC 7643, 4.2). A member of a group within a group is a member of
// both, and groups that are within one another are no trouble.

import type { FeedGroup } from '../../flows/feed-ports.ts'
import { isList, isObject, type Json, textOf } from '../flattening.ts'

export interface Group extends FeedGroup {
  readonly membersOf: readonly { readonly value: string; readonly user: boolean }[]
}

/** Undefined: it has no id. */
export function groupOf(resource: Json): Group | undefined {
  const id = isObject(resource) ? textOf(resource.id) : undefined
  if (!isObject(resource) || !id) return undefined
  const membersOf = (isList(resource.members) ? resource.members : []).flatMap((member) => {
    const value = isObject(member) ? textOf(member.value) : textOf(member)
    return value ? [{ value, user: isObject(member) && /^user$/i.test(textOf(member.type) ?? '') }] : []
  })
  return { id, name: textOf(resource.displayName) || id, members: membersOf.length, membersOf }
}

/** The names of the groups that somebody is a member of, by the id of the user. */
export function memberships(groups: readonly Group[]): (user: string) => string[] {
  const names = new Map(groups.map(({ id, name }) => [id, name]))
  /** Whom a group or a user is directly in. Ids are unique across all kinds of resources (RFC 7643, 3.1). */
  const within = new Map<string, string[]>()
  for (const { id, membersOf } of groups) {
    for (const { value, user } of membersOf) {
      if (user && names.has(value)) continue
      const holders = within.get(value)
      if (holders) holders.push(id)
      else within.set(value, [id])
    }
  }
  return (user) => {
    const all = new Set(within.get(user))
    // A set is walked to its end, with what is added on the way.
    for (const group of all) for (const holder of within.get(group) ?? []) all.add(holder)
    return [...new Set([...all].map((id) => names.get(id) ?? id))].sort()
  }
}
