// Cleans what a client sent, before anything of ours is added. The app sees a managed header only if we wrote it, in
// whatever spelling the servers behind us may fold into the same name.

import type { IncomingHttpHeaders } from 'node:http'
import { foldHeaderName } from '../../domain/identity-headers.ts'
import type { App } from '../../domain/policy.ts'
import type { CookieJar } from '../cookies.ts'

/** Between two hops only (RFC 9110, section 7.6.1). `transfer-encoding` stays: the body is streamed as it comes. */
const HOP_BY_HOP = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'upgrade',
])

/** Where a body ends, and whom the request is for, is not the client's to hide from the next server. */
const FRAMING = new Set(['content-length', 'transfer-encoding', 'host'])

/** A Connection header that names one of those is an attempt at smuggling a second request past the gate. */
export function namesFraming(sent: IncomingHttpHeaders): boolean {
  return connectionNames(sent).some((name) => FRAMING.has(name))
}

function connectionNames(sent: IncomingHttpHeaders): readonly string[] {
  return (sent.connection ?? '')
    .toLowerCase()
    .split(',')
    .map((name) => name.trim())
}

/** What we say about the way here; whatever a client says of it is dropped. */
const FORWARDED = new Set(['forwarded', 'x-forwarded-for', 'x-forwarded-host', 'x-forwarded-port', 'x-forwarded-proto', 'x-real-ip'])

/** The folded names that no client may send to this app. */
export function managedHeaders(app: App): ReadonlySet<string> {
  return new Set([...FORWARDED, ...app.headers.map((row) => foldHeaderName(row.name))])
}

export function cleanHeaders(sent: IncomingHttpHeaders, managed: ReadonlySet<string>, cookies: CookieJar): IncomingHttpHeaders {
  // A client may call any header hop-by-hop (RFC 9110, section 7.6.1), so that a proxy further down would drop ours.
  const named = new Set(connectionNames(sent))
  const kept: IncomingHttpHeaders = {}
  for (const name of Object.keys(sent)) {
    if (HOP_BY_HOP.has(name) || (named.has(name) && !FRAMING.has(name)) || managed.has(foldHeaderName(name))) continue
    kept[name] = sent[name]
  }
  if (kept.cookie) {
    const others = cookies.withoutOurs(kept.cookie)
    if (others === undefined) delete kept.cookie
    else kept.cookie = others
  }
  return kept
}

/** Header values travel as bytes; Node writes a string's code units as bytes, so UTF-8 is spelled out. */
export function asBytes(value: string): string {
  return Buffer.from(value, 'utf8').toString('latin1')
}
