// Deletes what has run out. What runs out soon is few enough to scan; sign-ins are found by their ids, which sort by time.

import { earliestId } from '../domain/ids.ts'
import type { Leftovers } from '../flows/ports.ts'
import { inside } from './transactions.ts'

export const leftovers: Leftovers = {
  async sweep(tx, now, before) {
    const db = inside(tx)
    let gone = 0
    for (const table of ['sign_in_requests', 'assertions_used', 'tickets', 'sessions', 'logout_requests'])
      gone += await db(table).where('expires_at', '<=', now).delete()
    gone += await db('sign_in_contents').where('sign_in_id', '<', earliestId('sgn', before.responses)).delete()
    gone += await db('sign_ins').where('id', '<', earliestId('sgn', before.signIns)).delete()
    return gone
  },
}
