// GET /me: shows people what is known about them and what each app is told. The same for programs, as JSON.

import { type Request, type Response, Router } from 'express'
import { identityHeaders } from '../domain/identity-headers.ts'
import type { Policy } from '../domain/policy.ts'
import { redirect, sendJson, sendPage, wantsJson } from './pages.ts'
import { type Problem, sendProblem } from './problem.ts'
import { appOrigin } from './return.ts'
import type { FindVisit, SessionInForce } from './session.ts'

const noSession: Problem = { status: 401, title: 'Nobody is signed in', sentence: 'Sign in first.', code: 'no-session' }

export function meRoutes(deps: { visit: FindVisit; baseUrl: URL }): Router {
  const router = Router()
  router.get('/me', async (request: Request, response: Response) => {
    const { policy, session } = await deps.visit(request, deps.baseUrl.host)
    if (!session) return wantsJson(request) ? sendProblem(request, response, noSession) : redirect(response, '/sign-in?return_to=/me')
    const me = describe(policy, session, deps.baseUrl)
    if (wantsJson(request)) return sendJson(request, response, 200, me)
    await sendPage(request, response, 200, 'me', { me })
  })
  return router
}

function describe(policy: Policy, session: SessionInForce, baseUrl: URL) {
  const { user } = session
  const sourceName = (id: string) => [...policy.sources.values()].find((source) => source.id === id)?.name ?? id
  return {
    id: user.id,
    state: user.state,
    attributes: Object.entries(user.profile).map(([name, { values, source, from, since }]) => ({
      name,
      label: policy.schema.get(name)?.label ?? name,
      values,
      source: sourceName(source),
      from,
      since,
    })),
    entitlements: user.grants.map(({ name }) => name),
    session: { connection: sourceName(session.connection), expiresAt: session.expiresAt },
    apps: policy.apps.map((app) => ({
      name: app.name,
      url: appOrigin(baseUrl, app.host),
      headers: Object.fromEntries(identityHeaders(app.headers, user)),
    })),
  }
}
