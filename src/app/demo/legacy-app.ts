// The demo's legacy app: a small HTTP server that knows nothing of SAML, sessions or Gatehouse. It believes the headers
// it gets, as such apps do, and shows them.

import { createServer, type IncomingMessage, type Server } from 'node:http'
import { join } from 'node:path'
import ejs from 'ejs'
import { viewsFolder } from './views.ts'

export function demoLegacyApp(): Server {
  return createServer(async (request, response) => {
    const identity = identityOf(request)
    if (request.url === '/whoami.json') {
      response.setHeader('Content-Type', 'application/json; charset=utf-8')
      response.end(JSON.stringify({ user: identity['x-remote-user'] ?? null, identity }))
      return
    }
    const page = await ejs.renderFile(join(viewsFolder, 'demo/legacy-app.ejs'), { identity, path: request.url, all: request.headers })
    response.setHeader('Content-Type', 'text/html; charset=utf-8')
    response.end(page)
  })
}

/** Node reads header bytes as Latin-1; this app, like most, means UTF-8. */
function identityOf(request: IncomingMessage): Record<string, string> {
  const found: Record<string, string> = {}
  for (const [name, value] of Object.entries(request.headers)) {
    if (name.startsWith('x-remote-')) found[name] = Buffer.from(String(value), 'latin1').toString('utf8')
  }
  return found
}
