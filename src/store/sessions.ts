// Keeps sessions, one row for each host's key, and the tickets by which a key is fetched.

import type { SessionId } from '../domain/ids.ts'
import type { Sessions, Ticket, Tx } from '../flows/ports.ts'
import { takeRow, toDate } from './db.ts'
import { inside } from './transactions.ts'

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
  async open(tx, session, key) {
    await inside(tx)('sessions').insert({
      secret_hash: key.secretHash,
      host: key.host,
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

  async addKey(tx, session, key) {
    const row = await inside(tx)('sessions').where({ id: session }).first()
    if (!row) return false
    await inside(tx)('sessions').insert({ ...row, secret_hash: key.secretHash, host: key.host })
    return true
  },

  async end(tx, which) {
    const rows = () => inside(tx)('sessions').where('session' in which ? { id: which.session } : { user_id: which.user })
    const ids: { id: SessionId }[] = await rows().distinct('id')
    if (!ids.length) return 0
    await rows().delete()
    await inside(tx)('tickets')
      .whereIn(
        'session_id',
        ids.map(({ id }) => id),
      )
      .delete()
    return ids.length
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
    const sql = 'delete from tickets where secret_hash = ? and host = ? and entry_hash = ? and expires_at > ? returning *'
    const row = await takeRow<TicketRow>(tx, sql, [secretHash, host, entryHash, now])
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
