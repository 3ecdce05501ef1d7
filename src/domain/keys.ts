// The keys that users are found by: folded values of one attribute, or of several together. Which ones are kept follows from
// the policy: what must be unique, and what any source matches by.

import type { Profile } from './model.ts'
import { foldKey, LONGEST_KEY, type Schema } from './schema.ts'

/** The attributes of a key, in the alphabet's order: `email`, `familyName+givenName`. */
export type KeyName = string

export interface KeyKind {
  readonly name: KeyName
  readonly attributes: readonly string[]
  readonly unique: boolean
}

export interface Key {
  readonly name: KeyName
  readonly value: string
  readonly unique: boolean
}

export function keyKind(attributes: readonly string[], unique = false): KeyKind {
  const sorted = [...attributes].sort()
  return { name: sorted.join('+'), attributes: sorted, unique }
}

/** The same name, whoever has it and whatever their address: a candidate for a person to look at. */
export const SAME_NAME = keyKind(['givenName', 'familyName'])

/** @param matchedBy what every matching rule in force asks for */
export function keyKinds(schema: Schema, matchedBy: readonly KeyKind[]): readonly KeyKind[] {
  const kinds = new Map<KeyName, KeyKind>()
  for (const kind of [SAME_NAME, ...matchedBy]) kinds.set(kind.name, kind)
  for (const { name, unique } of schema.values()) if (unique) kinds.set(name, keyKind([name], true))
  return [...kinds.values()]
}

/** Undefined where one of the attributes has no value. @param valueIn the value of an attribute */
export function keyOf(
  kind: Pick<KeyKind, 'name' | 'attributes' | 'unique'>,
  valueIn: (attribute: string) => string | undefined,
): Key | undefined {
  const [only] = kind.attributes
  if (kind.attributes.length === 1 && only !== undefined) {
    const value = valueIn(only)
    return value === undefined ? undefined : { name: kind.name, value: foldKey(value), unique: kind.unique }
  }
  const folded: string[] = []
  for (const attribute of kind.attributes) {
    const value = valueIn(attribute)
    if (value === undefined) return undefined
    folded.push(foldKey(value))
  }
  const value = JSON.stringify(folded)
  // Longer ones no index holds, and nobody shares them.
  return value.length > LONGEST_KEY ? undefined : { name: kind.name, value, unique: kind.unique }
}

export function keysOf(profile: Profile, kinds: readonly KeyKind[]): readonly Key[] {
  const keys: Key[] = []
  for (const kind of kinds) {
    const key = keyOf(kind, (attribute) => profile[attribute]?.values[0])
    if (key && key.value.length <= LONGEST_KEY) keys.push(key)
  }
  return keys
}
