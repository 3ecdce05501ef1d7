// Decides which groups a source puts somebody into. Memberships are kept by source, so that one source never takes away what
// another has given. A claim that is missing, or too long to be sent, holds what there is.

import { nameOnFile } from './attribute-names.ts'
import { type Expression, ExpressionFailure } from './expressions.ts'
import type { SourcePath } from './mapping.ts'
import type { RecordOnFile } from './model.ts'
import { sameValues } from './records.ts'
import { isRefusal, type Refusal, refuse } from './refusals.ts'
import { foldKey, MOST_VALUES } from './schema.ts'

/**
 * none: the source says nothing about groups. append: adds what is asserted and listed, removes nothing. assign: everybody
 * from this source is in the listed groups. sync: as append, and removes listed groups that are no longer asserted.
 */
export const groupModes = ['none', 'append', 'assign', 'sync'] as const
export type GroupMode = (typeof groupModes)[number]

export interface GroupsPolicy {
  readonly mode: GroupMode
  /** As the administrator wrote it. */
  readonly from: string
  readonly read: { readonly path: SourcePath } | { readonly expression: Expression } | undefined
  /** Folded name -> as it is listed. Undefined: every group may pass. */
  readonly allow: ReadonlyMap<string, string> | undefined
}

export interface Memberships {
  readonly names: readonly string[]
  /** Why what there was is held although nothing was asserted. */
  readonly held?: string
  /** Asserted and not listed. */
  readonly passedOver: readonly string[]
}

/** Entra ID sends this instead of the groups of somebody who is in more than 150 of them. */
export const OVERAGE = [
  'http://schemas.microsoft.com/claims/groups.link',
  'http://schemas.microsoft.com/ws/2008/06/identity/claims/groups.link',
]

/** Each once. @param groups undefined: this source has no say */
export function memberships(record: RecordOnFile, groups: GroupsPolicy | undefined): Memberships | Refusal {
  const held = record.groups ?? []
  if (!groups || groups.mode === 'none') return { names: [], passedOver: [] }
  if (groups.mode === 'assign') return { names: [...(groups.allow?.values() ?? [])], passedOver: [] }
  if (OVERAGE.some((name) => record.attributes[name]?.state === 'present') && !isAsserted(record, groups))
    return { names: held, held: 'there are too many groups to send, says the identity provider (overage)', passedOver: [] }
  const asserted = read(record, groups)
  if (isRefusal(asserted)) return asserted
  if (asserted === undefined) return { names: held, held: `${groups.from} is absent`, passedOver: [] }
  const { allow } = groups
  if (!allow && sameValues(asserted, held)) return { names: held, passedOver: [] }
  const passed: string[] = []
  const passedOver: string[] = []
  for (const value of asserted) {
    const name = value.trim()
    if (name === '' || name.length > LONGEST_NAME || !name.isWellFormed() || /\p{Cc}/u.test(name)) continue
    const listed = allow ? allow.get(foldKey(name)) : name
    if (listed === undefined) passedOver.push(name)
    else passed.push(listed)
  }
  if (asserted.length > MOST_VALUES)
    return refuse('attribute.value', `groups <- ${groups.from}: there are ${asserted.length}; ${MOST_VALUES} are taken`)
  const asserts = new Set(passed.map(foldKey))
  // What is there already stays in its place, however an identity provider shuffles its list.
  const stays = held.filter((name) => {
    const key = foldKey(name)
    return asserts.has(key) || groups.mode === 'append' || (allow !== undefined && !allow.has(key))
  })
  const spelling = new Map(passed.map((name) => [foldKey(name), name]))
  const names = eachOnce([...stays.map((name) => spelling.get(foldKey(name)) ?? name), ...passed])
  if (names.length > MOST_VALUES)
    return refuse('attribute.value', `groups <- ${groups.from}: there would be ${names.length}; ${MOST_VALUES} are taken`)
  return { names, passedOver }
}

const LONGEST_NAME = 512

/** Whether all that is read was sent: the link speaks of what was not. */
function isAsserted(record: RecordOnFile, { read: from }: GroupsPolicy): boolean {
  if (!from) return false
  const path = 'path' in from && from.path.root === 'attributes' ? [from.path.name] : []
  const names = 'path' in from ? path : (from.expression.reads.attributes?.names ?? [])
  return names.length > 0 && names.every((asked) => record.attributes[nameOnFile(record, asked) ?? '']?.state === 'present')
}

/** Undefined: the source has not said anything about groups this time. */
function read(record: RecordOnFile, { read: from, from: text }: GroupsPolicy): readonly string[] | undefined | Refusal {
  if (!from) return undefined
  if ('path' in from) {
    const { path } = from
    const name = path.root === 'attributes' ? nameOnFile(record, path.name) : undefined
    const found = name === undefined ? undefined : record.attributes[name]
    if (!found || found.state === 'absent') return undefined
    return found.state === 'empty' ? [] : found.values
  }
  const attributes = new Map<string, readonly string[]>()
  const { reads } = from.expression
  const take = (asked: string, name: string | undefined) => {
    const found = name === undefined ? undefined : record.attributes[name]
    if (found && found.state !== 'absent') attributes.set(asked, found.state === 'empty' ? [] : found.values)
  }
  if (reads.attributes?.all) for (const name in record.attributes) take(name, name)
  for (const asked of reads.attributes?.names ?? []) take(asked, nameOnFile(record, asked))
  try {
    const found = from.expression.run({ attributes, nameID: record.nameId?.value ?? '' })
    return Array.isArray(found) ? found.map(String) : [String(found)]
  } catch (error) {
    if (!(error instanceof ExpressionFailure)) throw error
    return error.absent ? undefined : refuse('mapping.failed', `groups <- ${text}: ${error.message} (at character ${error.at + 1})`)
  }
}

/** By their folded form, so that spellings of one name are one group: the first one that there was. */
export function eachOnce(names: readonly string[]): readonly string[] {
  if (names.length < 2) return names
  const byKey = new Map<string, string>()
  for (const name of names) {
    const key = foldKey(name)
    if (!byKey.has(key)) byKey.set(key, name)
  }
  return byKey.size === names.length ? names : [...byKey.values()]
}
