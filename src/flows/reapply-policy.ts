// Derives everybody again from what is on file of them, under the policy in force, without waiting for a sign-in. First a
// look at what would happen, which a safeguard judges; then batches, each committed with the place it has come to, so that
// whoever goes on after a crash doubles nothing and leaves nothing out.

import { decideAgain } from '../domain/decide.ts'
import type { Actor } from '../domain/events.ts'
import type { UserId } from '../domain/ids.ts'
import type { Policy } from '../domain/policy.ts'
import { isRefusal } from '../domain/refusals.ts'
import { heldBecause, type Safeguard } from '../domain/safeguard.ts'
import { answering } from './answering.ts'
import type { Audit, Mint, Run, RunCounts, Runs, Transactions, Users } from './ports.ts'
import type { Survey } from './survey-people.ts'

export interface ReapplyPolicy {
  readonly policy: Policy
  /** What would become of those who are due; asked only where no run is under way. */
  readonly survey: () => Promise<Survey>
  readonly safeguard: Safeguard
  /** A person has looked at what would happen. */
  readonly approved: boolean
  readonly actor: Actor
  readonly clock: () => Date
  readonly onProgress?: (counts: RunCounts) => void
}

export interface Reapplied {
  readonly run: Run
  readonly outcome: 'done' | 'held'
  /** The first few who could not be derived, and why. */
  readonly refused: readonly { readonly user: UserId; readonly why: string }[]
}

type Ports = Transactions & { users: Users; runs: Runs; audit: Audit; mint: Mint }

const BATCH = 200
const MOST_REFUSALS_TOLD = 100

export async function reapplyPolicy(ports: Ports, ask: ReapplyPolicy): Promise<Reapplied> {
  const { policy, clock, actor } = ask
  const open = await ports.inTransaction((tx) => ports.runs.open(tx, 'reapply'))
  // A run under an older policy is over: what it has done stands, and what it has not is due again.
  const underWay = open && open.revision === policy.revision ? open : undefined
  if (open && !underWay) await keep(ports, ask, { ...open, state: 'cancelled' })

  let run: Run = underWay ?? {
    id: ports.mint.id('run', clock()),
    kind: 'reapply',
    state: 'running',
    revision: policy.revision,
    counts: {},
    startedAt: clock(),
  }
  if (!underWay || (run.state === 'held' && !ask.approved)) {
    const surveyed = await ask.survey()
    const held = ask.approved ? undefined : heldBecause(surveyed, ask.safeguard)
    const counts = { people: surveyed.people, wouldChange: surveyed.changed, wouldBeRefused: surveyed.refused, harmed: surveyed.harmed }
    if (held !== undefined) {
      run = { ...run, state: 'held', counts, heldBecause: held }
      await keep(ports, ask, run, underWay ? undefined : 'run.held')
      return { run, outcome: 'held', refused: [] }
    }
    run = { ...run, state: 'running', counts: { people: surveyed.people } }
    const other = await begin(ports, ask, run)
    if (other) run = other
  } else if (run.state === 'held') {
    const { people = 0 } = run.counts
    run = { id: run.id, kind: run.kind, revision: run.revision, startedAt: run.startedAt, state: 'running', counts: { people } }
    await keep(ports, ask, run, 'run.started')
  }

  const refused: { user: UserId; why: string }[] = []
  for (;;) {
    const step = await ports.inTransaction(async (tx) => {
      const now = clock()
      const people = await ports.runs.batch(tx, { after: run.cursor, derivedBefore: policy.revision, size: BATCH })
      const last = people.at(-1)
      if (!last) return undefined
      const said: { user: UserId; why: string }[] = []
      const same: UserId[] = []
      let changed = 0
      for (const person of people) {
        const outcome = await answering(ports.users, tx, decideAgain(person, policy, now))
        if (isRefusal(outcome)) {
          said.push({ user: person.linked.id, why: `${outcome.code}: ${outcome.detail}` })
          continue
        }
        if (!outcome.userMoved) same.push(person.linked.id)
        if (outcome.kind !== 'unchanged') changed++
        if (outcome.userMoved) await ports.users.commit(tx, outcome, { actor, now, run: run.id })
      }
      await ports.runs.stamp(tx, same, policy.revision)
      const { counts } = run
      const more = (name: string, by: number) => (counts[name] ?? 0) + by
      const next: Run = {
        ...run,
        cursor: last.linked.id,
        counts: {
          ...counts,
          done: more('done', people.length),
          changed: more('changed', changed),
          unchanged: more('unchanged', people.length - changed - said.length),
          refused: more('refused', said.length),
        },
      }
      await ports.runs.keep(tx, next, { actor, now })
      return { next, said }
    })
    if (!step) break
    run = step.next
    refused.push(...step.said.slice(0, MOST_REFUSALS_TOLD - refused.length))
    ask.onProgress?.(run.counts)
  }
  run = { ...run, state: 'done' }
  await keep(ports, ask, run, 'run.finished')
  return { run, outcome: 'done', refused }
}

/** Undefined: begun. Where somebody else has begun meanwhile, theirs: there is one at a time. */
async function begin(ports: Ports, { actor, clock }: ReapplyPolicy, run: Run): Promise<Run | undefined> {
  const now = clock()
  return ports.inTransaction(async (tx) => {
    const open = await ports.runs.open(tx, run.kind)
    if (open && open.id !== run.id) return open
    await ports.runs.keep(tx, run, { actor, now })
    const details = { kind: run.kind, revision: run.revision, ...run.counts }
    await ports.audit.write(tx, [{ kind: 'run.started', at: now, actor, run: run.id, details }])
    return undefined
  })
}

async function keep(
  ports: Ports,
  { actor, clock }: ReapplyPolicy,
  run: Run,
  event?: 'run.held' | 'run.started' | 'run.finished',
): Promise<void> {
  const now = clock()
  await ports.inTransaction(async (tx) => {
    await ports.runs.keep(tx, run, { actor, now })
    const details = { kind: run.kind, revision: run.revision, ...run.counts, ...(run.heldBecause ? { because: run.heldBecause } : {}) }
    if (event) await ports.audit.write(tx, [{ kind: event, at: now, actor, run: run.id, details }])
  })
}
