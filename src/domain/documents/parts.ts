// What several documents are made of: names, readings, mapping rows, matching rules.

import { z } from 'zod'
import { groupModes } from '../groups.ts'
import { parseSourcePath } from '../mapping.ts'

export const name = z.string().regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, 'use lower-case letters, digits and hyphens, 63 at most')

/** Whether there is one of this name is known once the schema is. */
export const profileAttribute = z.string().regex(/^[A-Za-z][A-Za-z0-9]*$/, 'write the name of a profile attribute')

export const sourcePath = z.string().refine((value) => parseSourcePath(value), {
  error: 'write nameID, attributes.NAME or attributes.NAME[0]',
})

/** A path or an expression. */
export const reading = z.string().min(1, 'write nameID, attributes.NAME or an expression').max(2_000)

export const httpUrl = z.string().refine((value) => /^https?:$/.test(protocolOf(value) ?? ''), { error: 'write an http or https address' })

export const values = z.union([z.string().transform((value) => [value]), z.array(z.string())], { error: 'write a text or a list of texts' })

export const mappingRow = z
  .strictObject({
    to: profileAttribute,
    from: reading.optional(),
    /** A constant. */
    value: values.optional(),
    strength: z.enum(['fill', 'follow', 'enforce']).default('follow'),
    when: z.enum(['create', 'always', 'inherit']).default('inherit'),
    absent: z.enum(['keep', 'clear']).default('keep'),
    empty: z.enum(['keep', 'clear']).default('keep'),
    default: values.optional(),
    /** Where several rows lead to one attribute: the first that has a value wins. */
    order: z.int().optional(),
  })
  .refine((row) => (row.from === undefined) !== (row.value === undefined), {
    error: 'write either from (where the value comes from) or value (a constant)',
  })

export const linking = z.strictObject({
  groups: z.array(z.string().min(1)).optional(),
  domains: z.array(z.string().min(1)).optional(),
  trusted: z.array(profileAttribute).optional(),
  renamed: z.enum(['ask', 'relink']).default('ask'),
})

export const matching = z
  .array(
    z.strictObject({
      by: z.array(profileAttribute).min(1, 'name at least one attribute').max(5),
      link: z.enum(['auto', 'ask', 'never']),
    }),
  )
  .default([])
  .superRefine(eachOnce((row) => [...row.by].sort().join('+'), 'by'))

export const groups = z.strictObject({
  from: reading.optional(),
  mode: z.enum(groupModes),
  allow: z.array(z.string().min(1)).optional(),
})

/** Names of the source's attributes that are never kept. */
export const redact = z.array(z.string().min(1)).default([])

/** Two sources cannot share a name, whatever their kinds. */
export const sourceName = name.refine((value) => value !== 'local', {
  error: '«local» is what administrators set by hand; use another name',
})

/** Two rows that would decide the same thing, with no order between them, are a fault of the second. */
export function eachOnce<Row>(key: (row: Row) => string, field?: string) {
  return (rows: readonly Row[], context: z.RefinementCtx) => {
    const seen = new Set<string>()
    for (const [index, row] of rows.entries()) {
      const value = key(row)
      if (seen.has(value)) {
        context.addIssue({ code: 'custom', path: field === undefined ? [index] : [index, field], message: `«${value}» is there already` })
      }
      seen.add(value)
    }
  }
}

export function protocolOf(value: string): string | undefined {
  return URL.canParse(value) ? new URL(value).protocol : undefined
}

export function isTrustworthyFetch(value: string): boolean {
  if (!URL.canParse(value)) return false
  const url = new URL(value)
  return url.protocol === 'https:' || ['localhost', '127.0.0.1', '[::1]'].includes(url.hostname)
}

export type MappingRowSpec = z.infer<typeof mappingRow>
export type MatchingSpec = z.infer<typeof matching>
export type LinkingSpec = z.infer<typeof linking>
export type GroupsSpec = z.infer<typeof groups>
