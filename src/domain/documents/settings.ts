// The documents that there is one of each: the service, the profile schema, mastery, entitlements, lookup tables.

import { z } from 'zod'
import { attributeTypes } from '../schema.ts'
import { eachOnce, httpUrl, name, profileAttribute, reading } from './parts.ts'

/** Who runs this Gatehouse, for identity providers' administrators (SAML metadata 2.0, section 2.3.2). */
export const service = z.strictObject({
  organization: z.strictObject({ name: z.string().min(1), displayName: z.string().min(1).optional(), url: httpUrl }).optional(),
  contacts: z
    .array(
      z.strictObject({
        type: z.enum(['technical', 'support', 'administrative', 'billing', 'other']),
        name: z.string().min(1).optional(),
        email: z.email({ error: 'write an e-mail address' }),
      }),
    )
    .default([]),
})

export const schema = z.strictObject({
  attributes: z
    .array(
      z
        .strictObject({
          name: z
            .string()
            .regex(/^[a-z][A-Za-z0-9]{0,62}$/, 'use letters and digits, beginning with a small letter, 63 at most')
            .refine((value) => !['id', 'entitlements', 'state'].includes(value) && !(value in {}), {
              error: 'this name has a meaning of its own',
            }),
          type: z.enum(attributeTypes, { error: `write one of ${attributeTypes.join(', ')}` }),
          label: z.string().min(1).optional(),
          required: z.boolean().optional(),
          unique: z.boolean().optional(),
          sensitive: z.boolean().optional(),
          values: z.array(z.string().min(1)).min(1).optional(),
        })
        .superRefine((value, context) => {
          const oneText = value.type === 'string' || value.type === 'list'
          if (value.values && !oneText)
            context.addIssue({ code: 'custom', path: ['values'], message: `a ${value.type} has its values already; leave this out` })
          if (value.unique && value.type === 'list')
            context.addIssue({ code: 'custom', path: ['unique'], message: 'a list cannot be unique; give the attribute one value' })
        }),
    )
    .default([])
    .superRefine(eachOnce((row) => row.name, 'name')),
})

export const mastery = z.strictObject({
  rank: z
    .array(name)
    .default([])
    .superRefine(eachOnce((one) => one)),
  attributes: z
    .record(
      profileAttribute,
      z.strictObject({
        from: z
          .array(name)
          .min(1, 'name at least one source, or leave the attribute out')
          .superRefine(eachOnce((one) => one))
          .optional(),
        /** As for all, unless it says so itself. */
        nextIfEmpty: z.boolean().optional(),
      }),
    )
    .default({}),
  nextIfEmpty: z.boolean().default(false),
})

export const entitlements = z
  .array(
    z.strictObject({
      name: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._:-]{0,99}$/, 'use letters, digits, dots, colons and hyphens, 100 at most'),
      when: reading,
      /** A licence: at most so many people have it. */
      seats: z.int().min(0).optional(),
      /** Its holders count as administrators: nobody is linked to them by a rule. */
      administrator: z.boolean().default(false),
    }),
  )
  .superRefine(eachOnce((row) => row.name, 'name'))

export const lookups = z.record(name, z.record(z.string(), z.string()))

export type ServiceSpec = z.infer<typeof service>
export type SchemaSpec = z.infer<typeof schema>
export type MasterySpec = z.infer<typeof mastery>
export type EntitlementsSpec = z.infer<typeof entitlements>
export type LookupsSpec = z.infer<typeof lookups>
