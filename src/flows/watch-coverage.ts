// Sees to people whom no feed stands behind and who have not signed in for long: warns, then suspends, then opens a task, as the
// policy says. Whoever signs in again begins anew.

import { shutOut } from '../domain/access.ts'
import { type CoverageStage, coverageStep } from '../domain/coverage.ts'
import type { Actor } from '../domain/events.ts'
import type { UserId } from '../domain/ids.ts'
import { transition } from '../domain/lifecycle.ts'
import type { Policy } from '../domain/policy.ts'
import { type EndAccessPorts, endAccess } from './end-access.ts'
import type { Transactions, Tx, Users } from './ports.ts'
import { MAIL } from './tell-tasks.ts'
import type { Coverage, Job, Uncovered } from './work-ports.ts'

const SYSTEM: Actor = { kind: 'system', name: 'coverage' }
const DAY_MS = 86_400_000
const BATCH = 200
const LOOK = 'coverage'

export interface WatchCoverage {
  readonly policy: Policy
  readonly administrators: string | undefined
  /** Whether mail can be sent at all. */
  readonly mails?: boolean
  readonly now: Date
}

export type CoverageTally = Readonly<Record<CoverageStage, number>>

function doneOf({ stage, stageAt }: Uncovered, now: Date) {
  return stage && { stage, days: Math.floor((now.getTime() - (stageAt ?? now).getTime()) / DAY_MS) }
}

export async function watchCoverage(
  ports: Transactions & EndAccessPorts & { users: Users; coverage: Coverage },
  { policy, administrators, mails = true, now }: WatchCoverage,
): Promise<CoverageTally> {
  const done: Record<CoverageStage, number> = { warned: 0, suspended: 0, task: 0 }
  const { warn, suspend, task } = policy.coverage
  const first = Math.min(...[warn, suspend, task].filter((days) => days !== undefined))
  if (!Number.isFinite(first)) return done
  await ports.inTransaction((tx) => ports.coverage.forget(tx))
  const warned: Uncovered[] = []
  for (let after: UserId | undefined; ; ) {
    const people = await ports.coverage.quiet(new Date(now.getTime() - first * DAY_MS), after, BATCH)
    for (const one of people) {
      const stage = coverageStep(quietDays(one, now), doneOf(one, now), policy.coverage)
      if (!stage || (stage === 'suspended' && one.state !== 'active')) {
        if (stage) await ports.inTransaction((tx) => ports.coverage.keepStage(tx, one.user, stage, now))
        continue
      }
      await ports.inTransaction((tx) => take(ports, tx, { one, stage, policy, now }))
      done[stage]++
      if (stage === 'warned') warned.push(one)
    }
    after = people.at(-1)?.user
    if (people.length < BATCH) break
  }
  const to = policy.coverage.assignee ?? administrators
  if (mails && warned.length && to !== undefined)
    await ports.inTransaction((tx) => ports.jobs.add(tx, [mailOf(warned, to, { job: ports.mint.id('job', now), now, suspend })]))
  return done
}

export function quietDays({ lastSignIn, since }: Pick<Uncovered, 'lastSignIn' | 'since'>, now: Date): number {
  return Math.floor((now.getTime() - (lastSignIn ?? since).getTime()) / DAY_MS)
}

async function take(
  ports: EndAccessPorts & { users: Users; coverage: Coverage },
  tx: Tx,
  { one, stage, policy, now }: { one: Uncovered; stage: CoverageStage; policy: Policy; now: Date },
): Promise<void> {
  const days = quietDays(one, now)
  await ports.coverage.keepStage(tx, one.user, stage, now)
  if (stage === 'warned') {
    await ports.audit.write(tx, [{ kind: 'coverage.warned', at: now, actor: SYSTEM, user: one.user, details: { days } }])
  } else if (stage === 'suspended') {
    const known = await ports.users.take(tx, one.user)
    const out = known && transition(known.linked.state, 'suspended', `no sign-in for ${days} days, and no feed stands behind them`)
    if (!known || !out) return
    const change = shutOut(known.linked, { transition: out })
    await ports.users.commit(tx, change, { actor: SYSTEM, now })
    await endAccess(ports, tx, { user: change.user, transition: out, policy, actor: SYSTEM, now })
  } else {
    const { assignee } = policy.coverage
    const title = `Find out whether ${one.userName} is still there: no sign-in for ${days} days, and no feed stands behind them`
    const task = {
      id: ports.mint.id('tsk', now),
      target: LOOK,
      kind: 'look' as const,
      user: one.user,
      title,
      openedAt: now,
      dueAt: new Date(now.getTime() + 14 * DAY_MS),
    }
    await ports.tasks.open(tx, [{ ...task, ...(assignee === undefined ? {} : { assignee }) }])
    await ports.audit.write(tx, [
      { kind: 'task.opened', at: now, actor: SYSTEM, user: one.user, details: { task: task.id, target: LOOK, what: 'look' } },
    ])
  }
}

function mailOf(
  people: readonly Uncovered[],
  to: string,
  { job, now, suspend }: { job: Job['id']; now: Date; suspend: number | undefined },
): Job {
  const lines = people.slice(0, 50).map((one) => `- ${one.userName}: ${quietDays(one, now)} days`)
  const more = people.length > 50 ? [`… and ${people.length - 50} more`] : []
  const next = suspend === undefined ? '' : `After ${suspend} days they are suspended.`
  const text = [
    'No feed stands behind these people, and they have not signed in for long. Are they still there?',
    '',
    ...lines,
    ...more,
    '',
    next,
    '',
  ].join('\n')
  const subject = `Gatehouse: ${people.length} ${people.length === 1 ? 'person has' : 'people have'} not signed in for long`
  return { id: job, target: MAIL, kind: 'mail', payload: { to, subject, text }, state: 'queued', attempts: 0, createdAt: now, nextAt: now }
}
