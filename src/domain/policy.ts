// The documents that an administrator writes (connections and apps), their validation, and their compiled form.
// A document is accepted whole or not at all, and every fault is reported with its path.

import { z } from 'zod'
import { attributeNamed, attributeNames } from './attributes.ts'
import { foldHeaderName, type HeaderRow, isReservedHeader, parseHeaderPath } from './identity-headers.ts'
import type { SourceId } from './ids.ts'
import { type MappingRow, parseSourcePath, type SourcePath } from './mapping.ts'
import type { SourcePolicies } from './mastery.ts'
import type { SourcePolicy } from './source-policy.ts'

const name = z.string().regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, 'use lower-case letters, digits and hyphens, 63 at most')

const profileAttribute = z.string().refine((value) => attributeNamed(value), {
  error: (issue) => `there is no profile attribute «${issue.input}»; there are ${attributeNames.join(', ')}`,
})

const sourcePath = z.string().refine((value) => parseSourcePath(value), {
  error: 'write nameID, attributes.NAME or attributes.NAME[0]',
})

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

const connectionSpec = z
  .strictObject({
    name,
    kind: z.literal('saml', { error: 'only saml is known' }),
    /** Without it the connection is a draft: it has its addresses, and nobody can sign in yet. */
    metadata: metadata.optional(),
    requests: requests.default(requests.parse({})),
    signed: z.enum(['either', 'response', 'assertion', 'both']).default('either'),
    singleLogout: z.boolean().default(true),
    idpInitiated: z.boolean().default(false),
    externalId: sourcePath.default('nameID'),
    jit: z
      .strictObject({
        create: z.boolean().default(false),
        update: z.boolean().default(false),
        required: z.array(profileAttribute).default([]),
      })
      .default({ create: false, update: false, required: [] }),
    mapping: z.array(z.strictObject({ to: profileAttribute, from: sourcePath })).superRefine(eachOnce((row) => row.to, 'to')),
  })
  .superRefine((value, context) => {
    if (value.mapping.some((row) => row.to === 'userName')) return
    context.addIssue({ code: 'custom', path: ['mapping'], message: 'one row must lead to userName' })
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
        from: z.string().refine(
          (value) => {
            const path = parseHeaderPath(value)
            return path && (path.root === 'id' || attributeNamed(path.name))
          },
          `write user.id or user.ATTRIBUTE, with one of ${attributeNames.join(', ')}`,
        ),
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

const policyFile = z.strictObject({
  service: service.optional(),
  connections: z
    .array(connectionSpec)
    .default([])
    .superRefine(eachOnce((one) => one.name, 'name')),
  apps: z
    .array(app)
    .default([])
    .superRefine(eachOnce((one) => one.name, 'name'))
    .superRefine(eachOnce((one) => one.host, 'host')),
})

export type ConnectionSpec = z.infer<typeof connectionSpec>
export type AppSpec = z.infer<typeof app>
export type MetadataSpec = z.infer<typeof metadata>
export type ServiceSpec = z.infer<typeof service>
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

export function fault(path: readonly PropertyKey[], message: string): Fault {
  const segments = path.map((part) => (typeof part === 'number' ? part : String(part)))
  const text = segments.map((part, i) => (typeof part === 'number' ? `[${part}]` : i === 0 ? part : `.${part}`)).join('')
  return { path: text || '(the whole file)', segments, message }
}

/** What a SAML identity provider's metadata tells us (SAML metadata 2.0, section 2.4.3). */
export interface IdentityProvider {
  readonly entityId: string
  readonly singleSignOn: { readonly redirect?: string; readonly post?: string }
  readonly singleLogout?: LogoutEndpoints
  readonly artifactResolution?: readonly { readonly index: number; readonly location: string }[]
  /** Signing certificates, base64 of the DER, without armour. */
  readonly certificates: readonly string[]
  readonly wantsSignedRequests: boolean
  /** Of the metadata itself. */
  readonly validUntil?: string
  readonly cacheSeconds?: number
}

/** Where logout messages go, by binding; answers may have an address of their own. */
export interface LogoutEndpoints {
  readonly redirect?: LogoutEndpoint
  readonly post?: LogoutEndpoint
}

export interface LogoutEndpoint {
  readonly location: string
  readonly responseLocation?: string
}

/** A document as it is kept: what was written, and for a connection what its metadata said when it was applied. */
export type PolicyDocument =
  | { readonly kind: 'connection'; readonly name: string; readonly spec: ConnectionSpec; readonly idp?: IdentityProvider }
  | { readonly kind: 'app'; readonly name: string; readonly spec: AppSpec }
  | { readonly kind: 'service'; readonly name: typeof SERVICE; readonly spec: ServiceSpec }

/** There is one document of this kind. */
export const SERVICE = 'service'

export type DocumentKind = PolicyDocument['kind']

export interface DocumentInForce {
  readonly document: PolicyDocument
  readonly version: number
  /** Of the source that a connection is. */
  readonly source?: SourceId
}

/** A connection whose addresses are final and whose identity provider is not known yet. */
export interface DraftConnection {
  readonly id: SourceId
  readonly name: string
  readonly version: number
  readonly metadata?: MetadataSpec
  readonly idpInitiated: boolean
  readonly signed: ConnectionSpec['signed']
  readonly singleLogout: boolean
  readonly requests: RequestSettings
  /** The names of the attributes that the mapping reads. */
  readonly wanted: readonly { readonly name: string; readonly required: boolean }[]
}

export interface Connection extends DraftConnection {
  readonly idp: IdentityProvider
}

export interface App {
  readonly name: string
  readonly host: string
  readonly upstream: string
  readonly headers: readonly HeaderRow[]
}

/** Everything that is in force at one revision, ready for use. */
export interface Policy {
  readonly revision: number
  readonly connections: ReadonlyMap<string, Connection>
  readonly drafts: ReadonlyMap<string, DraftConnection>
  readonly service: ServiceSpec
  readonly sources: SourcePolicies
  readonly apps: readonly App[]
  readonly appsByHost: ReadonlyMap<string, App>
}

export function compilePolicy(revision: number, documents: readonly DocumentInForce[]): Policy {
  const connections = new Map<string, Connection>()
  const drafts = new Map<string, DraftConnection>()
  const sources = new Map<SourceId, SourcePolicy>()
  let stated: ServiceSpec = { contacts: [] }
  const apps: App[] = []
  for (const { document, version, source } of documents) {
    switch (document.kind) {
      case 'connection': {
        if (!source) throw new Error(`connection ${document.name} has no source`)
        // What an earlier release has kept lacks what has been added since.
        const spec = connectionSpec.parse(document.spec)
        const draft = compileConnection(source, version, spec)
        if (document.idp) connections.set(spec.name, { ...draft, idp: document.idp })
        else drafts.set(spec.name, draft)
        sources.set(source, compileSource(source, version, spec))
        break
      }
      case 'app':
        apps.push(compileApp(document.spec))
        break
      case 'service':
        stated = document.spec
        break
    }
  }
  return { revision, connections, drafts, sources, service: stated, apps, appsByHost: new Map(apps.map((one) => [one.host, one])) }
}

function compileConnection(id: SourceId, version: number, spec: ConnectionSpec): DraftConnection {
  const { name, metadata, idpInitiated, signed, singleLogout, requests, mapping, jit } = spec
  const wanted = new Map<string, boolean>()
  for (const { to, from } of mapping) {
    const path = pathOf(from)
    if (path.root !== 'attributes') continue
    const required = to === 'userName' || jit.required.includes(to)
    wanted.set(path.name, required || (wanted.get(path.name) ?? false))
  }
  return {
    id,
    name,
    version,
    ...(metadata ? { metadata } : {}),
    idpInitiated,
    signed,
    singleLogout,
    requests,
    wanted: [...wanted].map(([attribute, required]) => ({ name: attribute, required })),
  }
}

function compileSource(id: SourceId, version: number, spec: ConnectionSpec): SourcePolicy {
  const mapping: MappingRow[] = spec.mapping.map(({ to, from }) => ({ to, from, path: pathOf(from) }))
  return { id, name: spec.name, version, externalId: pathOf(spec.externalId), jit: spec.jit, mapping }
}

function pathOf(text: string): SourcePath {
  const path = parseSourcePath(text)
  if (!path) throw new Error(`«${text}» was accepted as a path but is none`)
  return path
}

function compileApp(spec: AppSpec): App {
  const headers = spec.headers.map((row) => {
    const path = parseHeaderPath(row.from)
    if (!path) throw new Error(`«${row.from}» was accepted as a path but is none`)
    return { ...row, path }
  })
  return { name: spec.name, host: spec.host, upstream: spec.upstream, headers }
}

/** Two rows that would decide the same thing, with no order between them, are a fault of the second. */
function eachOnce<Row>(key: (row: Row) => string, field: string) {
  return (rows: readonly Row[], context: z.RefinementCtx) => {
    const seen = new Set<string>()
    for (const [index, row] of rows.entries()) {
      const value = key(row)
      if (seen.has(value)) context.addIssue({ code: 'custom', path: [index, field], message: `«${value}» is there already` })
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
