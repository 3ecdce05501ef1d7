// Sets values of somebody by hand, or takes them back. An edit is a word of the administrators' own source: it is mastered,
// checked and recorded like any other, and refused where another source masters the attribute.

import { decideEdit } from '../domain/decide.ts'
import type { Actor } from '../domain/events.ts'
import type { UserId } from '../domain/ids.ts'
import type { Policy } from '../domain/policy.ts'
import type { AttributeChange } from '../domain/profile-change.ts'
import { isRefusal, type Refusal } from '../domain/refusals.ts'
import { answering } from './answering.ts'
import type { Transactions, Users } from './ports.ts'

export interface EditUser {
  readonly user: UserId
  /** Attribute -> values; null, or nothing but blanks, takes back what was set by hand. */
  readonly edits: Readonly<Record<string, readonly string[] | null>>
  readonly policy: Policy
  readonly actor: Actor
  readonly now: Date
}

export async function editUser(
  ports: Transactions & { users: Users },
  { user, edits, policy, actor, now }: EditUser,
): Promise<{ readonly attributes: readonly AttributeChange[] } | Refusal | undefined> {
  return ports.inTransaction(async (tx) => {
    const known = await ports.users.take(tx, user)
    if (!known || known.linked.state === 'erased') return undefined
    const meant = Object.fromEntries(
      Object.entries(edits).map(([name, values]) => [name, values?.some((one) => one.trim()) ? values : null]),
    )
    const outcome = await answering(ports.users, tx, decideEdit(known, meant, { policy, now }))
    if (isRefusal(outcome)) return outcome
    await ports.users.commit(tx, outcome, { actor, now })
    return { attributes: outcome.attributes }
  })
}
