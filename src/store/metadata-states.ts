// Keeps when each connection's metadata is looked at again, and what became of it the last time.

import type { SourceId } from '../domain/ids.ts'
import type { MetadataState, MetadataStates } from '../flows/ports.ts'
import { type Db, fromJson, toDate } from './db.ts'
import { inside } from './transactions.ts'

interface StateRow {
  source_id: SourceId
  next_at: unknown
  checked_at: unknown
  outcome: MetadataState['outcome'] | null
  details: unknown
  entities: number | null
}

export const metadataStates: MetadataStates = {
  async find(tx, connection) {
    const row: StateRow | undefined = await inside(tx)('metadata_states').where({ source_id: connection }).first()
    return row && toState(row)
  },

  async claimDue(tx, connection, now, until) {
    const claimed = await inside(tx)('metadata_states')
      .where({ source_id: connection })
      .where('next_at', '<=', now)
      .update({ next_at: until })
    return claimed === 1
  },

  async claimRescue(tx, connection, now, everyMs) {
    await inside(tx)('metadata_states').insert({ source_id: connection, next_at: now }).onConflict('source_id').ignore()
    const claimed = await inside(tx)('metadata_states')
      .where({ source_id: connection })
      .where((or) => or.whereNull('rescued_at').orWhere('rescued_at', '<=', new Date(now.getTime() - everyMs)))
      .update({ rescued_at: now })
    return claimed === 1
  },

  async keep(tx, connection, { nextAt, checkedAt, outcome, details, entities }) {
    const row = {
      next_at: nextAt,
      checked_at: checkedAt ?? null,
      outcome: outcome ?? null,
      details: details ? JSON.stringify(details) : null,
      entities: entities ?? null,
    }
    await inside(tx)('metadata_states')
      .insert({ source_id: connection, ...row })
      .onConflict('source_id')
      .merge(row)
  },
}

export async function metadataStateOf(db: Db, connection: SourceId): Promise<MetadataState | undefined> {
  const row: StateRow | undefined = await db.read((knex) => knex('metadata_states').where({ source_id: connection }).first())
  return row && toState(row)
}

function toState(row: StateRow): MetadataState {
  return {
    nextAt: toDate(row.next_at),
    ...(row.checked_at ? { checkedAt: toDate(row.checked_at) } : {}),
    ...(row.outcome ? { outcome: row.outcome } : {}),
    ...(row.details ? { details: fromJson<Readonly<Record<string, unknown>>>(row.details) } : {}),
    ...(row.entities === null ? {} : { entities: row.entities }),
  }
}
