// gatehouse source list | test | discover | groups

import { resolve } from 'node:path'
import type { Command } from 'commander'
import { changesShowLeavers, readsChanges } from '../../domain/documents/source.ts'
import { parseSourcePath } from '../../domain/mapping.ts'
import { type Connector, FeedFailure } from '../../flows/feed-ports.ts'
import { listRuns } from '../../store/import-pages.ts'
import { policyReader } from '../../store/policies.ts'
import { webAsker } from '../outbound.ts'
import { portsOf } from '../ports.ts'
import { connectorOf } from '../sources.ts'
import { sourceNamed } from './import-commands.ts'
import { CommandFailure, EXIT, plain, print, printJson, printTable, time } from './output.ts'
import { stopSignal } from './stopping.ts'
import { atWork } from './workplace.ts'

export function sourceCommands(program: Command): void {
  const source = program.command('source').description('where people are imported from: what is there, and whether it answers')
  source
    .command('list', { isDefault: true })
    .description('every source, what it can see, and its last run')
    .option('--json', 'answer with JSON', false)
    .action(list)
  for (const { name, description, action } of LOOKS) {
    source
      .command(`${name} <source>`)
      .description(description)
      .option('--file <file>', 'the CSV file', (text: string) => resolve(text))
      .option('--json', 'answer with JSON', false)
      .action((asked: string, options: Options) => looking(asked, options, action))
  }
}

interface Options {
  readonly file?: string
  readonly json: boolean
}

type Look = (connector: Connector, signal: AbortSignal, options: Options, name: string) => Promise<void>

const LOOKS: readonly { readonly name: string; readonly description: string; readonly action: Look }[] = [
  { name: 'test', description: 'reach it, and say what is there; reads no more than it must', action: test },
  { name: 'discover', description: 'the attributes of the first rows, with examples, for writing a mapping', action: discover },
  { name: 'groups', description: 'the groups that it knows, with how many members each has itself', action: groups },
]

async function list(options: { json: boolean }): Promise<void> {
  await atWork(async ({ db }) => {
    const policy = await policyReader(db).inForce()
    const ports = portsOf(db)
    const found = []
    for (const source of policy.imports.values()) {
      const [last] = await listRuns(db, { source: source.name, limit: 1 })
      const { present } = await ports.importReads.countSubjects(source.id)
      found.push({
        name: source.name,
        kind: source.spec.kind,
        inForce: source.policy !== undefined,
        people: present,
        readsChanges: readsChanges(source.spec),
        changesShowLeavers: changesShowLeavers(source.spec),
        leavers: source.spec.lifecycle.leavers,
        lastRun: last && { run: last.run.id, mode: last.run.mode, state: last.run.state, at: last.run.startedAt },
      })
    }
    if (options.json) return printJson({ sources: found })
    printTable(
      ['SOURCE', 'KIND', 'PEOPLE', 'SEES LEAVERS', 'LEAVERS', 'LAST RUN'],
      found.map((one) => [
        one.name,
        one.inForce ? one.kind : `${one.kind} (out of force)`,
        String(one.people),
        one.changesShowLeavers ? 'always' : 'full runs',
        one.leavers,
        one.lastRun ? `${one.lastRun.state} ${time(one.lastRun.at)}` : 'never',
      ]),
    )
    if (!found.length) print('There is none; «gatehouse apply -f FILE» makes one (sources:).')
  })
}

async function looking(name: string, options: Options, look: Look): Promise<void> {
  await atWork(async ({ config, db }) => {
    const source = sourceNamed(await policyReader(db).inForce(), name)
    try {
      const place = { importDir: config.importDir, environment: config.environment, ask: webAsker(config.internalHosts) }
      const patience = AbortSignal.timeout(source.spec.feed.patience * 2_000)
      await look(connectorOf(source.spec, place, options.file), AbortSignal.any([stopSignal(), patience]), options, name)
    } catch (error) {
      if (error instanceof FeedFailure)
        throw new CommandFailure(
          `${name}: ${plain(error.message)} (${error.code}).`,
          error.code === 'misconfigured' ? EXIT.wrong : EXIT.failed,
        )
      throw error
    }
  })
}

async function test(connector: Connector, signal: AbortSignal, { json }: Options, source: string): Promise<void> {
  const says = await connector.test(signal)
  if (json) return printJson({ source, ok: true, says })
  print(plain(says))
}

async function discover(connector: Connector, signal: AbortSignal, { json }: Options, source: string): Promise<void> {
  const attributes = (await connector.discover?.(signal)) ?? []
  const found = attributes.map((one) => ({
    ...one,
    from: `attributes.${one.name}`,
    readable: parseSourcePath(`attributes.${one.name}`) !== undefined,
  }))
  if (json) return printJson({ source, attributes: found })
  printTable(
    ['ATTRIBUTE', 'ROWS', 'EXAMPLES'],
    found.map(({ name, count, examples }) => [plain(name), String(count), plain(examples.join(' | '))]),
  )
}

async function groups(connector: Connector, signal: AbortSignal, { json }: Options, source: string): Promise<void> {
  if (!connector.readGroups) throw new CommandFailure(`${source} knows no groups of its own; groups come as an attribute of its rows.`)
  const found = []
  for await (const some of connector.readGroups(signal)) found.push(...some)
  if (json) return printJson({ source, groups: found })
  printTable(
    ['GROUP', 'MEMBERS', 'ID'],
    found.map(({ name, members, id }) => [plain(name), String(members), plain(id)]),
  )
  if (!found.length) print('There is none.')
}
