// Compiles what an administrator writes in CEL (Common Expression Language) and runs it. An expression sees its inputs and
// nothing else, takes time in proportion to them, and is judged when it is saved: that it parses, what it names, of which
// type it is, and what it could cost. Patterns are RE2's, which never backtrack.

import { type ASTNode, Environment } from '@marcbachmann/cel-js'
import { DateTime } from 'luxon'
import { RE2JS } from 're2js'
import { costAt, Fault, isNamed, type LookupTables, type Reads, shapeOf } from './expression-shape.ts'
import type { Schema } from './schema.ts'

export interface ExpressionFault {
  readonly message: string
  /** Where in the expression, counted from 0. */
  readonly at: number
}

export interface Expression {
  readonly text: string
  /** CEL's name of the type of the result. */
  readonly type: string
  /** The names read of each variable; `all` where that is only known when it runs. */
  readonly reads: Readonly<Record<string, Reads>>
  run(inputs: Readonly<Record<string, unknown>>): unknown
  /** What it could cost with lists of this length, in steps. */
  cost(longestList: number): number
}

export interface Language {
  compile(text: string, accepts?: readonly string[]): Expression | ExpressionFault
}

/** Longer ones are programs, and belong elsewhere. */
const LONGEST_EXPRESSION = 2_000
const LIMITS = { maxAstNodes: 400, maxDepth: 32, maxListElements: 200, maxMapEntries: 200, maxCallArguments: 8 }
/** The lists that the cost of an expression is judged by when it is saved. */
const USUAL_LIST = 1_000
/** Steps; about a twentieth of a microsecond each. */
export const LARGEST_COST = 100_000
/** In UTF-16 code units; what a function may hand back. */
export const LONGEST_TEXT = 65_536

/** An expression that has failed on its inputs: what went wrong, in words for the administrator. */
export class ExpressionFailure extends Error {
  override readonly name = 'ExpressionFailure'
  readonly at: number
  /** It asked for an entry of `attributes` that is not there. */
  readonly absent: boolean
  constructor(message: string, at: number, absent = false) {
    super(message)
    this.at = at
    this.absent = absent
  }
}

/** Of a mapping row: what a source has said, and what the rows before have made of it. */
export function mappingLanguage(schema: Schema, tables: LookupTables): Language {
  const environment = common(tables)
    .registerVariable('attributes', 'map<string, list<string>>')
    .registerVariable('nameID', 'string')
    .registerVariable({ name: 'session', schema: { authnContext: 'string', authnInstant: 'string', nameIDFormat: 'string' } })
    .registerVariable({ name: 'source', schema: { name: 'string', kind: 'string' } })
    .registerVariable({ name: 'user', schema: celTypes(schema) })
  return language(environment, tables)
}

/** Of a source's groups: what it has said, and nothing of ours. */
export function groupsLanguage(tables: LookupTables): Language {
  return language(common(tables).registerVariable('attributes', 'map<string, list<string>>').registerVariable('nameID', 'string'), tables)
}

/** Of a rule for an entitlement: the profile as it is in the end. */
export function ruleLanguage(schema: Schema, tables: LookupTables): Language {
  const environment = common(tables)
    .registerVariable('groups', 'list<string>')
    .registerVariable({ name: 'user', schema: celTypes(schema) })
  return language(environment, tables)
}

function celTypes(schema: Schema): Record<string, string> {
  return Object.fromEntries([...schema.values()].map(({ name, type }) => [name, CEL_TYPE[type]]))
}

const CEL_TYPE = { string: 'string', boolean: 'bool', integer: 'int', date: 'string', list: 'list<string>', reference: 'string' } as const

/** A profile's values as CEL sees them. Nothing is '', [], false or 0, so that no rule has to ask first. */
export function celValue(type: keyof typeof CEL_TYPE, values: readonly string[]): unknown {
  switch (type) {
    case 'list':
      return values
    case 'boolean':
      return values[0] === 'true'
    case 'integer':
      return BigInt(values[0] ?? 0)
    default:
      return values[0] ?? ''
  }
}

function common(tables: LookupTables): Environment {
  const pattern = patterns()
  const firstMatch = (list: readonly string[], re: string) => list.find((one) => pattern(re).test(one)) ?? ''
  return new Environment({ limits: LIMITS })
    .registerFunction('trim(string): string', (text: string) => text.trim())
    .registerFunction('lower(string): string', (text: string) => text.toLowerCase())
    .registerFunction('upper(string): string', (text: string) => text.toUpperCase())
    .registerFunction('split(string, string): list<string>', (text: string, by: string) => parted(text, by))
    .registerFunction('join(list<string>, string): string', (list: readonly string[], by: string) => bounded(list.join(by)))
    .registerFunction('replace(string, string, string): string', (text: string, what: string, by: string) => replaced(text, what, by))
    .registerFunction('like(string, string): bool', (text: string, re: string) => pattern(re).test(text))
    .registerFunction('capture(string, string): string', (text: string, re: string) => captured(pattern(re), text))
    .registerFunction('first(list<string>): string', (list: readonly string[]) => list[0] ?? '')
    .registerFunction('first(list<string>, string): string', firstMatch)
    .registerFunction('any(list<string>): bool', (list: readonly string[]) => list.length > 0)
    .registerFunction('any(list<string>, string): bool', (list: readonly string[], re: string) => firstMatch(list, re) !== '')
    .registerFunction('date(string, string): string', readDate)
    .registerFunction('lookup(string, string): string', (table: string, key: string) => {
      const found = entryOf(tables, table, key)
      if (found === undefined) throw new Error(`the lookup table ${table} has no entry «${key.slice(0, 80)}»`)
      return found
    })
    .registerFunction(
      'lookup(string, string, string): string',
      (table: string, key: string, otherwise: string) => entryOf(tables, table, key) ?? otherwise,
    )
}

function entryOf(tables: LookupTables, table: string, key: string): string | undefined {
  const entries = tables[table]
  return entries && Object.hasOwn(entries, key) ? entries[key] : undefined
}

function bounded(text: string): string {
  if (text.length > LONGEST_TEXT) throw new Error(`a text would have more than ${LONGEST_TEXT} characters`)
  return text
}

/** More pieces than this are no list that anybody wrote. */
const MOST_PARTS = 1_000

function parted(text: string, by: string): string[] {
  const parts = text.split(by, MOST_PARTS + 1)
  if (parts.length > MOST_PARTS) throw new Error(`a text would fall into more than ${MOST_PARTS} parts`)
  return parts
}

function replaced(text: string, what: string, by: string): string {
  if (what === '') throw new Error('replace needs something to look for')
  const parts = text.split(what)
  if (text.length + (parts.length - 1) * by.length > LONGEST_TEXT) throw new Error(`a text would have more than ${LONGEST_TEXT} characters`)
  return parts.join(by)
}

function captured(re: RE2JS, text: string): string {
  const matcher = re.matcher(text)
  if (!matcher.find()) return ''
  return (matcher.groupCount() > 0 ? matcher.group(1) : matcher.group()) ?? ''
}

/** Luxon's tokens (`dd.MM.yyyy`, `yyyyMMdd`); a day, whatever the machine's zone or language. */
function readDate(text: string, format: string): string {
  const read = DateTime.fromFormat(text.trim(), format, { zone: 'utc', locale: 'en' })
  if (!read.isValid) throw new Error(`«${text.slice(0, 80)}» is not a date of the form ${format}`)
  return read.toISODate()
}

/** Patterns are literals (`shapeOf` sees to that), so there are as many as somebody has written. */
function patterns(): (re: string) => RE2JS {
  const compiled = new Map<string, RE2JS>()
  return (re) => {
    let found = compiled.get(re)
    if (!found) {
      found = RE2JS.compile(re)
      compiled.set(re, found)
    }
    return found
  }
}

function language(environment: Environment, tables: LookupTables): Language {
  return {
    compile(text, accepts) {
      if (text.length > LONGEST_EXPRESSION) return { message: `is longer than ${LONGEST_EXPRESSION} characters`, at: LONGEST_EXPRESSION }
      try {
        const parsed = environment.parse(text)
        // What it calls first: a name that is not known here is told before its types are.
        shapeOf(parsed.ast, tables)
        const checked = parsed.check()
        if (!checked.valid) throw checked.error
        const shape = shapeOf(parsed.ast, tables)
        const type = checked.type ?? 'dyn'
        if (accepts && !accepts.includes(type)) throw new Fault(`gives ${type}, and ${accepts[0]} is wanted`, 0)
        const cost = costAt(shape.cost, USUAL_LIST)
        if (cost > LARGEST_COST)
          throw new Fault(`could take ${cost} steps over lists of ${USUAL_LIST} values; ${LARGEST_COST} are allowed`, 0)
        const run = (inputs: Readonly<Record<string, unknown>>) => {
          try {
            return parsed(inputs)
          } catch (error) {
            throw failureOf(error)
          }
        }
        return { text, type, reads: shape.reads, run, cost: (longest) => costAt(shape.cost, longest) }
      } catch (error) {
        if (error instanceof Fault) return { message: error.message, at: error.at }
        const { summary, message, range, code } = error as { summary?: string; message: string; range?: { start: number }; code?: string }
        const said =
          code === 'no_such_key' ? (summary ?? message).replace(/^No such key: /, 'there is nothing called ') : (summary ?? message)
        const hint = /^has\(\) invalid/.test(said) ? "; write has(attributes.NAME), or 'NAME' in attributes" : ''
        return { message: `${said}${hint}`, at: range?.start ?? 0 }
      }
    },
  }
}

function failureOf(error: unknown): ExpressionFailure {
  const { summary, message, range, code, node } = error as {
    summary?: string
    message: string
    range?: { start: number }
    code?: string
    node?: ASTNode
  }
  const of = node && (node.op === '.' || node.op === '[]') ? node.args[0] : undefined
  // As in a plain path: an attribute that is not there, or a value that it does not have.
  const noValue = code === 'index_out_of_bounds' && (of?.op === '.' || of?.op === '[]') && isNamed(of.args[0], 'attributes')
  const absent = noValue || (code === 'no_such_key' && isNamed(of, 'attributes'))
  return new ExpressionFailure(summary ?? message, range?.start ?? 0, absent)
}
