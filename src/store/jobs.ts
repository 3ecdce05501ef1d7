// Keeps the outbox: what other systems are to be told. A job is written with the change that asks for it, leased by one worker at
// a time, and told again until it is done or nobody believes in it any more.

import type { JobId, RunId, UserId } from '../domain/ids.ts'
import type { Job, Jobs } from '../flows/work-ports.ts'
import { type Db, fromJson, toDate } from './db.ts'
import { forgetDone } from './erase.ts'
import { holdRow, inside, type TxQueries } from './transactions.ts'

interface JobRow {
  id: JobId
  target: string
  kind: Job['kind']
  user_id: UserId | null
  payload: unknown
  state: Job['state']
  attempts: number
  created_at: unknown
  next_at: unknown
  last_error: string | null
  ended_at: unknown
  run_id: RunId | null
}

const LONGEST_ERROR = 1_000
const MOST_AT_ONCE = 100

export const jobs: Jobs = {
  async add(tx, added) {
    const db = inside(tx)
    for (const { target, user, kind, createdAt } of added) {
      if (!user || kind !== 'access') continue
      // What was not said yet need not be, now that something newer is to be said.
      await db('jobs')
        .where({ target, user_id: user, kind })
        .whereIn('state', ['queued', 'dead'])
        .where((free: ReturnType<typeof db>) => free.whereNull('held_until').orWhere('held_until', '<=', createdAt))
        .update({ state: 'done', last_error: 'not told: a later change came first', ended_at: createdAt })
    }
    for (let i = 0; i < added.length; i += MOST_AT_ONCE) {
      await db('jobs').insert(
        added.slice(i, i + MOST_AT_ONCE).map((job) => ({
          id: job.id,
          target: job.target,
          kind: job.kind,
          user_id: job.user ?? null,
          payload: JSON.stringify(job.payload),
          state: job.state,
          attempts: job.attempts,
          created_at: job.createdAt,
          next_at: job.nextAt,
          run_id: job.run ?? null,
        })),
      )
    }
  },

  async lease(tx, { holder, now, until, most }) {
    const db = inside(tx)
    const earlier = db('jobs as e')
      .whereRaw('e.target = jobs.target and e.user_id = jobs.user_id and e.id < jobs.id')
      .where({ 'e.state': 'queued' })
      .select('e.id')
    const rows: JobRow[] = await db('jobs')
      .where({ state: 'queued' })
      .where('next_at', '<=', now)
      .where((free: ReturnType<typeof db>) => free.whereNull('held_until').orWhere('held_until', '<=', now))
      .whereNotExists(earlier)
      .orderBy('next_at')
      .limit(most)
      .modify(holdRow, 'jobs')
    if (rows.length)
      await db('jobs')
        .whereIn(
          'id',
          rows.map(({ id }) => id),
        )
        .update({ holder, held_until: until })
        .increment('attempts', 1)
    return rows.map((row) => ({ ...toJob(row), attempts: row.attempts + 1 }))
  },

  async end(tx, id, { holder, now }, how) {
    const free = { holder: null, held_until: null }
    const db = inside(tx)
    const written: unknown = await db('jobs')
      .where({ id, holder, state: 'queued' })
      .update(
        how.how === 'again'
          ? { ...free, next_at: how.at, last_error: how.error.slice(0, LONGEST_ERROR) }
          : { ...free, state: how.how, ended_at: now, last_error: how.how === 'dead' ? how.error.slice(0, LONGEST_ERROR) : null },
      )
    if (written === 1 && how.how === 'done') await forgetSaid(db, id)
    return written === 1
  },

  async revive(tx, { ids, target }, now) {
    const query = inside(tx)('jobs').where({ state: 'dead' })
    if (ids) query.whereIn('id', [...ids])
    if (target !== undefined) query.where({ target })
    return Number(await query.update({ state: 'queued', attempts: 0, next_at: now, ended_at: null }))
  },
}

/** Of a mail that was sent, to whom stays; what it says of people stays only where they are. */
async function forgetSaid(db: TxQueries, id: JobId): Promise<void> {
  const row: JobRow | undefined = await db('jobs').where({ id }).first()
  if (row?.user_id) await forgetDone(db, [row.user_id])
  if (row?.kind !== 'mail') return
  const { to } = fromJson<{ to: string }>(row.payload)
  await db('jobs')
    .where({ id })
    .update({ payload: JSON.stringify({ to, subject: '(sent)', text: '' }) })
}

export async function listJobs(
  db: Db,
  {
    state,
    target,
    user,
    limit,
  }: { state?: Job['state'] | undefined; target?: string | undefined; user?: UserId | undefined; limit: number },
): Promise<readonly Job[]> {
  const rows: JobRow[] = await db.read((knex) => {
    const query = knex('jobs').orderBy('id', 'desc').limit(limit)
    if (state !== undefined) query.where({ state })
    if (target !== undefined) query.where({ target })
    if (user !== undefined) query.where({ user_id: user })
    return query
  })
  return rows.map(toJob)
}

function toJob(row: JobRow): Job {
  return {
    id: row.id,
    target: row.target,
    kind: row.kind,
    ...(row.user_id === null ? {} : { user: row.user_id }),
    payload: fromJson<Job['payload']>(row.payload),
    state: row.state,
    attempts: row.attempts,
    createdAt: toDate(row.created_at),
    nextAt: toDate(row.next_at),
    ...(row.last_error === null ? {} : { lastError: row.last_error }),
    ...(row.ended_at ? { endedAt: toDate(row.ended_at) } : {}),
    ...(row.run_id === null ? {} : { run: row.run_id }),
  }
}
