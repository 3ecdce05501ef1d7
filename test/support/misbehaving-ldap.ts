// A directory that does as it is told, on plain TCP: what a real one would never send, and what Active Directory sends that nothing
// else does. It signs everybody in and says that it can page, unless the script says otherwise.

import type { AddressInfo, Socket } from 'node:net'
import { createServer } from 'node:net'
import { Ber, BerReader, BerWriter } from 'ldapts'
import type { LdapSettings } from '../../src/domain/documents/source.ts'
import type { FeedFailureCode } from '../../src/flows/feed-ports.ts'

export interface Question {
  readonly id: number
  readonly kind: 'bind' | 'search' | 'extended' | 'unbind' | 'other'
  readonly base: string
  readonly attributes: readonly string[]
  /** Of the paged results control. */
  readonly cookie: string
  /** Of a simple bind. */
  readonly password: string
}

export interface ScriptedEntry {
  readonly dn: string
  readonly attributes: Readonly<Record<string, readonly (string | Buffer)[]>>
}

export interface ScriptedResult {
  readonly code?: number
  readonly diagnostic?: string
  readonly referrals?: readonly string[]
  /** Another page follows. */
  readonly cookie?: string
  readonly tag?: number
}

export interface Answer {
  entry(entry: ScriptedEntry): void
  reference(...urls: string[]): void
  done(result?: ScriptedResult): void
  raw(bytes: Buffer | string): void
  drop(): void
}

/** Says true when it has answered, or means not to. */
export type Script = (question: Question, answer: Answer) => boolean

export interface MisbehavingLdap {
  readonly url: string
  /** How many connections there have been, and how many are open. */
  readonly connections: { total: number; open: number }
  stop(): Promise<void>
}

/** A way of going wrong, and as what it has to be told. */
export interface Way {
  readonly name: string
  readonly script: Script
  readonly fails: readonly FeedFailureCode[]
  readonly settings?: Partial<LdapSettings>
}

export const SUFFIX = 'dc=corp,dc=example'
export const PEOPLE = `ou=people,${SUFFIX}`

const PAGED = '1.2.840.113556.1.4.319'
const KINDS: Readonly<Record<number, Question['kind']>> = { 96: 'bind', 99: 'search', 119: 'extended', 66: 'unbind' }
const RESULTS: Readonly<Record<Question['kind'], number>> = { bind: 0x61, search: 0x65, extended: 0x78, unbind: 0, other: 0 }

export async function startMisbehavingLdap(script: Script): Promise<MisbehavingLdap> {
  const sockets = new Set<Socket>()
  const connections = { total: 0, open: 0 }
  const server = createServer((socket) => {
    sockets.add(socket.setNoDelay())
    connections.total++
    connections.open++
    socket.on('error', () => undefined)
    socket.on('close', () => {
      sockets.delete(socket)
      connections.open--
    })
    // Questions are small: each comes in one piece.
    socket.on('data', (chunk: Buffer) => {
      const question = questionIn(chunk)
      const answer = answerTo(question, socket)
      if (question.kind === 'unbind' || script(question, answer)) return
      if (question.kind === 'search' && question.base === '') answer.entry(ROOT)
      answer.done()
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `ldap://127.0.0.1:${(server.address() as AddressInfo).port}`,
    connections,
    async stop() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

const ROOT: ScriptedEntry = { dn: '', attributes: { objectClass: ['top'], supportedControl: [PAGED], vendorName: ['Scripted'] } }

function answerTo({ id, kind }: Question, socket: Socket): Answer {
  const send = (tag: number, write: (writer: BerWriter) => void, after?: (writer: BerWriter) => void) =>
    socket.write(messageBytes(id, tag, write, after))
  return {
    entry: ({ dn, attributes }) => send(0x64, (writer) => writeEntry(writer, dn, attributes)),
    reference: (...urls) => send(0x73, (writer) => writer.writeStringArray(urls)),
    done({ code = 0, diagnostic = '', referrals = [], cookie = '', tag = RESULTS[kind] } = {}) {
      send(
        tag,
        (writer) => {
          writer.writeEnumeration(code)
          writer.writeString('')
          writer.writeString(diagnostic)
          if (!referrals.length) return
          writer.startSequence(0xa3)
          writer.writeStringArray([...referrals])
          writer.endSequence()
        },
        kind === 'search' ? (writer) => writePaged(writer, cookie) : undefined,
      )
    },
    raw: (bytes) => socket.write(bytes),
    drop: () => socket.destroySoon(),
  }
}

/** One whole message (RFC 4511 section 4.1.1). */
export function messageBytes(id: number, tag: number, write: (writer: BerWriter) => void, after?: (writer: BerWriter) => void): Buffer {
  const writer = new BerWriter()
  writer.startSequence()
  writer.writeInt(id)
  writer.startSequence(tag)
  write(writer)
  writer.endSequence()
  after?.(writer)
  writer.endSequence()
  return writer.buffer
}

function writeEntry(writer: BerWriter, dn: string, attributes: ScriptedEntry['attributes']): void {
  writer.writeString(dn)
  writer.startSequence()
  for (const [name, values] of Object.entries(attributes)) {
    writer.startSequence()
    writer.writeString(name)
    writer.startSequence(0x31)
    for (const value of values) writer.writeBuffer(Buffer.from(value), Ber.OctetString)
    writer.endSequence()
    writer.endSequence()
  }
  writer.endSequence()
}

function writePaged(writer: BerWriter, cookie: string): void {
  const value = new BerWriter()
  value.startSequence()
  value.writeInt(0)
  value.writeString(cookie)
  value.endSequence()
  writer.startSequence(0xa0)
  writer.startSequence()
  writer.writeString(PAGED)
  writer.writeBuffer(value.buffer, Ber.OctetString)
  writer.endSequence()
  writer.endSequence()
}

function questionIn(bytes: Buffer): Question {
  // It may be the beginning of TLS.
  if (bytes[0] !== 0x30) return { id: 0, kind: 'other', base: '', attributes: [], cookie: '', password: '' }
  const reader = new BerReader(bytes)
  reader.readSequence()
  const id = reader.readInt() ?? 0
  const kind = KINDS[reader.readSequence() ?? 0] ?? 'other'
  const nothing = { id, kind, base: '', attributes: [], cookie: '', password: '' }
  if (kind === 'bind') {
    reader.readInt()
    reader.readString()
    return { ...nothing, password: reader.readString(0x80) ?? '' }
  }
  if (kind !== 'search') return nothing
  const base = reader.readString() ?? ''
  for (const read of ['readEnumeration', 'readEnumeration', 'readInt', 'readInt', 'readBoolean'] as const) reader[read]()
  skip(reader)
  const attributes: string[] = []
  reader.readSequence()
  for (const end = reader.offset + reader.length; reader.offset < end; ) attributes.push(reader.readString() ?? '')
  return { ...nothing, base, attributes, cookie: cookieIn(reader) }
}

function cookieIn(reader: BerReader): string {
  if (reader.peek() !== 0xa0) return ''
  reader.readSequence()
  for (const end = reader.offset + reader.length; reader.offset < end; ) {
    reader.readSequence()
    const type = reader.readString()
    if (reader.peek() === Ber.Boolean) reader.readBoolean()
    const value = reader.offset < end && reader.peek() === Ber.OctetString ? reader.readString(Ber.OctetString, true) : null
    if (type !== PAGED || !value) continue
    const paged = new BerReader(value)
    paged.readSequence()
    paged.readInt()
    return paged.readString() ?? ''
  }
  return ''
}

function skip(reader: BerReader): void {
  reader.readSequence()
  reader.offset += reader.length
}

/** A person. */
export const one = (name: string, attributes: Record<string, string[]> = {}) => ({
  dn: `uid=${name},${PEOPLE}`,
  attributes: { entryUUID: [name], uid: [name], ...attributes },
})

/** Answers a search for people. */
export const onSearch =
  (script: Script): Script =>
  (question, answer) =>
    question.kind === 'search' && question.base === SUFFIX ? script(question, answer) : false

const onBind =
  (script: Script): Script =>
  (question, answer) =>
    question.kind === 'bind' ? script(question, answer) : false

export const WAYS: readonly Way[] = [
  { name: 'says nothing', script: () => true, fails: ['too-slow'] },
  { name: 'says nothing after somebody signed in', script: (question) => question.kind !== 'bind', fails: ['too-slow'] },
  {
    name: 'stops in the middle of a page',
    script: onSearch((_question, answer) => {
      answer.entry(one('a'))
      return true
    }),
    fails: ['too-slow'],
  },
  {
    name: 'closes the connection in the middle of a page',
    script: onSearch((_question, answer) => {
      answer.entry(one('a'))
      answer.drop()
      return true
    }),
    fails: ['unreachable'],
  },
  {
    name: 'closes the connection in the middle of a message',
    script: onSearch(({ id }, answer) => {
      answer.raw(messageBytes(id, 0x64, (writer) => writer.writeString('uid=a'.repeat(20))).subarray(0, 50))
      answer.drop()
      return true
    }),
    fails: ['unreachable'],
  },
  {
    name: 'closes the connection between two pages',
    script: onSearch(({ cookie }, answer) => {
      if (cookie) answer.drop()
      else {
        answer.entry(one('a'))
        answer.done({ cookie: 'next' })
      }
      return true
    }),
    fails: ['unreachable'],
  },
  {
    name: 'gives notice',
    script: onSearch((_question, answer) => {
      answer.raw(
        messageBytes(0, 0x78, (writer) => {
          writer.writeEnumeration(52)
          writer.writeString('')
          writer.writeString('maintenance')
        }),
      )
      return true
    }),
    fails: ['unreachable'],
  },
  {
    name: 'refers to another server',
    script: onSearch((_question, answer) => {
      answer.done({ code: 10, referrals: ['ldap://elsewhere.example/'] })
      return true
    }),
    fails: ['misconfigured'],
  },
  {
    name: 'refers without end',
    script: onSearch((_question, answer) => {
      for (let i = 0; i < 10_001; i++) answer.reference('ldap://elsewhere.example/')
      return true
    }),
    fails: ['endless'],
  },
  {
    name: 'reaches its size limit after half of them',
    script: onSearch((_question, answer) => {
      answer.entry(one('a'))
      answer.done({ code: 4 })
      return true
    }),
    fails: ['too-large'],
  },
  {
    name: 'has no pages, and says so',
    script: (question, answer) => {
      if (question.kind !== 'search' || question.base !== '') return false
      answer.entry({ dn: '', attributes: { supportedControl: ['2.16.840.1.113730.3.4.2'] } })
      answer.done()
      return true
    },
    fails: ['misconfigured'],
  },
  {
    name: 'has no pages, and does not say so',
    script: onSearch((_question, answer) => {
      for (const name of ['a', 'b', 'c']) answer.entry(one(name))
      answer.done()
      return true
    }),
    fails: ['misconfigured'],
  },
  {
    name: 'sends the same page for ever, by the same cookie',
    script: onSearch((_question, answer) => {
      answer.entry(one('a'))
      answer.done({ cookie: 'again' })
      return true
    }),
    fails: ['endless'],
  },
  {
    name: 'sends the same pages for ever, by new cookies',
    script: onSearch(({ cookie }, answer) => {
      answer.entry(one(Number(cookie) % 2 ? 'a' : 'b'))
      answer.done({ cookie: String(Number(cookie) + 1) })
      return true
    }),
    fails: ['endless'],
  },
  {
    name: 'sends empty pages for ever',
    script: onSearch(({ cookie }, answer) => {
      answer.done({ cookie: String(Number(cookie) + 1) })
      return true
    }),
    fails: ['endless'],
  },
  {
    name: 'speaks another protocol',
    script: onBind((_question, answer) => {
      answer.raw('HTTP/1.1 400 Bad Request\r\n\r\n')
      return true
    }),
    fails: ['malformed'],
  },
  {
    name: 'sends a value that is longer than what it stands in',
    script: onSearch(({ id }, answer) => {
      answer.raw(Buffer.from([0x30, 9, 2, 1, id, 0x73, 4, 4, 0x7f, 0x61, 0x61]))
      return true
    }),
    fails: ['malformed'],
  },
  {
    name: 'answers another question',
    script: onSearch(({ id }, answer) => {
      answer.raw(
        messageBytes(id + 7, 0x65, (writer) => {
          writer.writeEnumeration(0)
          writer.writeString('')
          writer.writeString('')
        }),
      )
      return true
    }),
    fails: ['malformed'],
  },
  {
    name: 'answers a search as if it were a bind',
    script: onSearch((_question, answer) => {
      answer.done({ tag: 0x61 })
      return true
    }),
    fails: ['malformed'],
  },
  {
    name: 'announces a message of 64 MB',
    script: onSearch((_question, answer) => {
      answer.raw(Buffer.from([0x30, 0x84, 4, 0, 0, 0, 2, 1, 3]))
      return true
    }),
    fails: ['too-large'],
  },
  {
    name: 'sends a page of more than anybody wants to hold',
    settings: { pageSize: 1_000 },
    script: onSearch((_question, answer) => {
      const long = Buffer.alloc(8 * 1024 * 1024, 'a').toString()
      for (let i = 0; i < 9; i++) answer.entry(one(String(i), { description: [long] }))
      return true
    }),
    fails: ['too-large'],
  },
  {
    name: 'repeats the password when it refuses it',
    script: onBind(({ password }, answer) => {
      answer.done({ code: 49, diagnostic: `«${password}» is not it` })
      return true
    }),
    fails: ['denied'],
  },
  {
    name: 'wants a stronger way to sign in',
    script: onBind((_question, answer) => {
      answer.done({ code: 8 })
      return true
    }),
    fails: ['misconfigured'],
  },
  {
    name: 'sends the same part of a long list again and again',
    script: (question, answer) => {
      if (question.kind !== 'search' || question.base === '') return false
      answer.entry(one('a', { 'proxyAddresses;range=0-1': ['a', 'b'] }))
      answer.done()
      return true
    },
    fails: ['endless'],
  },
  {
    name: 'does not encrypt',
    settings: { startTls: true },
    script: (question, answer) => {
      if (question.kind !== 'extended') return false
      answer.done({ code: 2, diagnostic: 'unsupported extended operation' })
      return true
    },
    fails: ['misconfigured'],
  },
  {
    name: 'sends an answer ahead of the encryption',
    settings: { startTls: true },
    script: (question, answer) => {
      if (question.kind !== 'extended') return false
      const success = (id: number, tag: number) =>
        messageBytes(id, tag, (writer) => {
          writer.writeEnumeration(0)
          writer.writeString('')
          writer.writeString('')
        })
      answer.raw(Buffer.concat([success(question.id, 0x78), success(question.id + 1, 0x61)]))
      return true
    },
    fails: ['malformed'],
  },
]
