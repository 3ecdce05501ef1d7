// Signs a person out of Gatehouse: the session ends for every host it had a key for, with the commit.

import type { SessionId, UserId } from '../domain/ids.ts'
import type { Audit, Sessions, Transactions } from './ports.ts'

export async function endSession(
  ports: Transactions & { sessions: Sessions; audit: Audit },
  { session, user, now }: { session: SessionId; user: UserId; now: Date },
): Promise<void> {
  await ports.inTransaction(async (tx) => {
    const ended = await ports.sessions.end(tx, { session })
    if (!ended) return
    await ports.audit.write(tx, [
      { kind: 'session.ended', at: now, actor: { kind: 'user', id: user }, user, details: { session, why: 'signed out' } },
    ])
  })
}
