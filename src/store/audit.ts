// Keeps audit events. They are written with the change they tell of, and never changed.

import type { Actor, AuditEvent } from '../domain/events.ts'
import { ID_ENTROPY, mint } from '../domain/ids.ts'
import type { Audit, Tx } from '../flows/ports.ts'
import { writeDetails } from './audit-format.ts'
import { type Cell, type Columns, insertion, runAll, type Statement } from './bulk.ts'
import { entropy } from './entropy.ts'
import { inside, type TxQueries } from './transactions.ts'

export const audit: Audit = { write: writeAudit }

const EVENT: Columns = [
  ['id', 'text'],
  ['at', 'time'],
  ['kind', 'text'],
  ['actor_kind', 'text'],
  ['actor_name', 'text'],
  ['user_id', 'text'],
  ['source_id', 'text'],
  ['sign_in_id', 'text'],
  ['token_id', 'text'],
  ['run_id', 'text'],
  ['details', 'json'],
]

export async function writeAudit(tx: Tx, events: readonly AuditEvent[]): Promise<void> {
  const db = inside(tx)
  await runAll(db, telling(db.dialect, events))
}

/** What writes them. */
export function telling(dialect: TxQueries['dialect'], events: readonly AuditEvent[]): readonly Statement[] {
  if (!events.length) return []
  const rows = events.map(({ kind, at, actor, user, source, signIn, token, run, details }): Cell[] => [
    mint('evt', at, entropy(ID_ENTROPY)),
    at,
    kind,
    actor.kind,
    'name' in actor ? actor.name : actor.id,
    user ?? null,
    source ?? (actor.kind === 'connection' || actor.kind === 'source' ? actor.id : null),
    signIn ?? null,
    token ?? null,
    run ?? null,
    details ? writeDetails(details) : null,
  ])
  return insertion(dialect, 'audit_events', EVENT, rows)
}

export function actorColumns(actor: Actor) {
  return { actor_kind: actor.kind, actor_name: 'name' in actor ? actor.name : actor.id }
}
