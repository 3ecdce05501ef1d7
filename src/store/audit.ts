// Keeps audit events. They are written with the change they tell of, and never changed.

import { randomBytes } from 'node:crypto'
import type { Actor, AuditEvent } from '../domain/events.ts'
import { ID_ENTROPY, mint } from '../domain/ids.ts'
import type { Audit, Tx } from '../flows/ports.ts'
import { inside } from './transactions.ts'

export const audit: Audit = { write: writeAudit }

export async function writeAudit(tx: Tx, events: readonly AuditEvent[]): Promise<void> {
  if (!events.length) return
  await inside(tx)('audit_events').insert(
    events.map(({ kind, at, actor, user, source, signIn, token, run, details }) => ({
      id: mint('evt', at, randomBytes(ID_ENTROPY)),
      at,
      kind,
      ...actorColumns(actor),
      user_id: user ?? null,
      source_id: source ?? (actor.kind === 'connection' ? actor.id : null),
      sign_in_id: signIn ?? null,
      token_id: token ?? null,
      run_id: run ?? null,
      details: details ? JSON.stringify(details) : null,
    })),
  )
}

export function actorColumns(actor: Actor) {
  return { actor_kind: actor.kind, actor_name: 'name' in actor ? actor.name : actor.id }
}
