// gatehouse runs [list] | show | rows | approve | give | ignore | cancel, and gatehouse undo RUN

import { type Command, InvalidArgumentError, Option } from 'commander'
import type { RunId, UserId } from '../../domain/ids.ts'
import { type PlanDecision, planDecisions, type RowStatus, rowStatuses } from '../../domain/plan.ts'
import { cancelImport } from '../../flows/cancel-import.ts'
import type { ImportRun, PlanRow } from '../../flows/import-ports.ts'
import { approveRun, type Pick, type Settled, settleRow } from '../../flows/settle-rows.ts'
import { undoImport } from '../../flows/undo-import.ts'
import { outcomeOf, rowJson, runJson, summaryOf } from '../../http/import-words.ts'
import { listRuns, planRows } from '../../store/import-pages.ts'
import { policyReader } from '../../store/policies.ts'
import { holder, isGone } from '../holder.ts'
import { portsOf } from '../ports.ts'
import { actorNamed, sourceNamed, throwUnlessDone } from './import-commands.ts'
import { printRun } from './import-words.ts'
import {
  atMost,
  CommandFailure,
  changeInWords,
  EXIT,
  inLittleMemory,
  plain,
  print,
  printJson,
  printTable,
  progress,
  time,
} from './output.ts'
import { stopSignal } from './stopping.ts'
import { atWork, personNamed, type Workplace } from './workplace.ts'

export function runCommands(program: Command): void {
  const runs = program.command('runs').description('imports: what they planned, what they did, what waits for a person')
  runs
    .command('list', { isDefault: true })
    .description('the newest first')
    .option('--source <name>', 'only of this source')
    .option('--limit <n>', 'at most so many', atMost(1_000), 20)
    .option('--json', 'answer with JSON', false)
    .action(list)
  runs
    .command('show <run>')
    .description('one run: counts, what holds it, how far it is')
    .option('--json', 'answer with JSON', false)
    .action(show)
  runs
    .command('rows <run>')
    .description('the rows of its plan, each with what would become of whom, and why')
    .option('--waiting', 'only those that wait for a person', false)
    .option('--decision <decision>', `only ${planDecisions.join(', ')}`, oneOf(planDecisions))
    .option('--status <status>', `only ${rowStatuses.join(', ')}`, oneOf(rowStatuses))
    .option('--after <row>', 'those after this row', atMost(1_000_000_000))
    .option('--limit <n>', 'at most so many', atMost(10_000), 50)
    .option('--reveal', 'show sensitive values, too', false)
    .option('--json', 'answer with JSON', false)
    .action(rows)
  runs
    .command('approve <run> [row]')
    .description('go ahead with all that waits, with one class of it, or with one row')
    .option('--decision <decision>', 'only these: create, link, update, return or leaver', oneOf(planDecisions))
    .option('--json', 'answer with JSON', false)
    .addOption(begunBy())
    .action(approve)
  runs
    .command('give <run> <row> <who>')
    .description('say whom a row means: a user, by name or id, or «new»')
    .option('--json', 'answer with JSON', false)
    .action((run: string, row: string, who: string, options: { json: boolean }) =>
      pick(run, row, options, who === 'new' ? { pick: 'new' } : { named: who }),
    )
  runs
    .command('ignore <run> <row>')
    .description('leave a row alone; a newcomer stays ignored in later runs, too')
    .option('--json', 'answer with JSON', false)
    .action((run: string, row: string, options: { json: boolean }) => pick(run, row, options, { pick: 'ignore' }))
  runs
    .command('cancel <run>')
    .description('stop a run; what it has applied stands')
    .option('--json', 'answer with JSON', false)
    .action(cancel)
  program
    .command('undo <run>')
    .description('take an applied import back, where nothing newer stands in the way')
    .option('--plan-only', 'only say what would be taken back', false)
    .option('--json', 'answer with JSON', false)
    .addOption(begunBy())
    .action(undo)
}

/** Where that is not the operator. */
function begunBy(): Option {
  return new Option('--begun-by <actor>', 'who has begun it').hideHelp()
}

function oneOf<Word extends string>(words: readonly Word[]) {
  return (text: string): Word => {
    const found = words.find((one) => one === text)
    if (found) return found
    throw new InvalidArgumentError(`Write one of ${words.join(', ')}.`)
  }
}

async function list(options: { source?: string; limit: number; json: boolean }): Promise<void> {
  await atWork(async ({ db }) => {
    const found = await listRuns(db, options)
    if (options.json) return printJson({ runs: found.map(({ run, source }) => runJson(run, source)) })
    printTable(
      ['RUN', 'SOURCE', 'KIND', 'STATE', 'STARTED', 'CREATED', 'LINKED', 'UPDATED', 'LEAVERS', 'WAITING'],
      found.map(({ run, source }) => {
        const { created, linked, updated, leavers } = summaryOf(run)
        const kind = run.kind === 'undo' ? 'undo' : run.mode
        return [
          run.id,
          source,
          kind,
          outcomeOf(run),
          time(run.startedAt),
          ...[created, linked, updated, leavers, run.counts.waiting ?? 0].map(String),
        ]
      }),
    )
    if (!found.length) print('There was no import yet; «gatehouse import SOURCE» runs one.')
  })
}

/** With its source's name. */
async function runNamed(db: Workplace['db'], id: string): Promise<{ run: ImportRun; source: string }> {
  const [found] = await listRuns(db, { id: id as RunId, limit: 1 })
  if (!found) throw new CommandFailure(`There is no import ${plain(id)}; «gatehouse runs» lists them.`)
  return found
}

async function show(id: string, options: { json: boolean }): Promise<void> {
  await atWork(async ({ db }) => {
    const { run, source } = await runNamed(db, id)
    if (options.json) return printJson(runJson(run, source))
    printRun(run, source)
    const { read, harmed, people } = run.details
    if (run.state === 'running' && read)
      print(`read ${read.done}${read.total ? ` of ${read.total}` : ''}; applied ${run.counts.applied ?? 0}`)
    if (harmed && people !== undefined)
      print(
        `of ${people} people: ${harmed.leavers} leave, ${harmed.blanked} lose a value, ${harmed.memberships} a group, ${harmed.moved} are linked anew`,
      )
    print(`begun by ${plain(run.actor)} at ${time(run.startedAt)}`)
  })
}

interface RowsOptions {
  readonly waiting: boolean
  readonly decision?: PlanDecision
  readonly status?: RowStatus
  readonly after?: number
  readonly limit: number
  readonly reveal: boolean
  readonly json: boolean
}

async function rows(id: string, options: RowsOptions): Promise<void> {
  await atWork(async ({ db }) => {
    const { run } = await runNamed(db, id)
    const policy = await policyReader(db).inForce()
    const status = options.waiting ? 'waiting' : options.status
    const found = await planRows(db, run, {
      after: options.after ?? 0,
      limit: options.limit,
      ...(status ? { status } : {}),
      ...(options.decision ? { decision: options.decision } : {}),
    })
    if (options.json) return printJson({ rows: found.map((row) => rowJson(row, policy.schema, options.reveal)) })
    for (const row of found) printRow(row, options.reveal)
    if (found.length === options.limit) print(`(${options.limit} rows; --after ${found.at(-1)?.seq} shows those that follow)`)
    if (!found.length) print('There is none.')
  })
}

function printRow(row: PlanRow, reveal: boolean): void {
  const { seq, place, externalId, status, planned } = row
  const who = planned.label ?? externalId.value
  print(
    `${String(seq).padStart(6)}  ${planned.decision.padEnd(9)} ${status.padEnd(8)}  ${plain(who)}  (${plain(place)}, ${plain(externalId.value)})`,
  )
  print(`        ${plain(planned.why)}`)
  for (const one of planned.attributes)
    print(`        ${one.attribute}: ${changeInWords(reveal ? { before: one.before, after: one.after } : one)}`)
  if (planned.to) print(`        becomes ${planned.to}`)
  if (planned.gained.length) print(`        gains ${planned.gained.join(', ')}`)
  if (planned.lost.length) print(`        loses ${planned.lost.join(', ')}`)
  for (const { user, by, objection } of planned.candidates)
    print(`        could be ${user}, by ${by}${objection ? ` (${plain(objection)})` : ''}`)
}

async function settling(
  id: string,
  work: (place: Workplace, ask: Parameters<typeof approveRun>[1]) => Promise<Settled>,
  options: { json: boolean; begunBy?: string },
): Promise<void> {
  inLittleMemory({ nursery: 'middle' })
  await atWork(async (place) => {
    const { db } = place
    const actor = options.begunBy === undefined ? place.actor : actorNamed(options.begunBy)
    const { run, source } = await runNamed(db, id)
    const policy = await policyReader(db).inForce()
    const ask = {
      run: run.id,
      source: sourceNamed(policy, source),
      policy,
      actor,
      holder,
      isGone,
      clock: () => new Date(),
      stop: stopSignal(),
    }
    const settled = await work(place, ask)
    if (settled.outcome === 'refused') throw new CommandFailure(`Nothing was done: ${plain(settled.why)}.`)
    if (options.json) printJson(runJson(settled.run, source))
    else printRun(settled.run, source)
    throwUnlessDone(settled.run)
  })
}

async function approve(
  id: string,
  row: string | undefined,
  options: { decision?: PlanDecision; json: boolean; begunBy?: string },
): Promise<void> {
  if (row !== undefined) return pick(id, row, options, { pick: 'yes' })
  await settling(
    id,
    ({ db }, ask) => {
      const bar = progress('applying', 0)
      return approveRun(portsOf(db), {
        ...ask,
        ...(options.decision ? { decision: options.decision } : {}),
        ...(options.json ? {} : { onProgress: (run: ImportRun) => bar.at(run.counts.applied ?? 0) }),
      })
    },
    options,
  )
}

async function pick(id: string, row: string, options: { json: boolean }, how: Pick | { readonly named: string }): Promise<void> {
  const seq = Number(row)
  if (!Number.isInteger(seq) || seq < 1)
    throw new CommandFailure(`Write the number of a row, not «${plain(row)}»; «gatehouse runs rows ${plain(id)}» shows them.`, EXIT.wrong)
  await settling(
    id,
    async ({ db }, ask) => {
      const meant: Pick = 'named' in how ? { pick: 'user', user: (await personNamed(db, how.named)).id as UserId } : how
      return settleRow(portsOf(db), { ...ask, seq, pick: meant })
    },
    options,
  )
}

async function cancel(id: string, options: { json: boolean }): Promise<void> {
  await atWork(async ({ db, actor, now }) => {
    const { run, source } = await runNamed(db, id)
    const result = await cancelImport(portsOf(db), { run: run.id, actor, now })
    if (typeof result === 'string') throw new CommandFailure(`Nothing was done: ${result}.`)
    if (options.json) return printJson(runJson(result, source))
    printRun(result, source)
  })
}

async function undo(id: string, options: { planOnly: boolean; json: boolean; begunBy?: string }): Promise<void> {
  inLittleMemory({ nursery: 'middle' })
  await atWork(async ({ db, ...place }) => {
    const actor = options.begunBy === undefined ? place.actor : actorNamed(options.begunBy)
    const { run, source } = await runNamed(db, id)
    const policy = await policyReader(db).inForce()
    const bar = progress('taking back', run.counts.applied ?? 0)
    const result = await undoImport(portsOf(db), {
      run: run.id,
      policy,
      planOnly: options.planOnly,
      actor,
      holder,
      isGone,
      clock: () => new Date(),
      stop: stopSignal(),
      ...(options.json ? {} : { onProgress: bar.at }),
    })
    if (result.outcome === 'refused') throw new CommandFailure(`Nothing was done: ${result.why}.`)
    const { outcome, back, left, leftCount } = result
    if (options.json)
      return printJson({
        run: outcome === 'undone' ? result.run.id : null,
        undoes: run.id,
        source,
        outcome,
        undone: back,
        left: leftCount,
        rows: left,
      })
    print(`${outcome === 'planned' ? 'Would be taken back' : 'Taken back'}: ${back}; left as they are: ${leftCount}`)
    for (const { place, key, why } of left) print(`  ${plain(key)} (${plain(place)}): ${plain(why)}`)
    if (leftCount > left.length) print(`  … and ${leftCount - left.length} more`)
  })
}
