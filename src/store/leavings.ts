// Keeps who has left a source and what is to follow once the grace period is over.

import type { RunId, SourceId, UserId } from '../domain/ids.ts'
import type { Leavings, PendingLeaving } from '../flows/import-ports.ts'
import { amongKeys } from './bulk.ts'
import { toDate } from './db.ts'
import { holdRow, inside } from './transactions.ts'

interface LeavingRow {
  user_id: UserId
  source_id: SourceId
  external_key: string
  to_state: PendingLeaving['to']
  reason: string
  since: unknown
  due_at: unknown
  run_id: RunId | null
}

export const leavings: Leavings = {
  async keep(tx, { user, source, externalKey, to, since, due, reason, run }) {
    const row = { external_key: externalKey, to_state: to, reason, since, due_at: due, run_id: run ?? null }
    await inside(tx)('leavings')
      .insert({ user_id: user, source_id: source, ...row })
      .onConflict(['user_id', 'source_id'])
      // The period began when they left; what else is said of them since does not begin it again.
      .merge(['external_key', 'to_state', 'reason', 'run_id'])
  },

  async cancel(tx, source, users) {
    const db = inside(tx)
    // Nearly always nobody is leaving.
    if (!(await db('leavings').where({ source_id: source }).first('user_id'))) return
    await db.raw(`delete from leavings where source_id = ? and ${amongKeys(db.dialect, 'user_id')}`, [source, JSON.stringify(users)])
  },

  async cancelAll(tx, user) {
    await inside(tx)('leavings').where({ user_id: user }).delete()
  },

  async takeDue(tx, now, most) {
    const rows: LeavingRow[] = await inside(tx)('leavings')
      .where('due_at', '<=', now)
      .orderBy('due_at')
      .limit(most)
      .modify(holdRow, 'leavings')
    return rows.map(toLeaving)
  },
}

function toLeaving(row: LeavingRow): PendingLeaving {
  return {
    user: row.user_id,
    source: row.source_id,
    externalKey: row.external_key,
    to: row.to_state,
    reason: row.reason,
    since: toDate(row.since),
    due: toDate(row.due_at),
    ...(row.run_id === null ? {} : { run: row.run_id }),
  }
}
