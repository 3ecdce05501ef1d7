// The documents that an administrator writes: connections, sources, apps, and the settings that there is one of each. Their
// shapes are in documents/. What a document says of another one is judged where they are compiled (policy.ts). A file is
// accepted whole or not at all, and every fault is reported with its path.

import { z } from 'zod'
import { type AppSpec, app } from './documents/app.ts'
import { type ConnectionSpec, connectionSpec, currentConnection } from './documents/connection.ts'
import { eachOnce } from './documents/parts.ts'
import {
  type EntitlementsSpec,
  entitlements,
  type LookupsSpec,
  lookups,
  type MasterySpec,
  mastery,
  type SchemaSpec,
  type ServiceSpec,
  schema,
  service,
} from './documents/settings.ts'
import { type CoverageSpec, coverage, currentSource, type SourceSpec, sourceSpec, type TargetSpec, targetSpec } from './documents/source.ts'
import type { IdentityProvider } from './identity-provider.ts'
import type { SourceId } from './ids.ts'

const policyFile = z.strictObject({
  service: service.optional(),
  schema: schema.optional(),
  mastery: mastery.optional(),
  lookups: lookups.optional(),
  connections: z
    .array(connectionSpec)
    .default([])
    .superRefine(eachOnce((one) => one.name, 'name')),
  sources: z
    .array(sourceSpec)
    .default([])
    .superRefine(eachOnce((one) => one.name, 'name')),
  entitlements: entitlements.optional(),
  targets: z
    .array(targetSpec)
    .default([])
    .superRefine(eachOnce((one) => one.name, 'name')),
  coverage: coverage.optional(),
  apps: z
    .array(app)
    .default([])
    .superRefine(eachOnce((one) => one.name, 'name'))
    .superRefine(eachOnce((one) => one.host, 'host')),
})

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

/** A document as it is kept: what was written, and for a connection what its metadata said when it was applied. */
export type PolicyDocument =
  | { readonly kind: 'connection'; readonly name: string; readonly spec: ConnectionSpec; readonly idp?: IdentityProvider }
  | { readonly kind: 'source'; readonly name: string; readonly spec: SourceSpec }
  | { readonly kind: 'target'; readonly name: string; readonly spec: TargetSpec }
  | { readonly kind: 'app'; readonly name: string; readonly spec: AppSpec }
  | { readonly kind: 'service'; readonly name: 'service'; readonly spec: ServiceSpec }
  | { readonly kind: 'schema'; readonly name: 'schema'; readonly spec: SchemaSpec }
  | { readonly kind: 'mastery'; readonly name: 'mastery'; readonly spec: MasterySpec }
  | { readonly kind: 'entitlements'; readonly name: 'entitlements'; readonly spec: EntitlementsSpec }
  | { readonly kind: 'coverage'; readonly name: 'coverage'; readonly spec: CoverageSpec }
  | { readonly kind: 'lookups'; readonly name: 'lookups'; readonly spec: LookupsSpec }

export type DocumentKind = PolicyDocument['kind']

/** Of these there is one each, named like its kind. */
export const singleDocuments = ['service', 'schema', 'mastery', 'entitlements', 'lookups', 'coverage'] as const
/** Of these there may be several, each with a name: kind -> the file's list of them. */
export const listedDocuments = { connection: 'connections', source: 'sources', target: 'targets', app: 'apps' } as const
export const documentKinds: readonly DocumentKind[] = ['connection', 'source', 'target', 'app', ...singleDocuments]

/** `connection corp`, `schema`: for lists. */
export function documentTitle({ kind, name }: { readonly kind: DocumentKind; readonly name: string }): string {
  return kind === name ? kind : `${kind} ${name}`
}

/** Whether this document is of something that says things about people, and so has an id of its own in their records. */
export function isOfSource(kind: DocumentKind): kind is 'connection' | 'source' {
  return kind === 'connection' || kind === 'source'
}

/** What an earlier release kept says the same as what would be written now, once it has today's defaults. */
export function currentDocument(document: PolicyDocument): PolicyDocument {
  if (document.kind === 'connection') return { ...document, spec: currentConnection(document.spec) }
  return document.kind === 'source' ? { ...document, spec: currentSource(document.spec) } : document
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
  /** Of a connection, or a source that is imported. */
  readonly source?: SourceId
}
