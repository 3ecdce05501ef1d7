// Turns what a source said, in the source's words, into what it means in ours. One row: profile attribute <- path.
// Absent, present-but-empty and present are three cases; absent leaves what is on file. Never half-applies: one value
// that cannot be used refuses the whole record, with the row's name and the reason.

import { attributeNamed } from './attributes.ts'
import type { RecordOnFile } from './model.ts'
import { type Refusal, refuse } from './refusals.ts'

export type SourcePath = { readonly root: 'nameID' } | { readonly root: 'attributes'; readonly name: string; readonly index?: number }

export interface MappingRow {
  /** A profile attribute. */
  readonly to: string
  /** As the administrator wrote it. */
  readonly from: string
  readonly path: SourcePath
}

/** What became of one row, for whoever asks why. */
export interface MappingStep {
  readonly to: string
  readonly from: string
  readonly outcome: 'mapped' | 'empty' | 'absent' | 'refused'
  readonly values: readonly string[]
}

export interface MappedValue {
  readonly values: readonly string[]
  readonly from: string
  readonly since: Date
}

export interface Mapped {
  readonly values: ReadonlyMap<string, MappedValue>
  readonly steps: readonly MappingStep[]
  readonly refusal?: Refusal
}

/** Values longer than this (in UTF-16 code units) are refused: nothing about a person needs them. */
const LONGEST_VALUE = 4096
/** For what is looked up by: the most that any database's index holds, in the widest characters. */
export const LONGEST_KEY = 512

/**
 * Reads `nameID`, `attributes.email`, `attributes.http://schemas.example/claims/name` and `attributes.mail[0]`.
 * Everything after `attributes.` is the name; a trailing `[n]` picks the n-th value, counted from 0. Undefined: not a path.
 */
export function parseSourcePath(text: string): SourcePath | undefined {
  if (text === 'nameID') return { root: 'nameID' }
  const found = /^attributes\.([^\s[\]]+)(?:\[(\d{1,3})\])?$/.exec(text)
  if (found?.[1] === undefined) return undefined
  const name = found[1]
  return found[2] === undefined ? { root: 'attributes', name } : { root: 'attributes', name, index: Number(found[2]) }
}

export function map(record: RecordOnFile, rows: readonly MappingRow[]): Mapped {
  const values = new Map<string, MappedValue>()
  const steps: MappingStep[] = []
  for (const row of rows) {
    const found = read(record, row.path)
    if (found === undefined) {
      steps.push({ to: row.to, from: row.from, outcome: 'absent', values: [] })
      continue
    }
    const wanted = found.values.map((value) => value.trim()).filter((value) => value !== '')
    const fault = faultOf(row, wanted)
    steps.push({ to: row.to, from: row.from, outcome: fault ? 'refused' : wanted.length ? 'mapped' : 'empty', values: wanted })
    if (fault) return { values, steps, refusal: refuse('attribute.value', fault) }
    if (wanted.length) values.set(row.to, { values: wanted, from: row.from, since: found.since })
  }
  return { values, steps }
}

/** The values a path leads to; undefined when the source has never said anything of the kind. */
export function read(
  record: RecordOnFile,
  path: SourcePath,
): { readonly values: readonly string[]; readonly since: Date; readonly present: boolean } | undefined {
  if (path.root === 'nameID') {
    if (!record.nameId) return undefined
    return { values: [record.nameId.value], since: record.nameId.since, present: true }
  }
  // Its own name first: a friendly name is a courtesy and may not displace a real one.
  const alias = record.aliases[path.name]
  const found = record.attributes[path.name] ?? (alias === undefined ? undefined : record.attributes[alias])
  if (found === undefined || path.index === undefined) return found
  const value = found.values[path.index]
  return value === undefined ? undefined : { ...found, values: [value] }
}

function faultOf(row: MappingRow, values: readonly string[]): string | undefined {
  const attribute = attributeNamed(row.to)
  if (attribute?.type === 'string' && values.length > 1) {
    return `${row.to} takes one value, but ${row.from} has ${values.length}; ${row.from}[0] picks the first`
  }
  const longest = attribute?.unique ? LONGEST_KEY : LONGEST_VALUE
  for (const value of values) {
    if (value.length > longest) return `${row.from} holds a value of more than ${longest} characters`
    // Control characters would break out of a header line further down.
    if (/\p{Cc}/u.test(value)) return `${row.from} holds a control character`
  }
  return undefined
}
