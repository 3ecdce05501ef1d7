// Withdraws an API token at once. False when there is no such token in force.

import type { Actor } from '../domain/events.ts'
import type { TokenId } from '../domain/ids.ts'
import type { ApiTokens, Audit, Transactions } from './ports.ts'

export async function revokeToken(
  ports: Transactions & { tokens: ApiTokens; audit: Audit },
  { id, actor, now }: { id: TokenId; actor: Actor; now: Date },
): Promise<boolean> {
  return ports.inTransaction(async (tx) => {
    if (!(await ports.tokens.revoke(tx, id, now))) return false
    await ports.audit.write(tx, [{ kind: 'token.revoked', at: now, actor, token: id }])
    return true
  })
}
