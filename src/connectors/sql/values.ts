// What a cell says, as a list of texts. Nothing is rounded and nothing moves to another time zone: numbers come as the database
// writes them, a moment as ISO 8601 in UTC, a date and a time without a zone as they stand. A list (an array of PostgreSQL, JSON
// anywhere) is several values, other JSON is its text. Bytes are left out unless they are readable text: an attribute that is
// sometimes garbage is of no use to a mapping.

import type { Column } from './database.ts'

type Values = Column['values']

const utf8 = new TextDecoder()

function textOf(cell: string | Uint8Array): string {
  return typeof cell === 'string' ? cell : utf8.decode(cell)
}

export const asText: Values = (cell) => [textOf(cell)]

const ZONELESS = /^(\d{4,}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d(?:\.\d+)?)$/
/** MySQL's way to say that there is no date. */
const NO_DATE = /^0000-00-00/

export const asDate: Values = (cell) => {
  const text = textOf(cell)
  return NO_DATE.test(text) ? [] : [text]
}

export const asLocalTime: Values = (cell) => {
  const text = textOf(cell)
  return NO_DATE.test(text) ? [] : [text.replace(ZONELESS, '$1T$2')]
}

/** The session's time zone is UTC. PostgreSQL says so behind each moment, MySQL does not. `infinity` stays as it is. */
export const asMoment: Values = (cell) => {
  const text = textOf(cell)
  return NO_DATE.test(text) ? [] : [text.replace(/\+00$/, '').replace(ZONELESS, '$1T$2Z')]
}

export const asJson: Values = (cell) => {
  const text = textOf(cell)
  return listIn(text) ?? [text]
}

/** SQLite has no type for JSON: a text that is a list of JSON (as json_group_array makes it) is one, any other is itself. */
export const asLoosely: Values = (cell) => {
  if (typeof cell !== 'string') return asBytes(cell)
  return (/^\s*\[/.test(cell) ? listIn(cell) : undefined) ?? [cell]
}

export const asBytes: Values = (cell) => {
  const text = typeof cell === 'string' ? cell : readable(cell)
  return text === undefined ? undefined : [text]
}

/** PostgreSQL's hex form, `\x68656c6c6f`. */
export const asHexBytes: Values = (cell) => asBytes(Buffer.from(textOf(cell).slice(2), 'hex'))

/** MySQL's bit(n): a number, as bytes. */
export const asBits: Values = (cell) => {
  if (typeof cell === 'string') return [cell]
  let number = 0n
  for (const byte of cell) number = number * 256n + BigInt(byte)
  return [String(number)]
}

const strict = new TextDecoder('utf-8', { fatal: true })

function readable(bytes: Uint8Array): string | undefined {
  try {
    const text = strict.decode(bytes)
    return /[^\P{Cc}\t\n\r]/u.test(text) ? undefined : text
  } catch {
    return undefined
  }
}

/** Of a list of scalars, and of a scalar; null is no value. Anything else, or no JSON at all: undefined. */
function listIn(text: string): readonly string[] | undefined {
  let parsed: unknown
  try {
    parsed = JSON.parse(text, asWritten as (key: string, value: unknown) => unknown)
  } catch {
    return undefined
  }
  const values: string[] = []
  for (const one of Array.isArray(parsed) ? parsed : [parsed]) {
    if (one === null) continue
    if (typeof one !== 'string' && typeof one !== 'boolean') return undefined
    values.push(String(one))
  }
  return values
}

/** 2^53 + 1 has no other form that is exact. (TypeScript does not know the third parameter yet.) */
function asWritten(_key: string, value: unknown, { source }: { source?: string }): unknown {
  return typeof value === 'number' ? source : value
}
