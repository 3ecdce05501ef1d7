// Begins a sign-in: keeps a row for the request that is about to be sent, bound to this browser by a secret that only
// its cookie holds. Nothing about the person is known yet.

import type { SessionId } from '../domain/ids.ts'
import type { Connection } from '../domain/policy.ts'
import type { Mint, SignInRequests, Transactions } from './ports.ts'
import { hashSecret } from './secrets.ts'

/** How long a person has at the identity provider before the answer comes too late. */
export const REQUEST_MINUTES = 15

export interface StartedSignIn {
  /** Becomes the AuthnRequest's ID, and its RelayState: a token for the row that is kept here, never an address. */
  readonly requestId: string
  readonly browserSecret: string
}

export async function startSignIn(
  ports: Transactions & { requests: SignInRequests; mint: Mint },
  ask: { connection: Connection; returnTo: URL; entryHash?: string; replaces?: SessionId; passive: boolean; now: Date },
): Promise<StartedSignIn> {
  const requestId = ports.mint.messageId()
  const browserSecret = ports.mint.secret()
  await ports.inTransaction((tx) =>
    ports.requests.keep(tx, {
      id: requestId,
      connection: ask.connection.id,
      browserHash: hashSecret(browserSecret),
      returnTo: ask.returnTo.href,
      ...(ask.entryHash ? { entryHash: ask.entryHash } : {}),
      ...(ask.replaces ? { replaces: ask.replaces } : {}),
      passive: ask.passive,
      createdAt: ask.now,
      expiresAt: new Date(ask.now.getTime() + REQUEST_MINUTES * 60_000),
    }),
  )
  return { requestId, browserSecret }
}
