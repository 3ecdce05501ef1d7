// The one place where a refusal or a fault becomes an answer: a page for people, RFC 9457 for programs. What is private
// in either stays in the log and on the sign-in record.

import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Logger } from 'pino'
import { kindOf, type Refusal } from '../domain/refusals.ts'
import { StoreUnavailable } from '../flows/ports.ts'
import { sendJson, sendPage, wantsJson } from './pages.ts'

export interface Problem {
  readonly status: number
  readonly title: string
  /** Plain words: what happened and what to do next. */
  readonly sentence: string
  readonly code?: string
  /** What an administrator looks up. */
  readonly reference?: string
  readonly retryAfterSeconds?: number
  /** Where "try again" leads. */
  readonly again?: string
}

export async function sendProblem(request: IncomingMessage, response: ServerResponse, problem: Problem): Promise<void> {
  if (problem.retryAfterSeconds !== undefined) response.setHeader('Retry-After', String(problem.retryAfterSeconds))
  if (wantsJson(request)) {
    const { status, title, sentence: detail, code, reference } = problem
    const type = code ? `urn:gatehouse:problem:${code}` : 'about:blank'
    return sendJson(request, response, status, { type, title, status, detail, reference }, 'application/problem+json')
  }
  await sendPage(request, response, problem.status, 'problem', { problem })
}

export function refusalProblem({ code }: Refusal, reference: string, again: string): Problem {
  const { status, title, sentence, remedy } = kindOf(code)
  // What only an administrator can change does not get better by trying.
  return { status, title, sentence, code, reference, ...(remedy === 'administrator' ? {} : { again }) }
}

export const notFound: Problem = {
  status: 404,
  title: 'There is nothing here',
  sentence: 'The address may be mistyped, or what was here has been removed.',
  code: 'not-found',
}

export function methodNotAllowed(allowed: string): Problem {
  return { status: 405, title: 'Not this way', sentence: `This address answers ${allowed} only.`, code: 'method-not-allowed' }
}

/** For whatever was thrown. Logs it; tells the outside only whether to come back. */
export function faultProblem(error: unknown, log: Logger): Problem {
  if (error instanceof StoreUnavailable) {
    log.warn({ err: error.cause }, error.message)
    return {
      status: 503,
      title: 'Please try again in a moment',
      sentence:
        'Gatehouse cannot reach its database just now. Nothing was changed; it carries on by itself as soon as the database is back.',
      code: 'unavailable',
      retryAfterSeconds: 5,
    }
  }
  log.error({ err: error }, 'a request failed')
  return {
    status: 500,
    title: 'Something went wrong here',
    sentence: 'This is our fault, not yours. Please try again; if it stays, tell your administrator when it happened.',
    code: 'fault',
  }
}
