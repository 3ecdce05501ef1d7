// Keeps sessions, one row for each host's key, and the tickets by which a key is fetched.

import type { SessionId, SignInId, SourceId, UserId } from '../domain/ids.ts'
import { UNSPECIFIED } from '../domain/matching.ts'
import type { Session, Sessions, Ticket, Tx } from '../flows/ports.ts'
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

interface SessionRow {
  id: SessionId
  user_id: UserId
  source_id: SourceId
  sign_in_id: SignInId
  name_id: string | null
  name_id_format: string | null
  name_qualifier: string | null
  sp_name_qualifier: string | null
  session_index: string | null
  opened_at: unknown
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
      name_qualifier: session.nameQualifiers?.nameQualifier ?? null,
      sp_name_qualifier: session.nameQualifiers?.spNameQualifier ?? null,
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

  async take(tx, session) {
    const row: SessionRow | undefined = await inside(tx)('sessions').where({ id: session }).first()
    return row && toSession(row)
  },

  async named(tx, { connection, nameId, sessionIndexes }) {
    const rows: SessionRow[] = await inside(tx)('sessions')
      .where({ source_id: connection, name_id: nameId.value })
      .distinct('id', 'user_id', 'name_id_format', 'session_index')
    return rows
      .filter((row) => sameFormat(row.name_id_format, nameId.format))
      .filter((row) => !sessionIndexes.length || sessionIndexes.includes(row.session_index ?? ''))
      .map((row) => ({ id: row.id, user: row.user_id }))
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

/** A logout request may leave the format out, which means that it is not specified (SAML core 2.0, section 8.3.1). */
function sameFormat(kept: string | null, asked: string): boolean {
  return kept === asked || kept === UNSPECIFIED || asked === UNSPECIFIED
}

function toSession(row: SessionRow): Session {
  const { name_id: value, name_id_format: format, name_qualifier: nameQualifier, sp_name_qualifier: spNameQualifier } = row
  const qualifiers = { ...(nameQualifier === null ? {} : { nameQualifier }), ...(spNameQualifier === null ? {} : { spNameQualifier }) }
  return {
    id: row.id,
    user: row.user_id,
    connection: row.source_id,
    signIn: row.sign_in_id,
    ...(value !== null && format !== null ? { nameId: { value, format } } : {}),
    ...(Object.keys(qualifiers).length ? { nameQualifiers: qualifiers } : {}),
    ...(row.session_index === null ? {} : { sessionIndex: row.session_index }),
    openedAt: toDate(row.opened_at),
    expiresAt: toDate(row.expires_at),
  }
}
