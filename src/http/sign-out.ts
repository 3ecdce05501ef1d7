// GET /sign-out asks, POST /sign-out ends the session at Gatehouse and at every app behind it, and then, where the
// connection has single logout, sends the person on to be signed out at the identity provider.

import express, { Router } from 'express'
import type { SessionId, SourceId, UserId } from '../domain/ids.ts'
import type { Connection, Policy } from '../domain/policy.ts'
import type { StartedLogout } from '../flows/start-logout.ts'
import type { CookieJar } from './cookies.ts'
import type { Csrf } from './csrf.ts'
import { sendPage } from './pages.ts'
import { sendProblem } from './problem.ts'
import { sendDispatch } from './saml/dispatch.ts'
import type { ServiceProvider } from './saml/service-provider.ts'
import type { FindVisit } from './session.ts'

export interface SignOutDeps {
  readonly visit: FindVisit
  readonly baseUrl: URL
  readonly cookies: CookieJar
  readonly csrf: Csrf
  readonly clock: () => Date
  readonly serviceProvider: ServiceProvider
  readonly startLogout: (ask: {
    session: SessionId
    user: UserId
    reaches: (connection: SourceId) => boolean
    now: Date
  }) => Promise<StartedLogout | undefined>
}

export function signOutRoutes(deps: SignOutDeps): Router {
  const router = Router()
  router.get('/sign-out', async (request, response) => {
    const { session, secret, policy } = await deps.visit(request, deps.baseUrl.host)
    const reaches = session !== undefined && connectionWithLogout(policy, session.connection) !== undefined
    const view = session && secret ? { asked: true, reaches, csrf: deps.csrf.token(secret) } : { asked: false }
    // The form's answer leads on to the identity provider and wherever that leads, and form-action would hold for that too.
    await sendPage(request, response, 200, 'sign-out', view, reaches ? { contentSecurity: { 'form-action': undefined } } : {})
  })
  router.post('/sign-out', express.urlencoded({ extended: false, limit: 4096 }), async (request, response) => {
    const { session, secret, policy } = await deps.visit(request, deps.baseUrl.host)
    if (!session || !secret) return sendPage(request, response, 200, 'sign-out', { asked: false })
    if (!deps.csrf.holds(secret, request.body?.csrf)) {
      return sendProblem(request, response, {
        status: 403,
        title: 'That did not come from our page',
        sentence: 'Nothing was changed. Open the sign-out page and try again.',
        code: 'csrf',
        again: '/sign-out',
      })
    }
    const now = deps.clock()
    const connection = connectionWithLogout(policy, session.connection)
    const reaches = (id: SourceId) => id === connection?.id
    const started = await deps.startLogout({ session: session.id, user: session.user.id, reaches, now })
    deps.cookies.clearSession(response)
    const dispatch = started && connection && deps.serviceProvider.logoutRequest(connection, started, now)
    if (dispatch) return sendDispatch(request, response, dispatch)
    await sendPage(request, response, 200, 'sign-out', { asked: false })
  })
  return router
}

function connectionWithLogout(policy: Policy, id: SourceId): Connection | undefined {
  const connection = [...policy.connections.values()].find((one) => one.id === id)
  return connection?.singleLogout && connection.idp.singleLogout ? connection : undefined
}
