// gatehouse token create | list | revoke

import type { Command } from 'commander'
import type { TokenId } from '../../domain/ids.ts'
import { createToken } from '../../flows/create-token.ts'
import { revokeToken } from '../../flows/revoke-token.ts'
import { listTokens } from '../../store/tokens.ts'
import { portsOf } from '../ports.ts'
import { atMost, CommandFailure, plain, print, printJson, printTable, time } from './output.ts'
import { atWork } from './workplace.ts'

export function tokenCommands(program: Command): void {
  const token = program.command('token').description('tokens for the API, /api/v1')
  token
    .command('create <name>')
    .description('make a token; it is shown once')
    .option('--write', 'it may begin imports, approve them and finish tasks, too', false)
    .option('--days <n>', 'how long it lasts', atMost(3650), 365)
    .option('--json', 'answer with JSON', false)
    .action(create)
  token.command('list').description('tokens in force').option('--json', 'answer with JSON', false).action(list)
  token.command('revoke <id>').description('withdraw a token at once').option('--json', 'answer with JSON', false).action(revoke)
}

async function create(name: string, options: { days: number; write: boolean; json: boolean }): Promise<void> {
  await atWork(async ({ db, actor, now }) => {
    const { token, secret } = await createToken(portsOf(db), { name, days: options.days, mayWrite: options.write, actor, now })
    if (options.json) return printJson({ id: token.id, name, mayWrite: token.mayWrite, expiresAt: token.expiresAt, token: secret })
    print(secret)
    print(`\n${token.id}, until ${time(token.expiresAt)}. It is not shown again.`)
  })
}

async function list(options: { json: boolean }): Promise<void> {
  await atWork(async ({ db, now }) => {
    const tokens = (await listTokens(db, now)).map(({ id, name, mayWrite, createdAt, expiresAt }) => ({
      id,
      name,
      mayWrite,
      createdAt,
      expiresAt,
    }))
    if (options.json) return printJson({ tokens })
    printTable(
      ['ID', 'NAME', 'FOR', 'MADE', 'UNTIL'],
      tokens.map((one) => [
        one.id,
        plain(one.name),
        one.mayWrite ? 'looking and writing' : 'looking',
        time(one.createdAt),
        time(one.expiresAt),
      ]),
    )
  })
}

async function revoke(id: string, options: { json: boolean }): Promise<void> {
  await atWork(async ({ db, actor, now }) => {
    const revoked = await revokeToken(portsOf(db), { id: id as TokenId, actor, now })
    if (!revoked) throw new CommandFailure(`No token ${plain(id)} is in force.`)
    if (options.json) return printJson({ id, revoked })
    print(`${plain(id)} is revoked.`)
  })
}
