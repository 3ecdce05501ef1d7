// npm run bench:decide, first half: decisions about a record of twelve attributes under a policy of twenty rows, and the bare
// CEL evaluations of the same twenty rows on the same record, in turns, in one run. Processor time of all threads, so that
// a second is a second of one core, whatever else the machine does.

import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { decide } from '../src/domain/decide.ts'
import { conclude, type Known } from '../src/domain/deciding.ts'
import { celValue, type Expression, mappingLanguage } from '../src/domain/expressions.ts'
import type { SignInId, UserId } from '../src/domain/ids.ts'
import type { RecordOnFile, SourceRecord, User } from '../src/domain/model.ts'
import type { Policy } from '../src/domain/policy.ts'
import { isRefusal } from '../src/domain/refusals.ts'
import { readRecord, writeRecord } from '../src/store/record-format.ts'
import { toUser } from '../src/store/user-rows.ts'
import { policyOf, sourceId } from '../test/support/world.ts'
import { median } from './support/measured.ts'
import { LOOKUPS, peoplePolicy, personSays, ROWS } from './support/people.ts'

const ROUNDS = 200
const WARM_UP = 100
/** As many as a batch of an import: they were read just before. */
const PER_ROUND = 100

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as (how: { type: 'minor' }) => void

const SOURCE = sourceId('corp')
const THEN = new Date('2026-02-01T08:00:00Z')
const NOW = new Date('2026-02-02T08:00:00Z')
const policy = policyOf(peoplePolicy(ROWS), 1)
const later = policyOf(peoplePolicy(ROWS), 2)
const expressions = compiled()

interface Kind {
  readonly name: string
  readonly outcome: 'create' | 'update' | 'unchanged'
  readonly under: Policy
  readonly returns: boolean
  /** One of the twelve has changed, by turns. */
  readonly changes: boolean
}

const kinds: readonly Kind[] = [
  { name: 'back, one attribute changed', outcome: 'update', under: policy, returns: true, changes: true },
  { name: 'first sign-in', outcome: 'create', under: policy, returns: false, changes: false },
  { name: 'back, the policy changed', outcome: 'unchanged', under: later, returns: true, changes: false },
  { name: 'back, nothing new', outcome: 'unchanged', under: policy, returns: true, changes: false },
]

interface Case {
  readonly said: SourceRecord
  readonly known: Known
  readonly inputs: Readonly<Record<string, unknown>>
}

interface Round {
  readonly decide: number
  readonly cel: number
}

const rounds = new Map(kinds.map((kind) => [kind, [] as Round[]]))
let made = 0
for (let i = 0; i < WARM_UP + ROUNDS; i++) {
  for (const kind of kinds) {
    const cases = Array.from({ length: PER_ROUND }, () => makeCase(kind, made++))
    const cel = timed(() => evaluate(cases))
    const decided = timed(() => decideAll(kind, cases))
    if (i >= WARM_UP) rounds.get(kind)?.push({ decide: decided, cel })
  }
}
report()

function evaluate(cases: readonly Case[]): void {
  let texts = 0
  for (const { inputs } of cases) {
    for (const expression of expressions) if (expression.run(inputs) !== undefined) texts++
  }
  if (texts !== cases.length * ROWS.length) throw new Error('an expression gave nothing')
}

function decideAll({ under, outcome }: Kind, cases: readonly Case[]): void {
  let as = 0
  for (const one of cases) if (decideOne(under, one) === outcome) as++
  if (as !== cases.length) throw new Error(`${cases.length - as} were not ${outcome}`)
}

function decideOne(under: Policy, { said, known }: Pick<Case, 'said' | 'known'>): string {
  return changeOf(under, said, known).kind
}

function changeOf(under: Policy, said: SourceRecord, known: Known) {
  const source = under.sources.get(SOURCE)
  if (!source) throw new Error('no source')
  const { outcome } = conclude(decide(said, { source, policy: under, fresh: 'usr_1' as UserId }), ({ about }) =>
    about === 'subject' ? known : [],
  )
  if (isRefusal(outcome)) throw new Error(outcome.detail)
  return outcome
}

/** Everything new: nothing may be known from the round before. */
function makeCase({ returns, changes }: Kind, number: number): Case {
  const said = { ...personSays(number, { now: NOW, ...(changes ? { changed: number % 12 } : {}) }), via: 'sgn_2' as SignInId }
  const first = changeOf(policy, { ...personSays(number, { now: THEN }), via: 'sgn_1' as SignInId }, { records: [] })
  const known: Known = returns && first.record ? { linked: reread(first.user), records: [rereadRecord(first.record)] } : { records: [] }
  return { said, known, inputs: inputsOf(said, changes ? changeOf(policy, said, { records: [] }).user : first.user) }
}

/** As the database hands it over. */
function reread(user: User): User {
  const { profile, grants, waiting } = user
  return toUser({
    ...user,
    profile: JSON.stringify(profile),
    grants: JSON.stringify(grants),
    waiting: JSON.stringify(waiting),
    state_by: null,
  })
}

function rereadRecord(record: RecordOnFile): RecordOnFile {
  return readRecord(writeRecord(record))
}

/** All that the twenty rows read, with what they make of it for those that build on others. */
function inputsOf(said: SourceRecord, { profile }: User): Case['inputs'] {
  const user: Record<string, unknown> = {}
  for (const { to } of ROWS) {
    const definition = policy.schema.get(to)
    if (definition) user[to] = celValue(definition.type, profile[to]?.values ?? [])
  }
  return {
    attributes: { ...said.attributes },
    nameID: said.nameId?.value ?? '',
    session: { ...said.session, nameIDFormat: said.nameId?.format ?? '' },
    source: { name: 'corp', kind: 'saml' },
    user,
  }
}

function compiled(): readonly Expression[] {
  const language = mappingLanguage(policy.schema, LOOKUPS)
  return ROWS.map(({ from }) => {
    const expression = language.compile(from)
    if ('message' in expression) throw new Error(`${from}: ${expression.message}`)
    return expression
  })
}

/** Milliseconds of processor time. What was thrown away before is not on its bill; a major collection would throw away compiled code, too. */
function timed(work: () => void): number {
  collectGarbage({ type: 'minor' })
  const before = process.cpuUsage()
  work()
  const { user, system } = process.cpuUsage(before)
  return (user + system) / 1000
}

function report(): void {
  const lines = [...rounds].map(([{ name }, all]) => {
    const [decided, cel] = [median(all.map((round) => round.decide)), median(all.map((round) => round.cel))]
    const ratios = all.map((round) => round.decide / round.cel)
    const perSecond = Math.round((PER_ROUND / decided) * 1000)
    const each = (ms: number) => ((ms / PER_ROUND) * 1000).toFixed(2).padStart(9)
    const spread = `${Math.min(...ratios).toFixed(2)} to ${Math.max(...ratios).toFixed(2)}`
    return `${name.padEnd(30)}${String(perSecond).padStart(11)}${each(decided)}${each(cel)}${median(ratios).toFixed(2).padStart(8)}   ${spread}`
  })
  process.stdout.write(
    [
      `${ROUNDS} rounds of ${PER_ROUND}, after ${WARM_UP} to warm up; 12 attributes, ${ROWS.length} rows`,
      `${'median of rounds'.padEnd(30)}${'decisions/s'.padStart(11)}${'µs'.padStart(9)}${'CEL µs'.padStart(9)}${'ratio'.padStart(8)}   rounds`,
      ...lines,
      '',
    ].join('\n'),
  )
}
