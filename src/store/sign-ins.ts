// Keeps what a sign-in leaves behind: the open request, the claimed assertion, the record of the attempt.

import type { SessionId, SignInId, SourceId, UserId } from '../domain/ids.ts'
import type { Step } from '../domain/steps.ts'
import type { Assertions, SentLogouts, SignInContent, SignInRequests, SignIns } from '../flows/ports.ts'
import { takeRow, toDate } from './db.ts'
import type { Sealer } from './sealing.ts'
import { inside } from './transactions.ts'

interface RequestRow {
  id: string
  source_id: SourceId
  browser_hash: string
  return_to: string
  entry_hash: string | null
  replaces_session: SessionId | null
  passive: unknown
  created_at: unknown
  expires_at: unknown
}

const LONGEST_DETAIL = 2_000
const REQUEST_MS = 15 * 60_000

export const requests: SignInRequests = {
  async keep(tx, request) {
    await inside(tx)('sign_in_requests').insert({
      id: request.id,
      source_id: request.connection,
      browser_hash: request.browserHash,
      return_to: request.returnTo,
      entry_hash: request.entryHash ?? null,
      replaces_session: request.replaces ?? null,
      passive: request.passive,
      created_at: request.createdAt,
      expires_at: request.expiresAt,
    })
  },

  async take(tx, { id, connection, browserHash, now }) {
    const sql = 'delete from sign_in_requests where id = ? and source_id = ? and browser_hash = ? and expires_at > ? returning *'
    const row = await takeRow<RequestRow>(tx, sql, [id, connection, browserHash, now])
    return (
      row && {
        id: row.id,
        connection: row.source_id,
        browserHash: row.browser_hash,
        returnTo: row.return_to,
        ...(row.entry_hash ? { entryHash: row.entry_hash } : {}),
        ...(row.replaces_session ? { replaces: row.replaces_session } : {}),
        passive: Boolean(row.passive),
        // An earlier release kept only when it runs out.
        createdAt: row.created_at ? toDate(row.created_at) : new Date(toDate(row.expires_at).getTime() - REQUEST_MS),
        expiresAt: toDate(row.expires_at),
      }
    )
  },

  async isOpen(tx, id, connection, now) {
    const row = await inside(tx)('sign_in_requests').where({ id, source_id: connection }).where('expires_at', '>', now).first('id')
    return row !== undefined
  },
}

export const sentLogouts: SentLogouts = {
  async keep(tx, { id, connection, user, expiresAt }) {
    await inside(tx)('logout_requests').insert({ id, source_id: connection, user_id: user, expires_at: expiresAt })
  },

  async take(tx, { id, connection, now }) {
    const sql = 'delete from logout_requests where id = ? and source_id = ? and expires_at > ? returning *'
    const row = await takeRow<{ id: string; source_id: SourceId; user_id: UserId; expires_at: unknown }>(tx, sql, [id, connection, now])
    return row && { id: row.id, connection: row.source_id, user: row.user_id, expiresAt: toDate(row.expires_at) }
  },
}

export const assertions: Assertions = {
  /** The primary key decides, so two nodes cannot both win. */
  async claim(tx, { connection, id, expiresAt }) {
    const claimed: unknown[] = await inside(tx)('assertions_used')
      .insert({ source_id: connection, assertion_id: id, expires_at: expiresAt })
      .onConflict(['source_id', 'assertion_id'])
      .ignore()
      .returning('assertion_id')
    return claimed.length === 1
  },
}

const LONGEST_FACT = 600

/** PostgreSQL keeps neither half of a surrogate pair nor U+0000. */
function cut(text: string, longest: number): string {
  return text.slice(0, longest).toWellFormed().replaceAll('\u0000', '\ufffd')
}

function bounded(step: Step): Step {
  const { expected, came } = step
  return {
    ...step,
    ...(expected === undefined ? {} : { expected: cut(expected, LONGEST_FACT) }),
    ...(came === undefined ? {} : { came: cut(came, LONGEST_FACT) }),
  }
}

export const signIns: SignIns = {
  async record(tx, signIn) {
    await inside(tx)('sign_ins').insert({
      id: signIn.id,
      flow: signIn.flow,
      reference: signIn.reference,
      at: signIn.at,
      source_id: signIn.connection?.id ?? null,
      connection: signIn.connection?.name ?? null,
      outcome: signIn.outcome,
      code: signIn.code ?? null,
      // Some of it came from outside, unverified.
      detail: signIn.detail === undefined ? null : cut(signIn.detail, LONGEST_DETAIL),
      remedy: signIn.remedy ?? null,
      user_id: signIn.user ?? null,
      subject: signIn.subject ?? null,
      address: signIn.address,
      steps: JSON.stringify(signIn.steps.map(bounded)),
    })
  },

  async keepContent(tx, id, connection, content) {
    const sealed = inside(tx).sealer.seal(JSON.stringify(content), contentPlace(id))
    await inside(tx)('sign_in_contents').insert({ sign_in_id: id, source_id: connection, sealed })
  },
}

export function contentPlace(id: SignInId): string {
  return `sign-in ${id}`
}

/** What was sent with an attempt. */
export function toContent(sealed: Uint8Array, id: SignInId, sealer: Sealer): SignInContent {
  const content: SignInContent = JSON.parse(sealer.open(sealed, contentPlace(id)))
  const { said } = content
  if (!said) return content
  const observedAt = new Date(said.observedAt)
  // Names of attributes come from outside.
  const attributes = Object.assign(Object.create(null), said.attributes)
  return { ...content, said: { ...said, attributes, observedAt } }
}
