// gatehouse import SOURCE

import { basename, resolve } from 'node:path'
import { type Command, InvalidArgumentError, Option } from 'commander'
import type { SourceSpec } from '../../domain/documents/source.ts'
import type { Actor } from '../../domain/events.ts'
import type { RunId, TokenId, UserId } from '../../domain/ids.ts'
import type { Policy } from '../../domain/policy.ts'
import { type Connector, FeedFailure } from '../../flows/feed-ports.ts'
import type { ImportRun } from '../../flows/import-ports.ts'
import { runImport, type SourceInForce } from '../../flows/run-import.ts'
import { runJson } from '../../http/import-words.ts'
import { policyReader } from '../../store/policies.ts'
import { holder, isGone } from '../holder.ts'
import { webAsker } from '../outbound.ts'
import { portsOf } from '../ports.ts'
import { connectorOf } from '../sources.ts'
import { printRun } from './import-words.ts'
import { CommandFailure, EXIT, feedProgress, inLittleMemory, plain, print, printJson, progress } from './output.ts'
import { stopSignal } from './stopping.ts'
import { atWork } from './workplace.ts'

interface Options {
  readonly full: boolean
  readonly incremental: boolean
  readonly planOnly: boolean
  readonly approve: boolean
  readonly file?: string
  readonly json: boolean
  readonly resume: boolean
  readonly begunBy?: string
  readonly runId?: string
  readonly fileName?: string
}

export function importCommands(program: Command): void {
  program
    .command('import <source>')
    .description('read a source, plan what follows, and do what goes ahead by itself; goes on where an interrupted import was left')
    .option('--full', 'everybody: whoever is missing has left (the default)', false)
    .option('--incremental', 'only what has changed since the last run; most sources cannot say who has left by that', false)
    .option('--plan-only', 'make the plan and apply nothing', false)
    .option('--approve', 'go ahead with all of it, also where a check or a safeguard would hold it', false)
    .option('--file <file>', 'the CSV file', fileNamed)
    .option('--json', 'answer with JSON', false)
    .addOption(new Option('--resume', 'only take up an import that was interrupted').default(false).hideHelp())
    .addOption(new Option('--run-id <id>', 'the id that the run is to have').hideHelp())
    .addOption(new Option('--file-name <name>', 'what the file was called where it came from').hideHelp())
    .addOption(new Option('--begun-by <actor>', 'who has begun it, where that is not the operator').hideHelp())
    .addHelpText(
      'after',
      '\nExit codes: 0 applied, 3 some or all of it waits for approval, 4 held by a feed check or a safeguard, 1 failed.',
    )
    .action(importPeople)
}

function fileNamed(text: string): string {
  if (text === '-') throw new InvalidArgumentError('Write a path; standard input cannot be read twice.')
  return resolve(text)
}

async function importPeople(name: string, options: Options): Promise<void> {
  if (options.full && options.incremental) throw new CommandFailure('Write --full or --incremental, not both.', EXIT.wrong)
  if (options.planOnly && options.approve) throw new CommandFailure('Write --plan-only or --approve, not both.', EXIT.wrong)
  inLittleMemory({ nursery: 'middle' })
  await atWork(async ({ config, db, actor }) => {
    const policy = await policyReader(db).inForce()
    const source = sourceNamed(policy, name)
    const place = { importDir: config.importDir, environment: config.environment, ask: webAsker(config.internalHosts) }
    const telling = watching(options.json)
    const end = await runImport(portsOf(db), {
      source,
      policy,
      // What was left is applied from the plan; nothing is read for that.
      connector: options.resume ? NO_CONNECTOR : connectorNamed(() => connectorOf(source.spec, place, options.file)),
      mode: options.incremental ? 'incremental' : 'full',
      planOnly: options.planOnly,
      approved: options.approve,
      ...(options.runId === undefined ? {} : { id: options.runId as RunId }),
      ...fileRead(options, source.spec),
      ...(options.resume ? { resumeOnly: true } : {}),
      actor: options.begunBy === undefined ? actor : actorNamed(options.begunBy),
      holder,
      isGone,
      clock: () => new Date(),
      stop: stopSignal(),
      onProgress: telling.at,
    })
    telling.end()
    if (end.outcome === 'nothing') return options.json ? printJson({ outcome: 'nothing' }) : print('Nothing was interrupted.')
    if (end.outcome === 'busy')
      throw new CommandFailure(
        `${name} is being imported already (${end.run.id}, by ${end.run.actor}); «gatehouse runs show ${end.run.id}» tells how far it is.`,
      )
    const { run, resumed } = end
    if (options.json) printJson({ ...runJson(run, name), ...(resumed ? { resumed: runJson(resumed, name) } : {}) })
    else {
      if (resumed) {
        print('An import that was interrupted was taken up first:')
        printRun(resumed, name)
        print('')
      }
      printRun(run, name)
    }
    throwUnlessDone(run)
  })
}

/** What the file was called, for whoever looks for it later. */
function fileRead({ file, fileName }: Options, spec: SourceSpec): { readonly file?: string } {
  const read = file ?? (spec.kind === 'csv' ? spec.csv.file : undefined)
  return read === undefined ? {} : { file: fileName ?? basename(read) }
}

/** `system schedule`, `user usr_…`: as events tell it. */
export function actorNamed(text: string): Actor {
  const [kind, name = ''] = text.split(/ (.*)/s)
  if (kind === 'user') return { kind, id: name as UserId }
  if (kind === 'token') return { kind, id: name as TokenId, name }
  return { kind: 'system', name }
}

/** The exit code says what is to be done next. */
export function throwUnlessDone(run: ImportRun): void {
  const show = `«gatehouse runs show ${run.id}»`
  switch (run.state) {
    case 'failed':
      throw new CommandFailure(
        `The import failed, and nobody was changed by what it could not read: ${plain(run.details.failure?.why ?? '')}.`,
      )
    case 'cancelled':
      throw new CommandFailure('The import was stopped.')
    case 'held':
      throw new CommandFailure(
        `Held, and nobody was changed. ${show} tells more, «gatehouse runs approve ${run.id}» goes ahead.`,
        EXIT.held,
      )
    case 'planned':
      throw new CommandFailure(
        `Planned, and nobody was changed. ${show} tells more, «gatehouse runs approve ${run.id}» goes ahead.`,
        EXIT.waiting,
      )
    case 'waiting':
      throw new CommandFailure(`${run.counts.waiting} wait for a person: «gatehouse runs rows ${run.id} --waiting».`, EXIT.waiting)
    default:
  }
}

/** One that is there and whose document fits. */
export function sourceNamed(policy: Policy, name: string): SourceInForce {
  const source = policy.imports.get(name)
  if (!source) {
    const names = [...policy.imports.keys()]
    throw new CommandFailure(
      `There is no source «${plain(name)}»${names.length ? `; there are ${names.join(', ')}` : ', and no other: «gatehouse apply -f FILE» makes one (sources:)'}.`,
      EXIT.wrong,
    )
  }
  if (!source.policy?.imports) {
    const faults = policy.faults
      .filter((one) => one.kind === 'source' && one.name === name)
      .map(({ segments, message }) => `${segments.join('.')} ${message}`)
    throw new CommandFailure(`The source ${name} is out of force: ${faults.join('; ')}.`)
  }
  return source as SourceInForce
}

function connectorNamed<Made>(make: () => Made): Made {
  try {
    return make()
  } catch (error) {
    if (error instanceof FeedFailure) throw new CommandFailure(`${error.message}.`, EXIT.wrong)
    throw error
  }
}

function watching(quiet: boolean) {
  const reading = feedProgress('reading')
  let applying: ReturnType<typeof progress> | undefined
  return {
    at(run: ImportRun) {
      if (quiet && process.stderr.isTTY !== true) return
      const { read } = run.details
      if (run.phase === 'reading') return reading.at(read?.total ? read.done / read.total : undefined, run.counts.rows ?? 0)
      const { create = 0, link = 0, update = 0, leaver = 0, applied = 0, moved = 0 } = run.counts
      if (!applying) reading.end()
      applying ??= progress('applying', create + link + update + (run.counts.return ?? 0) + leaver)
      applying.at(applied + moved)
    },
    end() {
      if (applying) applying.end()
      else reading.end()
    },
  }
}

const NO_CONNECTOR: Connector = {
  kind: 'none',
  changesShowLeavers: false,
  test: () => Promise.reject(new FeedFailure('misconfigured', 'nothing is to be read')),
  readFull: () => Promise.reject(new FeedFailure('misconfigured', 'nothing is to be read')),
}
