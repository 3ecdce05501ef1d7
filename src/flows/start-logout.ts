// Signs a person out: here at once and for every app, whatever the identity provider does; and, where the connection has
// single logout, keeps a row for the request that is about to be sent there.

import type { NameQualifiers } from '../domain/assertion.ts'
import type { SessionId, SourceId, UserId } from '../domain/ids.ts'
import type { NameId } from '../domain/model.ts'
import type { Audit, Mint, SentLogouts, Sessions, Transactions } from './ports.ts'

/** How long the identity provider has for telling everybody. */
const LOGOUT_MINUTES = 10

/** What to send to the identity provider of the session's connection. */
export interface StartedLogout {
  readonly requestId: string
  readonly nameId: NameId
  readonly nameQualifiers?: NameQualifiers
  readonly sessionIndex?: string
}

export async function startLogout(
  ports: Transactions & { sessions: Sessions; sentLogouts: SentLogouts; audit: Audit; mint: Mint },
  /** `reaches`: whether the identity provider of that connection is to be told. */
  ask: { session: SessionId; user: UserId; reaches: (connection: SourceId) => boolean; now: Date },
): Promise<StartedLogout | undefined> {
  const { session: id, user, now } = ask
  return ports.inTransaction(async (tx) => {
    const session = await ports.sessions.take(tx, id)
    if (!session || !(await ports.sessions.end(tx, { session: id }))) return undefined
    await ports.audit.write(tx, [
      { kind: 'session.ended', at: now, actor: { kind: 'user', id: user }, user, details: { session: id, why: 'signed out' } },
    ])
    const { connection, nameId, nameQualifiers, sessionIndex } = session
    if (!nameId || !ask.reaches(connection)) return undefined
    const requestId = ports.mint.messageId()
    const expiresAt = new Date(now.getTime() + LOGOUT_MINUTES * 60_000)
    await ports.sentLogouts.keep(tx, { id: requestId, connection, user, expiresAt })
    return { requestId, nameId, ...(nameQualifiers ? { nameQualifiers } : {}), ...(sessionIndex === undefined ? {} : { sessionIndex }) }
  })
}
