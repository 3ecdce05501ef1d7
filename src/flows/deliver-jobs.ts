// Empties the outbox: takes the jobs that are due, tells each to its system, and notes what came of it. Outside of any
// transaction while it speaks; whoever dies in the middle has their jobs told again, with the same id.

import type { Actor } from '../domain/events.ts'
import { retryAt } from '../domain/retries.ts'
import type { Holder } from './import-ports.ts'
import type { Audit, Transactions } from './ports.ts'
import type { Deliverer, Job, JobEnd, Jobs } from './work-ports.ts'

export interface DeliverJobs {
  /** Undefined: nobody knows how to tell this system (any more). */
  readonly delivererOf: (job: Job) => Deliverer | undefined
  readonly holder: Holder
  readonly clock: () => Date
  /** From 0 to 1, so that many that failed together do not come back together. */
  readonly chance: () => number
  readonly stop: AbortSignal
  /** What is told to whoever runs this. */
  readonly onEnd?: (job: Job, end: JobEnd) => void
}

const AT_ONCE = 20
/** Longer than a delivery may take. */
const LEASE_MS = 120_000
export const DELIVERY_MS = 30_000

const WORKER: Actor = { kind: 'system', name: 'outbox' }

/** @returns how many were tried */
export async function deliverJobs(ports: Transactions & { jobs: Jobs; audit: Audit }, ask: DeliverJobs): Promise<number> {
  const { holder, clock, stop } = ask
  let tried = 0
  while (!stop.aborted) {
    const now = clock()
    const leased = await ports.inTransaction((tx) =>
      ports.jobs.lease(tx, { holder, now, until: new Date(now.getTime() + LEASE_MS), most: AT_ONCE }),
    )
    if (!leased.length) break
    tried += leased.length
    await Promise.all(leased.map((job) => deliver(ports, ask, job)))
  }
  return tried
}

async function deliver(ports: Transactions & { jobs: Jobs; audit: Audit }, ask: DeliverJobs, job: Job): Promise<void> {
  const end = await attempt(ask, job)
  const now = ask.clock()
  await ports.inTransaction(async (tx) => {
    if (!(await ports.jobs.end(tx, job.id, { holder: ask.holder, now }, end))) return
    const about = { at: now, actor: WORKER, ...(job.user ? { user: job.user } : {}), ...(job.run ? { run: job.run } : {}) }
    const details = {
      job: job.id,
      target: job.target,
      attempts: job.attempts,
      ...('state' in job.payload ? { state: job.payload.state } : {}),
    }
    if (end.how === 'done' && job.kind === 'access') await ports.audit.write(tx, [{ ...about, kind: 'job.delivered', details }])
    if (end.how === 'dead') await ports.audit.write(tx, [{ ...about, kind: 'job.dead', details: { ...details, why: end.error } }])
  })
  ask.onEnd?.(job, end)
}

async function attempt({ delivererOf, stop, chance, clock }: DeliverJobs, job: Job): Promise<JobEnd> {
  const deliverer = delivererOf(job)
  if (!deliverer) return { how: 'dead', error: `there is no target ${job.target} (any more)` }
  try {
    await deliverer.deliver(job, AbortSignal.any([stop, AbortSignal.timeout(DELIVERY_MS)]))
    return { how: 'done' }
  } catch (error) {
    const { message, temporary } = error as Error & { temporary?: boolean }
    const at = temporary === false ? undefined : retryAt(job.attempts, clock(), chance())
    return at ? { how: 'again', at, error: message } : { how: 'dead', error: message }
  }
}
