// gatehouse match list | link | new | ignore | relink

import type { Command } from 'commander'
import type { CaseId, UserId } from '../../domain/ids.ts'
import { type CaseSettled, type Settlement, settleCase } from '../../flows/settle-case.ts'
import { type CaseLine, listCases } from '../../store/cases.ts'
import { portsOf } from '../ports.ts'
import { atMost, CommandFailure, plain, print, printJson, printTable, time } from './output.ts'
import { atWork, personNamed, type Workplace } from './workplace.ts'

const MOST_CASES = 10_000

export function matchCommands(program: Command): void {
  const match = program.command('match').description('people who could not be told from those who are here, and wait for you to decide')
  match
    .command('list')
    .description('cases that wait, oldest first')
    .option('--all', 'settled ones, too', false)
    .option('--connection <name>', 'only from there')
    .option('--limit <n>', 'at most so many', atMost(MOST_CASES), 100)
    .option('--json', 'answer with JSON', false)
    .action(list)
  match
    .command('link <case> <who>')
    .description('it is this person: their next sign-in goes to this account')
    .option('--json', 'answer with JSON', false)
    .action((id: string, who: string, options: { json: boolean }) => settle(id, options, (place) => linkTo(place, who)))
  match
    .command('new <case>')
    .description('it is nobody who is here: their next sign-in makes an account, where the connection may create any')
    .option('--json', 'answer with JSON', false)
    .action((id: string, options: { json: boolean }) => settle(id, options, async () => ({ verdict: 'new' })))
  match
    .command('ignore <case>')
    .description('leave them out, and do not ask again')
    .option('--json', 'answer with JSON', false)
    .action((id: string, options: { json: boolean }) => settle(id, options, async () => ({ verdict: 'ignored' })))
  match
    .command('relink')
    .description('people who come back under another name: tie each to the one that speaks for them, all at once')
    .requiredOption('--connection <name>', 'the connection whose names have changed')
    .option('--yes', 'do it; without this, only the evidence is shown', false)
    .option('--json', 'answer with JSON', false)
    .action(relink)
}

async function list(options: { all: boolean; connection?: string; limit: number; json: boolean }): Promise<void> {
  await atWork(async ({ db }) => {
    const cases = await listCases(db, { all: options.all, source: options.connection, limit: options.limit })
    if (options.json) return printJson({ cases })
    if (!cases.length) return print('Nobody waits for a decision.')
    for (const one of cases) tell(one)
    print('\n«gatehouse match link CASE WHO», «match new CASE» or «match ignore CASE» settles one.')
  })
}

function tell({ id, sourceName, kind, externalId, why, candidates, times, openedAt, verdict }: CaseLine): void {
  print(`${id}  ${kind}  «${plain(externalId.value)}» of ${sourceName}${verdict ? `  (${verdict})` : ''}`)
  print(`    since ${time(openedAt)}, tried ${times === 1 ? 'once' : `${times} times`}: ${plain(why)}`)
  for (const { user, by, certainty, knownAs, objection } of candidates)
    print(
      `    ${user}  ${certainty}, by ${by}${knownAs === undefined ? '' : `, known here as «${plain(knownAs)}»`}${objection === undefined ? '' : `; ${plain(objection)}`}`,
    )
}

async function linkTo({ db }: Workplace, who: string): Promise<Settlement> {
  const user = await personNamed(db, who)
  return { verdict: 'linked', user: user.id }
}

async function settle(id: string, options: { json: boolean }, choose: (place: Workplace) => Promise<Settlement>): Promise<void> {
  await atWork(async (place) => {
    const settlement = await choose(place)
    const { actor, now } = place
    const result = await settleCase(portsOf(place.db), { id: id as CaseId, settlement, actor, now })
    if (result.outcome === 'unknown') throw new CommandFailure(`There is no case ${plain(id)}.`)
    if (result.outcome === 'refused') throw new CommandFailure(`Nothing was changed: ${plain(result.why)}.`)
    if (options.json) return printJson(result)
    print(settlement.verdict === 'linked' ? `Linked to ${settlement.user}.` : `Settled: ${settlement.verdict}.`)
  })
}

async function relink(options: { connection: string; yes: boolean; json: boolean }): Promise<void> {
  await atWork(async ({ db, actor, now }) => {
    const renamed = await listCases(db, { all: false, source: options.connection, kind: 'renamed', limit: MOST_CASES })
    // Whom two claim to be, and whom a guard protects, is told one by one.
    const claims = renamed.map(({ candidates }) => candidates[0]?.user)
    const clear = renamed.filter(({ candidates: [candidate, another], renamedFrom }) => {
      const alone = candidate && !another && claims.filter((user) => user === candidate.user).length === 1
      return alone && !candidate.objection && renamedFrom !== undefined
    })
    const done: { case: CaseId; user: UserId; from: string; to: string; result: CaseSettled['outcome']; why: string }[] = []
    for (const { id, candidates, externalId, renamedFrom, why } of clear) {
      const [candidate] = candidates
      if (!candidate || !renamedFrom) continue
      const settlement = { verdict: 'linked', user: candidate.user } as const
      const result: CaseSettled = options.yes ? await settleCase(portsOf(db), { id, settlement, actor, now }) : { outcome: 'unknown' }
      done.push({ case: id, user: candidate.user, from: renamedFrom.value, to: externalId.value, result: result.outcome, why })
    }
    const left = renamed.length - clear.length
    if (options.json) return printJson({ relinked: options.yes, cases: done, left })
    if (!renamed.length) return print(`Nobody has come back to ${plain(options.connection)} under another name.`)
    printTable(
      ['WHO', 'WAS', 'IS NOW', 'WHAT SPEAKS FOR IT'],
      done.map(({ user, from, to, why }) => [user, plain(from), plain(to), plain(why)]),
    )
    const failed = done.filter(({ result }) => options.yes && result !== 'settled')
    for (const one of failed) print(`${one.case}: not done (${one.result})`)
    if (left)
      print(
        `${left} more want a look of their own: several could be meant, several claim to be the same, or a guard objects. «gatehouse match list» shows them.`,
      )
    if (!options.yes) return print(`Nothing was changed. --yes re-links these ${done.length}.`)
    print(`${done.length - failed.length} re-linked.`)
  })
}
