// The machine's entropy, for the ids and secrets that flows ask for.

import { randomBytes } from 'node:crypto'
import { ID_ENTROPY, mint as mintId, mintReference, REFERENCE_ENTROPY } from '../domain/ids.ts'
import type { Mint } from '../flows/ports.ts'

/** Asked for in pieces, the system's entropy costs more than all that is done with it. Each byte is handed out once. */
let pool = Buffer.alloc(0)
let used = 0

function entropy(bytes: number): Buffer {
  if (used + bytes > pool.length) {
    pool = randomBytes(4096)
    used = 0
  }
  const piece = Buffer.from(pool.subarray(used, used + bytes))
  pool.fill(0, used, used + bytes)
  used += bytes
  return piece
}

function secret(): string {
  return entropy(32).toString('base64url')
}

export const mint: Mint = {
  id: (prefix, now) => mintId(prefix, now, entropy(ID_ENTROPY)),
  reference: () => mintReference(entropy(REFERENCE_ENTROPY)),
  secret,
  messageId: () => `_${secret()}`,
}
