// /console/tasks, /console/coverage, /console/people/{who}/evidence: what people have to do by hand, whom no feed stands behind, and
// what shows that somebody's access ended.

import type { Actor } from '../../domain/events.ts'
import { type Evidence, evidenceCsv } from '../../domain/evidence.ts'
import type { TaskId } from '../../domain/ids.ts'
import { quietDays } from '../../flows/watch-coverage.ts'
import type { DoneTask, Task, Uncovered } from '../../flows/work-ports.ts'
import type { ConsoleDoor } from './door.ts'

export interface WorkPageDeps {
  readonly listTasks: (which: { done: boolean; target?: string; after?: string; limit: number }) => Promise<readonly DoneTask[]>
  readonly finishTasks: (ask: { ids?: readonly TaskId[]; note?: string; actor: Actor; now: Date }) => Promise<readonly Task[]>
  readonly listUncovered: (most: number) => Promise<readonly Uncovered[]>
  readonly evidence: (
    who: string,
  ) => Promise<{ readonly userName: string; readonly id: string; readonly evidence: Evidence | undefined } | undefined>
}

const PAGE = 100
const DAY_MS = 86_400_000

export function workPages(door: ConsoleDoor, deps: WorkPageDeps): void {
  door.get('/console/tasks', async (at) => {
    const after = typeof at.request.query.after === 'string' ? { after: at.request.query.after } : {}
    const tasks = await deps.listTasks({ done: false, limit: PAGE, ...after })
    await at.page('tasks', {
      tasks: tasks.map((task) => ({
        ...task,
        days: Math.floor((at.now.getTime() - task.openedAt.getTime()) / DAY_MS),
        overdue: task.dueAt < at.now,
      })),
      more: tasks.length === PAGE ? tasks.at(-1)?.id : undefined,
    })
  })

  door.post('/console/tasks/done', async (at) => {
    const { task, note } = at.request.body
    const ids = (Array.isArray(task) ? task : [task]).filter((one): one is TaskId => typeof one === 'string')
    if (!ids.length)
      return at.problem({ status: 400, title: 'Nothing was marked', sentence: 'Tick the tasks that are done first.', code: 'no-task' })
    await deps.finishTasks({ ids, ...(typeof note === 'string' && note.trim() ? { note: note.trim() } : {}), actor: at.actor, now: at.now })
    at.to('/console/tasks')
  })

  door.get('/console/coverage', async (at) => {
    const people = (await deps.listUncovered(1_000))
      .map((one) => ({ ...one, days: quietDays(one, at.now) }))
      .sort((a, b) => b.days - a.days)
    await at.page('coverage', { people, rules: at.policy.coverage })
  })

  door.get('/console/people/:who/evidence', async (at) => {
    const found = await deps.evidence(String(at.request.params.who))
    if (!found?.evidence)
      return at.problem({
        status: 404,
        title: 'There is nothing to show',
        sentence: 'There is no such person, or their access has never ended.',
        code: 'no-evidence',
      })
    if (at.request.query.as === 'csv') {
      at.response.setHeader('Content-Disposition', `attachment; filename="evidence-${found.id}.csv"`)
      at.response.setHeader('Cache-Control', 'no-store')
      at.response.setHeader('X-Content-Type-Options', 'nosniff')
      at.response.type('text/csv').send(evidenceCsv(found.evidence))
      return
    }
    await at.page('evidence', { ...found })
  })
}
