// Answers with a page or with JSON, with the headers that keep both harmless. Works on Node's own request and response,
// so that the console's routes and the gate speak alike.

import { readFileSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { fileURLToPath } from 'node:url'
import ejs from 'ejs'
import helmet from 'helmet'

const views = fileURLToPath(new URL('../../views/', import.meta.url))

const protect = helmet({
  contentSecurityPolicy: {
    useDefaults: false,
    directives: {
      defaultSrc: ["'none'"],
      styleSrc: ["'self'"],
      imgSrc: ["'self'", 'data:'],
      formAction: ["'self'"],
      frameAncestors: ["'none'"],
      baseUri: ["'none'"],
    },
  },
  // Whoever terminates TLS decides about the whole host.
  strictTransportSecurity: false,
  referrerPolicy: { policy: 'same-origin' },
})

export async function sendPage(
  request: IncomingMessage,
  response: ServerResponse,
  status: number,
  view: string,
  locals: Record<string, unknown>,
): Promise<void> {
  const html = await ejs.renderFile(`${views}${view}.ejs`, locals, { cache: true })
  harden(request, response)
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
  harden(request, response)
  response.statusCode = status
  response.setHeader('Content-Type', `${type}; charset=utf-8`)
  response.end(request.method === 'HEAD' ? undefined : JSON.stringify(body))
}

export function redirect(request: IncomingMessage, response: ServerResponse, location: string): void {
  harden(request, response)
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

function harden(request: IncomingMessage, response: ServerResponse): void {
  protect(request, response, () => {})
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
  protect(request, response, () => {})
  response.setHeader('Content-Type', 'text/css; charset=utf-8')
  response.setHeader('Cache-Control', 'public, max-age=3600')
  response.end(request.method === 'HEAD' ? undefined : css)
  return true
}
