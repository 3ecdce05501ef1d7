// gatehouse user list | show | deprovision

import { type Command, InvalidArgumentError } from 'commander'
import { deprovision } from '../../flows/deprovision.ts'
import { findUser, listUsers, sourceNames } from '../../store/console-reads.ts'
import { portsOf } from '../assemble.ts'
import { CommandFailure, plain, print, printJson, printTable, time } from './output.ts'
import { atWork } from './workplace.ts'

export function userCommands(program: Command): void {
  const user = program.command('user').description('look at people and end their access')
  user
    .command('list')
    .description('everybody, by user name')
    .option('--state <state>', 'only those who are active or deprovisioned', stateNamed)
    .option('--search <text>', 'only user names that contain this')
    .option('--limit <n>', 'at most so many', atMost(10_000), 100)
    .option('--json', 'answer with JSON', false)
    .action(list)
  user
    .command('show <who>')
    .description('one person: profile with who said what, links, sessions, history')
    .option('--json', 'answer with JSON', false)
    .action(show)
  user
    .command('deprovision <who>')
    .description('end a person’s access: every session at once, and every sign-in from now on')
    .requiredOption('--reason <text>', 'why; it is kept with the event')
    .option('--json', 'answer with JSON', false)
    .action(endAccess)
}

export function atMost(most: number) {
  return (text: string): number => {
    const value = Number(text)
    if (!Number.isInteger(value) || value < 1 || value > most) throw new InvalidArgumentError(`Write a whole number from 1 to ${most}.`)
    return value
  }
}

function stateNamed(text: string): 'active' | 'deprovisioned' {
  if (text === 'active' || text === 'deprovisioned') return text
  throw new InvalidArgumentError('Write active or deprovisioned.')
}

async function list(options: { state?: 'active' | 'deprovisioned'; search?: string; limit: number; json: boolean }): Promise<void> {
  await atWork(async ({ db }) => {
    const users = await listUsers(db, options)
    if (options.json) return printJson({ users })
    printTable(
      ['USER NAME', 'STATE', 'SINCE', 'ID'],
      users.map((one) => [plain(one.userName), one.state, time(one.createdAt), one.id]),
    )
    if (users.length === options.limit) print(`(the first ${options.limit}; --limit shows more)`)
  })
}

async function show(who: string, options: { json: boolean }): Promise<void> {
  await atWork(async ({ db }) => {
    const user = await findUser(db, who)
    if (!user) throw new CommandFailure(`Nobody here is called «${plain(who)}».`)
    if (options.json) return printJson(user)
    const names = await sourceNames(db)
    print(`${plain(user.userName)}  ${user.state} since ${time(user.stateSince)}${user.stateReason ? ` (${plain(user.stateReason)})` : ''}`)
    print(`${user.id}  ${user.sessions} open session${user.sessions === 1 ? '' : 's'}\n`)
    printTable(
      ['ATTRIBUTE', 'VALUE', 'WHO SAID SO', 'SINCE'],
      Object.entries(user.profile).map(([name, value]) => [
        name,
        plain(value.values.join('; ')),
        `${names.get(value.source) ?? value.source} v${value.policyVersion}, ${plain(value.from)}`,
        time(value.since),
      ]),
    )
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

async function endAccess(who: string, options: { reason: string; json: boolean }): Promise<void> {
  await atWork(async ({ db, actor, now }) => {
    const user = await findUser(db, who)
    if (!user) throw new CommandFailure(`Nobody here is called «${plain(who)}».`)
    const result = await deprovision(portsOf(db), { user: user.id, reason: options.reason, actor, now })
    if (options.json) return printJson({ user: user.id, ...result })
    if (result.outcome === 'deprovisioned')
      print(`${plain(user.userName)} is deprovisioned; ${result.sessionsEnded} session${result.sessionsEnded === 1 ? '' : 's'} ended.`)
    else print(`${plain(user.userName)} was deprovisioned already.`)
  })
}
