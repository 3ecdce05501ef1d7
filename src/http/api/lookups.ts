// GET /api/v1/users, /users/{who}, /sign-ins, /sign-ins/{reference}: what a help desk's own tools look up, with an API
// token. Reads only.

import { type Request, type Response, Router } from 'express'
import type { TokenId } from '../../domain/ids.ts'
import { readReference } from '../../domain/ids.ts'
import { hashSecret } from '../../flows/secrets.ts'
import { sendJson } from '../pages.ts'
import { notFound, type Problem, sendProblem } from '../problem.ts'
import { type ImportApiDeps, importApi } from './imports.ts'

/** Whose token it is, for whatever is done with it. */
export interface TokenHolder {
  readonly id: TokenId
  readonly name: string
  readonly mayWrite: boolean
}

export interface LookupDeps {
  readonly clock: () => Date
  readonly findToken: (secretHash: string, now: Date) => Promise<TokenHolder | undefined>
  readonly listUsers: (page: { search?: string | undefined; limit: number }) => Promise<readonly unknown[]>
  readonly findUser: (who: string) => Promise<unknown>
  readonly listSignIns: (page: { limit: number }) => Promise<readonly unknown[]>
  readonly findSignIn: (reference: string) => Promise<unknown>
}

const unauthorized: Problem = {
  status: 401,
  title: 'A token is needed',
  sentence: 'Send «Authorization: Bearer …» with a token made by «gatehouse token create».',
  code: 'no-token',
}

export function lookupRoutes(deps: LookupDeps & ImportApiDeps): Router {
  const router = Router()
  router.use('/api/v1', async (request, response, next) => {
    request.headers.accept = 'application/json'
    const secret = /^Bearer ([\w-]{20,200})$/.exec(request.headers.authorization ?? '')?.[1]
    const token = secret && (await deps.findToken(hashSecret(secret), deps.clock()))
    if (token) {
      response.locals.token = token
      return next()
    }
    response.setHeader('WWW-Authenticate', 'Bearer')
    await sendProblem(request, response, unauthorized)
  })
  router.get('/api/v1/users', async (request, response) => {
    const search = typeof request.query.search === 'string' ? request.query.search : undefined
    sendJson(request, response, 200, { users: await deps.listUsers({ search, limit: limitOf(request) }) })
  })
  router.get('/api/v1/users/:who', async (request, response) => answer(request, response, await deps.findUser(String(request.params.who))))
  router.get('/api/v1/sign-ins', async (request, response) => {
    sendJson(request, response, 200, { signIns: await deps.listSignIns({ limit: limitOf(request) }) })
  })
  router.get('/api/v1/sign-ins/:reference', async (request, response) => {
    const reference = readReference(String(request.params.reference))
    await answer(request, response, reference && (await deps.findSignIn(reference)))
  })
  importApi(router, deps)
  return router
}

async function answer(request: Request, response: Response, found: unknown): Promise<void> {
  if (found) return sendJson(request, response, 200, found)
  await sendProblem(request, response, notFound)
}

/** 1 to 500, 50 unless told. */
function limitOf(request: Request): number {
  const limit = Number(request.query.limit ?? 50)
  return Number.isInteger(limit) ? Math.min(Math.max(limit, 1), 500) : 50
}
