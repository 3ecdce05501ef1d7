// What goes on by itself while Gatehouse serves: jobs and mails, imports by schedule and from watched folders, what is due for
// people who have left. Any number of nodes may do it at once: each piece of work is taken in the database by one of them.

import { mkdirSync, readdirSync, renameSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { Logger } from 'pino'
import { memoryTarget } from '../connectors/memory/target.ts'
import type { ImportSource, Policy } from '../domain/policy.ts'
import { actOnLeavings } from '../flows/act-on-leavings.ts'
import { deliverJobs } from '../flows/deliver-jobs.ts'
import { eraseDue } from '../flows/erase-due.ts'
import { MAIL, tellTasks } from '../flows/tell-tasks.ts'
import { watchCoverage } from '../flows/watch-coverage.ts'
import type { Deliverer, Job } from '../flows/work-ports.ts'
import { coverage, deprovisionedBy } from '../store/coverage.ts'
import type { Db } from '../store/db.ts'
import { isRunning, leftRuns } from '../store/import-pages.ts'
import { policyReader } from '../store/policies.ts'
import { runCommand } from './background.ts'
import type { Config } from './config.ts'
import { holder, isGone } from './holder.ts'
import { mailDeliverer } from './mail.ts'
import type { portsOf } from './ports.ts'
import { nextTime } from './schedule.ts'
import { withinFolder } from './sources.ts'

export interface Worker {
  /** Each piece of work once, in order; for tests and for a stop. */
  tick(): Promise<void>
  stop(): Promise<void>
}

export interface WorkerParts {
  readonly config: Config
  readonly db: Db
  readonly ports: ReturnType<typeof portsOf>
  readonly log: Logger
  readonly clock?: () => Date
  /** Runs an import apart from this process, so that whoever signs in meanwhile does not wait for it. */
  readonly runImport?: (args: readonly string[]) => Promise<number>
}

/** How often each piece of work is looked at. */
const EVERY_MS = { jobs: 5_000, imports: 15_000, people: 60_000 }

export function startWorker(parts: WorkerParts): Worker {
  const { log } = parts
  const work = piecesOfWork(parts)
  const stop = new AbortController()
  const underWay = new Set<Promise<void>>()
  const busy = new Set<string>()
  const once = (name: keyof typeof work): Promise<void> => {
    if (busy.has(name) || stop.signal.aborted) return Promise.resolve()
    busy.add(name)
    const done = work[name](stop.signal)
      .catch((error) => log.warn({ err: error, work: name }, 'background work failed'))
      .finally(() => {
        busy.delete(name)
        underWay.delete(done)
      })
    underWay.add(done)
    return done
  }
  const timers = Object.entries(EVERY_MS).map(([name, every]) => setInterval(() => once(name as keyof typeof work), every).unref())
  return {
    async tick() {
      for (const name of ['imports', 'people', 'jobs'] as const) await once(name)
    },
    async stop() {
      for (const timer of timers) clearInterval(timer)
      stop.abort()
      await Promise.allSettled(underWay)
    },
  }
}

function piecesOfWork({
  config,
  db,
  ports,
  log,
  clock = () => new Date(),
  runImport = (args) => runCommand(args, config.environment),
}: WorkerParts) {
  const policies = policyReader(db)
  const memory = new Map<string, Deliverer>()
  const mail = config.mail && mailDeliverer(config.mail)
  const delivererOf = (policy: Policy) => (job: Job) => {
    if (job.target === MAIL) return mail
    const target = policy.targets.find(({ name }) => name === job.target)
    if (target?.spec.kind !== 'memory') return undefined
    const kept = memory.get(target.name) ?? memoryTarget()
    memory.set(target.name, kept)
    return kept
  }
  const start = (args: readonly string[]) =>
    runImport(args)
      .then((code) => log.info({ args, code }, 'an import has ended'))
      .catch((error) => log.warn({ err: error, args }, 'an import could not be started'))

  return {
    async jobs(stop: AbortSignal) {
      const policy = await policies.inForce()
      await deliverJobs(ports, {
        delivererOf: delivererOf(policy),
        holder,
        clock,
        chance: Math.random,
        stop,
        onEnd: (job, end) => {
          if (end.how === 'dead') log.warn({ job: job.id, target: job.target, why: end.error }, 'a job is given up')
        },
      })
    },

    async people() {
      const policy = await policies.inForce()
      const now = clock()
      await actOnLeavings(ports, { policy, now })
      await eraseDue(ports, { policy, now, deprovisionedBy: (actor, before, most) => deprovisionedBy(db, actor, before, most) })
      await watchCoverage(
        { ...ports, coverage: coverage(db) },
        { policy, administrators: config.mail && config.adminMail, mails: config.mail !== undefined, now },
      )
      if (config.mail)
        await tellTasks(ports, { page: new URL('/console/tasks', config.baseUrl).href, administrators: config.adminMail, now })
    },

    async imports() {
      const policy = await policies.inForce()
      const now = clock()
      for (const left of await leftRuns(db, now, isGone)) await start(['import', left, '--resume'])
      for (const source of policy.imports.values()) {
        if (!source.policy) continue
        try {
          // Whoever is being imported is asked again at the next look; neither a slot nor a file is lost by that.
          if (await isRunning(db, source.name)) continue
          await scheduled(source, now)
          await dropped(source)
        } catch (error) {
          // One source keeps no other waiting.
          log.warn({ err: error, source: source.name }, 'a source could not be looked after')
        }
      }
    },
  }

  async function scheduled({ id, name, spec }: ImportSource, now: Date): Promise<void> {
    const { full, incremental, zone } = spec.schedule
    for (const [mode, line] of [
      ['full', full],
      ['incremental', incremental],
    ] as const) {
      const next = line === undefined ? undefined : nextTime(line, zone, now)
      if (!next) continue
      // One node takes the slot; the others find it taken.
      if (await ports.inTransaction((tx) => ports.imports.claimSlot(tx, id, mode, now, next)))
        await start(['import', name, `--${mode}`, '--begun-by', 'system schedule'])
    }
  }

  /** A file that nobody has written to for a while is whole. Whoever moves it first has it. */
  async function dropped({ name, spec }: ImportSource): Promise<void> {
    if (spec.kind !== 'csv' || spec.csv.folder === undefined) return
    const folder = withinFolder(config.importDir, spec.csv.folder)
    putBack(folder, clock())
    for (const file of droppedFiles(folder, clock())) {
      const place = (where: string) => {
        mkdirSync(join(folder, where), { recursive: true })
        return join(folder, where, file)
      }
      const taken = place('underway')
      try {
        renameSync(join(folder, file), taken)
      } catch {
        continue
      }
      const code = await runImport(['import', name, '--full', '--file', taken, '--begun-by', 'system folder'])
      // 1 failed, 2 wrong: whoever put it there finds it, and the run says why.
      const failed = code === 1 || code === 2
      renameSync(taken, place(failed ? 'failed' : 'done'))
      const told = { source: name, file, code }
      if (failed) log.warn(told, 'a file from the watched folder could not be imported; it is in the folder failed')
      else log.info(told, 'a file from the watched folder was imported')
    }
  }
}

/** What nobody works on any more, because whoever did is gone: the source is not being imported. */
function putBack(folder: string, now: Date): void {
  const underway = join(folder, 'underway')
  for (const file of filesIn(underway))
    if (now.getTime() - statSync(join(underway, file)).ctimeMs > LEFT_MS) renameSync(join(underway, file), join(folder, file))
}

const SETTLED_MS = 5_000
const LEFT_MS = 60_000

function droppedFiles(folder: string, now: Date): readonly string[] {
  return filesIn(folder).filter(
    (name) => /\.(csv|tsv|txt)$/i.test(name) && now.getTime() - statSync(join(folder, name)).mtimeMs > SETTLED_MS,
  )
}

function filesIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder, { withFileTypes: true })
      .filter((one) => one.isFile() && !one.name.startsWith('.'))
      .map(({ name }) => name)
      .sort()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}
