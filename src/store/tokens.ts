// Keeps API tokens, by the hash of their secret.

import type { TokenId } from '../domain/ids.ts'
import type { ApiToken, ApiTokens } from '../flows/ports.ts'
import { type Db, toDate } from './db.ts'
import { inside } from './transactions.ts'

interface TokenRow {
  id: TokenId
  name: string
  secret_hash: string
  may_write: unknown
  created_at: unknown
  expires_at: unknown
}

export const tokens: ApiTokens = {
  async keep(tx, token) {
    const { id, name, mayWrite, secretHash, createdAt, expiresAt } = token
    await inside(tx)('api_tokens').insert({
      id,
      name,
      may_write: mayWrite,
      secret_hash: secretHash,
      created_at: createdAt,
      expires_at: expiresAt,
    })
  },
  async revoke(tx, id, now) {
    const revoked = await inside(tx)('api_tokens').where({ id }).whereNull('revoked_at').update({ revoked_at: now })
    return revoked === 1
  },
}

/** The token in force with this secret hash. */
export async function findToken(db: Db, secretHash: string, now: Date): Promise<ApiToken | undefined> {
  const row: TokenRow | undefined = await db.read((knex) =>
    knex('api_tokens').where({ secret_hash: secretHash }).whereNull('revoked_at').where('expires_at', '>', now).first(),
  )
  return row && toToken(row)
}

export async function listTokens(db: Db, now: Date): Promise<readonly ApiToken[]> {
  const rows: TokenRow[] = await db.read((knex) => knex('api_tokens').whereNull('revoked_at').where('expires_at', '>', now).orderBy('id'))
  return rows.map(toToken)
}

function toToken(row: TokenRow): ApiToken {
  return {
    id: row.id,
    name: row.name,
    mayWrite: Boolean(row.may_write),
    secretHash: row.secret_hash,
    createdAt: toDate(row.created_at),
    expiresAt: toDate(row.expires_at),
  }
}
