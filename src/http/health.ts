// /healthz: the process is alive. /readyz: it can do its work. For load balancers, on every host, without a session.

import type { IncomingMessage, ServerResponse } from 'node:http'
import { sendJson } from './pages.ts'

/** False: not an address of ours. */
export async function answerHealth(request: IncomingMessage, response: ServerResponse, ready: () => Promise<unknown>): Promise<boolean> {
  if (request.url === '/healthz') {
    sendJson(request, response, 200, { status: 'alive' })
    return true
  }
  if (request.url !== '/readyz') return false
  try {
    await ready()
    sendJson(request, response, 200, { status: 'ready' })
  } catch {
    response.setHeader('Retry-After', '5')
    sendJson(request, response, 503, { status: 'unavailable', reason: 'the database cannot be reached' })
  }
  return true
}
