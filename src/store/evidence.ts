// Gathers what is kept of the end of somebody's access.

import type { EvidenceParts } from '../domain/evidence.ts'
import type { RunId, UserId } from '../domain/ids.ts'
import { readDetails } from './audit-format.ts'
import { type Db, toDate } from './db.ts'
import { listRuns } from './import-pages.ts'
import { listJobs } from './jobs.ts'
import { listTasks } from './tasks.ts'

const MOST = 1_000

interface EventRow {
  at: unknown
  kind: string
  actor_kind: string
  actor_name: string
  run_id: RunId | null
  details: unknown
}

export async function evidenceParts(db: Db, user: UserId): Promise<EvidenceParts> {
  const row: { state: string } | undefined = await db.read((knex) => knex('users').where({ id: user }).first('state'))
  const events: EventRow[] = await db.read((knex) => knex('audit_events').where({ user_id: user }).orderBy('id', 'desc').limit(MOST))
  const runIds = [...new Set(events.flatMap(({ run_id }) => (run_id === null ? [] : [run_id])))]
  const runs = (await Promise.all(runIds.map((id) => listRuns(db, { id, limit: 1 })))).flat()
  const jobs = await listJobs(db, { user, limit: MOST })
  const tasks = await listTasks(db, { done: true, user, limit: MOST })
  return {
    state: row?.state ?? 'unknown',
    events: events.map(({ at, kind, actor_kind, actor_name, run_id, details }) => ({
      at: toDate(at),
      kind,
      actor: `${actor_kind} ${actor_name}`,
      ...(run_id === null ? {} : { run: run_id }),
      details: details ? readDetails(details) : {},
    })),
    runs: runs.map(({ run, source }) => ({
      id: run.id,
      source,
      mode: run.mode,
      startedAt: run.startedAt,
      by: run.actor,
      ...(run.details.file === undefined ? {} : { file: run.details.file }),
      ...(run.details.approvedBy === undefined ? {} : { approvedBy: run.details.approvedBy }),
      ...(run.details.approvedAt === undefined ? {} : { approvedAt: new Date(run.details.approvedAt) }),
    })),
    jobs: jobs.map(({ id, target, state, attempts, createdAt, endedAt, lastError, payload }) => ({
      id,
      target,
      state,
      attempts,
      createdAt,
      ...(endedAt ? { endedAt } : {}),
      ...(lastError === undefined ? {} : { lastError }),
      says: 'state' in payload ? `${payload.userName} is ${payload.state}` : 'mail',
    })),
    tasks: tasks.map(({ id, target, title, openedAt, doneAt, doneBy, note }) => ({
      id,
      target,
      title,
      openedAt,
      ...(doneAt ? { doneAt } : {}),
      ...(doneBy === undefined ? {} : { doneBy }),
      ...(note === undefined ? {} : { note }),
    })),
  }
}
