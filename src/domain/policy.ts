// The policy in force, compiled once for each revision, so that no decision parses anything. Judges on the way what one
// document says of another: attributes that exist, expressions that can run, rows in an order. A document with a fault is
// not applied; one that has grown a fault (kept by an earlier release) is out of force, and said so.

import type { DecisionPolicy } from './deciding.ts'
import type { AppSpec } from './documents/app.ts'
import { type ConnectionSpec, currentConnection, type MetadataSpec, type RequestSettings } from './documents/connection.ts'
import type { EntitlementsSpec, LookupsSpec, MasterySpec, SchemaSpec, ServiceSpec } from './documents/settings.ts'
import { type CoverageSpec, currentSource, type SourceSpec, type TargetSpec } from './documents/source.ts'
import type { DocumentInForce, DocumentKind } from './documents.ts'
import type { Entitlements } from './entitlements.ts'
import { type Expression, ruleLanguage } from './expressions.ts'
import { type HeaderRow, parseHeaderPath } from './identity-headers.ts'
import type { IdentityProvider } from './identity-provider.ts'
import type { SourceId } from './ids.ts'
import { compileImport } from './import-compiler.ts'
import { keyKinds } from './keys.ts'
import type { AttributeMastery, Mastery } from './mastery.ts'
import { type AttributeDefinition, baseSchema, extendSchema, type Schema } from './schema.ts'
import { compileSource, localSource, sourceLanguages } from './source-compiler.ts'
import { LOCAL, type SourcePolicy } from './source-policy.ts'

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

/** A source that people are imported from. */
export interface ImportSource {
  readonly id: SourceId
  readonly name: string
  readonly version: number
  readonly spec: SourceSpec
  /** Undefined: something in it does not fit any more, and it is out of force. */
  readonly policy: SourcePolicy | undefined
}

/** A system that is to know what becomes of people's access. */
export interface Target {
  readonly name: string
  readonly spec: TargetSpec
  /** Who has an account there; undefined: everybody. */
  readonly when: Expression | undefined
}

/** Everything that is in force at one revision, ready for use. */
export interface Policy extends DecisionPolicy {
  readonly connections: ReadonlyMap<string, Connection>
  readonly drafts: ReadonlyMap<string, DraftConnection>
  readonly imports: ReadonlyMap<string, ImportSource>
  readonly targets: readonly Target[]
  readonly coverage: CoverageSpec
  readonly service: ServiceSpec
  readonly apps: readonly App[]
  readonly appsByHost: ReadonlyMap<string, App>
  readonly faults: readonly DocumentFault[]
  /** Of the source's names, which are not known yet. */
  readonly unknownSources: readonly string[]
}

/** Something that does not fit, with its place within the document. */
export interface DocumentFault {
  readonly kind: DocumentKind
  readonly name: string
  readonly segments: readonly (string | number)[]
  readonly message: string
}

export function compilePolicy(revision: number, documents: readonly DocumentInForce[]): Policy {
  const faults: DocumentFault[] = []
  const single = <Spec>(kind: DocumentKind) =>
    documents.find(({ document }) => document.kind === kind) as
      | { readonly document: { readonly spec: Spec }; readonly version: number }
      | undefined
  const schema = compileSchema(single<SchemaSpec>('schema')?.document.spec, faults)
  const tables = single<LookupsSpec>('lookups')?.document.spec ?? {}
  const languages = sourceLanguages(schema, tables)

  const connections = new Map<string, Connection>()
  const drafts = new Map<string, DraftConnection>()
  const sources = new Map<SourceId, SourcePolicy>([[LOCAL, localSource(schema)]])
  const apps: App[] = []
  const imports = new Map<string, ImportSource>()
  const targets: Target[] = []
  for (const { document, version, source } of documents) {
    if (document.kind === 'source') {
      if (!source) throw new Error(`source ${document.name} has no id`)
      const spec = currentSource(document.spec)
      const compiled = compileImport({ id: source, version, spec, schema, languages })
      if (documents.some((one) => one.document.kind === 'connection' && one.document.name === spec.name))
        compiled.faults.push({ segments: ['name'], message: `there is a connection ${spec.name} already; give the source another name` })
      faults.push(...compiled.faults.map((one) => ({ kind: 'source' as const, name: spec.name, ...one })))
      imports.set(spec.name, { id: source, name: spec.name, version, spec, policy: compiled.faults.length ? undefined : compiled.policy })
      sources.set(source, compiled.policy)
    }
    if (document.kind === 'target') targets.push(compileTarget(document.spec, schema, tables, faults))
    if (document.kind === 'app') {
      const { host } = document.spec
      const other = apps.find((one) => one.host === host)
      if (other) faults.push({ kind: 'app', name: document.name, segments: ['host'], message: `${host} belongs to the app ${other.name}` })
      apps.push(compileApp(document.spec, schema, faults))
    }
    if (document.kind !== 'connection') continue
    if (!source) throw new Error(`connection ${document.name} has no source`)
    const spec = currentConnection(document.spec)
    const compiled = compileSource({ id: source, version, spec, schema, languages })
    const draft = compileConnection(source, version, spec, compiled.wanted)
    faults.push(...compiled.faults.map((one) => ({ kind: 'connection' as const, name: spec.name, ...one })))
    if (document.idp && !compiled.faults.length) connections.set(spec.name, { ...draft, idp: document.idp })
    else drafts.set(spec.name, draft)
    sources.set(source, compiled.policy)
  }
  const { mastery, unknown } = compileMastery(single<MasterySpec>('mastery'), sources, schema, faults)
  const rules = single<EntitlementsSpec>('entitlements')
  const keys = keyKinds(
    schema,
    [...sources.values()].flatMap(({ matching }) => matching.map(({ key }) => key)),
  )
  return {
    revision,
    connections,
    drafts,
    schema,
    sources,
    mastery,
    entitlements: compileEntitlements(rules?.document.spec ?? [], rules?.version ?? 0, schema, tables, faults),
    keys,
    keyed: new Set(keys.flatMap(({ attributes }) => attributes)),
    required: [...schema.values()].filter(({ required }) => required).map(({ name }) => name),
    imports,
    targets,
    coverage: single<CoverageSpec>('coverage')?.document.spec ?? {},
    service: single<ServiceSpec>('service')?.document.spec ?? { contacts: [] },
    apps,
    appsByHost: new Map(apps.map((one) => [one.host, one])),
    faults,
    unknownSources: unknown,
  }
}

/** Once there are two, each must say of whom it may speak: that is what keeps one from naming the other's people. */
export function missingSubjects(documents: readonly DocumentInForce[]): readonly DocumentFault[] {
  const specs = documents.flatMap(({ document }) => (document.kind === 'connection' ? [document] : []))
  if (specs.length < 2) return []
  return specs
    .filter(({ spec }) => spec.subjects === undefined)
    .map(({ name }) => ({
      kind: 'connection',
      name,
      segments: ['subjects'],
      message: `is needed now that there are ${specs.length} connections: a pattern for the external ids of the people that ${name} may speak of, like '^[^@]+@corp\\.example$'`,
    }))
}

function compileSchema(spec: SchemaSpec | undefined, faults: DocumentFault[]): Schema {
  const added: AttributeDefinition[] = []
  for (const [index, { label, ...one }] of (spec?.attributes ?? []).entries()) {
    const base = baseSchema.get(one.name)
    const refused = (field: string, message: string) =>
      faults.push({ kind: 'schema', name: 'schema', segments: ['attributes', index, field], message })
    if (base && base.type !== one.type)
      refused('type', `${one.name} is one of the base attributes, of type ${base.type}; give yours another name`)
    else if (one.name === 'userName' && (one.required === false || one.unique === false || one.sensitive))
      refused('name', 'a user name is required, unique and never hidden')
    else if (one.name === 'groups' && (one.required || one.sensitive || one.values)) refused('name', 'groups follow rules of their own')
    else added.push({ ...one, label: label ?? base?.label ?? one.name })
  }
  return extendSchema(added)
}

function compileMastery(
  given: { readonly document: { readonly spec: MasterySpec }; readonly version: number } | undefined,
  sources: ReadonlyMap<SourceId, SourcePolicy>,
  schema: Schema,
  faults: DocumentFault[],
): { readonly mastery: Mastery; readonly unknown: readonly string[] } {
  const spec = given?.document.spec ?? { rank: [], attributes: {}, nextIfEmpty: false }
  const byName = new Map([...sources.values()].map(({ name, id }) => [name, id]))
  const unknown = new Set<string>()
  const idsOf = (names: readonly string[]) =>
    names.flatMap((name) => {
      const id = byName.get(name)
      if (id === undefined) unknown.add(name)
      return id === undefined ? [] : [id]
    })
  const ranked = idsOf(spec.rank)
  // Ids are sortable by birth: whatever has no rank comes in the order in which it was connected, what is imported before what
  // people bring along when they sign in, administrators' edits last.
  const unranked = [...sources.keys()].filter((id) => id !== LOCAL && !ranked.includes(id)).sort()
  const isFeed = (id: SourceId) => sources.get(id)?.imports !== undefined
  const rest = [...unranked.filter(isFeed), ...unranked.filter((id) => !isFeed(id))]
  const rank = [...ranked, ...rest, ...(ranked.includes(LOCAL) ? [] : [LOCAL])]
  const attributes = new Map<string, AttributeMastery>()
  for (const [attribute, { from, nextIfEmpty }] of Object.entries(spec.attributes)) {
    if (!schema.has(attribute)) {
      faults.push({ kind: 'mastery', name: 'mastery', segments: ['attributes', attribute], message: noAttribute(attribute, schema) })
    } else if (attribute === 'groups') {
      const message = 'memberships are kept by source and added up, so no source masters them'
      faults.push({ kind: 'mastery', name: 'mastery', segments: ['attributes', attribute], message })
    } else attributes.set(attribute, { from: from && idsOf(from), nextIfEmpty })
  }
  return { mastery: { version: given?.version ?? 0, rank, attributes, nextIfEmpty: spec.nextIfEmpty }, unknown: [...unknown] }
}

function compileEntitlements(
  spec: EntitlementsSpec,
  version: number,
  schema: Schema,
  tables: LookupsSpec,
  faults: DocumentFault[],
): Entitlements {
  const language = ruleLanguage(schema, tables)
  const rules = spec.flatMap(({ name, when, seats }, index) => {
    const expression = language.compile(when, ['bool', 'dyn'])
    if (!('message' in expression)) return [{ name, when, seats, expression }]
    const message = `${expression.message} (at character ${expression.at + 1})`
    faults.push({ kind: 'entitlements', name: 'entitlements', segments: [index, 'when'], message })
    return []
  })
  return { version, rules, administrators: new Set(spec.filter((one) => one.administrator).map(({ name }) => name)) }
}

function compileConnection(id: SourceId, version: number, spec: ConnectionSpec, wanted: DraftConnection['wanted']): DraftConnection {
  const { name, metadata, idpInitiated, signed, singleLogout, requests } = spec
  return { id, name, version, ...(metadata ? { metadata } : {}), idpInitiated, signed, singleLogout, requests, wanted }
}

function compileApp(spec: AppSpec, schema: Schema, faults: DocumentFault[]): App {
  const headers = spec.headers.flatMap((row, index) => {
    const path = parseHeaderPath(row.from)
    if (path && (path.root !== 'attribute' || schema.has(path.name))) return [{ ...row, path }]
    const message = `write user.id, user.entitlements or user.ATTRIBUTE, with one of ${[...schema.keys()].join(', ')}`
    faults.push({ kind: 'app', name: spec.name, segments: ['headers', index, 'from'], message })
    return []
  })
  return { name: spec.name, host: spec.host, upstream: spec.upstream, headers }
}

function compileTarget(spec: TargetSpec, schema: Schema, tables: LookupsSpec, faults: DocumentFault[]): Target {
  if (spec.when === undefined) return { name: spec.name, spec, when: undefined }
  const when = ruleLanguage(schema, tables).compile(spec.when, ['bool', 'dyn'])
  if (!('message' in when)) return { name: spec.name, spec, when }
  faults.push({ kind: 'target', name: spec.name, segments: ['when'], message: `${when.message} (at character ${when.at + 1})` })
  return { name: spec.name, spec, when: undefined }
}

export function noAttribute(attribute: string, schema: Schema): string {
  return `there is no profile attribute «${attribute}»; there are ${[...schema.keys()].join(', ')}`
}
