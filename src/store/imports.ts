// Keeps the runs of imports and their plans. A batch and its place are written together, so that whoever goes on after a crash
// begins where the last one ended.

import { actorName } from '../domain/events.ts'
import type { FeedCounts } from '../domain/feed-health.ts'
import type { RunId, SourceId, UserId } from '../domain/ids.ts'
import type { ImportCounts, ImportDetails, ImportRun, Imports, SourceState } from '../flows/import-ports.ts'
import type { Tx } from '../flows/ports.ts'
import { amongKeys, insertRows, keyTable } from './bulk.ts'
import { addClaims, takeContested } from './claims.ts'
import { fromJson, toDate } from './db.ts'
import { PLAN_ROW, planRowCells } from './plan-rows.ts'
import { restore } from './restorations.ts'
import { TOMBSTONES } from './tombstones.ts'
import { inside, type TxQueries } from './transactions.ts'
import { asking, rowsOf } from './user-answers.ts'

export interface ImportRunRow {
  id: RunId
  kind: ImportRun['kind']
  source_id: SourceId
  mode: ImportRun['mode']
  state: ImportRun['state']
  phase: ImportRun['phase']
  revision: number
  cursor: string | null
  counts: unknown
  details: unknown
  actor: string
  started_at: unknown
  finished_at: unknown
  holder: string | null
  held_until: unknown
}

export const imports: Imports = {
  async running(tx, source) {
    // Two who would both begin something meet here: on PostgreSQL, whose snapshots do not show them to each other, in a row.
    await inside(tx).raw(
      'insert into source_states (source_id) values (?) on conflict (source_id) do update set source_id = excluded.source_id',
      [source],
    )
    const row: ImportRunRow | undefined = await inside(tx)('runs').where({ source_id: source, state: 'running' }).first()
    return row && { run: toImportRun(row), holder: row.holder ?? undefined, heldUntil: row.held_until ? toDate(row.held_until) : undefined }
  },

  async take(tx, id) {
    const row: ImportRunRow | undefined = await inside(tx)('runs').where({ id }).whereNotNull('source_id').first()
    return row && toImportRun(row)
  },

  async begin(tx, run, { actor, holder, until }) {
    await inside(tx)('runs').insert({
      id: run.id,
      kind: run.kind,
      source_id: run.source,
      mode: run.mode,
      actor: actorName(actor),
      started_at: run.startedAt,
      ...moving(run, run.startedAt),
      holder,
      held_until: until,
    })
  },

  async keep(tx, run, { holder, now, until }) {
    const kept: unknown = await inside(tx)('runs')
      .where({ id: run.id, holder, state: 'running' })
      .update({ ...moving(run, now), held_until: until })
    return kept === 1
  },

  async beat(tx, id, { holder, until }) {
    const beaten: unknown = await inside(tx)('runs').where({ id, holder, state: 'running' }).update({ held_until: until })
    return beaten === 1
  },

  async hold(tx, id, { holder, until }) {
    await inside(tx)('runs').where({ id }).update({ state: 'running', holder, held_until: until, finished_at: null })
  },

  async release(tx, run, { holder, now }) {
    const released: unknown = await inside(tx)('runs')
      .where({ id: run.id, holder, state: 'running' })
      .update({ ...moving(run, now), ...NOBODY })
    return released === 1
  },

  async put(tx, run, now) {
    await inside(tx)('runs')
      .where({ id: run.id })
      .update({ ...moving(run, now), ...NOBODY })
  },

  async addRows(tx, run, rows) {
    const db = inside(tx)
    await insertRows(
      db,
      'import_rows',
      PLAN_ROW,
      rows.map((row) => planRowCells(run, row, db.sealer)),
    )
  },

  addClaims,

  takeContested,

  async discard(tx, run) {
    await inside(tx)('import_rows').where({ run_id: run }).delete()
    await inside(tx)('import_claims').where({ run_id: run }).delete()
  },

  async rewrite(tx, run, rows) {
    const db = inside(tx)
    await setAside(
      db,
      run,
      rows.map(({ seq }) => seq),
    )
    await insertRows(
      db,
      'import_rows',
      PLAN_ROW,
      rows.map((row) => planRowCells(run, row, db.sealer)),
    )
  },

  async grew(tx, what) {
    const { dialect, raw } = inside(tx)
    // PostgreSQL would find out by itself within a minute or so; until then it may read a table whole for each batch. Where it is at
    // that already, nobody waits for it.
    if (dialect === 'postgres') await raw(`analyze (skip_locked) ${SOUGHT[what]}`)
  },

  async approveAll(tx, run, { decision, stay }) {
    const rows = () => inside(tx)('import_rows').where({ run_id: run })
    if (decision !== undefined)
      await rows().where({ status: 'approved' }).whereNotIn('decision', [decision, 'unchanged']).update({ status: 'waiting' })
    const query = rows().where({ status: 'waiting' }).whereNot({ decision: 'disputed' })
    if (decision !== undefined) query.where({ decision })
    if (stay.size) query.whereRaw(`not (decision = 'leaver' and ${amongKeys(inside(tx).dialect, 'user_id')})`, [JSON.stringify([...stay])])
    return Number(await query.update({ status: 'approved' }))
  },

  async setStatus(tx, run, seqs, status) {
    const db = inside(tx)
    for (let i = 0; i < seqs.length; i += MOST_AT_ONCE) {
      await db('import_rows')
        .where({ run_id: run })
        .whereIn('seq', seqs.slice(i, i + MOST_AT_ONCE))
        .update({ status })
    }
  },

  supersede,

  async withdraw(tx, run) {
    await inside(tx)('import_rows').where({ run_id: run, status: 'waiting' }).update({ status: 'superseded' })
  },

  async areNobody(tx, source, subjects, keys) {
    const db = inside(tx)
    const join = db.dialect === 'postgres' ? 'join' : 'cross join'
    const anything = `select 1 as found from kept_secrets where name = ?
      union all select 1 from match_cases where source_id = ? and verdict = 'new'
      union all select 1 from ${keyTable(db.dialect, 1)} q ${join} links l on l.source_id = ? and l.external_key = q.a
      union all select 1 from ${keyTable(db.dialect, 2)} q ${join} user_keys k on k.name = q.a and k.value = q.b limit 1`
    const named = JSON.stringify(subjects.map(({ key }) => [key]))
    const keyed = JSON.stringify(keys.map(({ name, value }) => [name, value]))
    return !(await rowsOf(asking(tx), anything, [TOMBSTONES, source, named, source, keyed])).length
  },

  async versions(tx, users) {
    const db = asking(tx)
    const lock = db.dialect === 'postgres' ? ' for update' : ''
    const sql = `select id, version from users where ${amongKeys(db.dialect, 'id')}${lock}`
    const rows = await rowsOf<{ id: UserId; version: number }>(db, sql, [JSON.stringify(users)])
    return new Map(rows.map(({ id, version }) => [id, version]))
  },

  async keepState(tx, source, { cursor, usual, nextFullAt, nextIncrementalAt }) {
    const state = {
      ...(cursor === undefined ? {} : { cursor }),
      ...(usual ? { usual: JSON.stringify(usual) } : {}),
      ...(nextFullAt ? { next_full_at: nextFullAt } : {}),
      ...(nextIncrementalAt ? { next_incremental_at: nextIncrementalAt } : {}),
    }
    await inside(tx)('source_states')
      .insert({ source_id: source, ...state })
      .onConflict('source_id')
      .merge()
  },

  async claimSlot(tx, source, mode, now, next) {
    const column = mode === 'full' ? 'next_full_at' : 'next_incremental_at'
    const db = inside(tx)
    await db('source_states').insert({ source_id: source }).onConflict('source_id').ignore()
    const row = await db('source_states').where({ source_id: source }).first(column)
    const slot = row?.[column] ? toDate(row[column]) : undefined
    const due = slot !== undefined && slot <= now
    // The first look only starts the clock; and a slot of an earlier schedule gives way to one that comes sooner.
    if (due || !slot || next < slot)
      await db('source_states')
        .where({ source_id: source, [column]: row?.[column] ?? null })
        .update({ [column]: next })
    return due
  },

  restore,
}

/** What is sought, and by what. */
const SOUGHT = {
  plan: 'import_rows (run_id, seq, status, decision)',
  people:
    'users (id), links (source_id, external_key, user_id), user_keys (name, value, user_id), source_records (source_id, external_key)',
} as const

const MOST_AT_ONCE = 500
const NOBODY = { holder: null, held_until: null }

function moving(run: ImportRun, now: Date) {
  return {
    state: run.state,
    phase: run.phase,
    revision: run.revision,
    cursor: String(run.cursor),
    counts: JSON.stringify(run.counts),
    details: JSON.stringify(run.details),
    held_because: run.details.causes?.map(({ why }) => why).join('; ') ?? null,
    updated_at: now,
    finished_at: run.finishedAt ?? null,
  }
}

async function setAside(db: TxQueries, run: RunId, seqs: readonly number[]): Promise<void> {
  for (let i = 0; i < seqs.length; i += MOST_AT_ONCE)
    await db('import_rows')
      .where({ run_id: run })
      .whereIn('seq', seqs.slice(i, i + MOST_AT_ONCE))
      .delete()
}

/** A full run speaks of everybody, an incremental one of those whom it names. */
async function supersede(tx: Tx, run: ImportRun, now: Date): Promise<number> {
  const db = inside(tx)
  const earlier: ImportRunRow[] = await db('runs')
    .where({ source_id: run.source, kind: 'import' })
    .whereIn('state', ['held', 'planned', 'waiting'])
    .whereNot({ id: run.id })
  let count = 0
  for (const row of earlier) {
    const before = toImportRun(row)
    const query = db('import_rows').where({ run_id: before.id }).whereIn('status', ['waiting', 'approved'])
    if (before.state === 'waiting') query.where({ status: 'waiting' })
    if (run.mode === 'incremental' && before.state === 'waiting')
      query.whereIn('external_key', db('import_rows').where({ run_id: run.id }).select('external_key'))
    const gone = Number(await query.update({ status: 'superseded' }))
    count += gone
    const left = await db('import_rows').where({ run_id: before.id, status: 'waiting' }).first('seq')
    if (left && before.state === 'waiting') continue
    const state = before.state === 'waiting' ? 'done' : 'superseded'
    const counts = { ...before.counts, waiting: 0 }
    await imports.put(tx, { ...before, state, counts, finishedAt: before.finishedAt ?? now }, now)
  }
  return count
}

export function toImportRun(row: ImportRunRow): ImportRun {
  return {
    id: row.id,
    kind: row.kind,
    source: row.source_id,
    mode: row.mode,
    state: row.state,
    phase: row.phase,
    revision: row.revision,
    cursor: Number(row.cursor ?? 0),
    counts: fromJson<ImportCounts>(row.counts),
    details: row.details ? fromJson<ImportDetails>(row.details) : {},
    actor: row.actor,
    startedAt: toDate(row.started_at),
    ...(row.finished_at ? { finishedAt: toDate(row.finished_at) } : {}),
  }
}

export interface SourceStateRow {
  cursor: string | null
  usual: unknown
  next_full_at: unknown
  next_incremental_at: unknown
}

export function toSourceState(row: SourceStateRow | undefined): SourceState {
  return {
    ...(row?.cursor ? { cursor: row.cursor } : {}),
    ...(row?.usual ? { usual: fromJson<FeedCounts>(row.usual) } : {}),
    ...(row?.next_full_at ? { nextFullAt: toDate(row.next_full_at) } : {}),
    ...(row?.next_incremental_at ? { nextIncrementalAt: toDate(row.next_incremental_at) } : {}),
  }
}
