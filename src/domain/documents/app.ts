// The document of an app: the host it is reached by, where it is, and the identity headers it gets.

import { z } from 'zod'
import { foldHeaderName, isReservedHeader } from '../identity-headers.ts'
import { eachOnce, httpUrl, name } from './parts.ts'

export const app = z.strictObject({
  name,
  host: z
    .string()
    .regex(/^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:\d{1,5})?$/, 'write a lower-case host name, with :port where it is not the standard one')
    .refine(isHostAsSent, 'write it as browsers send it: a host name that exists in addresses, without :80 or :443'),
  upstream: httpUrl.refine((value) => URL.canParse(value) && new URL(value).pathname === '/' && !/[?#@]/.test(value), {
    error: 'write scheme, host and port only, without a path: http://127.0.0.1:4000',
  }),
  headers: z
    .array(
      z.strictObject({
        name: z
          .string()
          .regex(/^[A-Za-z0-9][A-Za-z0-9-]*$/, 'use letters, digits and hyphens')
          .refine((value) => !isReservedHeader(value), { error: 'this header cannot carry an identity' }),
        from: z.string().regex(/^user\.[A-Za-z][A-Za-z0-9]*$/, 'write user.id, user.entitlements or user.ATTRIBUTE'),
      }),
    )
    .default([])
    .superRefine(eachOnce((row) => foldHeaderName(row.name), 'name')),
})

/** As the Host header will say it, whichever scheme it comes by. */
function isHostAsSent(host: string): boolean {
  return ['http:', 'https:'].every((scheme) => URL.canParse(`${scheme}//${host}`) && new URL(`${scheme}//${host}`).host === host)
}

export type AppSpec = z.infer<typeof app>
