// Changes somebody's lifecycle state, whoever asked for it: state, reason, author and time, in one commit with what goes with it.
// Whoever is not active has no session; whoever is deprovisioned holds nothing; of whoever is erased only a tombstone is left.

import { nothingLeft } from '../domain/entitlements.ts'
import type { Actor } from '../domain/events.ts'
import type { UserId } from '../domain/ids.ts'
import { type LifecycleState, transition } from '../domain/lifecycle.ts'
import type { User } from '../domain/model.ts'
import type { Policy } from '../domain/policy.ts'
import { type EndAccessPorts, endAccess } from './end-access.ts'
import type { Leavings } from './import-ports.ts'
import type { Transactions, Users } from './ports.ts'

export type StateChanged =
  | { readonly outcome: 'changed'; readonly from: LifecycleState; readonly to: LifecycleState; readonly sessionsEnded: number }
  | { readonly outcome: 'already'; readonly state: LifecycleState }
  | { readonly outcome: 'impossible'; readonly from: LifecycleState; readonly to: LifecycleState }
  | { readonly outcome: 'unknown' }

export interface ChangeState {
  readonly user: UserId
  readonly to: LifecycleState
  readonly reason: string
  readonly policy: Pick<Policy, 'targets' | 'schema'>
  readonly actor: Actor
  readonly now: Date
}

export async function changeState(
  ports: Transactions & EndAccessPorts & { users: Users; leavings: Leavings },
  { user: id, to, reason, policy, actor, now }: ChangeState,
): Promise<StateChanged> {
  return ports.inTransaction(async (tx) => {
    const found = await ports.users.take(tx, id)
    if (!found) return { outcome: 'unknown' }
    const { linked: before } = found
    const from = before.state
    if (from === to) return { outcome: 'already', state: to }
    const lawful = transition(from, to, reason)
    if (!lawful) return { outcome: 'impossible', from, to }
    const keepsAll = to === 'active' || to === 'suspended'
    const entitled = keepsAll
      ? { grants: before.grants, gained: [], lost: [], waiting: before.waiting, seats: {} }
      : nothingLeft(before.grants)
    // Entitlements of somebody who comes back follow from the policy, with the next sign-in: revision 0 says that it is due.
    const user: User = { ...before, state: to, grants: entitled.grants, waiting: entitled.waiting, revision: 0 }
    await ports.users.commit(tx, { kind: 'state', user, transition: lawful, entitled }, { actor, now })
    // A person has said what their access is; no earlier leaving is to say otherwise later.
    await ports.leavings.cancelAll(tx, id)
    const sessionsEnded = await endAccess(ports, tx, { user, transition: lawful, policy, actor, now })
    return { outcome: 'changed', from, to, sessionsEnded }
  })
}
