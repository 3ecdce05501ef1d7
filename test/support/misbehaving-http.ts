// A service on loopback that goes wrong in one chosen way, again and again the same. What it would say if it behaved is the
// test's: a script gets it, and spoils it. Each play has an address of its own, and counts its own requests.

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface Asked {
  /** As the client sees it: below `base`. */
  readonly url: URL
  /** The address of this play. */
  readonly base: string
  readonly method: string
  readonly headers: IncomingMessage['headers']
  readonly body: string
  /** 1 for the first request of this play. */
  readonly turn: number
}

export interface Said {
  readonly status?: number
  readonly headers?: Readonly<Record<string, string>>
  /** JSON, unless it is a text or bytes. */
  readonly body?: unknown
}

/** What a service that behaves would say. */
export type Honest = (asked: Asked) => Said

export type Script = (asked: Asked, answer: ServerResponse, honest: Honest) => void

export interface MisbehavingHttp {
  /** The address of the service that goes by this script. */
  play(script: Script, honest?: Honest): string
  /** What was asked at that address. */
  asked(base: string): readonly Asked[]
  close(): Promise<void>
}

export async function startMisbehaving(): Promise<MisbehavingHttp> {
  const plays = new Map<string, { script: Script; honest: Honest; asked: Asked[] }>()
  const server = createServer(async (request, answer) => {
    const parts: Buffer[] = []
    for await (const part of request) parts.push(part)
    const { port } = server.address() as AddressInfo
    const url = new URL(request.url ?? '/', `http://127.0.0.1:${port}`)
    const base = `${url.origin}/${url.pathname.split('/')[1]}`
    const play = plays.get(base)
    if (!play) return answer.writeHead(404).end()
    const { method = 'GET', headers } = request
    const asked = { url, base, method, headers, body: Buffer.concat(parts).toString(), turn: play.asked.length + 1 }
    play.asked.push(asked)
    play.script(asked, answer, play.honest)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    play(script, honest = () => ({ body: {} })) {
      const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}/${plays.size + 1}`
      plays.set(base, { script, honest, asked: [] })
      return base
    },
    asked: (base) => plays.get(base)?.asked ?? [],
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

export function say(answer: ServerResponse, { status = 200, headers = {}, body }: Said): void {
  const bytes = bytesOf(body)
  answer.writeHead(status, { 'content-type': 'application/json', 'content-length': bytes.length, ...headers }).end(bytes)
}

function bytesOf(body: unknown): Buffer {
  if (body === undefined) return Buffer.alloc(0)
  return body instanceof Uint8Array ? Buffer.from(body) : Buffer.from(typeof body === 'string' ? body : JSON.stringify(body))
}

// --- scripts --------------------------------------------------------------------------------------------------------------

export const behave: Script = (asked, answer, honest) => say(answer, honest(asked))

export const hangBeforeHeaders: Script = () => {}

/** Says half of it and then nothing, and holds on to the connection. */
export const hangInBody: Script = (asked, answer, honest) => half(answer, honest(asked))

/** Says half of it and breaks the connection. */
export const dropInBody: Script = (asked, answer, honest) => half(answer, honest(asked), () => answer.destroy())

/** Breaks the connection without a word. */
export const dropAtOnce: Script = (_asked, answer) => {
  answer.destroy()
}

function half(answer: ServerResponse, said: Said, then?: () => void): void {
  const bytes = bytesOf(said.body)
  answer.writeHead(200, { 'content-type': 'application/json', 'content-length': bytes.length })
  answer.write(bytes.subarray(0, Math.floor(bytes.length / 2)), then)
}

/** Whole as HTTP sees it, and half of what it should be. */
export const halfOfTheBody: Script = (asked, answer, honest) => {
  const bytes = bytesOf(honest(asked).body)
  say(answer, { body: bytes.subarray(0, Math.floor(bytes.length / 2)) })
}

/** Whatever is asked, the first answer once more. */
export function theSameForever(): Script {
  let first: Said | undefined
  return (asked, answer, honest) => {
    first ??= honest(asked)
    say(answer, first)
  }
}

export const saying =
  (said: Said | ((asked: Asked) => Said)): Script =>
  (asked, answer) =>
    say(answer, typeof said === 'function' ? said(asked) : said)

/** Larger than any page should be; it is made as it is read. */
export const hugePage: Script = (_asked, answer) => {
  answer.writeHead(200, { 'content-type': 'application/json' })
  answer.write('["')
  const chunk = Buffer.alloc(1024 * 1024, 'x')
  const more = () => {
    while (!answer.destroyed && answer.write(chunk));
  }
  answer.on('drain', more)
  more()
}

export const garbage = saying({ body: '{"Resources": [nobody knows' })
export const signInPage = saying({ headers: { 'content-type': 'text/html' }, body: '<!doctype html><title>Please sign in</title>' })
export const invalidUtf8 = saying({ body: Buffer.concat([Buffer.from('{"name":"'), Buffer.from([0xc3, 0x28]), Buffer.from('"}')]) })

/** Not even HTTP. */
export const notHttp: Script = (_asked, answer) => {
  answer.socket?.end('220 mail.example ESMTP\r\n')
}

export const status = (code: number, said: Omit<Said, 'status'> = {}): Script => saying({ body: { detail: 'no' }, ...said, status: code })

/** At first; from then on it behaves. */
export const atFirst =
  (script: Script, turns = 1): Script =>
  (asked, answer, honest) =>
    (asked.turn <= turns ? script : behave)(asked, answer, honest)

/** After it has behaved for so many turns. */
export const later =
  (script: Script, turns = 1): Script =>
  (asked, answer, honest) =>
    (asked.turn > turns ? script : behave)(asked, answer, honest)
