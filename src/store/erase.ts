// Deletes what is known of a person.

import type { SourceId, UserId } from '../domain/ids.ts'
import { amongKeys } from './bulk.ts'
import { fromJson } from './db.ts'
import { makeTombstone } from './tombstones.ts'
import type { TxQueries } from './transactions.ts'

/** What is left: that there was somebody, and digests of what sources called them, so that these do not bring them back. */
export async function erase(db: TxQueries, id: UserId, now: Date): Promise<void> {
  const links: { source_id: SourceId; external_key: string; external_id: string }[] = await db('links').where({ user_id: id })
  for (const { source_id, external_key, external_id } of links) {
    const place = { source_id, external_key }
    await db('source_records').where(place).delete()
    await db('match_cases').where(place).delete()
    await forgetSignIns(db, { source_id, subject: external_id })
    await db('links')
      .where(place)
      .update({ external_key: await makeTombstone(db, source_id, external_key), external_id: ERASED })
  }
  const former: { source_id: SourceId; digest: string }[] = await db('former_names').where({ user_id: id })
  for (const { source_id, digest } of former) {
    const tombstone = { source_id, external_key: digest, external_id: ERASED, user_id: id, linked_at: now }
    await db('links').insert(tombstone).onConflict(['source_id', 'external_key']).ignore()
  }
  await db('former_names').where({ user_id: id }).delete()
  // Attempts under other names, in which they were met as somebody who could be meant.
  const cases: { id: string; source_id: SourceId; external_id: string }[] = await db('match_cases')
    .whereRaw('cast(candidates as text) like ?', [`%"${id}"%`])
    .select('id', 'source_id', 'external_id')
  for (const { id: met, source_id, external_id } of cases) {
    await forgetSignIns(db, { source_id, subject: external_id })
    await db('match_cases').where({ id: met }).delete()
  }
  await forgetSignIns(db, { user_id: id })
  await db('user_keys').where({ user_id: id }).delete()
  await forgetWork(db, id)
  await db('users').where({ id }).update({ user_name: id, user_name_key: id, profile: '{}' })
  // That something happened, when and by whom stays; what it was about the person does not.
  await db('audit_events').where({ user_id: id }).update({ details: null })
}

/** That somebody tried stays, and what came of it. */
async function forgetSignIns(db: TxQueries, which: Record<string, string>): Promise<void> {
  await db('sign_in_contents').whereIn('sign_in_id', db('sign_ins').where(which).select('id')).delete()
  await db('sign_ins').where(which).update({ subject: null, detail: null, steps: null })
}

/** What was planned for them goes; what is still to be done is done first. */
async function forgetWork(db: TxQueries, id: UserId): Promise<void> {
  await db('import_rows').where({ user_id: id }).delete()
  await db('leavings').where({ user_id: id }).delete()
  await db('coverage_states').where({ user_id: id }).delete()
  await forgetDone(db, [id])
}

/** Of those who are erased, whom it was about, once it is done. That there was something to do, and when it was done, stays. */
export async function forgetDone(db: TxQueries, users: readonly UserId[]): Promise<void> {
  if (!users.length) return
  const erased: { id: UserId }[] = await db('users')
    .where({ state: 'erased' })
    .whereRaw(amongKeys(db.dialect, 'id'), [JSON.stringify(users)])
    .select('id')
  for (const { id } of erased) {
    await db('tasks').where({ user_id: id }).whereNotNull('done_at').update({ title: ERASED, note: null })
    const told: { id: string; payload: unknown }[] = await db('jobs').where({ user_id: id, state: 'done' }).select('id', 'payload')
    for (const job of told) {
      const payload = { ...fromJson<Record<string, unknown>>(job.payload), userName: id, reason: ERASED }
      await db('jobs')
        .where({ id: job.id })
        .update({ payload: JSON.stringify(payload), last_error: null })
    }
  }
}

const ERASED = '(erased)'
