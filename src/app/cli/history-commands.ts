// gatehouse policy log | show | diff | rollback

import { type Command, InvalidArgumentError } from 'commander'
import { type DocumentKind, documentKinds, documentTitle, fault } from '../../domain/documents.ts'
import { rollBackPolicy } from '../../flows/roll-back-policy.ts'
import { type DocumentVersion, documentVersions } from '../../store/policies.ts'
import { writeYaml } from '../policy-file.ts'
import { portsOf } from '../ports.ts'
import { atMost, CommandFailure, EXIT, plain, print, printJson, printTable, time } from './output.ts'
import { atWork } from './workplace.ts'

export function historyCommands(program: Command): void {
  const policy = program.command('policy').description('versions of the policy’s documents: who changed what, and back again')
  policy
    .command('log [kind] [name]')
    .description('versions, newest first')
    .option('--limit <n>', 'at most so many', atMost(1_000), 30)
    .option('--json', 'answer with JSON', false)
    .action(log)
  policy
    .command('show <kind> [name]')
    .description('one document as it is, or as it was')
    .option('--version <n>', 'that version', atMost(1_000_000))
    .option('--json', 'answer with JSON', false)
    .action(show)
  policy
    .command('diff <kind> [name]')
    .description('what changed between two versions; the last two, if you name none')
    .option('--from <n>', 'the older version', atMost(1_000_000))
    .option('--to <n>', 'the newer version', atMost(1_000_000))
    .option('--json', 'answer with JSON', false)
    .action(diff)
  policy
    .command('rollback <kind> [name]')
    .description('make an older version the one in force, as a new version')
    .requiredOption('--to <n>', 'the version to take it back to', atMost(1_000_000))
    .option('--json', 'answer with JSON', false)
    .action(rollback)
}

function kindNamed(text: string): DocumentKind {
  const kind = documentKinds.find((one) => one === text)
  if (!kind) throw new InvalidArgumentError(`There is no kind «${plain(text)}»; there are ${documentKinds.join(', ')}.`)
  return kind
}

/** Of some kinds there is one, named like its kind. */
function nameOf(kind: DocumentKind, name: string | undefined): string {
  if (name !== undefined) return name
  if (kind === 'connection' || kind === 'app') throw new CommandFailure(`Say which ${kind}: gatehouse policy … ${kind} NAME`, EXIT.wrong)
  return kind
}

async function log(kind: string | undefined, name: string | undefined, options: { limit: number; json: boolean }): Promise<void> {
  await atWork(async ({ db }) => {
    const versions = await documentVersions(db, { kind: kind === undefined ? undefined : kindNamed(kind), name, limit: options.limit })
    if (options.json) {
      return printJson({ versions: versions.map(({ document, ...about }) => ({ ...about, inForce: document !== null })) })
    }
    printTable(
      ['WHEN', 'DOCUMENT', 'VERSION', 'BY'],
      versions.map((one) => [
        time(one.at),
        documentTitle(one),
        `${one.version}${one.document ? '' : ' (taken out of force)'}`,
        authorOf(one),
      ]),
    )
  })
}

async function versionsOf(db: Parameters<typeof documentVersions>[0], kindText: string, nameText: string | undefined) {
  const kind = kindNamed(kindText)
  const name = nameOf(kind, nameText)
  const versions = await documentVersions(db, { kind, name, limit: 10_000 })
  if (!versions.length) throw new CommandFailure(`There is no ${kind} ${plain(name)}.`)
  return { kind, name, versions }
}

function authorOf({ author }: DocumentVersion): string {
  return plain(author ?? '(not noted)')
}

function versionNumbered(versions: readonly DocumentVersion[], version: number): DocumentVersion {
  const found = versions.find((one) => one.version === version)
  if (!found) throw new CommandFailure(`There is no version ${version}; the newest is ${versions[0]?.version}.`)
  return found
}

async function show(kindText: string, nameText: string | undefined, options: { version?: number; json: boolean }): Promise<void> {
  await atWork(async ({ db }) => {
    const { versions } = await versionsOf(db, kindText, nameText)
    const found = options.version === undefined ? (versions[0] as DocumentVersion) : versionNumbered(versions, options.version)
    if (options.json) return printJson({ ...found, document: found.document?.spec ?? null })
    print(`# version ${found.version}, ${time(found.at)}, by ${authorOf(found)}`)
    if (found.document) process.stdout.write(writeYaml(found.document.spec))
    else print('# taken out of force')
  })
}

async function diff(kindText: string, nameText: string | undefined, options: { from?: number; to?: number; json: boolean }): Promise<void> {
  await atWork(async ({ db }) => {
    const { kind, name, versions } = await versionsOf(db, kindText, nameText)
    const newest = versions[0]?.version ?? 1
    const to = versionNumbered(versions, options.to ?? newest)
    const from = options.from ?? to.version - 1
    const before = from === 0 ? undefined : versionNumbered(versions, from)
    const changes = differences(before?.document?.spec, to.document?.spec)
    if (options.json) return printJson({ kind, name, from, to: to.version, author: to.author, changes })
    print(`${documentTitle({ kind, name })}: version ${from} -> ${to.version}, ${time(to.at)}, by ${authorOf(to)}`)
    for (const { path, before: was, after } of changes) {
      if (was !== undefined) print(`- ${path}: ${inShort(was)}`)
      if (after !== undefined) print(`+ ${path}: ${inShort(after)}`)
    }
    if (!changes.length) print('Nothing that was written has changed (the identity provider’s metadata may have).')
  })
}

export interface Difference {
  readonly path: string
  readonly before?: unknown
  readonly after?: unknown
}

/** Leaf by leaf; rows of a list that have a name of their own are compared by it, so that one more row is one difference. */
export function differences(before: unknown, after: unknown, path: readonly (string | number)[] = []): readonly Difference[] {
  if (JSON.stringify(before) === JSON.stringify(after)) return []
  const [was, is] = [entriesOf(before), entriesOf(after)]
  if (!was || !is) {
    const at = path.length ? fault(path, '').path : '(all of it)'
    return [{ path: at, ...(before === undefined ? {} : { before }), ...(after === undefined ? {} : { after }) }]
  }
  const names = [...new Set([...was.keys(), ...is.keys()])]
  return names.flatMap((name) => differences(was.get(name), is.get(name), [...path, name]))
}

function entriesOf(value: unknown): ReadonlyMap<string | number, unknown> | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  if (!Array.isArray(value)) return new Map(Object.entries(value))
  const named = value.map((row, index) => {
    const { name, to, order } = (typeof row === 'object' && row !== null ? row : {}) as { name?: unknown; to?: unknown; order?: unknown }
    const key = name ?? to
    return [typeof key === 'string' ? `${key}${order === undefined ? '' : ` (order ${order})`}` : index, row] as const
  })
  return new Map(named)
}

function inShort(value: unknown): string {
  const text = typeof value === 'string' ? value : JSON.stringify(value)
  return plain(text.length > 400 ? `${text.slice(0, 400)}…` : text)
}

async function rollback(kindText: string, nameText: string | undefined, options: { to: number; json: boolean }): Promise<void> {
  await atWork(async ({ config, db, actor, now }) => {
    const { kind, name } = await versionsOf(db, kindText, nameText)
    const result = await rollBackPolicy(portsOf(db), { kind, name, version: options.to, ownHost: config.baseUrl.host, actor, now })
    if ('outcome' in result) throw new CommandFailure(`Version ${options.to} is not there, or took the document out of force.`)
    if ('faults' in result) {
      const faults = result.faults.map((one) => `  ${one.kind} ${one.name}: ${fault(one.segments, '').path}: ${one.message}`)
      throw new CommandFailure(
        `Nothing was changed; version ${options.to} does not fit what else is in force:\n${faults.join('\n')}`,
        EXIT.wrong,
      )
    }
    if (options.json) return printJson(result)
    const [done] = result.applied
    print(
      done?.outcome === 'unchanged'
        ? `Version ${options.to} says what is in force already.`
        : `${kind} ${name} is as it was in version ${options.to}.`,
    )
  })
}
