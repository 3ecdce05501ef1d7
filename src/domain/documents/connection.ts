// The document of a connection: a trusted identity provider, how it is asked, and how its words are read.

import { z } from 'zod'
import {
  groups,
  httpUrl,
  isTrustworthyFetch,
  linking,
  mappingRow,
  matching,
  profileAttribute,
  redact,
  sourceName,
  sourcePath,
} from './parts.ts'

const entityId = z.string().min(1).max(1024)

/** What may be said of metadata wherever it comes from. */
const ofMetadata = {
  /** Whom to pick where there are many; and the only entityID that a changed one may become. */
  entityId: entityId.optional(),
  /** PEM. Metadata must carry a signature by this certificate's key. */
  signedBy: z
    .string()
    .regex(/-----BEGIN CERTIFICATE-----[\s\S]+-----END CERTIFICATE-----/, 'write a certificate in PEM: -----BEGIN CERTIFICATE-----…')
    .optional(),
}

const metadata = z.union(
  [
    z.strictObject({ file: z.string().min(1), ...ofMetadata }),
    z.strictObject({
      url: httpUrl.refine(isTrustworthyFetch, { error: 'metadata is fetched over https only (http from localhost)' }),
      ...ofMetadata,
    }),
    z.strictObject({ xml: z.string().min(1), ...ofMetadata }),
  ],
  { error: 'write one of { file: PATH }, { url: https://… } or { xml: "…" }, with entityId and signedBy where you need them' },
)

const uri = z.string().regex(/^[a-z][a-z0-9+.-]*:\S+$/i, 'write a URI, like urn:oasis:names:tc:SAML:2.0:ac:classes:MFA')

/** How we ask (SAML core 2.0, section 3.4.1). */
const requests = z.strictObject({
  /** auto: HTTP-Redirect where the identity provider has it, HTTP-POST otherwise. */
  binding: z.enum(['auto', 'redirect', 'post']).default('auto'),
  /** metadata: sign when the identity provider's metadata asks for it. */
  sign: z.enum(['metadata', 'always']).default('metadata'),
  nameIdFormat: uri.optional(),
  authnContext: z.array(uri).default([]),
  comparison: z.enum(['exact', 'minimum', 'maximum', 'better']).default('exact'),
  forceAuthn: z.boolean().default(false),
  /** Asks without showing anything first; whoever has to be asked something is sent a second time. */
  isPassive: z.boolean().default(false),
  /** Where the answer comes: posted by the browser, or as an artifact that we fetch. */
  response: z.enum(['post', 'artifact']).default('post'),
})

const jit = z.strictObject({
  create: z.boolean().default(false),
  update: z.boolean().default(false),
  staged: z.enum(['refuse', 'activate']).default('refuse'),
  suspended: z.enum(['refuse', 'revive']).default('refuse'),
  deprovisioned: z.enum(['refuse', 'revive']).default('refuse'),
  required: z.array(profileAttribute).default([]),
})

export const connectionSpec = z.strictObject({
  name: sourceName,
  kind: z.literal('saml', { error: 'only saml is known' }),
  /** Without it the connection is a draft: it has its addresses, and nobody can sign in yet. */
  metadata: metadata.optional(),
  requests: requests.default(requests.parse({})),
  signed: z.enum(['either', 'response', 'assertion', 'both']).default('either'),
  singleLogout: z.boolean().default(true),
  idpInitiated: z.boolean().default(false),
  subjects: z.string().min(1).max(1_000).optional(),
  externalId: sourcePath.default('nameID'),
  jit: jit.default(jit.parse({})),
  matching,
  linking: linking.default(linking.parse({})),
  /** What a row that inherits does. */
  when: z.enum(['create', 'always']).default('always'),
  mapping: z.array(mappingRow),
  groups: groups.optional(),
  redact,
})

export type ConnectionSpec = z.infer<typeof connectionSpec>
export type MetadataSpec = z.infer<typeof metadata>
export type RequestSettings = z.infer<typeof requests>

/** What an earlier release has kept lacks what has been added since. */
export function currentConnection(spec: ConnectionSpec): ConnectionSpec {
  return connectionSpec.parse(spec)
}
