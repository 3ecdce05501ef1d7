// Says what a sign-in with these words would do, and why: whose account it is, what becomes of every attribute, and what each
// app would be told. Decides as a sign-in does and writes nothing.

import { type Decision, decide } from '../domain/decide.ts'
import { identityHeaders } from '../domain/identity-headers.ts'
import type { SourceRecord } from '../domain/model.ts'
import type { Policy } from '../domain/policy.ts'
import { isRefusal } from '../domain/refusals.ts'
import { answering } from './answering.ts'
import { orUndone, Undone } from './bring-into-force.ts'
import type { Mint, Transactions, Users } from './ports.ts'

export interface Explained extends Decision {
  /** What each app would get; none where the person is refused. */
  readonly headers: readonly { readonly app: string; readonly headers: readonly (readonly [string, string])[] }[]
}

export async function explainSignIn(
  ports: Transactions & { users: Users; mint: Mint },
  { said, policy, now }: { said: SourceRecord; policy: Policy; now: Date },
): Promise<Explained> {
  const source = policy.sources.get(said.source)
  if (!source) throw new Error('there is no such source in the policy')
  const deciding = decide({ ...said, observedAt: now }, { source, policy, fresh: ports.mint.id('usr', now), explain: true })
  const decision = await orUndone(() =>
    ports.inTransaction(async (tx): Promise<Decision> => {
      throw new Undone(await answering(ports.users, tx, deciding))
    }),
  )
  const { outcome } = decision
  const headers = isRefusal(outcome)
    ? []
    : policy.apps.map((app) => ({ app: app.name, headers: identityHeaders(app.headers, outcome.user) }))
  return { ...decision, headers }
}
