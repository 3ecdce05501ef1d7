// Answers with a page or with JSON, with the headers that keep both harmless. Works on Node's own request and response,
// so that the console's routes and the gate speak alike.

import { readFileSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { fileURLToPath } from 'node:url'
import ejs from 'ejs'

const views = fileURLToPath(new URL('../../views/', import.meta.url))

/** Undefined takes a directive away. */
export type ContentSecurity = Readonly<Record<string, string | undefined>>

const CONTENT_SECURITY: ContentSecurity = {
  'default-src': "'none'",
  'style-src': "'self'",
  'img-src': "'self' data:",
  'form-action': "'self'",
  'frame-ancestors': "'none'",
  'base-uri': "'none'",
}

function contentSecurityPolicy(differing: ContentSecurity = {}): string {
  const directives = Object.entries({ ...CONTENT_SECURITY, ...differing })
  return directives.flatMap(([name, value]) => (value === undefined ? [] : [`${name} ${value}`])).join('; ')
}

/** What every answer of ours carries. TLS and its strictness are the business of whoever terminates it. */
const protection: readonly (readonly [name: string, value: string])[] = [
  ['Content-Security-Policy', contentSecurityPolicy()],
  ['Cross-Origin-Opener-Policy', 'same-origin'],
  ['Cross-Origin-Resource-Policy', 'same-origin'],
  ['Referrer-Policy', 'same-origin'],
  ['X-Content-Type-Options', 'nosniff'],
  // For what is older than frame-ancestors.
  ['X-Frame-Options', 'DENY'],
]

export async function sendPage(
  request: IncomingMessage,
  response: ServerResponse,
  status: number,
  view: string,
  locals: Record<string, unknown>,
  { contentSecurity }: { contentSecurity?: ContentSecurity } = {},
): Promise<void> {
  const html = await ejs.renderFile(`${views}${view}.ejs`, locals, { cache: true })
  harden(response)
  if (contentSecurity) {
    response.setHeader('Content-Security-Policy', contentSecurityPolicy(contentSecurity))
    if (contentSecurity['frame-ancestors']) response.removeHeader('X-Frame-Options')
  }
  response.statusCode = status
  response.setHeader('Content-Type', 'text/html; charset=utf-8')
  response.end(request.method === 'HEAD' ? undefined : html)
}

export function sendJson(
  request: IncomingMessage,
  response: ServerResponse,
  status: number,
  body: unknown,
  type = 'application/json',
): void {
  harden(response)
  response.statusCode = status
  response.setHeader('Content-Type', `${type}; charset=utf-8`)
  response.end(request.method === 'HEAD' ? undefined : JSON.stringify(body))
}

export function redirect(response: ServerResponse, location: string): void {
  harden(response)
  // 303: whatever the method was, the next request is a GET (RFC 9110, section 15.4.4).
  response.statusCode = 303
  response.setHeader('Location', location)
  response.end()
}

/** JSON is for whoever asks for it and does not also take HTML, as browsers do. */
export function wantsJson(request: IncomingMessage): boolean {
  const accept = request.headers.accept ?? ''
  return /[/+]json\b/.test(accept) && !accept.includes('text/html')
}

function protect(response: ServerResponse): void {
  for (const [name, value] of protection) response.setHeader(name, value)
}

function harden(response: ServerResponse): void {
  protect(response)
  // What we say is about one person at one moment.
  response.setHeader('Cache-Control', 'no-store')
}

const stylesheets: Readonly<Record<string, string>> = {
  'pico.css': readFileSync(new URL(import.meta.resolve('@picocss/pico/css/pico.classless.min.css')), 'utf8'),
  'gatehouse.css': readFileSync(`${views}gatehouse.css`, 'utf8'),
}

/** `/.gatehouse/<name>`: the same address on our own host and on every app's. False: there is no such stylesheet. */
export function sendStylesheet(request: IncomingMessage, response: ServerResponse, name: string): boolean {
  const css = Object.hasOwn(stylesheets, name) ? stylesheets[name] : undefined
  if (css === undefined) return false
  protect(response)
  response.setHeader('Content-Type', 'text/css; charset=utf-8')
  response.setHeader('Cache-Control', 'public, max-age=3600')
  response.end(request.method === 'HEAD' ? undefined : css)
  return true
}
