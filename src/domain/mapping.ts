// Turns what a source said, in the source's words, into what it means in ours. One row: profile attribute <- where it comes
// from. Absent, present-but-empty and present are three cases; the first two leave what is on file unless the row says clear.
// Never half-applies: one value that cannot be used refuses the whole record, with the row's name and the reason.

import { nameOnFile } from './attribute-names.ts'
import { celValue, type Expression, ExpressionFailure, LARGEST_COST, LONGEST_TEXT } from './expressions.ts'
import type { AttributeOnFile, RecordOnFile, Said } from './model.ts'
import { type Refusal, refuse } from './refusals.ts'
import { type AttributeDefinition, normaliseValues } from './schema.ts'
import { hide } from './sensitive.ts'
import type { SourcePolicy } from './source-policy.ts'

export type SourcePath = { readonly root: 'nameID' } | { readonly root: 'attributes'; readonly name: string; readonly index?: number }

export type Reader =
  | { readonly kind: 'path'; readonly path: SourcePath }
  | { readonly kind: 'expression'; readonly expression: Expression }
  | { readonly kind: 'constant'; readonly values: readonly string[] }

/** fill: only where nobody else has anything. follow: each time, but an administrator's own value stands. enforce: always. */
export type Strength = 'fill' | 'follow' | 'enforce'

export interface MappingRow {
  readonly to: AttributeDefinition
  /** As the administrator wrote it. */
  readonly from: string
  readonly reader: Reader
  readonly strength: Strength
  /** In effect: a row that inherits has what its source says. create: as it was when the source first knew the person. */
  readonly when: 'create' | 'always'
  readonly absent: 'keep' | 'clear'
  readonly empty: 'keep' | 'clear'
  /** What stands where nothing is found. */
  readonly otherwise?: readonly string[]
}

/** What became of one row, for whoever asks why. */
export interface MappingStep {
  readonly to: string
  readonly from: string
  readonly strength: Strength
  readonly when: MappingRow['when']
  readonly outcome: 'mapped' | 'kept' | 'default' | 'empty' | 'absent' | 'passed over' | 'refused'
  /** As the source wrote them. */
  readonly raw: readonly string[]
  readonly values: readonly string[]
  /** Why it is refused. */
  readonly why?: string
}

export interface MappedValue {
  /** None: the source answers for this attribute and has nothing to say. */
  readonly values: readonly string[]
  readonly row: MappingRow
  readonly since: Date
  readonly via: Said['via'] | undefined
}

export interface Mapped {
  readonly values: ReadonlyMap<string, MappedValue>
  readonly refusal?: Refusal
}

/**
 * Reads `nameID`, `attributes.email`, `attributes.http://schemas.example/claims/name` and `attributes.mail[0]`. Everything
 * after `attributes.` is the name; a trailing `[n]` picks the n-th value, counted from 0. Undefined: not a path, and so an
 * expression.
 */
export function parseSourcePath(text: string): SourcePath | undefined {
  if (text === 'nameID') return { root: 'nameID' }
  const found = /^attributes\.([^\s[\](){}'"=+<>!|,]+(?: [^\s[\](){}'"=+<>!|,]+)*)(?:\[(\d{1,3})\])?$/.exec(text)
  // A name may hold spaces; a word that joins two things makes it an expression.
  if (found?.[1] === undefined || / (?:in|[-*/%?:]|&&) /.test(found[1])) return undefined
  const name = found[1]
  return found[2] === undefined ? { root: 'attributes', name } : { root: 'attributes', name, index: Number(found[2]) }
}

/** @param steps collects what became of each row; left out where nobody asks */
export function map(record: RecordOnFile, policy: SourcePolicy, steps?: MappingStep[]): Mapped {
  const values = new Map<string, MappedValue>()
  const views = new Views(record, policy)
  for (const row of policy.mapping) {
    const { to } = row
    const before = values.get(to.name)
    if (before?.values.length) {
      if (steps) steps.push(stepOf(row, 'passed over', [], []))
      continue
    }
    const found = read(views, record, row)
    if ('refusal' in found) {
      steps?.push({ ...stepOf(row, 'refused', [], []), why: found.refusal.detail })
      return { values, refusal: named(found.refusal, policy) }
    }
    const normal = found.values.length ? normaliseValues(to, found.values) : found.values
    if ('fault' in normal) {
      const why = `${to.name} <- ${row.from}: ${normal.fault}${hint(to, row, found.values)}`
      steps?.push({ ...stepOf(row, 'refused', found.values, []), why })
      return { values, refusal: named(refuse('attribute.value', why), policy) }
    }
    const fallsBack = normal.length === 0 && row.otherwise !== undefined
    const stands = fallsBack ? (row.otherwise as readonly string[]) : normal
    if (steps)
      steps.push(
        stepOf(row, fallsBack ? 'default' : found.outcome === 'mapped' && !normal.length ? 'empty' : found.outcome, found.values, stands),
      )
    values.set(to.name, { values: stands, row, since: found.since, via: found.via })
    views.put(to, stands)
  }
  return { values }
}

function named({ code, detail }: Refusal, { name, version }: SourcePolicy): Refusal {
  return refuse(code, `${name} (version ${version}): ${detail}`)
}

function stepOf(
  { to, from, strength, when }: MappingRow,
  outcome: MappingStep['outcome'],
  raw: readonly string[],
  values: readonly string[],
): MappingStep {
  const shown = (all: readonly string[]) => (to.sensitive ? hide(all) : all)
  return { to: to.name, from, strength, when, outcome, raw: shown(raw), values: shown(values) }
}

function hint(to: AttributeDefinition, { from, reader }: MappingRow, values: readonly string[]): string {
  if (to.type === 'list' || values.length < 2 || reader.kind !== 'path') return ''
  return `; ${from}[0] picks the first`
}

interface Found {
  readonly outcome: 'mapped' | 'kept' | 'empty' | 'absent'
  readonly values: readonly string[]
  readonly since: Date
  readonly via: Said['via'] | undefined
}

function read(views: Views, record: RecordOnFile, row: MappingRow): Found | { readonly refusal: Refusal } {
  const { reader } = row
  switch (reader.kind) {
    case 'constant':
      return { outcome: 'mapped', values: reader.values, since: record.observedAt, via: undefined }
    case 'path':
      return readPath(record, reader.path, row)
    case 'expression':
      return readExpression(views, record, reader.expression, row)
  }
}

const NOTHING: readonly string[] = []

function absentFrom({ observedAt }: RecordOnFile): Found {
  return { outcome: 'absent', values: NOTHING, since: observedAt, via: undefined }
}

function readPath(record: RecordOnFile, path: SourcePath, row: MappingRow): Found {
  if (path.root === 'nameID') {
    const { nameId, via } = record
    return nameId ? { outcome: 'mapped', values: [nameId.value], since: nameId.since, via } : absentFrom(record)
  }
  const name = nameOnFile(record, path.name)
  if (name === undefined) return absentFrom(record)
  const found = inEffect(record.attributes[name] as AttributeOnFile, row)
  if (path.index === undefined || !found.values.length) return found
  const value = found.values[path.index]
  return value === undefined ? absentFrom(record) : { outcome: found.outcome, values: [value], since: found.since, via: found.via }
}

type Keeping = Pick<MappingRow, 'when' | 'absent' | 'empty'>

/** The three cases, as the row wants them. */
function inEffect({ state, values, since, via, first }: AttributeOnFile, { when, absent, empty }: Keeping): Found {
  if (when === 'create' && first !== undefined) {
    if (first === null) return { outcome: 'absent', values: NOTHING, since, via: undefined }
    return { outcome: first.values.length ? 'kept' : 'empty', values: first.values, since: first.since, via: first.via }
  }
  if (state === 'present') return { outcome: 'mapped', values, since, via }
  const keeps = when === 'create' || (state === 'empty' ? empty : absent) === 'keep'
  return keeps && values.length ? { outcome: 'kept', values, since, via } : { outcome: state, values: NOTHING, since, via: undefined }
}

function readExpression(
  views: Views,
  record: RecordOnFile,
  expression: Expression,
  row: MappingRow,
): Found | { readonly refusal: Refusal } {
  const view = views.of(row)
  const no = (why: string) => ({ refusal: refuse('mapping.failed', `${row.to.name} <- ${row.from}: ${why}`) })
  if (view.tooLong !== undefined) return no(`${view.tooLong} holds a value of more than ${LONGEST_TEXT} characters`)
  if (view.longest > USUAL && expression.cost(view.longest) > LARGEST_COST)
    return no(`a list of ${view.longest} values would cost more than ${LARGEST_COST} steps`)
  try {
    const values = textsOf(expression.run(view.inputs))
    return youngest(view, record, expression, values)
  } catch (error) {
    if (!(error instanceof ExpressionFailure)) throw error
    if (error.absent) return absentFrom(record)
    // What went wrong may repeat the value that it went wrong on.
    const why = row.to.sensitive ? 'it fails (why is not shown, because the attribute is sensitive)' : error.message
    return no(`${why} (at character ${error.at + 1})`)
  }
}

/** Since when the newest thing that an expression reads has been said, and with which sign-in. */
function youngest({ words }: View, record: RecordOnFile, { reads }: Expression, values: readonly string[]): Found {
  let newest: Found | undefined
  const { attributes, nameID } = reads
  if (attributes?.all) {
    for (const word of words.values()) if (!newest || word.since > newest.since) newest = word
  } else if (attributes) {
    for (const name of attributes.names) {
      const word = words.get(name)
      if (word && (!newest || word.since > newest.since)) newest = word
    }
  }
  if (nameID && record.nameId && (!newest || record.nameId.since > newest.since))
    return { outcome: 'mapped', values, since: record.nameId.since, via: record.via }
  return { outcome: 'mapped', values, since: newest?.since ?? record.observedAt, via: newest?.via }
}

/** Below this, what was judged when it was saved holds. */
const USUAL = 1_000

function textsOf(result: unknown): readonly string[] {
  if (typeof result === 'string') return [result]
  if (Array.isArray(result)) return result.map((one) => textOf(one))
  return result === null ? NOTHING : [textOf(result)]
}

function textOf(value: unknown): string {
  if (typeof value === 'string') return value
  if (typeof value === 'boolean' || typeof value === 'bigint' || typeof value === 'number') return String(value)
  throw new ExpressionFailure('gives something that is neither text nor a number nor true or false', 0)
}

interface View {
  readonly inputs: Readonly<Record<string, unknown>>
  /** Each attribute that is read, under the name by which it is. */
  readonly words: ReadonlyMap<string, Found>
  readonly longest: number
  /** An attribute with a value that no expression is to work on. */
  readonly tooLong: string | undefined
}

const NO_SESSION = { authnContext: '', authnInstant: '' }

/** What expressions see of one record: one view for each way in which rows may want the three cases, made when first asked for. */
class Views {
  private readonly made: (View | undefined)[] = []
  private user: Record<string, unknown> | undefined
  private readonly record: RecordOnFile
  private readonly policy: SourcePolicy

  constructor(record: RecordOnFile, policy: SourcePolicy) {
    this.record = record
    this.policy = policy
    if (policy.reads.user) this.user = { ...policy.nobody }
  }

  /** What a row has made, for the rows that build on it. */
  put(to: AttributeDefinition, values: readonly string[]): void {
    if (this.user) this.user[to.name] = celValue(to.type, values)
  }

  of(keeping: Keeping): View {
    const key = (keeping.when === 'create' ? 4 : 0) + (keeping.absent === 'keep' ? 2 : 0) + (keeping.empty === 'keep' ? 1 : 0)
    const made = this.made[key]
    if (made) return made
    const { record, policy } = this
    // Maps, because an identity provider may call an attribute `constructor`.
    const attributes = new Map<string, readonly string[]>()
    const words = new Map<string, Found>()
    let longest = 0
    let tooLong: string | undefined
    const take = (asked: string, name: string | undefined) => {
      if (name === undefined) return
      const word = inEffect(record.attributes[name] as AttributeOnFile, keeping)
      if (word.outcome === 'absent') return
      const { values } = word
      attributes.set(asked, values)
      words.set(asked, word)
      if (values.length > longest) longest = values.length
      for (const value of values) if (value.length > LONGEST_TEXT) tooLong = name
    }
    if (policy.reads.all) for (const name in record.attributes) take(name, name)
    for (const asked of policy.reads.names) take(asked, nameOnFile(record, asked))
    const { nameId, session = NO_SESSION } = record
    const view: View = {
      words,
      longest,
      tooLong,
      inputs: {
        attributes,
        nameID: nameId?.value ?? '',
        session: { authnContext: session.authnContext, authnInstant: session.authnInstant, nameIDFormat: nameId?.format ?? '' },
        source: policy.asSource,
        user: this.user,
      },
    }
    this.made[key] = view
    return view
  }
}
