// The machine's entropy, for the ids and secrets that flows ask for.

import { randomBytes } from 'node:crypto'
import { ID_ENTROPY, mint as mintId, mintReference, REFERENCE_ENTROPY } from '../domain/ids.ts'
import type { Mint } from '../flows/ports.ts'

export const mint: Mint = {
  id: (prefix, now) => mintId(prefix, now, randomBytes(ID_ENTROPY)),
  reference: () => mintReference(randomBytes(REFERENCE_ENTROPY)),
  secret: () => randomBytes(32).toString('base64url'),
}
