// What JSON says about one person, as attributes: names with lists of texts. A nested name is a path with dots. Nothing is
// guessed: numbers stay as they were written, null and an empty text are "present but empty".

import { bare } from '../domain/bare.ts'
import type { AttributeValues } from '../domain/model.ts'
import { FeedFailure, type FeedLimits } from '../flows/feed-ports.ts'

/** Numbers are the text that stood there: 2^53 + 1 has no other form that is exact. */
export type Json = string | boolean | null | readonly Json[] | JsonObject

export interface JsonObject {
  readonly [name: string]: Json
}

const parse = JSON.parse as (text: string, revive: (name: string, value: unknown, read: { source: string }) => unknown) => Json

/** The text is the beginning of JSON, and no more. */
export class EndsEarly extends SyntaxError {}

/** RFC 8259: UTF-8, with or without a mark before it. Throws TypeError where it is not that, and SyntaxError where it is no JSON. */
export function jsonOf(bytes: Uint8Array): Json {
  const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  try {
    return parse(text, (_name, value, { source }) => (typeof value === 'number' ? source : value))
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    // V8 says where it gave up, or that the end was not what it expected.
    const [, position] = /at position (\d+)/.exec(error.message) ?? []
    const atEnd = position === undefined ? error.message.startsWith('Unexpected end') : Number(position) >= text.length
    throw atEnd ? new EndsEarly(error.message) : error
  }
}

export function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

export function isList(value: Json | undefined): value is readonly Json[] {
  return Array.isArray(value)
}

/** Of a text, a number or a boolean. */
export function textOf(value: Json | undefined): string | undefined {
  return typeof value === 'string' ? value : typeof value === 'boolean' ? String(value) : undefined
}

/** RFC 6901; undefined: there is nothing there. */
export function at(value: Json, pointer: string): Json | undefined {
  let found: Json | undefined = value
  for (const token of pointer.split('/').slice(1)) {
    const name = token.replaceAll('~1', '/').replaceAll('~0', '~')
    if (isList(found)) found = /^(0|[1-9]\d*)$/.test(name) ? found[Number(name)] : undefined
    else found = isObject(found) && Object.hasOwn(found, name) ? found[name] : undefined
  }
  return found
}

export type Gathered = Map<string, string[]>

/** Deeper than this is nothing that describes a person. */
const DEEPEST = 20

/**
 * Several values where there are several: of an array of objects, `emails.value` has the `value` of each. Two places with the
 * same path (`{"a.b": 1, "a": {"b": 2}}`) are one attribute.
 */
export function flatten(into: Gathered, name: string, value: Json, depth = 0): void {
  if (depth > DEEPEST) throw new FeedFailure('malformed', `«${name.slice(0, 80)}» is nested more than ${DEEPEST} deep`)
  if (isObject(value)) {
    const members = Object.entries(value)
    if (!members.length) present(into, name)
    for (const [member, inner] of members) flatten(into, name ? `${name}.${member}` : member, inner, depth + 1)
  } else if (isList(value)) {
    if (!value.length) present(into, name)
    for (const one of value) flatten(into, name, one, depth + 1)
  } else {
    const values = present(into, name)
    const text = textOf(value)
    if (text) values.push(text)
  }
}

function present(into: Gathered, name: string): string[] {
  const values = into.get(name) ?? []
  into.set(name, values)
  return values
}

/** By name, because some services give the members of an object in another order each time. */
export function attributesOf(gathered: Gathered, place: string, { columns, rowBytes }: FeedLimits): AttributeValues {
  if (gathered.size > columns)
    throw new FeedFailure('too-large', `${place} has ${gathered.size} attributes; feed.columns allows ${columns}`)
  const attributes = bare<readonly string[]>()
  let bytes = 0
  for (const [name, values] of [...gathered].sort(([a], [b]) => (a < b ? -1 : 1))) {
    attributes[name] = values
    bytes += Buffer.byteLength(name)
    for (const value of values) bytes += Buffer.byteLength(value)
  }
  if (bytes > rowBytes) throw new FeedFailure('too-large', `${place} is larger than ${rowBytes} bytes`)
  return attributes
}
