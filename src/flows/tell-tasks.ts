// Tells people by mail what they have to do by hand: what is new, and once what is overdue. One mail to each of them, however
// many tasks there are; it is a job like any other, so that it is neither lost nor sent twice.

import type { Mint, Transactions } from './ports.ts'
import type { Job, Jobs, Task, Tasks } from './work-ports.ts'

const MOST = 500
const MOST_LISTED = 50
/** Of a job that is no other system's. */
export const MAIL = '(mail)'

export interface TellTasks {
  /** Where tasks are listed. */
  readonly page: string
  /** For those that nobody was assigned to; undefined: they are told to nobody. */
  readonly administrators: string | undefined
  readonly now: Date
}

/** @returns how many mails are to be sent */
export async function tellTasks(
  ports: Transactions & { tasks: Tasks; jobs: Jobs; mint: Mint },
  { page, administrators, now }: TellTasks,
): Promise<number> {
  return ports.inTransaction(async (tx) => {
    const untold = await ports.tasks.takeUntold(tx, { now, most: MOST, unassigned: administrators !== undefined })
    const byPerson = new Map<string, (Task & { overdue: boolean })[]>()
    for (const task of untold) {
      const to = task.assignee ?? administrators
      if (to !== undefined) byPerson.set(to, [...(byPerson.get(to) ?? []), task])
    }
    const jobs = [...byPerson].map(
      ([to, tasks]): Job => ({
        id: ports.mint.id('job', now),
        target: MAIL,
        kind: 'mail',
        payload: { to, subject: subjectOf(tasks), text: textOf(tasks, page) },
        state: 'queued',
        attempts: 0,
        createdAt: now,
        nextAt: now,
      }),
    )
    if (jobs.length) await ports.jobs.add(tx, jobs)
    return jobs.length
  })
}

function subjectOf(tasks: readonly (Task & { overdue: boolean })[]): string {
  const late = tasks.filter(({ overdue }) => overdue).length
  const [only] = tasks
  if (tasks.length === 1 && only) return `Gatehouse: ${late ? 'overdue: ' : ''}${only.title}`
  return `Gatehouse: ${tasks.length} things to do${late ? `, ${late} of them overdue` : ''}`
}

function textOf(tasks: readonly (Task & { overdue: boolean })[], page: string): string {
  const lines = tasks.slice(0, MOST_LISTED).map(({ id, title, instructions, dueAt, overdue }) => {
    const how = instructions === undefined ? '' : `\n  ${instructions}`
    return `- ${title} (${overdue ? 'was' : 'is'} due on ${dueAt.toISOString().slice(0, 10)}; ${id})${how}`
  })
  const more = tasks.length > MOST_LISTED ? [`… and ${tasks.length - MOST_LISTED} more`] : []
  return ['Please do this by hand, and mark it as done then:', '', ...lines, ...more, '', page, ''].join('\n')
}
