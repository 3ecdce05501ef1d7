// GET /sign-in and /sign-in/{connection}: begins a sign-in at an identity provider, or sends whoever has a session on.

import { type Request, type Response, Router } from 'express'
import type { SessionId } from '../../domain/ids.ts'
import type { Connection } from '../../domain/policy.ts'
import { REQUEST_MINUTES, type StartedSignIn } from '../../flows/start-sign-in.ts'
import type { CookieJar } from '../cookies.ts'
import { redirect, sendPage } from '../pages.ts'
import { notFound, type Problem, sendProblem } from '../problem.ts'
import { type ReturnDeps, readReturnTo, wayBack } from '../return.ts'
import type { FindVisit } from '../session.ts'
import { sendDispatch } from './dispatch.ts'
import type { ServiceProvider } from './service-provider.ts'

export interface SignInDeps extends ReturnDeps {
  readonly visit: FindVisit
  readonly serviceProvider: ServiceProvider
  readonly cookies: CookieJar
  readonly start: (ask: {
    connection: Connection
    returnTo: URL
    entryHash?: string
    replaces?: SessionId
    passive: boolean
    now: Date
  }) => Promise<StartedSignIn>
}

export function signInRoutes(deps: SignInDeps): Router {
  const router = Router()
  router.get('/sign-in', (request, response) => signIn(deps, request, response))
  router.get('/sign-in/:connection', (request, response) => signInAt(deps, request, response))
  return router
}

const badReturn: Problem = {
  status: 400,
  title: 'This link leads elsewhere',
  sentence: 'return_to is neither a page of Gatehouse nor of an app behind it, so nobody is sent there.',
  code: 'bad-return-to',
}

async function signIn(deps: SignInDeps, request: Request, response: Response): Promise<void> {
  const { policy, session } = await deps.visit(request, deps.baseUrl.host)
  const returnTo = readReturnTo(request.query.return_to, policy, deps.baseUrl)
  if (!returnTo) return sendProblem(request, response, badReturn)
  const entryHash = readEntryHash(request)
  if (session) return redirect(response, await wayBack(deps, { session, returnTo, entryHash }))
  const connections = [...policy.connections.values()]
  const [only, ...others] = connections
  if (!only) {
    return sendProblem(request, response, {
      status: 503,
      title: 'Nobody can sign in yet',
      sentence: 'No identity provider has been connected. An administrator connects one with «gatehouse apply».',
      code: 'no-connection',
    })
  }
  if (!others.length) return begin(deps, request, response, { connection: only, returnTo: returnTo.href, entryHash })
  const query = new URLSearchParams({ return_to: returnTo.href, ...(entryHash ? { entry: entryHash } : {}) })
  const choices = connections.map(({ name }) => ({ name, href: `/sign-in/${name}?${query}` }))
  await sendPage(request, response, 200, 'sign-in', { choices })
}

async function signInAt(deps: SignInDeps, request: Request, response: Response): Promise<void> {
  const { policy, session } = await deps.visit(request, deps.baseUrl.host)
  const name = String(request.params.connection)
  const connection = policy.connections.get(name)
  if (!connection) return sendProblem(request, response, policy.drafts.has(name) ? draftProblem : notFound)
  const returnTo = readReturnTo(request.query.return_to, policy, deps.baseUrl)
  if (!returnTo) return sendProblem(request, response, badReturn)
  await begin(deps, request, response, { connection, returnTo: returnTo.href, entryHash: readEntryHash(request), replaces: session?.id })
}

export interface Begin {
  readonly connection: Connection
  readonly returnTo: string
  readonly entryHash: string | undefined
  readonly replaces?: SessionId | undefined
  /** Unless told, as the connection says. */
  readonly passive?: boolean
}

export const draftProblem: Problem = {
  status: 503,
  title: 'This way of signing in is not ready yet',
  sentence: 'An administrator has begun to connect this identity provider, and its metadata is still missing.',
  code: 'connection.draft',
}

/** Keeps a request, binds it to this browser, and sends the browser to the identity provider. */
export async function begin(
  deps: Pick<SignInDeps, 'start' | 'clock' | 'cookies' | 'serviceProvider'>,
  request: Request,
  response: Response,
  { connection, returnTo, entryHash, replaces, passive = connection.requests.isPassive }: Begin,
): Promise<void> {
  const optional = { ...(entryHash ? { entryHash } : {}), ...(replaces ? { replaces } : {}) }
  const now = deps.clock()
  const { requestId, browserSecret } = await deps.start({ connection, returnTo: new URL(returnTo), ...optional, passive, now })
  const path = new URL(deps.serviceProvider.acs(connection.name)).pathname
  deps.cookies.setRequest(response, { id: requestId, secret: browserSecret, path, minutes: REQUEST_MINUTES })
  const dispatch = deps.serviceProvider.request(connection, { requestId, passive, now })
  if (!dispatch) throw new Error(`${connection.name} is to be asked over ${connection.requests.binding}, which it does not have`)
  await sendDispatch(request, response, dispatch)
}

/** The hash of an app's entry cookie, as the gate wrote it into the address. Anything else counts as none. */
function readEntryHash(request: Request): string | undefined {
  const { entry } = request.query
  return typeof entry === 'string' && /^[\w-]{43}$/.test(entry) ? entry : undefined
}
