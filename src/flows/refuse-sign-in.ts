// Records an attempt that ended before anybody was identified. Writes the sign-in and nothing else.

import type { DraftConnection } from '../domain/policy.ts'
import { kindOf, type Refusal } from '../domain/refusals.ts'
import type { Step } from '../domain/steps.ts'
import type { Refused } from './accept-assertion.ts'
import type { Mint, SignIn, SignIns, Transactions } from './ports.ts'

export interface RefusedAttempt {
  readonly flow: SignIn['flow']
  readonly refusal: Refusal
  readonly connection: DraftConnection
  readonly address: string
  readonly steps: readonly Step[]
  readonly now: Date
}

export async function refuseSignIn(ports: Transactions & { signIns: SignIns; mint: Mint }, attempt: RefusedAttempt): Promise<Refused> {
  const { flow, refusal, connection, address, steps, now } = attempt
  const reference = ports.mint.reference()
  await ports.inTransaction((tx) =>
    ports.signIns.record(tx, {
      id: ports.mint.id('sgn', now),
      flow,
      reference,
      at: now,
      connection: { id: connection.id, name: connection.name },
      outcome: 'refused',
      code: refusal.code,
      detail: refusal.detail,
      remedy: kindOf(refusal.code).remedy,
      address,
      steps,
    }),
  )
  return { refusal, reference }
}
