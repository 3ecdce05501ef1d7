// Deletes what has run out. Each delete is bounded by an index on the time it looks at.

import type { Leftovers } from '../flows/ports.ts'
import { inside } from './transactions.ts'

export const leftovers: Leftovers = {
  async sweep(tx, now, signInsBefore) {
    const db = inside(tx)
    let gone = 0
    for (const table of ['sign_in_requests', 'assertions_used', 'tickets', 'sessions'])
      gone += await db(table).where('expires_at', '<=', now).delete()
    gone += await db('sign_ins').where('at', '<', signInsBefore).delete()
    return gone
  },
}
