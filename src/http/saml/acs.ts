// /saml/{connection}/acs: the assertion consumer (SAML profiles 2.0, section 4.1). Admits one shape of request, has it
// verified, and lets the person in or tells them why not. Every answer leaves a sign-in record.
// /saml/{connection}/metadata: ours, for the identity provider's administrator; its address is our entityID.

import { type Request, type Response, Router } from 'express'
import type { Logger } from 'pino'
import type { VerifiedAssertion } from '../../domain/assertion.ts'
import type { Connection, DraftConnection, Policy } from '../../domain/policy.ts'
import { isRefusal, type Refusal, refuse } from '../../domain/refusals.ts'
import type { Accepted, Arrival, Refused } from '../../flows/accept-assertion.ts'
import { PolicyMoved, type SignInRequest, StoreUnavailable } from '../../flows/ports.ts'
import type { RefusedAttempt } from '../../flows/refuse-sign-in.ts'
import type { CookieJar } from '../cookies.ts'
import { redirect } from '../pages.ts'
import { methodNotAllowed, notFound, type Problem, refusalProblem, sendProblem } from '../problem.ts'
import { type ReturnDeps, readReturnTo, wayBack } from '../return.ts'
import { type Form, readPostedForm } from './posted-form.ts'
import { type RescueDeps, renewed } from './rescue.ts'
import type { ServiceProvider, VerifiedSignIn } from './service-provider.ts'
import { begin, type SignInDeps } from './sign-in.ts'
import { VerifierBusy } from './verification-pool.ts'

export interface AcsDeps extends ReturnDeps, RescueDeps {
  readonly serviceProvider: ServiceProvider
  readonly cookies: CookieJar
  readonly sessionHours: number
  readonly clockSkewSeconds: number
  readonly keepsResponses: boolean
  readonly accept: (arrival: Arrival) => Promise<Accepted | Refused>
  readonly refuse: (attempt: RefusedAttempt) => Promise<Refused>
  readonly start: SignInDeps['start']
  readonly takePassive: (ask: {
    requestId: string
    connection: Connection
    browserSecret: string
    now: Date
  }) => Promise<SignInRequest | undefined>
  /** Fetches what is behind an artifact. */
  readonly resolveArtifact: (artifact: string, connection: Connection, now: Date) => Promise<Uint8Array | Refusal>
  readonly log: Logger
}

export const busy: Problem = {
  status: 503,
  title: 'Please try again in a moment',
  sentence: 'Too much is arriving just now. Nothing was changed; go back and try it again.',
  code: 'busy',
  retryAfterSeconds: 2,
}

export function acsRoutes(deps: AcsDeps): Router {
  const router = Router()
  router.post('/saml/:connection/acs', async (request, response) => {
    const [policy, form] = await Promise.all([deps.policy(), readPostedForm(request, response)])
    await consume(deps, request, response, policy, form)
  })
  router.get('/saml/:connection/acs', async (request, response) => {
    const policy = await deps.policy()
    // An artifact may also come in the address; a response may not.
    const artifact = request.query.SAMLart !== undefined && !('SAMLResponse' in request.query)
    if (!artifact) return sendProblem(request, response, methodNotAllowed('POST'))
    await consume(deps, request, response, policy, { ...request.query })
  })
  router.all('/saml/:connection/acs', (request, response) => sendProblem(request, response, methodNotAllowed('POST')))
  router.get('/saml/:connection/metadata', async (request, response) => {
    const policy = await deps.policy()
    const connection = connectionNamed(policy, request)
    if (!connection) return sendProblem(request, response, notFound)
    const signed = 'signed' in request.query && request.query.signed !== 'false'
    const xml = deps.serviceProvider.metadata(connection, policy.service, { signed, now: deps.clock() })
    response.setHeader('Cache-Control', 'no-cache')
    response.setHeader('X-Content-Type-Options', 'nosniff')
    response.type('application/samlmetadata+xml').send(xml)
  })
  return router
}

function connectionNamed(policy: Policy, request: Request): Connection | DraftConnection | undefined {
  const name = String(request.params.connection)
  return policy.connections.get(name) ?? policy.drafts.get(name)
}

async function consume(deps: AcsDeps, request: Request, response: Response, policy: Policy, form: Form | Refusal): Promise<void> {
  const connection = connectionNamed(policy, request)
  if (!connection) return sendProblem(request, response, notFound)
  const now = deps.clock()
  const address = request.socket.remoteAddress ?? ''

  let verified: Judged
  try {
    verified = await verifyPosted(deps, policy, connection, form, now)
  } catch (error) {
    if (!(error instanceof VerifierBusy)) throw error
    deps.log.warn({ connection: connection.name }, 'the verification queue is full')
    return sendProblem(request, response, busy)
  }
  const { outcome: assertion, steps } = verified
  const trusted = verified.connection
  const accept = (judged: Judged, verifiedAssertion: VerifiedAssertion) =>
    deps.accept({
      assertion: verifiedAssertion,
      connection: judged.connection as Connection,
      policy: judged.policy,
      response: judged.response,
      keepsContent: deps.keepsResponses,
      browserSecret: (requestId) => deps.cookies.readRequest(request, requestId),
      host: deps.baseUrl.host,
      address,
      steps,
      clockSkewSeconds: deps.clockSkewSeconds,
      sessionHours: deps.sessionHours,
      now,
    })
  const kept = deps.keepsResponses && !policy.sources.get(connection.id)?.redact.size ? verified.response : undefined
  const no = (refusal: Refusal) => deps.refuse({ flow: 'sign-in', refusal, connection, address, steps, now, response: kept })
  const outcome = isRefusal(assertion)
    ? await no(assertion)
    : await underNewest(deps, verified, (judged) => ('idp' in judged.connection ? accept(judged, assertion) : no(notInForce(connection))))

  if ('refusal' in outcome) {
    const { refusal, reference } = outcome
    deps.log.info({ reference, connection: connection.name, code: refusal.code }, 'sign-in refused')
    if (refusal.code.startsWith('idp.') && (await askOpenly(deps, request, response, trusted, verified.claimsRequest))) return
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

/** A posted message, and the policy under which it was judged: the one in force when it came, or a newer one. */
interface Judged extends VerifiedSignIn {
  readonly policy: Policy
  readonly connection: Connection | DraftConnection
  /** base64, as it was posted or fetched. */
  readonly response?: string
}

const MOST_TRIES = 10

/** What was verified stays so; what was decided under a policy that moved meanwhile is decided anew. */
async function underNewest<Outcome>(deps: AcsDeps, verified: Judged, decide: (judged: Judged) => Promise<Outcome>): Promise<Outcome> {
  let judged = verified
  for (let tries = 1; ; tries++) {
    try {
      return await decide(judged)
    } catch (error) {
      if (!(error instanceof PolicyMoved)) throw error
      if (tries === MOST_TRIES) throw new StoreUnavailable('the policy keeps changing', { cause: error })
      const policy = await deps.policy()
      const { name } = judged.connection
      judged = {
        ...judged,
        policy,
        connection: policy.connections.get(name) ?? policy.drafts.get(name) ?? withoutProvider(judged.connection),
      }
    }
  }
}

/** Taken out of force while somebody was on their way. */
function withoutProvider({ id, name, version, idpInitiated, signed, singleLogout, requests, wanted }: DraftConnection): DraftConnection {
  return { id, name, version, idpInitiated, signed, singleLogout, requests, wanted }
}

function notInForce({ name }: DraftConnection): Refusal {
  return refuse(
    'connection.draft',
    `connection ${name} has no identity provider yet, or a fault keeps it out of force («gatehouse doctor» tells)`,
  )
}

/** With a second try where the identity provider has meanwhile taken a new key into use. */
async function verifyPosted(
  deps: AcsDeps,
  policy: Policy,
  connection: Connection | DraftConnection,
  form: Form | Refusal,
  now: Date,
): Promise<Judged> {
  const as = (verified: VerifiedSignIn): Judged => ({ ...verified, policy, connection })
  if (isRefusal(form)) return as(refusedAtTheDoor(form))
  if (!('idp' in connection)) {
    return as(refusedAtTheDoor(notInForce(connection)))
  }
  const message = await readMessageField(deps, connection, form, now)
  if (isRefusal(message)) return as(refusedAtTheDoor(message, 'SAMLart' in form))
  const before = typeof message === 'string' ? [] : [{ step: 'artifact', passed: true } as const]
  const verified = await deps.serviceProvider.verify(message, connection, now, before)
  const response = typeof message === 'string' ? message : Buffer.from(message).toString('base64')
  if (!isUnknownKey(verified)) return { ...as(verified), response }
  const again = await renewed(deps, connection, now)
  if (!again) return { ...as(verified), response }
  return { ...(await deps.serviceProvider.verify(message, again.connection, now, before)), ...again, response }
}

async function readMessageField(deps: AcsDeps, connection: Connection, form: Form, now: Date): Promise<string | Uint8Array | Refusal> {
  const { SAMLResponse, SAMLart } = form
  if (SAMLart !== undefined) {
    if (SAMLResponse !== undefined || typeof SAMLart !== 'string')
      return refuse('response.missing', 'not exactly one of SAMLResponse and SAMLart')
    return deps.resolveArtifact(SAMLart, connection, now)
  }
  if (typeof SAMLResponse !== 'string' || SAMLResponse === '') {
    return refuse('response.missing', 'the form has no single field SAMLResponse', { expected: 'one field SAMLResponse' })
  }
  return SAMLResponse
}

function refusedAtTheDoor(refusal: Refusal, artifact = false): VerifiedSignIn {
  const { detail, expected, came } = refusal
  const step = { step: artifact ? 'artifact' : 'message', passed: false, came: came ?? detail } as const
  return { outcome: refusal, steps: [expected === undefined ? step : { ...step, expected }] }
}

/** None of the keys that we know verifies it. That the content was changed looks the same. */
function isUnknownKey({ outcome, steps }: VerifiedSignIn): boolean {
  const last = steps.at(-1)?.step
  return isRefusal(outcome) && outcome.code === 'signature.invalid' && (last === 'response-signature' || last === 'assertion-signature')
}

/** A first, passive try has failed, in whichever words: the same sign-in once more, openly. */
async function askOpenly(
  deps: AcsDeps,
  request: Request,
  response: Response,
  connection: Connection | DraftConnection,
  requestId: string | undefined,
): Promise<boolean> {
  const browserSecret = requestId === undefined ? undefined : deps.cookies.readRequest(request, requestId)
  if (requestId === undefined || browserSecret === undefined || !('idp' in connection)) return false
  const taken = await deps.takePassive({ requestId, connection, browserSecret, now: deps.clock() })
  if (!taken) return false
  deps.cookies.clearRequest(response, { id: requestId, path: request.path })
  const { returnTo, entryHash, replaces } = taken
  await begin(deps, request, response, { connection, returnTo, entryHash, replaces, passive: false })
  return true
}

/** Where nobody was asked, RelayState may name a page of our own; it may not name a host. */
function relayedPath(form: Form | Refusal): string | undefined {
  const relayState = 'RelayState' in form ? form.RelayState : undefined
  return typeof relayState === 'string' && relayState.startsWith('/') ? relayState : undefined
}
