// gatehouse simulate --policy FILE [--last N] | reapply [--approve]

import { dirname, resolve } from 'node:path'
import { type Command, InvalidArgumentError } from 'commander'
import { compilePolicy, missingSubjects, type Policy } from '../../domain/policy.ts'
import { CAREFUL } from '../../domain/safeguard.ts'
import { shownChange } from '../../domain/sensitive.ts'
import { draftPolicy, placed } from '../../flows/apply-policy.ts'
import { reapplyPolicy } from '../../flows/reapply-policy.ts'
import { type SignInProspect, simulatePolicy } from '../../flows/simulate-policy.ts'
import { type Prospect, type Survey, type SurveyAsk, surveyPeople } from '../../flows/survey-people.ts'
import type { Db } from '../../store/db.ts'
import { documentsInForce, policyReader } from '../../store/policies.ts'
import { countStale, countUsers, everybody } from '../../store/runs.ts'
import { lookingAnswer, pastSignIns, seatsTaken, uniqueHolders } from '../../store/simulation-reads.ts'
import { metadataReader } from '../metadata-reader.ts'
import { mint } from '../mint.ts'
import { outbound } from '../outbound.ts'
import { readPolicyFile } from '../policy-file.ts'
import { portsOf } from '../ports.ts'
import {
  atMost,
  CommandFailure,
  changeInWords,
  complain,
  EXIT,
  inLittleMemory,
  plain,
  print,
  printJson,
  printTable,
  progress,
} from './output.ts'
import { rejectFile, textOf } from './policy-commands.ts'
import { atWork } from './workplace.ts'

export function simulateCommands(program: Command): void {
  program
    .command('simulate')
    .description('try a draft of the policy on everybody and on the last sign-ins; writes nothing')
    .requiredOption('--policy <file>', 'the draft, as «gatehouse apply» would read it')
    .option('--last <n>', 'try it on so many of the last sign-ins, too', atMost(100_000), 100)
    .option('--rows <n>', 'show so many of those who would change', atMost(1_000_000), 50)
    .option('--prune', 'as «gatehouse apply --prune» would: without what the file does not name', false)
    .option('--json', 'answer with JSON', false)
    .action(simulate)
  program
    .command('reapply')
    .description('derive everybody again under the policy in force, without waiting for their next sign-in; goes on where it was stopped')
    .option('--approve', 'go ahead although a safeguard holds it', false)
    .option('--share <share>', 'hold it where more than this share of the people would lose something', share, CAREFUL.share)
    .option('--count <n>', 'hold it where so many people would lose something', atMost(10_000_000), CAREFUL.count)
    .option('--json', 'answer with JSON', false)
    .action(reapply)
}

function share(text: string): number {
  const value = Number(text)
  if (text.trim() === '' || !(value >= 0 && value <= 1)) throw new InvalidArgumentError('Write a share from 0 to 1, like 0.2.')
  return value
}

/** What a look at everybody asks of the database. */
async function surveying(db: Db, inForce: Policy, now: Date): Promise<Pick<SurveyAsk, 'uniqueNow' | 'seats' | 'holdersOf' | 'now'>> {
  const uniqueNow = new Set(inForce.keys.filter(({ unique }) => unique).map(({ name }) => name))
  return { uniqueNow, seats: await seatsTaken(db), holdersOf: uniqueHolders(db), now }
}

async function simulate(options: { policy: string; last: number; rows: number; prune: boolean; json: boolean }): Promise<void> {
  inLittleMemory()
  const read = readPolicyFile(textOf(options.policy))
  const about = { file: options.policy, json: options.json }
  if (!read.file) return rejectFile(about, read.faults)
  const { file, place } = read
  await atWork(async ({ config, db, now }) => {
    const inForce = await policyReader(db).inForce()
    const documents = await documentsInForce(db)
    const folder = options.policy === '-' ? process.cwd() : dirname(resolve(options.policy))
    const metadata = metadataReader({ folder, outbound: outbound(config.internalHosts), allow: config.allow, clock: () => now })
    const ask = { file, ownHost: config.baseUrl.host, now, prune: options.prune, inForce: documents }
    const drafted = await draftPolicy({ metadata, mint }, ask)
    if ('faults' in drafted) return rejectFile(about, place(drafted.faults))
    // A revision that nobody was derived under, so that everybody is looked at.
    const draft = compilePolicy(-1, drafted.documents)
    const faults = [...draft.faults, ...(file.connections.length ? missingSubjects(drafted.documents) : [])]
    if (faults.length) return rejectFile(about, place(faults.map((one) => placed(one, file))))

    const prospects: Prospect[] = []
    const signIns: SignInProspect[] = []
    const bar = progress('people', await countUsers(db))
    const result = await simulatePolicy({
      ...(await surveying(db, inForce, now)),
      people: everybody(db),
      inForce,
      draft,
      signIns: pastSignIns(db, options.last),
      ask: lookingAnswer(db),
      mint,
      onProspect: (one) => prospects.length < options.rows && prospects.push(one),
      onSignIn: (one) => signIns.length < options.rows && signIns.push(one),
      onProgress: bar.at,
    })
    bar.end()
    if (options.json)
      return printJson({
        ...result,
        rows: prospects.map((one) => ({ ...one, attributes: one.attributes.map(shownChange) })),
        signInRows: signIns,
        written: false,
      })
    printSurvey(result.people)
    const { tried, sameOutcome, newlyRefused, newlyAccepted, otherwise } = result.signIns
    print(`\nOf the last ${tried} sign-ins whose content is kept, happening now:`)
    print(
      `  ${sameOutcome} would end as under the policy in force, ${newlyRefused} would be refused, ${newlyAccepted} let in, ${otherwise} end otherwise`,
    )
    printProspects(prospects, result.people)
    for (const { reference, connection, inForce: was, draft: is, why } of signIns)
      print(`  ${reference}  ${connection}: ${was} -> ${is}  ${plain(why)}`)
    print('\nNothing was written.')
  })
}

function printSurvey(survey: Survey): void {
  const { people, changed, unchanged, refused, collisions, leftAlone, blanked, membershipsLost } = survey
  print(`${people} people: ${changed} would change, ${unchanged} would not, ${refused} would be refused, ${collisions} would collide`)
  print(`  ${blanked} would lose a value, ${membershipsLost} a membership, ${survey.entitlementsLost} an entitlement`)
  if (leftAlone) print(`  ${leftAlone} are known only from connections that are not in force, and stay as they are`)
  const counts: [string, string, string][] = [
    ...Object.entries(survey.attributes).map(([name, n]): [string, string, string] => ['changes', name, String(n)]),
    ...Object.entries(survey.gained).map(([name, n]): [string, string, string] => ['gain', name, String(n)]),
    ...Object.entries(survey.lost).map(([name, n]): [string, string, string] => ['lose', name, String(n)]),
    ...Object.entries(survey.waiting).map(([name, n]): [string, string, string] => ['find no seat', name, String(n)]),
  ]
  if (counts.length) {
    print('')
    printTable(['', 'WHAT', 'PEOPLE'], counts)
  }
}

function printProspects(prospects: readonly Prospect[], { changed, refused, collisions }: Survey): void {
  if (!prospects.length) return
  print('')
  for (const { userName, user, outcome, attributes, gained, lost, waiting, why } of prospects) {
    print(`${plain(userName)}  ${user}  ${outcome}${why ? `: ${plain(why)}` : ''}`)
    for (const one of attributes) print(`    ${one.attribute}: ${changeInWords(one)}`)
    if (gained.length) print(`    gains ${gained.join(', ')}`)
    if (lost.length) print(`    loses ${lost.join(', ')}`)
    if (waiting.length) print(`    waits for a seat of ${waiting.join(', ')}`)
  }
  const more = changed + refused + collisions - prospects.length
  if (more > 0) print(`(and ${more} more; --rows shows them)`)
}

async function reapply(options: { approve: boolean; share: number; count: number; json: boolean }): Promise<void> {
  inLittleMemory()
  await atWork(async ({ db, actor, now }) => {
    const policy = await policyReader(db).inForce()
    const stale = await countStale(db)
    const prospects: Prospect[] = []
    const looking = progress('looking at', stale)
    const survey = async () => {
      const result = await surveyPeople({
        ...(await surveying(db, policy, now)),
        people: everybody(db, { derivedBefore: policy.revision }),
        policy,
        onProspect: (one) => prospects.length < 20 && prospects.push(one),
        onProgress: looking.at,
      })
      looking.end()
      return result
    }
    const bar = progress('derived', stale)
    const { run, outcome, refused } = await reapplyPolicy(portsOf(db), {
      policy,
      survey,
      safeguard: { share: options.share, count: options.count },
      approved: options.approve,
      actor,
      clock: () => new Date(),
      onProgress: ({ done = 0 }) => bar.at(done),
    })
    if (outcome === 'done') bar.end()
    if (options.json) printJson({ run, outcome, refused })
    else if (outcome === 'done') {
      const { changed = 0, unchanged = 0, refused: no = 0 } = run.counts
      print(`${changed} changed, ${unchanged} unchanged, ${no} refused.`)
      for (const { user, why } of refused) complain(`  ${user}: ${plain(why)}`)
      if (no) print('Whoever is refused stays as they were, until the policy or what is on file of them has changed.')
    } else {
      for (const one of prospects) print(`${plain(one.userName)}  ${one.outcome}${one.why ? `: ${plain(one.why)}` : ''}`)
    }
    if (outcome === 'held')
      throw new CommandFailure(
        `Held, and nobody was changed: ${run.heldBecause}. «gatehouse simulate» shows who; --approve goes ahead.`,
        EXIT.held,
      )
  })
}
