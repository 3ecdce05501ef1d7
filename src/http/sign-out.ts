// GET /sign-out asks, POST /sign-out ends the session at Gatehouse and at every app behind it.

import express, { Router } from 'express'
import type { SessionId, UserId } from '../domain/ids.ts'
import type { CookieJar } from './cookies.ts'
import type { Csrf } from './csrf.ts'
import { sendPage } from './pages.ts'
import { sendProblem } from './problem.ts'
import type { FindVisit } from './session.ts'

export interface SignOutDeps {
  readonly visit: FindVisit
  readonly baseUrl: URL
  readonly cookies: CookieJar
  readonly csrf: Csrf
  readonly clock: () => Date
  readonly end: (session: { session: SessionId; user: UserId; now: Date }) => Promise<void>
}

export function signOutRoutes(deps: SignOutDeps): Router {
  const router = Router()
  router.get('/sign-out', async (request, response) => {
    const { session, secret } = await deps.visit(request, deps.baseUrl.host)
    const view = session && secret ? { asked: true, csrf: deps.csrf.token(secret) } : { asked: false }
    await sendPage(request, response, 200, 'sign-out', view)
  })
  router.post('/sign-out', express.urlencoded({ extended: false, limit: 4096 }), async (request, response) => {
    const { session, secret } = await deps.visit(request, deps.baseUrl.host)
    if (session && secret) {
      if (!deps.csrf.holds(secret, request.body?.csrf)) {
        return sendProblem(request, response, {
          status: 403,
          title: 'That did not come from our page',
          sentence: 'Nothing was changed. Open the sign-out page and try again.',
          code: 'csrf',
          again: '/sign-out',
        })
      }
      await deps.end({ session: session.id, user: session.user.id, now: deps.clock() })
      deps.cookies.clearSession(response)
    }
    await sendPage(request, response, 200, 'sign-out', { asked: false })
  })
  return router
}
