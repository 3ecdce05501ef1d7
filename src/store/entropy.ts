// Chance for ids and nonces. Asking the machine for a dozen bytes costs more than what they are for, so it is asked for many at
// once; no byte is given out twice.

import { randomFillSync } from 'node:crypto'

const pool = Buffer.allocUnsafeSlow(16 * 1024)
let used = pool.length

/** A copy that is the caller's alone. */
export function entropy(bytes: number): Buffer {
  if (used + bytes > pool.length) {
    randomFillSync(pool)
    used = 0
  }
  const taken = Buffer.from(pool.subarray(used, used + bytes))
  // Whoever reads this memory later does not learn what was made of it.
  pool.fill(0, used, used + bytes)
  used += bytes
  return taken
}
