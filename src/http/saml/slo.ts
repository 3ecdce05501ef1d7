// /saml/{connection}/slo: single logout (SAML profiles 2.0, section 4.4). An identity provider's request, verified, ends the
// sessions that it names and is answered; its response to ours is told honestly. Unsigned messages do nothing at all.

import { type Request, type Response, Router } from 'express'
import type { Logger } from 'pino'
import type { Connection } from '../../domain/policy.ts'
import { isRefusal, type Refusal, refuse } from '../../domain/refusals.ts'
import type { Refused } from '../../flows/accept-assertion.ts'
import type { ArrivedLogoutRequest, ArrivedLogoutResponse } from '../../flows/accept-logout.ts'
import type { RefusedAttempt } from '../../flows/refuse-sign-in.ts'
import type { CookieJar } from '../cookies.ts'
import { sendPage } from '../pages.ts'
import { methodNotAllowed, notFound, refusalProblem, sendProblem } from '../problem.ts'
import type { FindVisit } from '../session.ts'
import { busy } from './acs.ts'
import { sendDispatch } from './dispatch.ts'
import { readPostedForm } from './posted-form.ts'
import { type RescueDeps, renewed } from './rescue.ts'
import type { ServiceProvider } from './service-provider.ts'
import { VerifierBusy } from './verification-pool.ts'
import type { LogoutContent, LogoutDelivery, VerifiedLogout } from './verify-logout.ts'

export interface SloDeps extends RescueDeps {
  readonly baseUrl: URL
  readonly visit: FindVisit
  readonly cookies: CookieJar
  readonly clock: () => Date
  readonly serviceProvider: ServiceProvider
  /** For an ID of our own. */
  readonly newId: () => string
  readonly acceptLogoutRequest: (arrived: ArrivedLogoutRequest) => Promise<{ reference: string; ended: number } | Refused>
  readonly acceptLogoutResponse: (
    arrived: ArrivedLogoutResponse,
  ) => Promise<{ reference: string; outcome: ArrivedLogoutResponse['outcome'] } | Refused>
  readonly refuse: (attempt: RefusedAttempt) => Promise<Refused>
  readonly log: Logger
}

export function sloRoutes(deps: SloDeps): Router {
  const router = Router()
  router.get('/saml/:connection/slo', async (request, response) => {
    const mark = request.url.indexOf('?')
    await receive(deps, request, response, 'redirect', { query: mark < 0 ? '' : request.url.slice(mark + 1) })
  })
  router.post('/saml/:connection/slo', async (request, response) => {
    const form = await readPostedForm(request, response)
    await receive(deps, request, response, 'post', isRefusal(form) ? form : { form })
  })
  router.all('/saml/:connection/slo', (request, response) => sendProblem(request, response, methodNotAllowed('GET and POST')))
  return router
}

async function receive(
  deps: SloDeps,
  request: Request,
  response: Response,
  binding: 'redirect' | 'post',
  delivery: LogoutDelivery | Refusal,
): Promise<void> {
  const connection = (await deps.policy()).connections.get(String(request.params.connection))
  if (!connection?.singleLogout) return sendProblem(request, response, notFound)
  const now = deps.clock()
  const address = request.socket.remoteAddress ?? ''
  let verified: VerifiedLogout
  try {
    verified = isRefusal(delivery) ? refusedAtTheDoor(delivery) : await verifyDelivered(deps, delivery, connection, now)
  } catch (error) {
    if (!(error instanceof VerifierBusy)) throw error
    return sendProblem(request, response, busy)
  }
  const { outcome: content, steps } = verified
  if (isRefusal(content)) {
    const refused = await deps.refuse({ flow: 'logout', refusal: content, connection, address, steps, now })
    return tellRefusal(deps, request, response, connection, refused)
  }
  const arrived = { connection, address, steps, now }
  if (content.kind === 'response') return answerToOurs(deps, request, response, { ...arrived, ...content })
  return requestOfTheirs(deps, request, response, binding, { ...arrived, ...content })
}

function refusedAtTheDoor({ detail }: Refusal): VerifiedLogout {
  const steps = [{ step: 'message', passed: false, came: detail } as const]
  return { outcome: refuse('logout.malformed', detail), steps, unknownKey: false }
}

/** With a second try where the identity provider has meanwhile taken a new key into use. */
async function verifyDelivered(deps: SloDeps, delivery: LogoutDelivery, connection: Connection, now: Date): Promise<VerifiedLogout> {
  const verified = await deps.serviceProvider.verifyLogout(delivery, connection, now)
  if (!verified.unknownKey) return verified
  const again = await renewed(deps, connection, now)
  return again ? deps.serviceProvider.verifyLogout(delivery, again.connection, now) : verified
}

function tellRefusal(deps: SloDeps, request: Request, response: Response, connection: Connection, { refusal, reference }: Refused) {
  deps.log.info({ reference, connection: connection.name, code: refusal.code }, 'logout message refused')
  return sendProblem(request, response, refusalProblem(refusal, reference, '/sign-out'))
}

/** Their answer to our request: the session here was over before we asked. */
async function answerToOurs(deps: SloDeps, request: Request, response: Response, arrived: ArrivedLogoutResponse): Promise<void> {
  const accepted = await deps.acceptLogoutResponse(arrived)
  if ('refusal' in accepted) return tellRefusal(deps, request, response, arrived.connection, accepted)
  deps.log.info({ reference: accepted.reference, connection: arrived.connection.name, outcome: accepted.outcome }, 'logout answered')
  await sendPage(request, response, 200, 'sign-out', { asked: false, elsewhere: accepted.outcome, reference: accepted.reference })
}

type RequestContent = Extract<LogoutContent, { kind: 'request' }>

async function requestOfTheirs(
  deps: SloDeps,
  request: Request,
  response: Response,
  binding: 'redirect' | 'post',
  arrived: ArrivedLogoutRequest & RequestContent,
): Promise<void> {
  const { connection, now } = arrived
  const accepted = await deps.acceptLogoutRequest(arrived)
  if ('refusal' in accepted) return tellRefusal(deps, request, response, connection, accepted)
  deps.log.info(
    { reference: accepted.reference, connection: connection.name, ended: accepted.ended },
    'logged out by the identity provider',
  )
  const { session } = await deps.visit(request, deps.baseUrl.host)
  if (!session && deps.cookies.readSession(request)) deps.cookies.clearSession(response)
  const dispatch = deps.serviceProvider.logoutResponse(connection, {
    id: deps.newId(),
    inResponseTo: arrived.id,
    relayState: arrived.relayState,
    binding,
    // Whoever had no session here is signed out here all the same.
    status: ['Success'],
    now,
  })
  if (!dispatch) return sendPage(request, response, 200, 'sign-out', { asked: false })
  const address = 'redirect' in dispatch ? dispatch.redirect : dispatch.post
  await sendDispatch(request, response, dispatch, new URL(address).origin)
}
