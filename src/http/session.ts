// Finds the session behind a request, at Gatehouse's own host or at an app's.

import type { IncomingMessage } from 'node:http'
import type { SessionId, SourceId } from '../domain/ids.ts'
import type { User } from '../domain/model.ts'
import type { Policy } from '../domain/policy.ts'
import { hashSecret } from '../flows/secrets.ts'
import type { CookieJar } from './cookies.ts'

export interface SessionInForce {
  readonly id: SessionId
  readonly user: User
  readonly connection: SourceId
  readonly expiresAt: Date
}

/** Satisfied by store/gate-reads: the session and the policy's revision at one moment. */
export type AskGate = (question: {
  secretHash: string | undefined
  host: string
  now: Date
}) => Promise<{ readonly revision: number; readonly session?: SessionInForce }>

export interface Visit {
  readonly policy: Policy
  readonly session?: SessionInForce
  /** The cookie's value, for CSRF tokens. */
  readonly secret?: string
}

/** Who is asking, under which policy. Throws when the database cannot say: then nobody is let through. */
export type FindVisit = (request: IncomingMessage, host: string) => Promise<Visit>

export function visits(deps: {
  askGate: AskGate
  policyAt: (revision: number) => Promise<Policy>
  cookies: CookieJar
  clock: () => Date
}): FindVisit {
  return async (request, host) => {
    const secret = deps.cookies.readSession(request)
    const secretHash = secret === undefined ? undefined : hashSecret(secret)
    const { revision, session } = await deps.askGate({ secretHash, host, now: deps.clock() })
    const policy = await deps.policyAt(revision)
    return session && secret !== undefined ? { policy, session, secret } : { policy }
  }
}
