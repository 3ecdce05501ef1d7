// The one form in which secrets are kept and compared: the database holds only the hash, so reading it opens nothing.

import { createHash } from 'node:crypto'

/** SHA-256, base64url. Enough for secrets of 256 random bits; never use it for anything that a person chose. */
export function hashSecret(secret: string): string {
  return createHash('sha256').update(secret).digest('base64url')
}
