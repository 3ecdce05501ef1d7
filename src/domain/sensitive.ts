// Hides what the schema calls sensitive from whoever has not asked to see it: lists, audit events, look-ups, explanations.

import type { Profile } from './model.ts'
import type { Schema } from './schema.ts'

/** Stands where a sensitive value would. */
export const HIDDEN = '(hidden)'

export function hide(values: readonly string[]): readonly string[] {
  return values.map(() => HIDDEN)
}

export function hideSensitive(profile: Profile, schema: Schema): Profile {
  return Object.fromEntries(
    Object.entries(profile).map(([name, value]) => {
      if (!schema.get(name)?.sensitive) return [name, value]
      const lost = value.lost ? { lost: value.lost.map((one) => ({ ...one, values: hide(one.values) })) } : {}
      return [name, { ...value, values: hide(value.values), ...lost }]
    }),
  )
}
