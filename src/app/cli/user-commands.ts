// gatehouse user list | show | set | activate | suspend | restore | deprovision | erase

import { type Command, InvalidArgumentError } from 'commander'
import { evidenceCsv, evidenceOf } from '../../domain/evidence.ts'
import { type LifecycleState, lifecycleStates } from '../../domain/lifecycle.ts'
import type { Profile } from '../../domain/model.ts'
import { noAttribute } from '../../domain/policy.ts'
import { isRefusal } from '../../domain/refusals.ts'
import type { Schema } from '../../domain/schema.ts'
import { hideSensitive, shownChange } from '../../domain/sensitive.ts'
import { changeState } from '../../flows/change-state.ts'
import { editUser } from '../../flows/edit-user.ts'
import { findUser, listUsers, sourceNames } from '../../store/console-reads.ts'
import { evidenceParts } from '../../store/evidence.ts'
import { policyReader } from '../../store/policies.ts'
import { portsOf } from '../ports.ts'
import { atMost, CommandFailure, changeInWords, EXIT, plain, print, printJson, printTable, time } from './output.ts'
import { atWork, personNamed, type Workplace } from './workplace.ts'

export function userCommands(program: Command): void {
  const user = program.command('user').description('look at people, set values by hand, open and end their access')
  user
    .command('list')
    .description('everybody, by user name')
    .option('--state <state>', 'only those who are staged, active, suspended, deprovisioned or erased', stateNamed)
    .option('--search <text>', 'only user names that contain this')
    .option('--limit <n>', 'at most so many', atMost(10_000), 100)
    .option('--json', 'answer with JSON', false)
    .action(list)
  user
    .command('show <who>')
    .description('one person: profile with who said what, entitlements, links, sessions, history')
    .option('--reveal', 'show sensitive values, too', false)
    .option('--json', 'answer with JSON', false)
    .action(show)
  user
    .command('evidence <who>')
    .description('what shows that somebody’s access ended: from the source’s word to the last task done')
    .option('--csv', 'as lines of CSV, for an auditor', false)
    .option('--json', 'answer with JSON', false)
    .action(evidence)
  for (const verb of VERBS) {
    user
      .command(`${verb.name} <who>`)
      .description(verb.description)
      .requiredOption('--reason <text>', 'why; it is kept with the event')
      .option('--json', 'answer with JSON', false)
      .action((who: string, options: { reason: string; json: boolean }) => change(who, verb, options))
  }
  user
    .command('set <who> <attribute=value...>')
    .description('set values by hand; several values of one attribute: name it several times. An empty value takes it back')
    .option('--json', 'answer with JSON', false)
    .action(set)
}

interface Verb {
  readonly name: string
  readonly to: LifecycleState
  readonly description: string
  readonly done: string
}

const VERBS: readonly Verb[] = [
  { name: 'activate', to: 'active', description: 'let in a person who is staged', done: 'active' },
  {
    name: 'suspend',
    to: 'suspended',
    description: 'shut a person out for a while: every session at once; entitlements stay',
    done: 'suspended',
  },
  { name: 'restore', to: 'active', description: 'let a suspended or deprovisioned person in again', done: 'active again' },
  {
    name: 'deprovision',
    to: 'deprovisioned',
    description: 'end a person’s access: every session at once, every entitlement, and every sign-in from now on',
    done: 'deprovisioned',
  },
  {
    name: 'erase',
    to: 'erased',
    description:
      'delete all that is known of a person who is deprovisioned or was never let in, for good; a tombstone keeps a sign-in from bringing them back',
    done: 'erased',
  },
]

function stateNamed(text: string): LifecycleState {
  const state = lifecycleStates.find((one) => one === text)
  if (state) return state
  throw new InvalidArgumentError(`Write one of ${lifecycleStates.join(', ')}.`)
}

async function list(options: { state?: LifecycleState; search?: string; limit: number; json: boolean }): Promise<void> {
  await atWork(async ({ db }) => {
    const users = await listUsers(db, options)
    if (options.json) return printJson({ users })
    printTable(
      ['USER NAME', 'STATE', 'SINCE', 'ID'],
      users.map((one) => [plain(one.userName), one.state, time(one.stateSince), one.id]),
    )
    if (users.length === options.limit) print(`(the first ${options.limit}; --limit shows more)`)
  })
}

async function show(who: string, options: { reveal: boolean; json: boolean }): Promise<void> {
  await atWork(async ({ db }) => {
    const user = await personNamed(db, who)
    const { schema, revision } = await policyReader(db).inForce()
    const shown = options.reveal ? user.profile : hideSensitive(user.profile, schema)
    if (options.json) return printJson({ ...user, profile: shown })
    const names = await sourceNames(db)
    const nameOf = (id: string) => names.get(id) ?? id
    print(`${plain(user.userName)}  ${user.state} since ${time(user.stateSince)}${user.stateReason ? ` (${plain(user.stateReason)})` : ''}`)
    print(`${user.id}  ${user.sessions} open session${user.sessions === 1 ? '' : 's'}`)
    for (const { source, to, due, reason } of user.leaving)
      print(`Will be ${to} on ${time(due)}, because of ${source}: ${plain(reason)}. Whoever is named again by then stays.`)
    // Of whoever is shut out, entitlements are derived again when they come back.
    if (user.revision < revision && (user.state === 'active' || user.state === 'staged'))
      print('Derived under an older policy; the next sign-in, or «gatehouse reapply», brings it up to date.')
    print('')
    printTable(
      ['ATTRIBUTE', 'VALUE', 'WHO SAID SO', 'SINCE', 'WITH'],
      Object.entries(shown).map(([name, value]) => [
        name,
        plain(value.values.join('; ')),
        `${nameOf(value.source)} v${value.policyVersion}, ${plain(value.from)}`,
        time(value.since),
        value.via ?? '',
      ]),
    )
    await printReferences(db, user.profile, schema)
    const lost = Object.entries(shown).flatMap(([name, value]) => (value.lost ?? []).map((one) => ({ name, ...one })))
    if (lost.length) {
      print('')
      printTable(
        ['DOES NOT STAND', 'VALUE', 'WHO SAID SO', 'WHY'],
        lost.map(({ name, values, source, from, why }) => [
          name,
          plain(values.join('; ')),
          `${nameOf(source)}, ${plain(from)}`,
          plain(why),
        ]),
      )
    }
    if (user.grants.length || user.waiting.length) {
      print('')
      printTable(
        ['ENTITLEMENT', 'SINCE'],
        [...user.grants.map(({ name, since }) => [name, time(since)]), ...user.waiting.map((name) => [name, '(waits for a free seat)'])],
      )
    }
    print('')
    printTable(
      ['LINKED TO', 'AS', 'SINCE'],
      user.links.map((link) => [link.source, plain(link.externalId), time(link.linkedAt)]),
    )
    print('')
    printTable(
      ['WHEN', 'WHAT', 'WHO DID IT'],
      user.events.map((event) => [time(event.at), event.kind, plain(event.actor)]),
    )
  })
}

/** A reference is kept as it was said, and looked up when somebody asks, so that it does not matter who was here first. */
async function printReferences(db: Workplace['db'], profile: Profile, schema: Schema): Promise<void> {
  for (const [name, { values }] of Object.entries(profile)) {
    if (schema.get(name)?.type !== 'reference') continue
    for (const value of values) {
      const other = await findUser(db, value)
      print(`${name} ${plain(value)}: ${other ? `${other.id}, ${other.state}` : 'nobody here has that name'}`)
    }
  }
}

async function change(who: string, verb: Verb, options: { reason: string; json: boolean }): Promise<void> {
  await atWork(async ({ db, actor, now }) => {
    const user = await personNamed(db, who)
    if (verb.name === 'activate' && user.state !== 'staged' && user.state !== 'active')
      throw new CommandFailure(
        `${plain(user.userName)} is ${user.state}, not staged; «gatehouse user restore» lets such a person in again.`,
      )
    if (verb.name === 'restore' && user.state === 'staged')
      throw new CommandFailure(`${plain(user.userName)} is staged; «gatehouse user activate» lets such a person in.`)
    const policy = await policyReader(db).inForce()
    const result = await changeState(portsOf(db), { user: user.id, to: verb.to, reason: options.reason, policy, actor, now })
    if (result.outcome === 'impossible') {
      const first = result.to === 'erased' ? ' Deprovision first: that can be taken back, and erasing cannot.' : ''
      throw new CommandFailure(`${plain(user.userName)} is ${result.from}, and from there nobody becomes ${result.to}.${first}`)
    }
    if (options.json) {
      const outcome = result.outcome === 'changed' ? result.to : result.outcome
      return printJson({ user: user.id, ...result, outcome })
    }
    if (result.outcome === 'already') print(`${plain(user.userName)} was ${verb.to} already.`)
    if (result.outcome !== 'changed') return
    const ended = result.sessionsEnded ? `; ${result.sessionsEnded} session${result.sessionsEnded === 1 ? '' : 's'} ended` : ''
    print(`${plain(user.userName)} is ${verb.done}${ended}.`)
  })
}

async function evidence(who: string, options: { csv: boolean; json: boolean }): Promise<void> {
  await atWork(async ({ db }) => {
    const user = await personNamed(db, who)
    const found = evidenceOf(await evidenceParts(db, user.id))
    if (!found) throw new CommandFailure(`The access of ${plain(user.userName)} has never ended.`)
    const { state, lines, complete, tookMs } = found
    if (options.json)
      return printJson({ user: user.id, userName: user.userName, state, complete, ...(tookMs === undefined ? {} : { tookMs }), lines })
    if (options.csv) return print(evidenceCsv(found))
    print(
      `${plain(user.userName)} (${user.id}) is ${state}; ${complete ? `all of it is done, after ${Math.ceil((tookMs ?? 0) / 1000)} seconds` : 'something is still to be done'}`,
    )
    printTable(
      ['WHEN', 'WHAT', '', 'REFERENCE'],
      lines.map((one) => [one.at ? time(one.at) : 'not yet', one.what, plain(one.text), one.reference]),
    )
  })
}

async function set(who: string, words: readonly string[], options: { json: boolean }): Promise<void> {
  await atWork(async ({ db, actor, now }) => {
    const policy = await policyReader(db).inForce()
    const edits: Record<string, string[] | null> = {}
    for (const word of words) {
      const [, name, value] = /^([^=]+)=(.*)$/s.exec(word) ?? []
      if (name === undefined || value === undefined) throw new CommandFailure(`Write ATTRIBUTE=VALUE, not «${plain(word)}».`, EXIT.wrong)
      if (!policy.schema.has(name)) throw new CommandFailure(noAttribute(name, policy.schema), EXIT.wrong)
      edits[name] = value === '' ? null : [...(edits[name] ?? []), value]
    }
    const user = await personNamed(db, who)
    const result = await editUser(portsOf(db), { user: user.id, edits, policy, actor, now })
    if (!result) throw new CommandFailure(`${plain(user.userName)} was erased.`)
    if (isRefusal(result)) throw new CommandFailure(`Nothing was changed: ${plain(result.detail)} (${result.code}).`)
    if (options.json) return printJson({ user: user.id, attributes: result.attributes.map(shownChange) })
    for (const one of result.attributes) print(`${one.attribute}: ${changeInWords(one)}`)
    if (!result.attributes.length) print('Nothing has changed by it.')
  })
}
