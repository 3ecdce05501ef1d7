// What goes with every change of somebody's access, whoever asked for it, in the same transaction: every session ended on all
// nodes, a job for each system that can be told, a task for each that cannot.

import { fits } from '../domain/entitlements.ts'
import type { Actor } from '../domain/events.ts'
import type { RunId } from '../domain/ids.ts'
import type { Transition } from '../domain/lifecycle.ts'
import { firstValue, type User } from '../domain/model.ts'
import type { Policy, Target } from '../domain/policy.ts'
import type { Audit, Mint, Sessions, Tx } from './ports.ts'
import type { Job, Jobs, Task, Tasks } from './work-ports.ts'

export interface EndAccessPorts {
  readonly sessions: Sessions
  readonly audit: Audit
  readonly jobs: Jobs
  readonly tasks: Tasks
  readonly mint: Mint
}

export interface EndAccess {
  /** As they are afterwards. */
  readonly user: User
  readonly transition: Transition
  readonly policy: Pick<Policy, 'targets' | 'schema'>
  readonly actor: Actor
  readonly now: Date
  readonly run?: RunId
}

/** @returns how many sessions were ended */
export async function endAccess(ports: EndAccessPorts, tx: Tx, { user, transition, policy, actor, now, run }: EndAccess): Promise<number> {
  const { from, to, reason } = transition
  // One that was opened while somebody was being shut out must not come alive when they are let in again.
  const sessionsEnded = await ports.sessions.end(tx, { user: user.id })
  const about = { at: now, actor, user: user.id, ...(run ? { run } : {}) }
  if (sessionsEnded) await ports.audit.write(tx, [{ ...about, kind: 'session.ended', details: { count: sessionsEnded, why: reason } }])
  // Whoever was never in has no account anywhere; of whoever is erased, that was seen to before.
  if (from === 'staged' || to === 'staged' || to === 'erased') return sessionsEnded
  const userName = firstValue(user.profile, 'userName') ?? user.id
  const givesBack = to === 'active' && policy.targets.some(({ spec }) => spec.kind === 'manual')
  const takenAway = givesBack ? await ports.tasks.takenAway(tx, user.id) : NOTHING
  const jobs: Job[] = []
  const tasks: Task[] = []
  for (const target of policy.targets) {
    if (!hasAccount(user, target, policy)) continue
    const { spec } = target
    if (spec.kind !== 'manual') {
      const payload = { state: to, userName, reason }
      jobs.push({
        id: ports.mint.id('job', now),
        target: target.name,
        kind: 'access',
        user: user.id,
        payload,
        state: 'queued',
        attempts: 0,
        createdAt: now,
        nextAt: now,
        ...(run ? { run } : {}),
      })
    } else if (to !== 'suspended') {
      const kind = to === 'active' ? 'give-back' : 'take-away'
      if (kind === 'give-back' && !takenAway.has(target.name)) continue
      const opposite = await ports.tasks.finish(
        tx,
        { target: target.name, user: user.id, kind: kind === 'take-away' ? 'give-back' : 'take-away' },
        { actor, now, note: `not needed any more: ${reason}` },
      )
      // What was never taken away need not be given back.
      if (opposite.length && kind === 'give-back') continue
      if (kind === 'give-back' && from === 'suspended') continue
      tasks.push({
        id: ports.mint.id('tsk', now),
        target: target.name,
        kind,
        user: user.id,
        title: `${kind === 'take-away' ? 'Take away' : 'Give back'} ${userName}’s access to ${target.name}`,
        ...(spec.instructions === undefined ? {} : { instructions: spec.instructions }),
        ...(spec.assignee === undefined ? {} : { assignee: spec.assignee }),
        openedAt: now,
        dueAt: new Date(now.getTime() + spec.due * DAY_MS),
        ...(run ? { run } : {}),
      })
    }
  }
  if (jobs.length) await ports.jobs.add(tx, jobs)
  if (tasks.length) {
    await ports.tasks.open(tx, tasks)
    await ports.audit.write(
      tx,
      tasks.map((task) => ({ ...about, kind: 'task.opened' as const, details: { task: task.id, target: task.target, what: task.kind } })),
    )
  }
  return sessionsEnded
}

const NOTHING: ReadonlySet<string> = new Set()
const DAY_MS = 86_400_000

/** Who cannot be told counts as somebody who has one: it is checked by a person, or told for nothing. */
function hasAccount(user: User, { when }: Target, { schema }: Pick<Policy, 'schema'>): boolean {
  return when === undefined || fits(user.profile, when, schema) !== false
}
