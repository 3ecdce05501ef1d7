// Our cookies: names, attributes, reading. Every one is HttpOnly and host-only; Secure wherever Gatehouse is served by
// https, and then under a name prefix that makes the browser insist on it (RFC 6265bis, section 4.1.3).

import type { IncomingMessage, ServerResponse } from 'node:http'
import { parseCookie, stringifySetCookie } from 'cookie'

export interface CookieJar {
  /** The key to the session at this host. */
  readSession(request: IncomingMessage): string | undefined
  setSession(response: ServerResponse, secret: string, expires: Date): void
  clearSession(response: ServerResponse): void
  /** On an app's host: proves that the browser which comes back is the one that was sent to sign in. */
  readEntry(request: IncomingMessage): string | undefined
  setEntry(response: ServerResponse, secret: string): void
  /** At the assertion consumer: proves that this browser began the request. */
  readRequest(request: IncomingMessage, requestId: string): string | undefined
  setRequest(response: ServerResponse, request: { id: string; secret: string; path: string; minutes: number }): void
  clearRequest(response: ServerResponse, request: { id: string; path: string }): void
  /** The Cookie header for the app: everything but ours. Undefined when nothing is left. */
  withoutOurs(header: string): string | undefined
  /** Whether a Set-Cookie header of an app would overwrite one of ours. */
  isOurs(setCookie: string): boolean
}

/** Every spelling under which we may have set one. */
const OURS = /^(?:__Host-|__Secure-)?gatehouse(?:-|$)/i

export function cookieJar(secure: boolean): CookieJar {
  const host = secure ? '__Host-' : ''
  const session = `${host}gatehouse`
  const entry = `${host}gatehouse-entry`
  const request = (id: string) => `${secure ? '__Secure-' : ''}gatehouse-request-${id}`
  const common = { httpOnly: true, secure, path: '/' }

  return {
    readSession: (from) => read(from, session),
    setSession: (to, value, expires) => set(to, { ...common, name: session, value, expires, sameSite: 'lax' }),
    clearSession: (to) => set(to, { ...common, name: session, value: '', maxAge: 0, sameSite: 'lax' }),
    readEntry: (from) => read(from, entry),
    setEntry: (to, value) => set(to, { ...common, name: entry, value, maxAge: 3600, sameSite: 'lax' }),
    readRequest: (from, id) => read(from, request(id)),
    setRequest: (to, { id, secret, path, minutes }) =>
      set(to, { ...common, ...crossSite(secure), name: request(id), value: secret, path, maxAge: minutes * 60 }),
    clearRequest: (to, { id, path }) => set(to, { ...common, ...crossSite(secure), name: request(id), value: '', path, maxAge: 0 }),
    withoutOurs(header) {
      const kept = header.split(';').filter((pair) => !OURS.test(pair.trim().split('=', 1)[0]?.trim() ?? ''))
      return kept.length ? kept.map((pair) => pair.trim()).join('; ') : undefined
    },
    isOurs: (setCookie) => OURS.test(setCookie.split('=', 1)[0]?.trim() ?? ''),
  }
}

/**
 * The answer arrives as a cross-site POST, where Lax cookies stay away. SameSite=None needs Secure; without https (on
 * localhost) the attribute is left out, which browsers read as Lax but allow on a POST for the cookie's first minutes.
 */
function crossSite(secure: boolean): { sameSite?: 'none' } {
  return secure ? { sameSite: 'none' } : {}
}

function read(request: IncomingMessage, name: string): string | undefined {
  const header = request.headers.cookie
  return header ? parseCookie(header)[name] || undefined : undefined
}

function set(response: ServerResponse, cookie: Parameters<typeof stringifySetCookie>[0]): void {
  response.appendHeader('Set-Cookie', stringifySetCookie(cookie))
}
