// Turns what a source said, in the source's words, into what it means in ours. One row: profile attribute <- where it comes
// from. Absent, present-but-empty and present are three cases; the first two leave what is on file unless the row says clear.
// Never half-applies: one value that cannot be used refuses the whole record, with the row's name and the reason.

import { nameOnFile } from './attribute-names.ts'
import { type Expression, ExpressionFailure, LARGEST_COST, LONGEST_TEXT } from './expressions.ts'
import type { AttributeOnFile, Profile, RecordOnFile } from './model.ts'
import { sameValues } from './records.ts'
import { type Refusal, refuse } from './refusals.ts'
import { type AttributeDefinition, normaliseValues } from './schema.ts'
import { hide } from './sensitive.ts'
import type { SourcePolicy } from './source-policy.ts'
import { ABSENT, type Found, inEffect, NOTHING, type Origin, Views } from './views.ts'

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
  readonly reads: RowReads
  /** What goes wrong in it may repeat a sensitive value. */
  readonly hides: boolean
}

/** All that a row's value can depend on. Undefined names: on any attribute. */
export interface RowReads {
  readonly names: readonly string[] | undefined
  readonly nameID: boolean
  readonly session: boolean
  /** What other rows have made. */
  readonly user: readonly string[]
}

/** What was on file before, and the profile that was derived from it alone under this very policy. */
export interface Prior {
  readonly record: RecordOnFile
  readonly profile: Profile
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
  /** Since when, and with which sign-in; undefined: `originOf` tells, which takes a while and is seldom asked. */
  readonly origin: Origin | undefined
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
  const found = /^attributes\.([^\s[\](){}'"=+<>!|,?]+(?: [^\s[\](){}'"=+<>!|,?]+)*)(?:\[(\d{1,3})\])?$/.exec(text)
  // A name may hold spaces; a word that joins two things makes it an expression.
  if (found?.[1] === undefined || / (?:in|[-*/%:]|&&) /.test(found[1])) return undefined
  const name = found[1]
  return found[2] === undefined ? { root: 'attributes', name } : { root: 'attributes', name, index: Number(found[2]) }
}

/**
 * @param steps collects what became of each row; left out where nobody asks
 * @param prior a row that reads nothing that has changed since has made the same of it
 */
export function map(record: RecordOnFile, policy: SourcePolicy, steps?: MappingStep[], prior?: Prior): Mapped {
  const values = new Map<string, MappedValue>()
  const views = new Views(record, policy)
  /** Attributes that have turned out otherwise than before. */
  const turned = prior && new Set<string>()
  for (const row of policy.mapping) {
    const { to } = row
    const before = values.get(to.name)
    if (before?.values.length) {
      if (steps) steps.push(stepOf(row, 'passed over', [], []))
      continue
    }
    const was = prior?.profile[to.name]
    if (prior && turned && (was === undefined || was.from === row.from) && readsNothingNew(row, record, prior.record, turned)) {
      const same = was?.values ?? NOTHING
      values.set(to.name, { values: same, row, origin: was })
      views.put(to, same)
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
    values.set(to.name, { values: stands, row, origin: found.origin })
    views.put(to, stands)
    if (turned && !sameValues(was?.values ?? NOTHING, stands)) turned.add(to.name)
  }
  return { values }
}

/** What is on file of an attribute that was said again is the same object (records.ts). */
function readsNothingNew({ reads }: MappingRow, is: RecordOnFile, was: RecordOnFile, turned: ReadonlySet<string>): boolean {
  if (reads.names === undefined || reads.session) return false
  if (reads.nameID && (is.nameId?.value !== was.nameId?.value || is.nameId?.format !== was.nameId?.format)) return false
  for (const asked of reads.names) {
    const name = nameOnFile(is, asked)
    if (name !== nameOnFile(was, asked)) return false
    if (name !== undefined && is.attributes[name] !== was.attributes[name]) return false
  }
  for (const other of reads.user) if (turned.has(other)) return false
  return true
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

/** What one row finds, apart from all others. */
export function readAlone(record: RecordOnFile, policy: SourcePolicy, row: MappingRow): readonly string[] | Refusal {
  const found = read(new Views(record, policy), record, row)
  return 'refusal' in found ? named(found.refusal, policy) : found.values
}

function read(views: Views, record: RecordOnFile, row: MappingRow): Found | { readonly refusal: Refusal } {
  const { reader } = row
  switch (reader.kind) {
    case 'constant':
      return { outcome: 'mapped', values: reader.values, origin: { since: record.observedAt } }
    case 'path':
      return readPath(record, reader.path, row)
    case 'expression':
      return readExpression(views, reader.expression, row)
  }
}

function readPath(record: RecordOnFile, path: SourcePath, row: MappingRow): Found {
  if (path.root === 'nameID') {
    const { nameId } = record
    return nameId ? { outcome: 'mapped', values: [nameId.value], origin: undefined } : ABSENT
  }
  const name = nameOnFile(record, path.name)
  if (name === undefined) return ABSENT
  const found = inEffect(record.attributes[name] as AttributeOnFile, row)
  if (path.index === undefined || !found.values.length) return found
  const value = found.values[path.index]
  return value === undefined ? ABSENT : { outcome: found.outcome, values: [value], origin: found.origin }
}

function readExpression(views: Views, expression: Expression, row: MappingRow): Found | { readonly refusal: Refusal } {
  const view = views.of(row)
  const no = (why: string) => ({ refusal: refuse('mapping.failed', `${row.to.name} <- ${row.from}: ${why}`) })
  if (view.tooLong !== undefined) return no(`${view.tooLong} holds a value of more than ${LONGEST_TEXT} characters`)
  if (view.longest > USUAL && expression.cost(view.longest) > LARGEST_COST)
    return no(`a list of ${view.longest} values would cost more than ${LARGEST_COST} steps`)
  try {
    return { outcome: 'mapped', values: textsOf(expression.run(view.inputs)), origin: undefined }
  } catch (error) {
    if (!(error instanceof ExpressionFailure)) throw error
    if (error.absent) return ABSENT
    // What went wrong may repeat the value that it went wrong on.
    const why = row.hides ? 'it fails (why is not shown, because it reads or makes something sensitive)' : error.message
    return no(`${why} (at character ${error.at + 1})`)
  }
}

/** Since when the newest thing that a row reads has been said, and with which sign-in. */
export function originOf({ row, origin }: MappedValue, record: RecordOnFile): Origin {
  if (origin) return origin
  const { reader } = row
  let newest: Origin | undefined
  const take = (one: Origin | undefined) => {
    if (one && (!newest || one.since > newest.since)) newest = one
  }
  const { nameId, observedAt, via } = record
  const ofName = nameId && { since: nameId.since, ...(via ? { via } : {}) }
  if (reader.kind === 'path' && reader.path.root === 'nameID') take(ofName)
  if (reader.kind === 'expression') {
    const { attributes, nameID } = reader.expression.reads
    const names = attributes?.all ? Object.keys(record.attributes) : (attributes?.names ?? []).map((name) => nameOnFile(record, name))
    for (const name of names) {
      if (name === undefined) continue
      const attribute = record.attributes[name] as AttributeOnFile
      // Nothing is newer than what was said just now.
      if (attribute.since === observedAt && attribute.state === 'present') return attribute
      take(inEffect(attribute, row).origin)
    }
    if (nameID) take(ofName)
  }
  return newest ?? { since: observedAt }
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
