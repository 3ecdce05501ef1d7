// The documents that an administrator writes, and their shape: connections, apps, the service, the profile schema, mastery,
// entitlements, lookup tables. What a document says of another one is judged where they are compiled (policy.ts). A file is
// accepted whole or not at all, and every fault is reported with its path.

import { z } from 'zod'
import { groupModes } from './groups.ts'
import { foldHeaderName, isReservedHeader } from './identity-headers.ts'
import type { IdentityProvider } from './identity-provider.ts'
import type { SourceId } from './ids.ts'
import { parseSourcePath } from './mapping.ts'
import { attributeTypes } from './schema.ts'

const name = z.string().regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, 'use lower-case letters, digits and hyphens, 63 at most')

/** Whether there is one of this name is known once the schema is. */
const profileAttribute = z.string().regex(/^[A-Za-z][A-Za-z0-9]*$/, 'write the name of a profile attribute')

const sourcePath = z.string().refine((value) => parseSourcePath(value), {
  error: 'write nameID, attributes.NAME or attributes.NAME[0]',
})

/** A path or an expression. */
const reading = z.string().min(1, 'write nameID, attributes.NAME or an expression').max(2_000)

const httpUrl = z.string().refine((value) => /^https?:$/.test(protocolOf(value) ?? ''), { error: 'write an http or https address' })

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

const values = z.union([z.string().transform((value) => [value]), z.array(z.string())], { error: 'write a text or a list of texts' })

const mappingRow = z
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

const jit = z.strictObject({
  create: z.boolean().default(false),
  update: z.boolean().default(false),
  staged: z.enum(['refuse', 'activate']).default('refuse'),
  suspended: z.enum(['refuse', 'revive']).default('refuse'),
  deprovisioned: z.enum(['refuse', 'revive']).default('refuse'),
  required: z.array(profileAttribute).default([]),
})

const linking = z.strictObject({
  groups: z.array(z.string().min(1)).optional(),
  domains: z.array(z.string().min(1)).optional(),
  trusted: z.array(profileAttribute).optional(),
  renamed: z.enum(['ask', 'relink']).default('ask'),
})

const connectionSpec = z.strictObject({
  name: name.refine((value) => value !== 'local', { error: '«local» is what administrators set by hand; use another name' }),
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
  matching: z
    .array(
      z.strictObject({
        by: z.array(profileAttribute).min(1, 'name at least one attribute').max(5),
        link: z.enum(['auto', 'ask', 'never']),
      }),
    )
    .default([])
    .superRefine(eachOnce((row) => [...row.by].sort().join('+'), 'by')),
  linking: linking.default(linking.parse({})),
  /** What a row that inherits does. */
  when: z.enum(['create', 'always']).default('always'),
  mapping: z.array(mappingRow),
  groups: z
    .strictObject({
      from: reading.optional(),
      mode: z.enum(groupModes),
      allow: z.array(z.string().min(1)).optional(),
    })
    .optional(),
  /** Names of the identity provider's attributes that are never kept. */
  redact: z.array(z.string().min(1)).default([]),
})

const app = z.strictObject({
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

/** Who runs this Gatehouse, for identity providers' administrators (SAML metadata 2.0, section 2.3.2). */
const service = z.strictObject({
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

const schema = z.strictObject({
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

const mastery = z.strictObject({
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

const entitlements = z
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

const lookups = z.record(name, z.record(z.string(), z.string()))

const policyFile = z.strictObject({
  service: service.optional(),
  schema: schema.optional(),
  mastery: mastery.optional(),
  lookups: lookups.optional(),
  connections: z
    .array(connectionSpec)
    .default([])
    .superRefine(eachOnce((one) => one.name, 'name')),
  entitlements: entitlements.optional(),
  apps: z
    .array(app)
    .default([])
    .superRefine(eachOnce((one) => one.name, 'name'))
    .superRefine(eachOnce((one) => one.host, 'host')),
})

export type ConnectionSpec = z.infer<typeof connectionSpec>
export type MappingRowSpec = z.infer<typeof mappingRow>
export type AppSpec = z.infer<typeof app>
export type MetadataSpec = z.infer<typeof metadata>
export type ServiceSpec = z.infer<typeof service>
export type SchemaSpec = z.infer<typeof schema>
export type MasterySpec = z.infer<typeof mastery>
export type EntitlementsSpec = z.infer<typeof entitlements>
export type LookupsSpec = z.infer<typeof lookups>
export type RequestSettings = z.infer<typeof requests>
export type PolicyFile = z.infer<typeof policyFile>

export interface Fault {
  /** `connections[0].mapping[1].to` */
  readonly path: string
  readonly segments: readonly (string | number)[]
  readonly message: string
}

export function parsePolicyFile(content: unknown): { readonly file: PolicyFile } | { readonly faults: readonly Fault[] } {
  const parsed = policyFile.safeParse(content ?? {})
  if (parsed.success) return { file: parsed.data }
  const faults = parsed.error.issues.flatMap((issue) =>
    issue.code === 'unrecognized_keys'
      ? issue.keys.map((key) => fault([...issue.path, key], 'is not known here'))
      : [fault(issue.path, issue.message)],
  )
  return { faults }
}

/** What an earlier release has kept lacks what has been added since. */
export function currentConnection(spec: ConnectionSpec): ConnectionSpec {
  return connectionSpec.parse(spec)
}

export function fault(path: readonly PropertyKey[], message: string): Fault {
  const segments = path.map((part) => (typeof part === 'number' ? part : String(part)))
  const text = segments.map((part, i) => (typeof part === 'number' ? `[${part}]` : i === 0 ? part : `.${part}`)).join('')
  return { path: text || '(the whole file)', segments, message }
}

/** A document as it is kept: what was written, and for a connection what its metadata said when it was applied. */
export type PolicyDocument =
  | { readonly kind: 'connection'; readonly name: string; readonly spec: ConnectionSpec; readonly idp?: IdentityProvider }
  | { readonly kind: 'app'; readonly name: string; readonly spec: AppSpec }
  | { readonly kind: 'service'; readonly name: 'service'; readonly spec: ServiceSpec }
  | { readonly kind: 'schema'; readonly name: 'schema'; readonly spec: SchemaSpec }
  | { readonly kind: 'mastery'; readonly name: 'mastery'; readonly spec: MasterySpec }
  | { readonly kind: 'entitlements'; readonly name: 'entitlements'; readonly spec: EntitlementsSpec }
  | { readonly kind: 'lookups'; readonly name: 'lookups'; readonly spec: LookupsSpec }

export type DocumentKind = PolicyDocument['kind']

/** Of these there is one each, named like its kind. */
export const singleDocuments = ['service', 'schema', 'mastery', 'entitlements', 'lookups'] as const
export const documentKinds: readonly DocumentKind[] = ['connection', 'app', ...singleDocuments]

/** `connection corp`, `schema`: for lists. */
export function documentTitle({ kind, name }: { readonly kind: DocumentKind; readonly name: string }): string {
  return kind === name ? kind : `${kind} ${name}`
}

/** Those of a file that there is one of. */
export function singlesOf(file: PolicyFile): readonly PolicyDocument[] {
  return singleDocuments.flatMap((kind) => {
    const spec = file[kind]
    return spec === undefined ? [] : [{ kind, name: kind, spec } as PolicyDocument]
  })
}

export interface DocumentInForce {
  readonly document: PolicyDocument
  readonly version: number
  /** Of the source that a connection is. */
  readonly source?: SourceId
}

/** Two rows that would decide the same thing, with no order between them, are a fault of the second. */
function eachOnce<Row>(key: (row: Row) => string, field?: string) {
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

/** As the Host header will say it, whichever scheme it comes by. */
function isHostAsSent(host: string): boolean {
  return ['http:', 'https:'].every((scheme) => URL.canParse(`${scheme}//${host}`) && new URL(`${scheme}//${host}`).host === host)
}

function protocolOf(value: string): string | undefined {
  return URL.canParse(value) ? new URL(value).protocol : undefined
}

function isTrustworthyFetch(value: string): boolean {
  if (!URL.canParse(value)) return false
  const url = new URL(value)
  return url.protocol === 'https:' || ['localhost', '127.0.0.1', '[::1]'].includes(url.hostname)
}
