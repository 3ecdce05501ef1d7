// Records an attempt that ended before anybody was identified. Writes the sign-in and nothing else.

import type { Connection } from '../domain/policy.ts'
import { kindOf, type Refusal } from '../domain/refusals.ts'
import type { Refused } from './accept-assertion.ts'
import type { Mint, SignIns, Transactions } from './ports.ts'

export async function refuseSignIn(
  ports: Transactions & { signIns: SignIns; mint: Mint },
  attempt: { refusal: Refusal; connection: Connection; address: string; now: Date },
): Promise<Refused> {
  const { refusal, connection, address, now } = attempt
  const reference = ports.mint.reference()
  await ports.inTransaction((tx) =>
    ports.signIns.record(tx, {
      id: ports.mint.id('sgn', now),
      reference,
      at: now,
      connection: { id: connection.id, name: connection.name },
      outcome: 'refused',
      code: refusal.code,
      detail: refusal.detail,
      remedy: kindOf(refusal.code).remedy,
      address,
    }),
  )
  return { refusal, reference }
}
