// Keeps sessions, the keys that hosts hold to them, and the tickets by which a key is fetched.

import type { SessionId } from '../domain/ids.ts'
import type { Session, SessionKey, Sessions, Ticket, Tx } from '../flows/ports.ts'
import { inside, takeRow, toDate } from './db.ts'

interface TicketRow {
  secret_hash: string
  session_id: SessionId
  host: string
  entry_hash: string
  return_to: string
  session_expires_at: unknown
  expires_at: unknown
}

export const sessions: Sessions = {
  async open(tx: Tx, session: Session) {
    await inside(tx)('sessions').insert({
      id: session.id,
      user_id: session.user,
      source_id: session.connection,
      sign_in_id: session.signIn,
      name_id: session.nameId?.value ?? null,
      name_id_format: session.nameId?.format ?? null,
      session_index: session.sessionIndex ?? null,
      opened_at: session.openedAt,
      expires_at: session.expiresAt,
    })
  },

  async addKey(tx: Tx, key: SessionKey) {
    await inside(tx)('session_keys').insert({ secret_hash: key.secretHash, session_id: key.session, host: key.host })
  },

  /** Keys and tickets go with their session. */
  async end(tx, which) {
    return inside(tx)('sessions')
      .where('session' in which ? { id: which.session } : { user_id: which.user })
      .delete()
  },

  async keepTicket(tx: Tx, ticket: Ticket) {
    await inside(tx)('tickets').insert({
      secret_hash: ticket.secretHash,
      session_id: ticket.session,
      host: ticket.host,
      entry_hash: ticket.entryHash,
      return_to: ticket.returnTo,
      session_expires_at: ticket.sessionExpiresAt,
      expires_at: ticket.expiresAt,
    })
  },

  async takeTicket(tx, { secretHash, host, entryHash, now }) {
    const find = inside(tx)('tickets').where({ secret_hash: secretHash, host, entry_hash: entryHash }).where('expires_at', '>', now)
    const row = await takeRow<TicketRow>(tx, find)
    return (
      row && {
        secretHash: row.secret_hash,
        session: row.session_id,
        host: row.host,
        entryHash: row.entry_hash,
        returnTo: row.return_to,
        sessionExpiresAt: toDate(row.session_expires_at),
        expiresAt: toDate(row.expires_at),
      }
    )
  },
}
