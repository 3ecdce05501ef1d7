// Takes a person's access away, whoever asked for it: state, reason and time, and every session ended, in one commit.
// Whoever is deprovisioned stays so; a sign-in does not bring them back.

import type { Actor } from '../domain/events.ts'
import type { UserId } from '../domain/ids.ts'
import { mayBecome } from '../domain/lifecycle.ts'
import type { Audit, Sessions, Transactions, Users } from './ports.ts'

export type Deprovisioned =
  | { readonly outcome: 'deprovisioned'; readonly sessionsEnded: number }
  | { readonly outcome: 'already' }
  | { readonly outcome: 'unknown' }

export async function deprovision(
  ports: Transactions & { users: Users; sessions: Sessions; audit: Audit },
  { user: id, reason, actor, now }: { user: UserId; reason: string; actor: Actor; now: Date },
): Promise<Deprovisioned> {
  return ports.inTransaction(async (tx) => {
    const user = await ports.users.take(tx, id)
    if (!user) return { outcome: 'unknown' }
    if (!mayBecome(user.state, 'deprovisioned')) return { outcome: 'already' }
    await ports.users.commit(tx, { kind: 'deprovision', user: { ...user, state: 'deprovisioned' }, reason }, { actor, now })
    const sessionsEnded = await ports.sessions.end(tx, { user: id })
    if (sessionsEnded) {
      await ports.audit.write(tx, [{ kind: 'session.ended', at: now, actor, user: id, details: { count: sessionsEnded, why: reason } }])
    }
    return { outcome: 'deprovisioned', sessionsEnded }
  })
}
