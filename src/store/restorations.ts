// Takes back what an import has made of people. Somebody whom it had made is gone again, as if they had never been here: unlike
// an erased person, they may come back with the next import.

import type { RecordOnFile } from '../domain/model.ts'
import type { Imports, Restoration } from '../flows/import-ports.ts'
import type { Tx } from '../flows/ports.ts'
import { writeAudit } from './audit.ts'
import { writeRecord } from './record-format.ts'
import { makeTombstone } from './tombstones.ts'
import { inside, type TxQueries } from './transactions.ts'
import { placeOf } from './user-rows.ts'

export const restore: Imports['restore'] = async (tx: Tx, back: readonly Restoration[], { actor, now, run }) => {
  const db = inside(tx)
  for (const one of back) {
    const { user } = one
    if (one.how === 'unmake') await unmake(db, one)
    else {
      if (one.how === 'unlink') await unlink(db, one, now)
      else await putBack(db, one.record)
      // Derived again by whoever asked for this, in the same transaction.
      await db('users').where({ id: user.id }).increment('version', 1)
    }
    const details = { how: one.how }
    await writeAudit(tx, [{ kind: 'user.undone', at: now, actor, user: user.id, run, details }])
  }
}

async function unmake(db: TxQueries, { user, source, externalId }: Extract<Restoration, { how: 'unmake' }>): Promise<void> {
  await db('source_records').where({ source_id: source, external_key: externalId.key }).delete()
  await db('links').where({ user_id: user.id }).delete()
  await db('user_keys').where({ user_id: user.id }).delete()
  for (const table of ['leavings', 'coverage_states', 'former_names', 'tasks', 'jobs']) await db(table).where({ user_id: user.id }).delete()
  // That they tried to sign in and were refused stays.
  await db('sign_ins').where({ user_id: user.id }).update({ user_id: null })
  for (const { name, seat } of user.grants) if (seat) await db('licence_seats').where({ name }).decrement('taken', 1)
  await db('users').where({ id: user.id }).delete()
}

async function unlink(
  db: TxQueries,
  { user, source, externalId, replaced }: Extract<Restoration, { how: 'unlink' }>,
  now: Date,
): Promise<void> {
  const place = { source_id: source, external_key: externalId.key }
  await db('source_records').where(place).delete()
  await db('links').where(place).delete()
  if (!replaced) return
  const { key, value } = replaced.externalId
  const was = { source_id: source, external_key: key }
  await db('former_names')
    .where({ source_id: source, user_id: user.id, digest: await makeTombstone(db, source, key) })
    .delete()
  await db('links').insert({ ...was, external_id: value, user_id: user.id, linked_at: now })
  await putBack(db, replaced)
}

async function putBack(db: TxQueries, record: RecordOnFile): Promise<void> {
  const { source, externalId, observedAt, missingSince } = record
  const place = { source_id: source, external_key: externalId.key }
  const sealed = db.sealer.seal(writeRecord(record), placeOf(source, externalId.key))
  await db('source_records')
    .insert({ ...place, record: null, sealed, trimmed: false, observed_at: observedAt })
    .onConflict(['source_id', 'external_key'])
    .merge()
  // Without a digest the next row is looked at whole.
  await db('links')
    .where(place)
    .update({ digest: null, missing_since: missingSince ?? null })
}
