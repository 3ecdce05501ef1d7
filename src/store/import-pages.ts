// Imports as people look at them: runs, newest first, and the rows of a plan.

import type { RunId } from '../domain/ids.ts'
import type { PlanDecision, RowStatus } from '../domain/plan.ts'
import type { ImportRun, PlanRow } from '../flows/import-ports.ts'
import { type Db, toDate } from './db.ts'
import { type ImportRunRow, toImportRun } from './imports.ts'
import { type PlanRowColumns, toPlanRow } from './plan-rows.ts'

export interface RunLine {
  readonly run: ImportRun
  /** Its name. */
  readonly source: string
}

export async function listRuns(
  db: Db,
  { source, id, limit }: { source?: string | undefined; id?: RunId | undefined; limit: number },
): Promise<readonly RunLine[]> {
  const rows: (ImportRunRow & { source_name: string })[] = await db.read((knex) => {
    const query = knex('runs')
      .join('sources', 'sources.id', 'runs.source_id')
      .orderBy('runs.started_at', 'desc')
      .orderBy('runs.id', 'desc')
      .limit(limit)
      .select('runs.*', 'sources.name as source_name')
    if (source !== undefined) query.where({ 'sources.name': source })
    if (id !== undefined) query.where({ 'runs.id': id })
    return query
  })
  return rows.map((row) => ({ run: toImportRun(row), source: row.source_name }))
}

/** Sources whose run nobody works on any more, by name. */
export async function leftRuns(db: Db, now: Date, isGone: (holder: string) => boolean): Promise<readonly string[]> {
  const rows: { name: string; holder: string | null; held_until: unknown }[] = await db.read((knex) =>
    knex('runs').join('sources', 'sources.id', 'runs.source_id').where({ state: 'running' }).select('sources.name', 'holder', 'held_until'),
  )
  return rows
    .filter(({ holder, held_until }) => holder === null || held_until === null || toDate(held_until) <= now || isGone(holder))
    .map(({ name }) => name)
}

/** What has gone ahead in order is not marked row by row; here it is told. */
export async function planRows(
  db: Db,
  run: ImportRun,
  { after, limit, status, decision }: { after: number; limit: number; status?: RowStatus; decision?: PlanDecision },
): Promise<readonly PlanRow[]> {
  const rows: PlanRowColumns[] = await db.read((knex) => {
    const query = knex('import_rows').where({ run_id: run.id }).where('seq', '>', after).orderBy('seq').limit(limit)
    if (decision !== undefined) query.where({ decision })
    if (status === 'applied')
      query.where((applied) =>
        applied.where({ status }).orWhere((inOrder) => inOrder.where({ status: 'approved' }).where('seq', '<=', run.cursor)),
      )
    else if (status === 'approved') query.where({ status }).where('seq', '>', run.cursor)
    else if (status !== undefined) query.where({ status })
    return query
  })
  return rows.map((row) => {
    const read = toPlanRow(run.id, row, db.sealer)
    return read.status === 'approved' && read.seq <= run.cursor ? { ...read, status: 'applied' as const } : read
  })
}

export async function isRunning(db: Db, source: string): Promise<boolean> {
  const row = await db.read((knex) =>
    knex('runs').join('sources', 'sources.id', 'runs.source_id').where({ state: 'running', 'sources.name': source }).first('runs.id'),
  )
  return row !== undefined
}
