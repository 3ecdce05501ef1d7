// An identity provider that was asked passively has said that it must see the person. Takes the request that this browser
// had begun, so that it can be asked again, openly. What claims to answer it need not be signed: it only starts a sign-in
// that this browser had wanted anyhow.

import type { Connection } from '../domain/policy.ts'
import type { SignInRequest, SignInRequests, Transactions } from './ports.ts'
import { hashSecret } from './secrets.ts'

/** Undefined: not this browser's, not passive, used or run out. */
export async function takePassive(
  ports: Transactions & { requests: SignInRequests },
  { requestId, connection, browserSecret, now }: { requestId: string; connection: Connection; browserSecret: string; now: Date },
): Promise<SignInRequest | undefined> {
  const fits = { id: requestId, connection: connection.id, browserHash: hashSecret(browserSecret), now }
  return ports.inTransaction(async (tx) => {
    const request = await ports.requests.take(tx, fits)
    if (request && !request.passive) {
      await ports.requests.keep(tx, request)
      return undefined
    }
    return request
  })
}
