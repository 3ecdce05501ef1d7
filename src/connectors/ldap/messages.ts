// Reads what an LDAP server sends (RFC 4511), and believes none of it: every length must fit within what it stands in, and a
// message that announces more than may be held is refused before it has come. The library writes our questions; it does not read
// the answers, because its reader waits for whatever length is announced and never leaves a value that is cut short.

import { FeedFailure } from '../../flows/feed-ports.ts'

/** An attribute as it came: the description (name and options, RFC 4512 section 2.5), and bytes. */
export interface RawAttribute {
  readonly description: string
  readonly values: readonly Buffer[]
}

export interface EntryMessage {
  readonly kind: 'entry'
  readonly id: number
  readonly dn: string
  readonly attributes: readonly RawAttribute[]
}

export interface ReferenceMessage {
  readonly kind: 'reference'
  readonly id: number
  readonly urls: readonly string[]
}

export interface ResultMessage {
  readonly kind: 'result'
  readonly id: number
  /** What it answers, by its tag. */
  readonly operation: number
  readonly code: number
  readonly matchedDn: string
  readonly diagnostic: string
  readonly referrals: readonly string[]
  /** What an extended request brought. */
  readonly value: Buffer | undefined
  /** Value by object identifier. */
  readonly controls: ReadonlyMap<string, Buffer>
}

export type ServerMessage = EntryMessage | ReferenceMessage | ResultMessage

const INTEGER = 0x02
const OCTETS = 0x04
const ENUMERATED = 0x0a
const SEQUENCE = 0x30
const SET = 0x31
export const BIND_RESPONSE = 0x61
const SEARCH_ENTRY = 0x64
export const SEARCH_DONE = 0x65
const SEARCH_REFERENCE = 0x73
export const EXTENDED_RESPONSE = 0x78
const CONTROLS = 0xa0
const REFERRAL = 0xa3
const RESPONSE_VALUE = 0x8b

export function readMessage(frame: Buffer): ServerMessage {
  const message = new Element(frame).child(SEQUENCE)
  const id = message.number(INTEGER)
  const [operation, body] = message.any()
  switch (operation) {
    case SEARCH_ENTRY:
      return { kind: 'entry', id, dn: body.text(), attributes: attributesIn(body.child(SEQUENCE)) }
    case SEARCH_REFERENCE:
      return { kind: 'reference', id, urls: textsIn(body) }
    case BIND_RESPONSE:
    case SEARCH_DONE:
    case EXTENDED_RESPONSE:
      return { kind: 'result', id, operation, ...resultIn(body), controls: controlsIn(message) }
    default:
      throw unreadable()
  }
}

function attributesIn(list: Element): RawAttribute[] {
  const attributes: RawAttribute[] = []
  while (!list.isEmpty) {
    const one = list.child(SEQUENCE)
    const description = one.text()
    const set = one.child(SET)
    const values: Buffer[] = []
    while (!set.isEmpty) values.push(set.bytes(OCTETS))
    attributes.push({ description, values })
  }
  return attributes
}

function textsIn(list: Element): string[] {
  const texts: string[] = []
  while (!list.isEmpty) texts.push(list.text())
  return texts
}

function resultIn(body: Element): Pick<ResultMessage, 'code' | 'matchedDn' | 'diagnostic' | 'referrals' | 'value'> {
  const code = body.number(ENUMERATED)
  const matchedDn = body.text()
  const diagnostic = body.text()
  let referrals: string[] = []
  let value: Buffer | undefined
  while (!body.isEmpty) {
    const [tag, rest] = body.any()
    if (tag === REFERRAL) referrals = textsIn(rest)
    else if (tag === RESPONSE_VALUE) value = rest.all()
  }
  return { code, matchedDn, diagnostic, referrals, value }
}

function controlsIn(message: Element): Map<string, Buffer> {
  const found = new Map<string, Buffer>()
  if (message.isEmpty) return found
  const list = message.child(CONTROLS)
  while (!list.isEmpty) {
    const control = list.child(SEQUENCE)
    const oid = control.text()
    let value = Buffer.alloc(0)
    // The criticality may stand between them; in an answer it means nothing.
    while (!control.isEmpty) {
      const [tag, rest] = control.any()
      if (tag === OCTETS) value = Buffer.from(rest.all())
    }
    found.set(oid, value)
  }
  return found
}

/** The cookie in the value of a paged results control (RFC 2696 section 2); empty on the last page. */
export function cookieIn(value: Buffer): Buffer {
  const control = new Element(value).child(SEQUENCE)
  control.bytes(INTEGER)
  return Buffer.from(control.bytes(OCTETS))
}

/** What is left of one element, read from the front. */
class Element {
  readonly #bytes: Buffer
  #at = 0

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  get isEmpty(): boolean {
    return this.#at >= this.#bytes.length
  }

  any(): [tag: number, body: Element] {
    const header = headerAt(this.#bytes, this.#at)
    if (!header || header.end > this.#bytes.length) throw unreadable()
    const tag = this.#bytes[this.#at] as number
    this.#at = header.end
    return [tag, new Element(this.#bytes.subarray(header.start, header.end))]
  }

  child(wanted: number): Element {
    const [tag, body] = this.any()
    if (tag !== wanted) throw unreadable()
    return body
  }

  all(): Buffer {
    return this.#bytes.subarray(this.#at)
  }

  bytes(wanted: number): Buffer {
    return this.child(wanted).all()
  }

  text(): string {
    return this.bytes(OCTETS).toString('utf8')
  }

  number(wanted: number): number {
    const bytes = this.bytes(wanted)
    if (bytes.length < 1 || bytes.length > 4) throw unreadable()
    return bytes.readIntBE(0, bytes.length)
  }
}

/** Where an element's content begins and ends (X.690, definite lengths only: RFC 4511 section 5.1); undefined: more has to come. */
function headerAt(bytes: Buffer, at: number): { start: number; end: number } | undefined {
  const first = bytes[at + 1]
  if (first === undefined) return undefined
  if (first < 0x80) return { start: at + 2, end: at + 2 + first }
  const count = first & 0x7f
  if (count < 1 || count > 4) throw unreadable()
  if (bytes.length < at + 2 + count) return undefined
  const start = at + 2 + count
  return { start, end: start + bytes.readUIntBE(at + 2, count) }
}

/** Cuts what comes into messages. Holds one of them at most, in as many bytes as it announces, and what has come with it. */
export class Frames {
  readonly #largest: number
  #loose: Buffer = NOTHING
  #message: Buffer | undefined
  #filled = 0

  constructor(largest: number) {
    this.#largest = largest
  }

  get isEmpty(): boolean {
    return this.#loose.length === 0 && this.#message === undefined
  }

  push(chunk: Buffer): void {
    this.#loose = this.#loose.length ? Buffer.concat([this.#loose, chunk]) : chunk
  }

  /** The next message; undefined: it has not come yet, or not all of it. */
  next(): Buffer | undefined {
    if (!this.#message) {
      if (this.#loose.length && this.#loose[0] !== SEQUENCE) throw new FeedFailure('malformed', 'what answers there does not speak LDAP')
      const header = headerAt(this.#loose, 0)
      if (!header) return undefined
      if (header.end > this.#largest)
        throw new FeedFailure('too-large', `the server announces a message of ${header.end} bytes; ${this.#largest} are allowed`)
      if (header.end <= this.#loose.length) return this.#take(header.end)
      this.#message = Buffer.allocUnsafe(header.end)
      this.#filled = 0
    }
    const message = this.#message
    const some = this.#take(Math.min(this.#loose.length, message.length - this.#filled))
    this.#filled += some.copy(message, this.#filled)
    if (this.#filled < message.length) return undefined
    this.#message = undefined
    return message
  }

  #take(count: number): Buffer {
    const taken = this.#loose.subarray(0, count)
    this.#loose = this.#loose.subarray(count)
    return taken
  }
}

const NOTHING = Buffer.alloc(0)

function unreadable(): FeedFailure {
  return new FeedFailure('malformed', 'the server sent a message that cannot be read as LDAP')
}
