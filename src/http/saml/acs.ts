// POST /saml/{connection}/acs: the assertion consumer (SAML profiles 2.0, section 4.1). Admits one shape of request, has
// it verified, and lets the person in or tells them why not. Every answer leaves a sign-in record.

import express, { type NextFunction, type Request, type Response, Router } from 'express'
import type { Logger } from 'pino'
import type { Connection, Policy } from '../../domain/policy.ts'
import { isRefusal, type Refusal, refuse } from '../../domain/refusals.ts'
import type { Accepted, Arrival, Refused } from '../../flows/accept-assertion.ts'
import type { CookieJar } from '../cookies.ts'
import { redirect } from '../pages.ts'
import { methodNotAllowed, notFound, refusalProblem, sendProblem } from '../problem.ts'
import { type ReturnDeps, readReturnTo, wayBack } from '../return.ts'
import type { ServiceProvider } from './service-provider.ts'

export interface AcsDeps extends ReturnDeps {
  readonly policy: () => Promise<Policy>
  readonly serviceProvider: ServiceProvider
  readonly cookies: CookieJar
  readonly sessionHours: number
  readonly accept: (arrival: Arrival) => Promise<Accepted | Refused>
  readonly refuse: (attempt: { refusal: Refusal; connection: Connection; address: string; now: Date }) => Promise<Refused>
  readonly log: Logger
}

/** A response with hundreds of groups stays far below; building trees from more costs more than refusing it. */
const LARGEST_FORM = 384 * 1024

const readForm = express.urlencoded({ extended: false, limit: LARGEST_FORM, parameterLimit: 16 })

export function acsRoutes(deps: AcsDeps): Router {
  const router = Router()
  router.post('/saml/:connection/acs', (request, response) => consume(deps, request, response))
  router.all('/saml/:connection/acs', (request, response) => sendProblem(request, response, methodNotAllowed('POST')))
  router.get('/saml/:connection/metadata', async (request, response) => {
    const connection = (await deps.policy()).connections.get(String(request.params.connection))
    if (!connection) return sendProblem(request, response, notFound)
    response.type('application/samlmetadata+xml').send(deps.serviceProvider.metadata(connection.name))
  })
  return router
}

async function consume(deps: AcsDeps, request: Request, response: Response): Promise<void> {
  const [policy, form] = await Promise.all([deps.policy(), readPostedForm(request, response)])
  const connection = policy.connections.get(String(request.params.connection))
  if (!connection) return sendProblem(request, response, notFound)
  const now = deps.clock()
  const address = request.socket.remoteAddress ?? ''

  const verified = isRefusal(form) ? form : await deps.serviceProvider.verify(form.SAMLResponse, connection, now)
  const outcome = isRefusal(verified)
    ? await deps.refuse({ refusal: verified, connection, address, now })
    : await deps.accept({
        assertion: verified,
        connection,
        policy,
        browserSecret: (requestId) => deps.cookies.readRequest(request, requestId),
        host: deps.baseUrl.host,
        address,
        sessionHours: deps.sessionHours,
        now,
      })

  if ('refusal' in outcome) {
    const { refusal, reference } = outcome
    deps.log.info({ reference, connection: connection.name, code: refusal.code }, 'sign-in refused')
    return sendProblem(request, response, refusalProblem(refusal, reference, '/sign-in'))
  }
  const { reference, session, secret, request: answered } = outcome
  deps.log.info({ reference, connection: connection.name, user: session.user }, 'sign-in accepted')
  if (answered) deps.cookies.clearRequest(response, { id: answered.id, path: request.path })
  deps.cookies.setSession(response, secret, session.expiresAt)
  // The policy may have changed since the request was made: an app that is gone is nobody's way back.
  const relayed = answered ? answered.returnTo : relayedPath(form)
  const returnTo = readReturnTo(relayed, policy, deps.baseUrl) ?? new URL('/me', deps.baseUrl)
  redirect(response, await wayBack(deps, { session, returnTo, entryHash: answered?.entryHash }))
}

type Form = Readonly<Record<string, unknown>>

/** Where nobody was asked, RelayState may name a page of our own; it may not name a host. */
function relayedPath(form: Form | Refusal): string | undefined {
  const relayState = 'RelayState' in form ? form.RelayState : undefined
  return typeof relayState === 'string' && relayState.startsWith('/') ? relayState : undefined
}

/** One urlencoded form in the body and nothing in the query, or a refusal. */
function readPostedForm(request: Request, response: Response): Promise<Form | Refusal> {
  if (request.url.includes('?'))
    return Promise.resolve(refuse('response.missing', 'the address carries a query; a response is posted as a form'))
  if (!request.is('application/x-www-form-urlencoded'))
    return Promise.resolve(refuse('response.missing', 'the body is not a urlencoded form'))
  return new Promise((resolve) => {
    const next = (error?: { type?: string }) => {
      if (!error) return resolve({ ...request.body })
      if (error.type === 'entity.too.large') return resolve(refuse('response.too-large', `the form is larger than ${LARGEST_FORM} bytes`))
      resolve(refuse('response.missing', `the form cannot be read: ${error.type ?? 'unknown'}`))
    }
    readForm(request, response, next as NextFunction)
  })
}
