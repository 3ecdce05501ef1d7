// The machine's entropy, for the ids and secrets that flows ask for.

import { ID_ENTROPY, mint as mintId, mintReference, REFERENCE_ENTROPY } from '../domain/ids.ts'
import type { Mint } from '../flows/ports.ts'
import { entropy } from '../store/entropy.ts'

function secret(): string {
  return entropy(32).toString('base64url')
}

export const mint: Mint = {
  id: (prefix, now) => mintId(prefix, now, entropy(ID_ENTROPY)),
  reference: () => mintReference(entropy(REFERENCE_ENTROPY)),
  secret,
  messageId: () => `_${secret()}`,
}
