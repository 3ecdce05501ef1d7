// The way to the legacy app, one chain for every request: strip every managed header -> find the session -> inject the
// identity -> upstream. Who has no session never reaches the app, and neither does a header that claims to be ours.

import http, { type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http'
import https from 'node:https'
import type { Duplex } from 'node:stream'
import { createProxyServer } from 'httpxy'
import type { Logger } from 'pino'
import { identityHeaders } from '../../domain/identity-headers.ts'
import type { App } from '../../domain/policy.ts'
import type { EnteredApp } from '../../flows/enter-app.ts'
import type { Mint } from '../../flows/ports.ts'
import { hashSecret } from '../../flows/secrets.ts'
import type { CookieJar } from '../cookies.ts'
import { redirect, sendStylesheet, wantsJson } from '../pages.ts'
import { faultProblem, notFound, type Problem, sendProblem } from '../problem.ts'
import { appOrigin } from '../return.ts'
import type { FindVisit, SessionInForce } from '../session.ts'
import { asBytes, cleanHeaders, managedHeaders, namesFraming } from './headers.ts'

export interface GateDeps {
  readonly visit: FindVisit
  readonly baseUrl: URL
  readonly cookies: CookieJar
  readonly mint: Mint
  readonly enter: (ask: { ticket: string; entrySecret: string; host: string; now: Date }) => Promise<EnteredApp | undefined>
  readonly clock: () => Date
  readonly log: Logger
}

export interface Gate {
  /** @param host the request's Host, lower case, without the scheme's own port */
  request(request: IncomingMessage, response: ServerResponse, host: string): Promise<void>
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer, host: string): Promise<void>
  /** Ends every WebSocket: it has no end of its own to wait for. */
  endUpgraded(): void
  close(): void
}

/** How soon a WebSocket notices that its session has ended. */
const RECHECK_MS = 2_000

/** What Gatehouse takes from an app, besides /healthz and /readyz. */
const RESERVED = '/.gatehouse/'

export function gate(deps: GateDeps): Gate {
  const agents = { 'http:': new http.Agent({ keepAlive: true }), 'https:': new https.Agent({ keepAlive: true }) }
  const proxy = createProxyServer({ xfwd: false, changeOrigin: false, prependPath: false })
  const managed = new WeakMap<App, ReadonlySet<string>>()
  /** Open upgraded connections, with what their sessions are found by. */
  const upgraded = new Map<Duplex, { asked: IncomingMessage; host: string }>()
  const watching = setInterval(() => void endOrphans(), RECHECK_MS)
  watching.unref()

  /** A WebSocket asks once and stays; its session may end before it does. */
  async function endOrphans(): Promise<void> {
    for (const [socket, { asked, host }] of upgraded) {
      // While the database is away nobody's access can have been ended in it.
      const visit = await deps.visit(asked, host).catch(() => undefined)
      if (visit && !visit.session) socket.destroy()
    }
  }
  proxy.on('proxyRes', (answer) => {
    const set = answer.headers['set-cookie']
    if (set) answer.headers['set-cookie'] = set.filter((cookie) => !deps.cookies.isOurs(cookie))
  })

  // The library ends the app's half of a WebSocket when the client says goodbye, not when its half is cut.
  proxy.on('proxyReqWs', (toApp, _request, socket) => {
    toApp.once('upgrade', (_answer, appSocket) => socket.once('close', () => appSocket.destroy()))
  })

  /** Everything the app may see of this request, and nothing else. */
  function headersFor(request: IncomingMessage, app: App, { user }: SessionInForce): IncomingHttpHeaders {
    let names = managed.get(app)
    if (!names) {
      names = managedHeaders(app)
      managed.set(app, names)
    }
    const headers = cleanHeaders(request.headers, names, deps.cookies)
    for (const [name, value] of identityHeaders(app.headers, user)) headers[name] = asBytes(value)
    headers['x-forwarded-for'] = request.socket.remoteAddress ?? ''
    headers['x-forwarded-host'] = request.headers.host
    headers['x-forwarded-proto'] = deps.baseUrl.protocol.slice(0, -1)
    return headers
  }

  async function request(incoming: IncomingMessage, response: ServerResponse, host: string): Promise<void> {
    const { policy, session } = await deps.visit(incoming, host)
    const app = policy.appsByHost.get(host)
    if (!app) return sendProblem(incoming, response, unknownHost(deps.baseUrl))
    const path = incoming.url ?? ''
    // Proxies are asked with a whole address (RFC 9112, section 3.2.2); we are not one of those.
    if (!path.startsWith('/') || namesFraming(incoming.headers)) return sendProblem(incoming, response, badTarget)
    if (path.startsWith(RESERVED)) return reserved(deps, incoming, response, host)
    if (!session) return askToSignIn(deps, incoming, response, host)

    const target = new URL(app.upstream)
    incoming.headers = headersFor(incoming, app, session)
    try {
      await proxy.web(incoming, response, { target, agent: agents[target.protocol as keyof typeof agents] })
    } catch (error) {
      deps.log.warn({ err: error, app: app.name }, 'the app did not answer')
      if (response.headersSent) response.destroy()
      else await sendProblem(incoming, response, noAnswer(app))
    }
  }

  async function upgrade(incoming: IncomingMessage, socket: Duplex, head: Buffer, host: string): Promise<void> {
    // A browser that goes away in the middle is nobody's fault.
    socket.on('error', () => socket.destroy())
    try {
      const { policy, session } = await deps.visit(incoming, host)
      const app = policy.appsByHost.get(host)
      if (!app || !session || !incoming.url?.startsWith('/') || incoming.url.startsWith(RESERVED) || namesFraming(incoming.headers))
        return refuseUpgrade(socket, app ? '401 Unauthorized' : '421 Misdirected Request')
      upgraded.set(socket, { asked: { headers: incoming.headers } as IncomingMessage, host })
      socket.once('close', () => upgraded.delete(socket))
      const protocol = incoming.headers.upgrade
      incoming.headers = { ...headersFor(incoming, app, session), connection: 'Upgrade', upgrade: protocol }
      await proxy.ws(incoming, socket as import('node:net').Socket, { target: new URL(app.upstream) }, head)
    } catch (error) {
      deps.log.warn({ err: error }, 'an upgrade failed')
      refuseUpgrade(socket, '502 Bad Gateway')
    }
  }

  return {
    request: (incoming, response, host) =>
      request(incoming, response, host).catch((error) => {
        if (response.headersSent) return void response.destroy()
        return sendProblem(incoming, response, faultProblem(error, deps.log))
      }),
    upgrade,
    endUpgraded() {
      for (const socket of upgraded.keys()) socket.destroy()
    },
    close() {
      clearInterval(watching)
      for (const agent of Object.values(agents)) agent.destroy()
    },
  }
}

async function reserved(deps: GateDeps, request: IncomingMessage, response: ServerResponse, host: string): Promise<void> {
  const url = new URL(request.url ?? '', appOrigin(deps.baseUrl, host))
  const name = url.pathname.slice(RESERVED.length)
  if (name === 'enter') return enter(deps, request, response, host, url.searchParams.get('ticket') ?? '')
  if (name === 'sign-out') return redirect(response, new URL('/sign-out', deps.baseUrl).href)
  if (sendStylesheet(request, response, name)) return
  await sendProblem(request, response, notFound)
}

/** Comes back from Gatehouse's own host with a ticket, and gets this host's cookie for it. */
async function enter(deps: GateDeps, request: IncomingMessage, response: ServerResponse, host: string, ticket: string): Promise<void> {
  const entrySecret = deps.cookies.readEntry(request)
  const entered = entrySecret && ticket ? await deps.enter({ ticket, entrySecret, host, now: deps.clock() }) : undefined
  if (!entered) {
    // Not a redirect: a browser that keeps no cookies would go round for ever.
    return sendProblem(request, response, {
      status: 400,
      title: 'This sign-in has run out',
      sentence: 'The link was used before, is too old, or your browser does not keep our cookie. Please open the app again.',
      code: 'bad-ticket',
      again: '/',
    })
  }
  deps.cookies.setSession(response, entered.secret, entered.expiresAt)
  redirect(response, entered.returnTo)
}

/** People are sent to sign in and brought back; programs get a 401. */
async function askToSignIn(deps: GateDeps, request: IncomingMessage, response: ServerResponse, host: string): Promise<void> {
  if (!isNavigation(request)) return sendProblem(request, response, noSession)
  const entry = deps.cookies.readEntry(request) ?? deps.mint.secret()
  deps.cookies.setEntry(response, entry)
  const signIn = new URL('/sign-in', deps.baseUrl)
  signIn.searchParams.set('return_to', appOrigin(deps.baseUrl, host) + (request.url ?? '/'))
  signIn.searchParams.set('entry', hashSecret(entry))
  redirect(response, signIn.href)
}

function isNavigation(request: IncomingMessage): boolean {
  if (request.method !== 'GET' && request.method !== 'HEAD') return false
  const mode = request.headers['sec-fetch-mode']
  return (mode === undefined || mode === 'navigate') && !wantsJson(request) && request.headers['x-requested-with'] === undefined
}

function refuseUpgrade(socket: Duplex, status: string): void {
  if (socket.writable) socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`)
}

const noSession: Problem = {
  status: 401,
  title: 'Nobody is signed in',
  sentence: 'Open the app in a browser and sign in first.',
  code: 'no-session',
}

const badTarget: Problem = {
  status: 400,
  title: 'That is not an address here',
  sentence: 'The request cannot be passed on the way it is written.',
  code: 'bad-target',
}

function noAnswer(app: App): Problem {
  return {
    status: 502,
    title: 'The app does not answer',
    sentence: `You are signed in, but ${app.name} cannot be reached just now. Please try again in a moment.`,
    code: 'no-answer',
    retryAfterSeconds: 10,
  }
}

function unknownHost(baseUrl: URL): Problem {
  return {
    status: 421,
    title: 'No app has this name',
    sentence: `This is Gatehouse, at ${baseUrl.origin}. Nothing is configured for the host name you asked for.`,
    code: 'unknown-host',
  }
}
