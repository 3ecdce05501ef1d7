// Deletes what has run out. What runs out soon is few enough to scan; sign-ins are found by their ids, which sort by time.

import { earliestId } from '../domain/ids.ts'
import type { Leftovers } from '../flows/ports.ts'
import { inside, type TxQueries } from './transactions.ts'

export const leftovers: Leftovers = {
  async sweep(tx, now, before) {
    const db = inside(tx)
    let gone = 0
    for (const table of ['sign_in_requests', 'assertions_used', 'tickets', 'sessions', 'logout_requests'])
      gone += await db(table).where('expires_at', '<=', now).delete()
    gone += await db('sign_in_contents').where('sign_in_id', '<', earliestId('sgn', before.responses)).delete()
    gone += await db('sign_ins').where('id', '<', earliestId('sgn', before.signIns)).delete()
    gone += await sweepPlans(db, before.plans)
    return gone
  },
}

/** So many at once, so that nobody waits for the rest. */
const MOST_ROWS = 20_000

/** That there was a run, and what it did, stays. */
async function sweepPlans(db: TxQueries, before: Date): Promise<number> {
  const over = await db('runs')
    .whereNotNull('source_id')
    .whereNot({ state: 'running' })
    .where('updated_at', '<', before)
    .whereExists(db('import_rows').whereRaw('import_rows.run_id = runs.id').select('seq'))
    .orderBy('id')
    .first('id')
  if (!over) return 0
  const first = await db('import_rows').where({ run_id: over.id }).min('seq as seq').first()
  return Number(
    await db('import_rows')
      .where({ run_id: over.id })
      .where('seq', '<', Number(first?.seq ?? 0) + MOST_ROWS)
      .delete(),
  )
}
