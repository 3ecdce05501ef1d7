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
  /** base64, as it was posted; undefined: not to be kept. Nothing vouches for it. */
  readonly response?: string | undefined
  readonly now: Date
}

export async function refuseSignIn(ports: Transactions & { signIns: SignIns; mint: Mint }, attempt: RefusedAttempt): Promise<Refused> {
  const { flow, refusal, connection, address, steps, now, response } = attempt
  const reference = ports.mint.reference()
  const id = ports.mint.id('sgn', now)
  await ports.inTransaction(async (tx) => {
    await ports.signIns.record(tx, {
      id,
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
    })
    if (response !== undefined && response.length <= LONGEST_KEPT) await ports.signIns.keepContent(tx, id, connection.id, { response })
  })
  return { refusal, reference }
}

/** Anybody can post what nobody vouches for; a real response that failed is not longer than this. */
const LONGEST_KEPT = 64 * 1024
