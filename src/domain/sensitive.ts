// Hides what the schema calls sensitive from whoever has not asked to see it: lists, audit events, look-ups, explanations.

import type { Profile } from './model.ts'
import type { AttributeChange } from './profile-change.ts'
import type { Schema } from './schema.ts'

/** Stands where a sensitive value would. */
export const HIDDEN = '(hidden)'

export function hide(values: readonly string[]): readonly string[] {
  return values.map(() => HIDDEN)
}

/** What the schema does not know (any more) may have been. */
export function isSensitive(schema: Schema, attribute: string): boolean {
  const definition = schema.get(attribute)
  return !definition || definition.sensitive === true
}

/** A change for whoever has not asked to see sensitive values. */
export function shownChange({ attribute, before, after, sensitive }: AttributeChange) {
  return sensitive ? { attribute, before: hide(before), after: hide(after) } : { attribute, before, after }
}

export function hideSensitive(profile: Profile, schema: Schema): Profile {
  return Object.fromEntries(
    Object.entries(profile).map(([name, value]) => {
      if (!isSensitive(schema, name)) return [name, value]
      const lost = value.lost ? { lost: value.lost.map((one) => ({ ...one, values: hide(one.values) })) } : {}
      return [name, { ...value, values: hide(value.values), ...lost }]
    }),
  )
}
