// Compiles what an administrator has written about one source. Says of every row that cannot work why not, where, and what
// would; orders the rows so that each finds what it builds on.

import { couldBeSame } from './attribute-names.ts'
import type { ConnectionSpec } from './documents/connection.ts'
import type { MappingRowSpec } from './documents/parts.ts'
import { compilePattern, type LookupTables } from './expression-shape.ts'
import { celValue, type Expression, groupsLanguage, type Language, mappingLanguage } from './expressions.ts'
import type { GroupsPolicy } from './groups.ts'
import type { SourceId } from './ids.ts'
import { keyKind } from './keys.ts'
import { type MappingRow, parseSourcePath, type Reader, type RowReads, type SourcePath } from './mapping.ts'
import { type AttributeDefinition, foldKey, GROUPS, normaliseValues, type Schema } from './schema.ts'
import { LOCAL, type SourcePolicy } from './source-policy.ts'

export interface SourceFault {
  readonly segments: readonly (string | number)[]
  readonly message: string
}

export interface CompiledSource {
  readonly policy: SourcePolicy
  readonly faults: readonly SourceFault[]
  /** The names of the attributes that the rows read, for our metadata. */
  readonly wanted: readonly { readonly name: string; readonly required: boolean }[]
}

export interface SourceLanguages {
  readonly mapping: Language
  readonly groups: Language
}

export function sourceLanguages(schema: Schema, tables: LookupTables): SourceLanguages {
  return { mapping: mappingLanguage(schema, tables), groups: groupsLanguage(tables) }
}

/** What connections and imported sources say alike. */
export type SourceRules = Pick<
  ConnectionSpec,
  'name' | 'subjects' | 'externalId' | 'jit' | 'matching' | 'linking' | 'when' | 'mapping' | 'groups' | 'redact'
> & { readonly kind: string }

export function compileSource({
  id,
  version,
  spec,
  schema,
  languages,
}: {
  id: SourceId
  version: number
  spec: SourceRules
  schema: Schema
  languages: SourceLanguages
}): CompiledSource {
  const faults: SourceFault[] = []
  const refused = (segments: readonly (string | number)[], message: string): undefined => {
    faults.push({ segments, message })
  }
  const known = (segments: readonly (string | number)[], attribute: string): AttributeDefinition | undefined =>
    schema.get(attribute) ?? refused(segments, `there is no profile attribute «${attribute}»; there are ${[...schema.keys()].join(', ')}`)

  const groupRows = spec.mapping.map((row, index) => ({ row, index })).filter(({ row }) => row.to === GROUPS)
  const rows: { readonly row: MappingRow; readonly index: number; readonly order: number | undefined }[] = []
  for (const [index, row] of spec.mapping.entries()) {
    if (row.to === GROUPS) continue
    const to = known(['mapping', index, 'to'], row.to)
    const compiled = to && compileRow(row, to, spec, languages, (field, message) => refused(['mapping', index, field], message))
    if (compiled) rows.push({ row: compiled, index, order: row.order })
  }
  if (!spec.mapping.some((row) => row.to === 'userName')) refused(['mapping'], 'one row must lead to userName')
  checkOrders(rows, refused)
  const mapping = withHiding(inOrder(rows, refused))

  for (const [index, name] of spec.jit.required.entries()) known(['jit', 'required', index], name)
  for (const [index, { by }] of spec.matching.entries()) {
    for (const [at, name] of by.entries()) {
      const attribute = known(['matching', index, 'by', at], name)
      if (attribute?.type === 'list') refused(['matching', index, 'by', at], `${name} is a list; match by attributes with one value`)
      else if (attribute && !spec.mapping.some((row) => row.to === name))
        refused(['matching', index, 'by', at], `no mapping row leads to ${name}, so this rule would never find anybody`)
    }
  }
  for (const [index, name] of (spec.linking.trusted ?? []).entries()) known(['linking', 'trusted', index], name)

  const subjects = spec.subjects === undefined ? undefined : compilePattern(spec.subjects)
  if (subjects && 'fault' in subjects) refused(['subjects'], subjects.fault)
  const groups = compileGroups(spec, groupRows, languages, refused)
  const externalId = pathOf(spec.externalId)
  const reads = readsOf(mapping)
  for (const [index, name] of spec.redact.entries()) {
    const used = mapping.find(({ reader }) => attributesOf(reader).some((one) => couldBeSame(one, name)))
    if (used) refused(['redact', index], `${used.to.name} is read from ${name}; what is not kept cannot be mapped`)
    if (groups && attributesOf(groups.read).some((one) => couldBeSame(one, name)))
      refused(['redact', index], `groups are read from ${name}; what is not kept cannot be mapped`)
    if (externalId.root === 'attributes' && couldBeSame(externalId.name, name))
      refused(['redact', index], `people are recognised by ${name} (externalId)`)
  }
  const { jit, linking } = spec
  const folded = (names: readonly string[] | undefined) => names && new Set(names.map(foldKey))
  return {
    faults,
    wanted: wantedBy(mapping, spec),
    policy: {
      id,
      name: spec.name,
      kind: spec.kind,
      version,
      ...(subjects && 'matches' in subjects && spec.subjects !== undefined ? { subjects: { text: spec.subjects, ...subjects } } : {}),
      externalId,
      jit,
      carriesLifecycle: jit.staged !== 'refuse' || jit.suspended !== 'refuse' || jit.deprovisioned !== 'refuse',
      matching: spec.matching.map((rule) => ({ ...rule, key: keyKind(rule.by) })),
      linking: {
        groups: folded(linking.groups),
        domains: folded(linking.domains),
        trusted: linking.trusted && new Set(linking.trusted),
        renamed: linking.renamed,
      },
      mapping,
      reads,
      asSource: { name: spec.name, kind: spec.kind },
      nobody: nobodyOf(schema),
      ...(groups ? { groups } : {}),
      redact: new Set(spec.redact),
    },
  }
}

export type Refuse = (segments: readonly (string | number)[], message: string) => undefined

export function compileRow(
  row: MappingRowSpec,
  to: AttributeDefinition,
  spec: SourceRules,
  { mapping: language }: SourceLanguages,
  refused: (field: string, message: string) => undefined,
): MappingRow | undefined {
  const reader = compileReader(row, to, language, refused)
  const otherwise = row.default && constant(to, row.default, (message) => refused('default', message))
  if (!reader) return undefined
  return {
    to,
    from: row.from ?? `«${row.value?.join('; ') ?? ''}»`,
    reader,
    strength: row.strength,
    when: row.when === 'inherit' ? spec.when : row.when,
    absent: row.absent,
    empty: row.empty,
    ...(otherwise ? { otherwise } : {}),
    reads: rowReads(reader),
    hides: to.sensitive === true,
  }
}

function rowReads(reader: Reader): RowReads {
  if (reader.kind === 'path' && reader.path.root === 'nameID') return { names: [], nameID: true, session: false, user: [] }
  const { attributes, nameID, session, user } = reader.kind === 'expression' ? reader.expression.reads : {}
  const names = attributes?.all ? undefined : attributesOf(reader)
  return { names, nameID: nameID !== undefined, session: session !== undefined, user: user?.names ?? [] }
}

function compileReader(
  { from, value }: MappingRowSpec,
  to: AttributeDefinition,
  language: Language,
  refused: (field: string, message: string) => undefined,
): Reader | undefined {
  if (from === undefined) {
    const values = constant(to, value ?? [], (message) => refused('value', message))
    return values && { kind: 'constant', values }
  }
  const path = parseSourcePath(from)
  if (path) return { kind: 'path', path }
  const expression = language.compile(from, ACCEPTED[to.type])
  return 'message' in expression
    ? refused('from', `${expression.message} (at character ${expression.at + 1})`)
    : { kind: 'expression', expression }
}

const TEXTS = ['string', 'list<string>', 'list<dyn>', 'list', 'dyn'] as const

/** What an expression may give for an attribute of each type; text is read as the type when it runs. */
const ACCEPTED: Readonly<Record<AttributeDefinition['type'], readonly string[]>> = {
  string: TEXTS,
  list: TEXTS,
  reference: TEXTS,
  date: TEXTS,
  boolean: ['bool', ...TEXTS],
  integer: ['int', ...TEXTS],
}

function constant(
  to: AttributeDefinition,
  values: readonly string[],
  refused: (message: string) => undefined,
): readonly string[] | undefined {
  const normal = normaliseValues(to, values)
  return 'fault' in normal ? refused(`${to.name}: ${normal.fault}`) : normal
}

interface PlacedRow {
  readonly row: MappingRow
  readonly index: number
  readonly order: number | undefined
}

/** Two rows for one attribute must say which goes first. */
function checkOrders(rows: readonly PlacedRow[], refused: Refuse): void {
  const seen = new Map<string, PlacedRow[]>()
  for (const placed of rows) {
    const others = seen.get(placed.row.to.name) ?? []
    const same = others.find(({ order }) => order === placed.order || order === undefined || placed.order === undefined)
    if (same) {
      refused(
        ['mapping', placed.index, 'to'],
        `«${placed.row.to.name}» is there already (row ${same.index + 1}); give both rows an order: the lowest that has a value wins`,
      )
    }
    seen.set(placed.row.to.name, [...others, placed])
  }
}

/** Rows that build on others (`user.NAME`) after those; a row that would build on itself is refused with the whole circle. */
function inOrder(rows: readonly PlacedRow[], refused: Refuse): readonly MappingRow[] {
  const byAttribute = new Map<string, PlacedRow[]>()
  for (const placed of rows) byAttribute.set(placed.row.to.name, [...(byAttribute.get(placed.row.to.name) ?? []), placed])
  for (const several of byAttribute.values()) several.sort((a, b) => (a.order ?? 0) - (b.order ?? 0))

  const done: MappingRow[] = []
  const state = new Map<string, 'open' | 'done'>()
  const visit = (attribute: string, way: readonly string[]): void => {
    const placed = byAttribute.get(attribute)
    const first = placed?.[0]
    if (!placed || !first || state.get(attribute) === 'done') return
    if (state.get(attribute) === 'open') {
      const circle = [...way.slice(way.indexOf(attribute)), attribute].join(' <- ')
      refused(['mapping', first.index, 'from'], `builds on itself: ${circle}`)
      return
    }
    state.set(attribute, 'open')
    for (const { row } of placed) {
      for (const before of expressionOf(row)?.reads.user?.names ?? []) visit(before, [...way, attribute])
    }
    state.set(attribute, 'done')
    done.push(...placed.map(({ row }) => row))
  }
  for (const attribute of byAttribute.keys()) visit(attribute, [])
  return done
}

function expressionOf({ reader }: MappingRow): Expression | undefined {
  return reader.kind === 'expression' ? reader.expression : undefined
}

/** All that a row to groups may say. */
const GROUPS_ROW = { strength: 'follow', when: 'inherit', absent: 'keep', empty: 'keep' } as const

function compileGroups(
  spec: SourceRules,
  rows: readonly { readonly row: MappingRowSpec; readonly index: number }[],
  { groups: language }: SourceLanguages,
  refused: Refuse,
): GroupsPolicy | undefined {
  const [first, second] = rows
  if (second) return refused(['mapping', second.index, 'to'], '«groups» is there already')
  if (first && spec.groups) {
    return refused(['mapping', first.index, 'to'], 'groups are told twice: by this row, and by groups of this connection; leave one out')
  }
  const odd = first && (['strength', 'when', 'absent', 'empty'] as const).find((field) => first.row[field] !== GROUPS_ROW[field])
  const more = first && (['value', 'default', 'order'] as const).find((field) => first.row[field] !== undefined)
  if (first && (odd || more))
    return refused(
      ['mapping', first.index, odd ?? more ?? 'to'],
      'groups follow rules of their own; write groups: { from, mode, allow } instead of this row',
    )
  // The short way of saying it: a row to groups is what is asserted, all of it.
  const given = spec.groups ?? (first && { from: first.row.from, mode: 'sync' as const, allow: undefined })
  if (!given) return undefined
  const at: readonly (string | number)[] = first ? ['mapping', first.index, 'from'] : ['groups', 'from']
  const { mode, from } = given
  const allow = given.allow && new Map(given.allow.map((name) => [foldKey(name), name.trim()]))
  if (mode === 'assign' && !allow?.size) return refused(['groups', 'allow'], 'name the groups that everybody from here is in')
  if (mode === 'none' || mode === 'assign') return { mode, from: from ?? 'everybody', read: undefined, allow }
  if (from === undefined) return refused(at, 'say where the groups come from: attributes.NAME or an expression')
  const path = parseSourcePath(from)
  if (path?.root === 'attributes') return { mode, from, read: { path }, allow }
  const expression = language.compile(from, TEXTS)
  if ('message' in expression) return refused(at, `${expression.message} (at character ${expression.at + 1})`)
  return { mode, from, read: { expression }, allow }
}

/** A row that reads what a sensitive one reads, or makes, hides like it. */
function withHiding(rows: readonly MappingRow[]): readonly MappingRow[] {
  const sensitive = rows.filter(({ to }) => to.sensitive)
  if (!sensitive.length) return rows
  const reads = sensitive.flatMap(({ reads: { names } }) => names ?? [])
  return rows.map((row) => {
    const { names, user } = row.reads
    const touches = names === undefined || names.some((name) => reads.some((one) => couldBeSame(one, name)))
    const builds = user.some((name) => sensitive.some(({ to }) => to.name === name))
    return row.hides || !(touches || builds) ? row : { ...row, hides: true }
  })
}

/** The names that something reads, as far as they are known. */
export function attributesOf(
  reader: { readonly path: SourcePath } | { readonly expression: Expression } | object | undefined,
): readonly string[] {
  if (!reader) return []
  if ('path' in reader) return reader.path.root === 'attributes' ? [reader.path.name] : []
  return 'expression' in reader ? (reader.expression.reads.attributes?.names ?? []) : []
}

function readsOf(mapping: readonly MappingRow[]): SourcePolicy['reads'] {
  const names = new Set<string>()
  let all = false
  let user = false
  let session = false
  for (const row of mapping) {
    const reads = expressionOf(row)?.reads
    for (const name of reads?.attributes?.names ?? []) names.add(name)
    all ||= reads?.attributes?.all ?? false
    user ||= reads?.user !== undefined
    session ||= reads?.session !== undefined
  }
  return { names: [...names], all, user, session }
}

/** Every attribute without a value, as CEL sees it. */
function nobodyOf(schema: Schema): Readonly<Record<string, unknown>> {
  return Object.fromEntries([...schema.values()].map(({ name, type }) => [name, celValue(type, [])]))
}

function wantedBy(mapping: readonly MappingRow[], { jit, groups, mapping: rows }: SourceRules): CompiledSource['wanted'] {
  const wanted = new Map<string, boolean>()
  const want = (name: string, required: boolean) => wanted.set(name, required || (wanted.get(name) ?? false))
  // In the order of the file, which people recognise.
  for (const { to } of rows) {
    for (const { to: attribute, reader } of mapping.filter((row) => row.to.name === to)) {
      const required = attribute.required === true || jit.required.includes(attribute.name)
      if (reader.kind === 'path' && reader.path.root === 'attributes') want(reader.path.name, required)
      if (reader.kind === 'expression') for (const name of reader.expression.reads.attributes?.names ?? []) want(name, required)
    }
    const from = to === GROUPS ? rows.find((row) => row.to === GROUPS)?.from : undefined
    const path = from === undefined ? undefined : parseSourcePath(from)
    if (path?.root === 'attributes') want(path.name, false)
  }
  const path = groups?.from === undefined ? undefined : parseSourcePath(groups.from)
  if (path?.root === 'attributes') want(path.name, false)
  return [...wanted].map(([name, required]) => ({ name, required }))
}

function pathOf(text: string): SourcePath {
  const path = parseSourcePath(text)
  if (!path) throw new Error(`«${text}» was accepted as a path but is none`)
  return path
}

/** Administrators' own source: every attribute by its name, and what is taken back is gone. */
export function localSource(schema: Schema): SourcePolicy {
  const mapping = [...schema.values()].map(
    (to): MappingRow => ({
      to,
      from: 'by hand',
      reader: { kind: 'path', path: { root: 'attributes', name: to.name } },
      strength: 'follow',
      when: 'always',
      absent: 'clear',
      empty: 'clear',
      reads: { names: [to.name], nameID: false, session: false, user: [] },
      hides: to.sensitive === true,
    }),
  )
  return {
    id: LOCAL,
    name: 'local',
    kind: 'local',
    version: 0,
    externalId: { root: 'nameID' },
    jit: { create: false, update: true, required: [], staged: 'refuse', suspended: 'refuse', deprovisioned: 'refuse' },
    carriesLifecycle: false,
    matching: [],
    linking: { groups: undefined, domains: undefined, trusted: undefined, renamed: 'ask' },
    mapping,
    reads: { names: [], all: false, user: false, session: false },
    asSource: { name: 'local', kind: 'local' },
    nobody: {},
    redact: new Set(),
  }
}
