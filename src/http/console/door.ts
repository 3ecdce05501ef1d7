// The door of the console: only administrators come in, and only this session's own pages may change anything. Everything below
// /console goes through here; a page says what it shows and what its forms do, and nothing about who may.

import express, { type Request, type Response, Router } from 'express'
import type { Actor } from '../../domain/events.ts'
import type { Policy } from '../../domain/policy.ts'
import type { Csrf } from '../csrf.ts'
import { redirect, sendPage } from '../pages.ts'
import { type Problem, sendProblem } from '../problem.ts'
import type { FindVisit, SessionInForce } from '../session.ts'

export interface DoorDeps {
  readonly visit: FindVisit
  readonly baseUrl: URL
  readonly csrf: Csrf
  readonly clock: () => Date
}

/** An administrator who asks for a page, or sends one of its forms. */
export interface AtConsole {
  readonly request: Request
  readonly response: Response
  readonly policy: Policy
  readonly actor: Actor
  readonly now: Date
  /** For the forms of a page. */
  readonly csrf: string
  /** Whether a form came from one of our pages, where the body is read by the page itself. */
  readonly holds: (token: unknown) => boolean
  page(view: string, locals: Record<string, unknown>): Promise<void>
  to(address: string): void
  problem(problem: Problem): Promise<void>
}

export type ConsolePage = (at: AtConsole) => Promise<void>

export interface ConsoleDoor {
  readonly router: Router
  get(path: string, page: ConsolePage): void
  /** Its form carries the token, which was checked. */
  post(path: string, page: ConsolePage): void
  /** Reads the body itself, and has to check the token before it does anything. */
  postStream(path: string, page: ConsolePage): void
}

const forbidden: Problem = {
  status: 403,
  title: 'This is for administrators',
  sentence: 'You are signed in, but you hold no entitlement that makes an administrator here. Whoever runs Gatehouse can give you one.',
  code: 'not-administrator',
}

const notOurs: Problem = {
  status: 403,
  title: 'That did not come from our page',
  sentence: 'Nothing was changed. Open the page again and try once more.',
  code: 'csrf',
}

/** Sections of the console, in the order of its navigation. */
export const SECTIONS = [
  { href: '/console/imports', name: 'Imports' },
  { href: '/console/runs', name: 'Runs' },
  { href: '/console/tasks', name: 'Tasks' },
  { href: '/console/coverage', name: 'Coverage' },
] as const

export function consoleDoor(deps: DoorDeps): ConsoleDoor {
  const router = Router()
  const entering = (page: ConsolePage, checked: boolean) => async (request: Request, response: Response) => {
    const { session, secret, policy } = await deps.visit(request, deps.baseUrl.host)
    if (!session || secret === undefined)
      return redirect(response, `/sign-in?return_to=${encodeURIComponent(request.method === 'GET' ? request.originalUrl : '/console')}`)
    if (!isAdministrator(session, policy)) return sendProblem(request, response, forbidden)
    const holds = (token: unknown) => deps.csrf.holds(secret, token)
    if (checked && !holds(request.body?.csrf)) return sendProblem(request, response, notOurs)
    const csrf = deps.csrf.token(secret)
    await page({
      request,
      response,
      policy,
      actor: { kind: 'user', id: session.user.id },
      now: deps.clock(),
      csrf,
      holds,
      page: (view, locals) =>
        sendPage(request, response, 200, `console/${view}`, { ...locals, csrf, sections: SECTIONS, here: request.path }),
      to: (address) => redirect(response, address),
      problem: (problem) => sendProblem(request, response, problem),
    })
  }
  router.get('/console', (_request, response) => redirect(response, '/console/imports'))
  return {
    router,
    get: (path, page) => router.get(path, entering(page, false)),
    post: (path, page) => router.post(path, express.urlencoded({ extended: false, limit: 65_536 }), entering(page, true)),
    postStream: (path, page) => router.post(path, entering(page, false)),
  }
}

function isAdministrator({ user }: SessionInForce, { entitlements }: Policy): boolean {
  return user.state === 'active' && user.grants.some(({ name }) => entitlements.administrators.has(name))
}

export { notOurs }
