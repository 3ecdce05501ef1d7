// gatehouse tasks | jobs | coverage

import { type Command, InvalidArgumentError } from 'commander'
import type { JobId, TaskId } from '../../domain/ids.ts'
import { finishTasks } from '../../flows/finish-tasks.ts'
import { quietDays } from '../../flows/watch-coverage.ts'
import type { Job } from '../../flows/work-ports.ts'
import { uncovered } from '../../store/coverage.ts'
import { listJobs } from '../../store/jobs.ts'
import { policyReader } from '../../store/policies.ts'
import { listTasks } from '../../store/tasks.ts'
import { portsOf } from '../ports.ts'
import { atMost, CommandFailure, EXIT, plain, print, printJson, printTable, time } from './output.ts'
import { atWork } from './workplace.ts'

const DAY_MS = 86_400_000

export function taskCommands(program: Command): void {
  const tasks = program.command('tasks').description('what people have to do by hand in systems that no program can ask')
  tasks
    .command('list', { isDefault: true })
    .description('those that are open, the oldest first')
    .option('--all', 'those that are done, too', false)
    .option('--target <name>', 'only of this system')
    .option('--after <task>', 'those after this one')
    .option('--limit <n>', 'at most so many', atMost(1_000), 100)
    .option('--json', 'answer with JSON', false)
    .action(list)
  tasks
    .command('done [tasks...]')
    .description('mark tasks as done, one by one or all at once')
    .option('--all', 'every open task', false)
    .option('--target <name>', 'every open task of this system')
    .option('--note <text>', 'what was done')
    .option('--json', 'answer with JSON', false)
    .action(done)
  tasks
    .command('assign <who> <tasks...>')
    .description('give tasks to somebody, by e-mail address; they are told by mail')
    .option('--json', 'answer with JSON', false)
    .action(assign)

  const jobs = program.command('jobs').description('what other systems are to be told, and how that goes')
  jobs
    .command('list', { isDefault: true })
    .description('the newest first')
    .option('--state <state>', 'only queued, done or dead', stateNamed)
    .option('--target <name>', 'only of this system')
    .option('--limit <n>', 'at most so many', atMost(1_000), 50)
    .option('--json', 'answer with JSON', false)
    .action(listOfJobs)
  jobs
    .command('retry [jobs...]')
    .description('try dead jobs again')
    .option('--all', 'every dead job', false)
    .option('--target <name>', 'every dead job of this system')
    .option('--json', 'answer with JSON', false)
    .action(retry)

  program
    .command('coverage')
    .description('people whom no feed stands behind, by days since they last signed in: nobody will say when they are gone')
    .option('--days <n>', 'only those who have been quiet for so many days', atMost(36_500))
    .option('--limit <n>', 'at most so many', atMost(100_000), 100)
    .option('--json', 'answer with JSON', false)
    .action(listUncovered)
}

function stateNamed(text: string): Job['state'] {
  if (text === 'queued' || text === 'done' || text === 'dead') return text
  throw new InvalidArgumentError('Write queued, done or dead.')
}

async function list(options: { all: boolean; target?: string; after?: string; limit: number; json: boolean }): Promise<void> {
  await atWork(async ({ db, now }) => {
    const found = await listTasks(db, { ...options, done: options.all })
    const age = (from: Date, to = now) => Math.floor((to.getTime() - from.getTime()) / DAY_MS)
    if (options.json)
      return printJson({
        tasks: found.map((task) => ({ ...task, ageDays: age(task.openedAt, task.doneAt), overdue: !task.doneAt && task.dueAt < now })),
      })
    printTable(
      ['TASK', 'DAYS', 'DUE', 'FOR', 'WHAT'],
      found.map((task) => [
        task.id,
        String(age(task.openedAt, task.doneAt)),
        task.doneAt ? `done ${time(task.doneAt)}` : `${task.dueAt.toISOString().slice(0, 10)}${task.dueAt < now ? ' overdue' : ''}`,
        plain(task.assignee ?? ''),
        plain(task.title),
      ]),
    )
    if (!found.length) print('There is nothing to do.')
    if (found.length === options.limit) print(`(${options.limit}; --after ${found.at(-1)?.id} shows those that follow)`)
  })
}

async function done(ids: readonly string[], options: { all: boolean; target?: string; note?: string; json: boolean }): Promise<void> {
  if (!ids.length && !options.all && options.target === undefined)
    throw new CommandFailure('Write which tasks, or --all, or --target NAME.', EXIT.wrong)
  await atWork(async ({ db, actor, now }) => {
    const which = ids.length ? { ids: ids as TaskId[] } : options.target === undefined ? {} : { target: options.target }
    const finished = await finishTasks(portsOf(db), { ...which, actor, now, ...(options.note === undefined ? {} : { note: options.note }) })
    if (ids.length && finished.length < ids.length) {
      const missing = ids.filter((id) => !finished.some((task) => task.id === id))
      throw new CommandFailure(`${finished.length} done; these are not open: ${missing.map(plain).join(', ')}.`)
    }
    if (!finished.length && options.target !== undefined) throw new CommandFailure(`No task is open for ${plain(options.target)}.`)
    if (options.json) return printJson({ done: finished.map(({ id }) => id) })
    print(`${finished.length} done.`)
  })
}

async function assign(who: string, ids: readonly string[], options: { json: boolean }): Promise<void> {
  if (!/^[^@\s]+@[^@\s]+$/.test(who)) throw new CommandFailure(`«${plain(who)}» is not an e-mail address.`, EXIT.wrong)
  await atWork(async ({ db }) => {
    const ports = portsOf(db)
    const count = await ports.inTransaction((tx) => ports.tasks.assign(tx, ids as TaskId[], who))
    if (count < ids.length)
      throw new CommandFailure(
        `${count} of ${ids.length} given to ${plain(who)}; the others are not open. «gatehouse tasks» lists those that are.`,
      )
    if (options.json) return printJson({ assigned: count })
    print(`${count} of ${ids.length} given to ${plain(who)}.`)
  })
}

async function listOfJobs(options: { state?: Job['state']; target?: string; limit: number; json: boolean }): Promise<void> {
  await atWork(async ({ db }) => {
    const found = await listJobs(db, options)
    if (options.json) return printJson({ jobs: found })
    printTable(
      ['JOB', 'TARGET', 'WHAT', 'STATE', 'TRIED', 'NEXT', 'LAST ERROR'],
      found.map(({ id, target, kind, payload, state, attempts, nextAt, lastError = '' }) => [
        id,
        target,
        'state' in payload ? `${plain(payload.userName)} is ${payload.state}` : kind,
        state,
        String(attempts),
        state === 'queued' ? time(nextAt) : '',
        plain(lastError).slice(0, 80),
      ]),
    )
    if (!found.length) print('There is no job.')
  })
}

async function retry(ids: readonly string[], options: { all: boolean; target?: string; json: boolean }): Promise<void> {
  if (!ids.length && !options.all && options.target === undefined)
    throw new CommandFailure('Write which jobs, or --all, or --target NAME.', EXIT.wrong)
  await atWork(async ({ db, now }) => {
    const ports = portsOf(db)
    const which = ids.length ? { ids: ids as JobId[] } : options.target === undefined ? {} : { target: options.target }
    const count = await ports.inTransaction((tx) => ports.jobs.revive(tx, which, now))
    if (count < ids.length || (!count && options.target !== undefined))
      throw new CommandFailure(`${count} will be tried again; «gatehouse jobs --state dead» lists those that can be.`)
    if (options.json) return printJson({ retried: count })
    print(`${count} will be tried again.`)
  })
}

async function listUncovered(options: { days?: number; limit: number; json: boolean }): Promise<void> {
  await atWork(async ({ db, now }) => {
    const before = options.days === undefined ? {} : { before: new Date(now.getTime() - options.days * DAY_MS) }
    const found = await uncovered(db, { ...before, most: options.limit })
    const people = found.map((one) => ({ ...one, days: quietDays(one, now) })).sort((a, b) => b.days - a.days)
    const { coverage } = await policyReader(db).inForce()
    if (options.json) return printJson({ people, policy: coverage })
    printTable(
      ['DAYS', 'USER NAME', 'STATE', 'LAST SIGN-IN', 'DONE SO FAR'],
      people.map((one) => [
        String(one.days),
        plain(one.userName),
        one.state,
        one.lastSignIn ? time(one.lastSignIn) : 'never',
        one.stage ?? '',
      ]),
    )
    if (people.length) print(`${people.length} people: nobody will say when they are gone.`)
    else
      print(
        options.days === undefined ? 'Everybody is named by a feed.' : `Nobody whom no feed names has been quiet for ${options.days} days.`,
      )
    const { warn, suspend, task } = coverage
    if (warn ?? suspend ?? task)
      print(
        `After ${[warn && `${warn} days a warning`, suspend && `${suspend} days suspended`, task && `${task} days a task`].filter(Boolean).join(', ')}.`,
      )
    else if (people.length) print('The policy (coverage:) can warn, suspend and open a task by itself.')
  })
}
