// gatehouse schema show | discover, gatehouse entitlement list

import type { Command } from 'commander'
import { Discovery, type SeenAttribute } from '../../domain/discovery.ts'
import type { MappingRowSpec } from '../../domain/documents/parts.ts'
import type { SchemaSpec } from '../../domain/documents/settings.ts'
import { policyReader } from '../../store/policies.ts'
import { countEntitlements, recordsOf } from '../../store/simulation-reads.ts'
import { writeYaml } from '../policy-file.ts'
import { CommandFailure, plain, print, printJson, printTable } from './output.ts'
import { atWork } from './workplace.ts'

export function schemaCommands(program: Command): void {
  const schema = program.command('schema').description('the attributes of a profile, and what could be added to them')
  schema.command('show').description('every attribute, its type and its rules').option('--json', 'answer with JSON', false).action(show)
  schema
    .command('discover')
    .description('what a connection has been seen to send, and what could be made of it, as a piece of a policy file')
    .requiredOption('--connection <name>', 'the connection')
    .option('--json', 'answer with JSON', false)
    .action(discover)
  program
    .command('entitlement')
    .description('roles and licences')
    .command('list')
    .description('every rule, who holds it, and how many seats are left')
    .option('--json', 'answer with JSON', false)
    .action(entitlements)
}

async function show(options: { json: boolean }): Promise<void> {
  await atWork(async ({ db }) => {
    const { schema, sources, mastery } = await policyReader(db).inForce()
    const rows = [...schema.values()].map((one) => ({
      ...one,
      masters: mastery.attributes.get(one.name)?.from?.map((id) => sources.get(id)?.name ?? id) ?? null,
    }))
    if (options.json) return printJson({ attributes: rows, rank: mastery.rank.map((id) => sources.get(id)?.name ?? id) })
    printTable(
      ['ATTRIBUTE', 'LABEL', 'TYPE', 'RULES', 'MASTERED BY'],
      rows.map(({ name, label, type, required, unique, sensitive, values, masters }) => [
        name,
        plain(label),
        type,
        [required ? 'required' : '', unique ? 'unique' : '', sensitive ? 'sensitive' : '', values ? `one of ${values.join(', ')}` : '']
          .filter(Boolean)
          .join(', '),
        masters ? masters.join(', then ') : name === 'groups' ? 'every source its own' : 'the profile source',
      ]),
    )
    print(
      `\nProfile source: the first of ${mastery.rank.map((id) => sources.get(id)?.name ?? id).join(', ')} that answers for the attribute`,
    )
  })
}

async function discover(options: { connection: string; json: boolean }): Promise<void> {
  await atWork(async ({ db }) => {
    const policy = await policyReader(db).inForce()
    const source = [...policy.sources.values()].find(({ name }) => name === options.connection)
    if (!source) throw new CommandFailure(`There is no connection ${plain(options.connection)}.`)
    const discovery = new Discovery()
    let records = 0
    for await (const record of recordsOf(db, source.id)) {
      records++
      discovery.look(record)
    }
    const seen = discovery.propose(policy.schema, source)
    const proposed = proposals(seen)
    if (options.json) return printJson({ connection: source.name, records, seen, proposed })
    if (!records) return print(`Nothing is on file from ${source.name} yet; after the first sign-in there is.`)
    printTable(
      ['IT SENDS', 'CALLED', 'IN RECORDS', 'LOOKS LIKE', 'LEADS TO'],
      seen.map((one) => [
        plain(one.name),
        plain(one.plain),
        `${one.records} of ${records}`,
        `${one.type}${one.distinct ? ', all different' : ''}`,
        one.mappedTo ?? (one.proposal ? `(could be ${one.proposal.to}${one.proposal.add ? ', to be added' : ''})` : '-'),
      ]),
    )
    if (!proposed.mapping.length) return print('\nAll of it is mapped.')
    print(`\nProposed; take what you want into the policy file, and try it with «gatehouse simulate»:\n`)
    if (proposed.schema.length) process.stdout.write(writeYaml({ schema: { attributes: proposed.schema } }))
    process.stdout.write(writeYaml({ [`mapping rows of ${source.name}`]: proposed.mapping }))
  })
}

interface Proposals {
  readonly schema: readonly Pick<SchemaSpec['attributes'][number], 'name' | 'type' | 'label'>[]
  readonly mapping: readonly Pick<MappingRowSpec, 'to' | 'from'>[]
}

/** One row for an attribute of ours, even where two of theirs would fit. */
function proposals(seen: readonly SeenAttribute[]): Proposals {
  const taken = new Set(seen.flatMap(({ mappedTo }) => mappedTo ?? []))
  const schema: Proposals['schema'][number][] = []
  const mapping: Proposals['mapping'][number][] = []
  for (const { name, plain: called, type, proposal } of seen) {
    if (!proposal || taken.has(proposal.to)) continue
    taken.add(proposal.to)
    if (proposal.add) schema.push({ name: proposal.to, type, label: called })
    mapping.push({ to: proposal.to, from: `attributes.${name}` })
  }
  return { schema, mapping }
}

async function entitlements(options: { json: boolean }): Promise<void> {
  await atWork(async ({ db }) => {
    const { entitlements: rules } = await policyReader(db).inForce()
    const counts = new Map((await countEntitlements(db)).map((one) => [one.name, one]))
    const rows = rules.rules.map(({ name, when, seats }) => {
      const { holders = 0, waiting = 0 } = counts.get(name) ?? {}
      return { name, when, seats: seats ?? null, holders, waiting, administrator: rules.administrators.has(name) }
    })
    if (options.json) return printJson({ entitlements: rows, version: rules.version })
    if (!rows.length) return print('There is no rule for entitlements yet.')
    printTable(
      ['ENTITLEMENT', 'HELD BY', 'SEATS', 'WAITING', 'WHEN'],
      rows.map(({ name, when, seats, holders, waiting }) => [
        name,
        String(holders),
        seats === null ? '-' : String(seats),
        waiting ? String(waiting) : '-',
        plain(when),
      ]),
    )
  })
}
