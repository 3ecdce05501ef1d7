// gatehouse sign-ins [REFERENCE] [--follow]

import { setTimeout as pause } from 'node:timers/promises'
import type { Command } from 'commander'
import { readReference, type SignInId } from '../../domain/ids.ts'
import { stepCatalogue } from '../../domain/steps.ts'
import { findSignIn, listSignIns, type SignInLine } from '../../store/console-reads.ts'
import type { Db } from '../../store/db.ts'
import { atMost, CommandFailure, EXIT, plain, print, printJson, time } from './output.ts'
import { atWork } from './workplace.ts'

interface Options {
  limit: number
  refused: boolean
  follow: boolean
  json: boolean
}

const REMEDIES: Readonly<Record<string, string>> = {
  person: 'the person, by trying again',
  administrator: 'an administrator of Gatehouse',
  'identity-provider': 'an administrator of the identity provider',
}

const FOLLOW_EVERY_MS = 1_000
const LOOK_BACK_MS = 60_000

export function signInCommands(program: Command): void {
  program
    .command('sign-ins [reference]')
    .description('attempts to sign in and what became of them; with a reference, that one')
    .option('--limit <n>', 'the newest so many', atMost(1000), 20)
    .option('--refused', 'only those that were refused', false)
    .option('--follow', 'go on with new ones as they come', false)
    .option('--json', 'answer with JSON (one line each with --follow)', false)
    .action(signIns)
}

async function signIns(reference: string | undefined, options: Options): Promise<void> {
  await atWork(async ({ db }) => {
    if (reference !== undefined) return show(db, reference, options)
    // Asked first: what comes in between is shown by the list, and nothing is taken for seen that was not.
    const earlier = options.follow ? await recent(db, options) : []
    const newest = [...(await listSignIns(db, { limit: options.limit, refusedOnly: options.refused }))].reverse()
    if (options.json && !options.follow) return printJson({ signIns: newest })
    for (const one of newest) printLine(one, options)
    if (!newest.length && !options.follow) print('Nobody has tried to sign in yet.')
    if (options.follow) await follow(db, [...earlier, ...newest], options)
  })
}

async function show(db: Db, reference: string, options: Options): Promise<void> {
  const read = readReference(reference)
  if (!read) throw new CommandFailure(`«${plain(reference)}» is not a reference; they look like K7QF-2M9X.`, EXIT.wrong)
  const found = await findSignIn(db, read)
  if (!found) throw new CommandFailure(`No sign-in has the reference ${read}.`)
  if (options.json) return printJson(found)
  print(`${found.reference}  ${time(found.at)}  ${found.flow} ${found.outcome}`)
  const facts: [string, string | null][] = [
    ['connection', found.connection],
    ['from', found.address],
    ['subject', found.subject],
    ['user', found.userName],
    ['code', found.code],
    ['what happened', found.detail],
    ['who can fix it', found.remedy === null ? null : (REMEDIES[found.remedy] ?? found.remedy)],
  ]
  for (const [label, value] of facts) if (value) print(`  ${label.padEnd(14)} ${plain(value)}`)
  if (found.steps.length) print('\nWhat was checked:')
  for (const { step, passed, expected, came } of found.steps) {
    print(`  ${passed ? 'ok  ' : 'NO  '} ${stepCatalogue[step] ?? step}`)
    if (!passed && expected !== undefined) print(`         expected  ${plain(expected)}`)
    if (came) print(`         ${passed ? '' : 'came      '}${plain(came)}`)
  }
}

/** Until the terminal says stop. */
async function follow(db: Db, known: readonly SignInLine[], options: Options): Promise<void> {
  const seen = new Set<SignInId>(known.map((one) => one.id))
  const stop = new AbortController()
  process.once('SIGINT', () => stop.abort())
  while (!stop.signal.aborted) {
    for (const one of [...(await recent(db, options))].reverse()) {
      if (seen.has(one.id)) continue
      seen.add(one.id)
      printLine(one, options)
    }
    await pause(FOLLOW_EVERY_MS, undefined, { signal: stop.signal }).catch(() => {})
  }
}

/** Looks back a little: of two attempts, the one that began first may be committed last. */
function recent(db: Db, options: Options): Promise<readonly SignInLine[]> {
  return listSignIns(db, { limit: 500, since: new Date(Date.now() - LOOK_BACK_MS), refusedOnly: options.refused })
}

function printLine(one: SignInLine, { json }: Options): void {
  if (json) {
    print(JSON.stringify(one))
    return
  }
  const who = one.userName ?? one.subject ?? '-'
  const why = one.code ? `  ${one.code}: ${one.detail ?? ''}` : ''
  print(plain(`${time(one.at)}  ${one.reference}  ${one.flow.padEnd(7)}  ${one.outcome.padEnd(8)}  ${one.connection ?? '-'}  ${who}${why}`))
}
