// Marks what was done by hand as done, with who says so and when.

import type { Actor } from '../domain/events.ts'
import type { TaskId } from '../domain/ids.ts'
import type { Audit, Transactions } from './ports.ts'
import type { Task, Tasks } from './work-ports.ts'

export interface FinishTasks {
  readonly ids?: readonly TaskId[]
  readonly target?: string
  readonly note?: string
  readonly actor: Actor
  readonly now: Date
}

/** Those that were open. */
export async function finishTasks(
  ports: Transactions & { tasks: Tasks; audit: Audit },
  { actor, now, note, ...which }: FinishTasks,
): Promise<readonly Task[]> {
  return ports.inTransaction(async (tx) => {
    const finished = await ports.tasks.finish(tx, which, { actor, now, ...(note === undefined ? {} : { note }) })
    await ports.audit.write(
      tx,
      finished.map(({ id, user, target, kind, run }) => ({
        kind: 'task.done' as const,
        at: now,
        actor,
        user,
        ...(run ? { run } : {}),
        details: { task: id, target, what: kind, ...(note === undefined ? {} : { note }) },
      })),
    )
    return finished
  })
}
