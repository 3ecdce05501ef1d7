// Keeps what people have to do by hand in systems that no program can ask: who is to do it, until when, and that it was done.

import { actorName } from '../domain/events.ts'
import type { RunId, TaskId, UserId } from '../domain/ids.ts'
import type { DoneTask, Task, Tasks } from '../flows/work-ports.ts'
import { type Db, toDate } from './db.ts'
import { forgetDone } from './erase.ts'
import { holdRow, inside } from './transactions.ts'

interface TaskRow {
  id: TaskId
  target: string
  kind: Task['kind']
  user_id: UserId
  title: string
  instructions: string | null
  assignee: string | null
  opened_at: unknown
  due_at: unknown
  mailed_at: unknown
  done_at: unknown
  done_by: string | null
  note: string | null
  run_id: RunId | null
}

const MOST_AT_ONCE = 100

export const tasks: Tasks = {
  async open(tx, opened) {
    for (let i = 0; i < opened.length; i += MOST_AT_ONCE) {
      await inside(tx)('tasks').insert(
        opened.slice(i, i + MOST_AT_ONCE).map((task) => ({
          id: task.id,
          target: task.target,
          kind: task.kind,
          user_id: task.user,
          title: task.title,
          instructions: task.instructions ?? null,
          assignee: task.assignee ?? null,
          opened_at: task.openedAt,
          due_at: task.dueAt,
          run_id: task.run ?? null,
        })),
      )
    }
  },

  async finish(tx, { ids, target, user, kind }, { actor, now, note }) {
    const db = inside(tx)
    const query = db('tasks').whereNull('done_at').modify(holdRow, 'tasks')
    if (ids) query.whereIn('id', [...ids])
    if (target !== undefined) query.where({ target })
    if (user !== undefined) query.where({ user_id: user })
    if (kind !== undefined) query.where({ kind })
    const rows: TaskRow[] = await query
    for (let i = 0; i < rows.length; i += MOST_AT_ONCE) {
      const some = rows.slice(i, i + MOST_AT_ONCE).map(({ id }) => id)
      await db('tasks')
        .whereIn('id', some)
        .update({ done_at: now, done_by: actorName(actor), note: note ?? null })
    }
    await forgetDone(
      db,
      rows.map(({ user_id }) => user_id),
    )
    return rows.map(toTask)
  },

  async assign(tx, ids, assignee) {
    return Number(
      await inside(tx)('tasks')
        .whereIn('id', [...ids])
        .whereNull('done_at')
        .update({ assignee, mailed_at: null, reminded_at: null }),
    )
  },

  async takenAway(tx, user) {
    const rows: { target: string; kind: Task['kind'] }[] = await inside(tx)('tasks')
      .where({ user_id: user })
      .orderBy('id')
      .select('target', 'kind')
    const last = new Map(rows.map(({ target, kind }) => [target, kind]))
    return new Set([...last].flatMap(([target, kind]) => (kind === 'take-away' ? [target] : [])))
  },

  async takeUntold(tx, { now, most, unassigned }) {
    const db = inside(tx)
    const rows: TaskRow[] = await db('tasks')
      .whereNull('done_at')
      .where((somebody: ReturnType<typeof db>) => (unassigned ? somebody : somebody.whereNotNull('assignee')))
      .where((untold: ReturnType<typeof db>) =>
        untold.whereNull('mailed_at').orWhere((late: ReturnType<typeof db>) => late.whereNull('reminded_at').where('due_at', '<', now)),
      )
      .orderBy('id')
      .limit(most)
      .modify(holdRow, 'tasks')
    const overdue = (row: TaskRow) => toDate(row.due_at) < now
    const mark = async (column: 'mailed_at' | 'reminded_at', some: readonly TaskRow[]) => {
      if (!some.length) return
      const ids = some.map(({ id }) => id)
      await db('tasks')
        .whereIn('id', ids)
        .update({ [column]: now })
    }
    await mark('mailed_at', rows)
    await mark('reminded_at', rows.filter(overdue))
    return rows.map((row) => ({ ...toTask(row), overdue: overdue(row) }))
  },
}

/** The oldest first: what has waited longest is at the top. */
export async function listTasks(
  db: Db,
  {
    done,
    target,
    user,
    after,
    limit,
  }: { done: boolean; target?: string | undefined; user?: UserId | undefined; after?: string | undefined; limit: number },
): Promise<readonly DoneTask[]> {
  const rows: TaskRow[] = await db.read((knex) => {
    const query = knex('tasks').orderBy('id').limit(limit)
    if (!done) query.whereNull('done_at')
    if (target !== undefined) query.where({ target })
    if (user !== undefined) query.where({ user_id: user })
    if (after !== undefined) query.where('id', '>', after)
    return query
  })
  return rows.map((row) => ({
    ...toTask(row),
    ...(row.done_at ? { doneAt: toDate(row.done_at) } : {}),
    ...(row.done_by === null ? {} : { doneBy: row.done_by }),
    ...(row.note === null ? {} : { note: row.note }),
  }))
}

/** How many are open, and how many of them are overdue. */
export async function countTasks(db: Db, now: Date): Promise<{ readonly open: number; readonly overdue: number }> {
  const open = await db.read((knex) => knex('tasks').whereNull('done_at').count({ n: '*' }).first())
  const overdue = await db.read((knex) => knex('tasks').whereNull('done_at').where('due_at', '<', now).count({ n: '*' }).first())
  return { open: Number(open?.n ?? 0), overdue: Number(overdue?.n ?? 0) }
}

function toTask(row: TaskRow): Task {
  return {
    id: row.id,
    target: row.target,
    kind: row.kind,
    user: row.user_id,
    title: row.title,
    ...(row.instructions === null ? {} : { instructions: row.instructions }),
    ...(row.assignee === null ? {} : { assignee: row.assignee }),
    openedAt: toDate(row.opened_at),
    dueAt: toDate(row.due_at),
    ...(row.run_id === null ? {} : { run: row.run_id }),
  }
}
