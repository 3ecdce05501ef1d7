// Listens, and sends each request to its door by its host: Gatehouse's own, or an app's through the gate. A stop lets open
// requests finish for a while; WebSockets end at once.

import { createServer, type IncomingMessage, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { answerHealth } from '../http/health.ts'
import type { House } from './assemble.ts'

export interface Running {
  readonly port: number
  stop(): Promise<void>
}

const SWEEP_EVERY_MS = 10 * 60_000
/** How often we ask whose metadata's time has come; how often each is looked at is another matter. */
const REFRESH_EVERY_MS = 60_000
/** How long open requests may go on after a stop was asked for. */
const GRACE_MS = 10_000

export async function listen(house: House, { port, address, baseUrl }: { port: number; address: string; baseUrl: URL }): Promise<Running> {
  const server = createServer(async (request, response) => {
    const host = hostOf(request, baseUrl)
    if (host === baseUrl.host) {
      if (!(await answerHealth(request, response, house.ready))) house.doors(request, response)
      return
    }
    // A load balancer asks by address, so these two answer whatever the host.
    if (await answerHealth(request, response, house.ready)) return
    await house.gate.request(request, response, host)
  })
  server.on('upgrade', (request, socket, head) => house.gate.upgrade(request, socket, head, hostOf(request, baseUrl)))
  await bound(server, port, address)

  const sweeping = setInterval(() => house.sweep().catch((error) => house.log.warn({ err: error }, 'sweeping failed')), SWEEP_EVERY_MS)
  sweeping.unref()
  const refreshing = setInterval(
    () => house.refreshMetadata().catch((error) => house.log.warn({ err: error }, 'looking at metadata failed')),
    REFRESH_EVERY_MS,
  )
  refreshing.unref()

  return {
    port: (server.address() as AddressInfo).port,
    stop: () =>
      new Promise((resolve) => {
        clearInterval(sweeping)
        clearInterval(refreshing)
        house.gate.endUpgraded()
        const patience = setTimeout(() => server.closeAllConnections(), GRACE_MS)
        server.close(() => {
          clearTimeout(patience)
          house.gate.close()
          house.close().then(resolve, resolve)
        })
        server.closeIdleConnections()
      }),
  }
}

export function bound(server: Server, port: number, address: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, address, () => {
      server.off('error', reject)
      resolve()
    })
  })
}

/** Lower case, and without the port that the scheme implies: as configuration writes it. */
function hostOf(request: IncomingMessage, { protocol }: URL): string {
  const host = (request.headers.host ?? '').toLowerCase()
  return host.replace(protocol === 'https:' ? /:443$/ : /:80$/, '')
}
