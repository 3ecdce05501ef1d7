// Makes an API token. The secret is shown once and kept only as its hash.

import type { Actor } from '../domain/events.ts'
import type { ApiToken, ApiTokens, Audit, Mint, Transactions } from './ports.ts'
import { hashSecret } from './secrets.ts'

/** So that a leaked token is recognised by people and by secret scanners. */
export const TOKEN_PREFIX = 'gatehouse_'

export async function createToken(
  ports: Transactions & { tokens: ApiTokens; audit: Audit; mint: Mint },
  { name, days, mayWrite = false, actor, now }: { name: string; days: number; mayWrite?: boolean; actor: Actor; now: Date },
): Promise<{ readonly token: ApiToken; readonly secret: string }> {
  const secret = `${TOKEN_PREFIX}${ports.mint.secret()}`
  const expiresAt = new Date(now.getTime() + days * 86_400_000)
  const token: ApiToken = { id: ports.mint.id('tok', now), name, mayWrite, secretHash: hashSecret(secret), createdAt: now, expiresAt }
  await ports.inTransaction(async (tx) => {
    await ports.tokens.keep(tx, token)
    await ports.audit.write(tx, [{ kind: 'token.created', at: now, actor, token: token.id, details: { name, expiresAt, mayWrite } }])
  })
  return { token, secret }
}
