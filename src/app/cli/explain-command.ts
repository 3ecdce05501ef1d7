// gatehouse explain --connection NAME --assertion FILE | --sign-in REFERENCE

import type { Command } from 'commander'
import { nameIn } from '../../domain/attribute-names.ts'
import { readReference } from '../../domain/ids.ts'
import type { SourceRecord } from '../../domain/model.ts'
import type { Connection, Policy } from '../../domain/policy.ts'
import { isRefusal, kindOf } from '../../domain/refusals.ts'
import { HIDDEN, hide, isSensitive } from '../../domain/sensitive.ts'
import { type Step, stepCatalogue } from '../../domain/steps.ts'
import { type Explained, explainSignIn } from '../../flows/explain-sign-in.ts'
import { pastedXml, readUnverified } from '../../http/saml/read-unverified.ts'
import { responseExpectations } from '../../http/saml/service-provider.ts'
import { verifyResponse } from '../../http/saml/verify-response.ts'
import { policyReader } from '../../store/policies.ts'
import { signInContent } from '../../store/simulation-reads.ts'
import type { Config } from '../config.ts'
import { serviceProviderKeys } from '../keys.ts'
import { portsOf } from '../ports.ts'
import { CommandFailure, changeInWords, EXIT, plain, print, printJson, printTable, time } from './output.ts'
import { textOf } from './policy-commands.ts'
import { atWork } from './workplace.ts'

interface Options {
  connection?: string
  assertion?: string
  signIn?: string
  reveal: boolean
  json: boolean
}

export function explainCommand(program: Command): void {
  program
    .command('explain')
    .description('what a sign-in with this assertion would do, check by check and attribute by attribute; writes nothing')
    .option('--connection <name>', 'the connection it is meant for')
    .option('--assertion <file>', 'a SAML response or assertion: XML, base64, or a form’s body; - reads standard input')
    .option('--sign-in <reference>', 'or one that has happened, while what was sent is kept: its reference or id')
    .option('--reveal', 'show sensitive values, too', false)
    .option('--json', 'answer with JSON', false)
    .action(explain)
}

/** What is to be explained, and how far it can be trusted. */
interface Subject {
  readonly connection: Connection
  readonly said: SourceRecord
  readonly verified: boolean
  readonly steps: readonly Step[]
  /** What a real sign-in would have been refused for at the door, in words. */
  readonly caveat?: string
}

async function explain(options: Options): Promise<void> {
  if ((options.assertion === undefined) === (options.signIn === undefined))
    throw new CommandFailure('Write either --connection NAME --assertion FILE, or --sign-in REFERENCE.', EXIT.wrong)
  await atWork(async ({ config, db, now }) => {
    const policy = await policyReader(db).inForce()
    const subject =
      options.signIn === undefined
        ? await pasted(config, policy, options, now)
        : await past(config, policy, { db, signIn: options.signIn, now })
    const explained = await explainSignIn(portsOf(db), { said: subject.said, policy, now })
    if (options.json) return printJson(asJson(subject, explained, policy, options.reveal))
    tell(subject, explained, policy, options.reveal)
  })
}

function connectionNamed(policy: Policy, name: string | undefined): Connection {
  if (name === undefined) throw new CommandFailure('Say which connection the assertion is meant for: --connection NAME.', EXIT.wrong)
  const found = policy.connections.get(name)
  if (found) return found
  throw new CommandFailure(
    policy.drafts.has(name)
      ? `Connection ${plain(name)} is a draft: it has no identity provider yet.`
      : `There is no connection ${plain(name)}.`,
  )
}

async function pasted(config: Config, policy: Policy, options: Options, now: Date): Promise<Subject> {
  const connection = connectionNamed(policy, options.connection)
  return judge(config, connection, pastedXml(textOf(options.assertion ?? '-')), now)
}

async function past(
  config: Config,
  policy: Policy,
  { db, signIn, now }: { db: Parameters<typeof signInContent>[0]; signIn: string; now: Date },
): Promise<Subject> {
  const reference = readReference(signIn)
  const found = await signInContent(db, reference ? { reference } : { id: signIn })
  if (!found) throw new CommandFailure(`No sign-in has the reference or id «${plain(signIn)}».`)
  const { content } = found
  if (!content) throw new CommandFailure('What was sent with it is not kept, or not any more (GATEHOUSE_KEEP_RESPONSES_DAYS).')
  const connection = connectionNamed(policy, found.connection)
  if (content.response !== undefined) {
    const judged = await judge(config, connection, Buffer.from(content.response, 'base64').toString('utf8'), now)
    // What was verified when it came stays so, whatever has happened to keys since.
    return content.said ? { ...judged, said: content.said, verified: true } : judged
  }
  if (!content.said) throw new CommandFailure('Nothing that can be explained was kept of it.')
  const caveat = 'the response itself is not kept (something of it is redacted), so its signature is not checked again; it was when it came'
  return { connection, said: content.said, verified: true, steps: [], caveat }
}

/** As strictly as at the door; and where that says no, once more without asking whether it is true. */
async function judge(config: Config, connection: Connection, xml: string, now: Date): Promise<Subject> {
  const keys = await serviceProviderKeys(config)
  const parts = { baseUrl: config.baseUrl.origin, keys, skewSeconds: config.clockSkewSeconds, allow: config.allow }
  const expected = responseExpectations(connection, now, parts)
  const unverified = readUnverified(xml, expected)
  const bytes = Buffer.from(xml, 'utf8')
  const today = verifyResponse(bytes, expected)
  const said = (
    words: Pick<SourceRecord, 'nameId' | 'attributes' | 'aliases'> & { authnContext?: string; authnInstant: string | Date },
  ): SourceRecord => ({
    source: connection.id,
    ...(words.nameId ? { nameId: words.nameId } : {}),
    attributes: words.attributes,
    aliases: words.aliases,
    session: { authnContext: words.authnContext ?? '', authnInstant: new Date(words.authnInstant || now).toISOString() },
    observedAt: now,
  })
  if (!isRefusal(today.outcome)) return { connection, said: said(today.outcome), verified: true, steps: today.steps }
  if (isRefusal(unverified)) throw new CommandFailure(`There is nothing to explain: ${plain(unverified.detail)}.`)
  const words = `${today.outcome.code}: ${today.outcome.detail}`
  // People paste what has run out; the other checks are still worth knowing, as of when it was made.
  const then =
    unverified.issuedAt && /expired|not-yet-valid/.test(today.outcome.code)
      ? verifyResponse(bytes, { ...expected, now: unverified.issuedAt })
      : undefined
  if (then && !isRefusal(then.outcome)) {
    const caveat = `it could not be used now (${words}); the checks below are as of ${time(unverified.issuedAt as Date)}, when it was made`
    return { connection, said: said(then.outcome), verified: true, steps: then.steps, caveat }
  }
  const caveat = `NOTHING VOUCHES FOR IT: a real sign-in with it is refused at the door (${words}). What follows is what would be if it were true`
  return { connection, said: said(unverified), verified: false, steps: then?.steps ?? today.steps, caveat }
}

/** What each attribute of the source's came to. */
interface Traced {
  readonly attribute: string
  readonly raw: readonly string[]
  readonly rows: readonly { readonly to: string; readonly from: string; readonly outcome: string; readonly values: readonly string[] }[]
}

function trace({ said }: Subject, { explanation }: Explained, policy: Policy, reveal: boolean): readonly Traced[] {
  const source = policy.sources.get(said.source)
  return Object.entries(said.attributes).map(([attribute, values]) => {
    const rows = explanation.mapping.filter((step) => {
      const row = source?.mapping.find((one) => one.to.name === step.to && one.from === step.from)
      if (row?.reader.kind === 'path') return row.reader.path.root === 'attributes' && reads(said, row.reader.path.name, attribute)
      return (
        row?.reader.kind === 'expression' &&
        (row.reader.expression.reads.attributes?.names ?? []).some((name) => reads(said, name, attribute))
      )
    })
    const reader = (to: string) => source?.mapping.find((row) => row.to.name === to)
    const sensitive =
      !reveal && (rows.some(({ to }) => reader(to)?.hides) || source?.mapping.some((row) => row.hides && row.reads.names === undefined))
    return { attribute, raw: sensitive ? hide(values) : values, rows }
  })
}

function reads({ attributes, aliases }: SourceRecord, asked: string, attribute: string): boolean {
  return nameIn({ attributes, aliases }, asked) === attribute
}

function asJson(subject: Subject, explained: Explained, policy: Policy, reveal: boolean) {
  const { connection, verified, steps, caveat, said } = subject
  const { outcome, explanation } = explained
  const decided = isRefusal(outcome)
    ? { refused: { code: outcome.code, detail: outcome.detail, remedy: kindOf(outcome.code).remedy } }
    : {
        change: outcome.kind,
        user: outcome.user.id,
        state: outcome.user.state,
        attributes: outcome.attributes.map((one) => (one.sensitive && !reveal ? { attribute: one.attribute, sensitive: true } : one)),
        entitlements: outcome.user.grants.map(({ name }) => name),
        ...(outcome.transition ? { transition: { from: outcome.transition.from, to: outcome.transition.to } } : {}),
      }
  return {
    connection: connection.name,
    verified,
    ...(caveat ? { caveat } : {}),
    checks: steps,
    subject: { nameId: said.nameId, externalId: explanation.externalId?.value },
    match: explanation.match,
    attributes: trace(subject, explained, policy, reveal),
    mapping: explanation.mapping,
    mastery: explanation.verdicts.map((one) =>
      policy.schema.get(one.attribute)?.sensitive && !reveal ? { ...one, values: hide(one.values) } : one,
    ),
    groups: explanation.groups,
    entitled: explanation.entitled && {
      gained: explanation.entitled.gained,
      lost: explanation.entitled.lost,
      waiting: explanation.entitled.waiting,
    },
    outcome: decided,
    headers: shownHeaders(explained, policy, reveal).map(({ app, headers: rows }) => ({ app, headers: Object.fromEntries(rows) })),
    written: false,
  }
}

/** As the app would get them, but for what is sensitive. */
function shownHeaders({ headers }: Explained, policy: Policy, reveal: boolean): Explained['headers'] {
  return headers.map(({ app, headers: rows }) => {
    const told = policy.apps.find(({ name }) => name === app)
    const hides = (header: string) => {
      const path = told?.headers.find(({ name }) => name === header)?.path
      return !reveal && path?.root === 'attribute' && isSensitive(policy.schema, path.name)
    }
    return { app, headers: rows.map(([name, value]) => [name, hides(name) ? HIDDEN : value] as const) }
  })
}

function tell(subject: Subject, explained: Explained, policy: Policy, reveal: boolean): void {
  const { connection, steps, caveat, said } = subject
  const { outcome, explanation } = explained
  print(`A sign-in through ${connection.name}${said.nameId ? ` of «${plain(said.nameId.value)}»` : ''}`)
  if (caveat) print(`\n! ${plain(caveat)}.`)
  if (steps.length) print('\nChecks at the door')
  for (const { step, passed, expected, came } of steps) {
    print(`  ${passed ? 'ok  ' : 'NO  '} ${stepCatalogue[step] ?? step}`)
    if (!passed && expected !== undefined) print(`         expected  ${plain(expected)}`)
    if (!passed && came) print(`         came      ${plain(came)}`)
  }
  print('\nWhat it says, and what becomes of it')
  for (const { attribute, raw, rows } of trace(subject, explained, policy, reveal)) {
    print(`  ${plain(attribute)} = ${raw.length ? raw.map((value) => `«${plain(value)}»`).join(' ') : '(empty)'}`)
    for (const { to, from, outcome: became, values } of rows)
      print(`      -> ${to} (${plain(from)}): ${became}${values.length ? ` ${plain(values.join('; '))}` : ''}`)
    if (!rows.length)
      print(
        `      -> ${explanation.groups && policy.sources.get(said.source)?.groups?.from.includes(attribute) ? 'groups' : 'nothing reads it'}`,
      )
  }
  const { mapping } = explanation
  if (mapping.length) {
    print('\nMapping, row by row')
    printTable(
      ['  TO', 'FROM', 'STRENGTH', 'WHEN', 'OUTCOME', 'VALUE'],
      mapping.map((step) => [
        `  ${step.to}`,
        plain(step.from),
        step.strength,
        step.when,
        step.outcome,
        plain(step.why ?? step.values.join('; ')),
      ]),
    )
  }
  if (explanation.match) {
    print('\nWhose account')
    print(`  ${explanation.match.situation}: ${plain(explanation.match.why)}`)
    for (const { user, by, certainty, knownAs } of explanation.match.candidates)
      print(`  candidate ${user}: ${certainty}, by ${by}${knownAs === undefined ? '' : `, known here as «${plain(knownAs)}»`}`)
  }
  if (explanation.verdicts.length) {
    print('\nWhose word stands')
    const changes = isRefusal(outcome) ? [] : outcome.attributes
    printTable(
      ['  ATTRIBUTE', 'SOURCE', 'VALUE', 'VERDICT', 'WHY'],
      explanation.verdicts.map((one) => {
        const hidden = policy.schema.get(one.attribute)?.sensitive && !reveal
        const verdict =
          one.verdict === 'blocked' ? 'blocked' : changes.some(({ attribute }) => attribute === one.attribute) ? 'written' : 'kept'
        return [`  ${one.attribute}`, one.source, hidden ? HIDDEN : plain(one.values.join('; ')), verdict, plain(one.why)]
      }),
    )
  }
  const { groups, entitled } = explanation
  if (groups) {
    print('\nGroups from here')
    print(`  ${groups.names.length ? plain(groups.names.join(', ')) : '(none)'}${groups.held ? `; held: ${plain(groups.held)}` : ''}`)
    if (groups.passedOver.length) print(`  not listed, so passed over: ${plain(groups.passedOver.join(', '))}`)
  }
  if (entitled) {
    print('\nEntitlements')
    print(`  ${entitled.grants.map(({ name }) => name).join(', ') || '(none)'}`)
    if (entitled.gained.length) print(`  gained by this: ${entitled.gained.join(', ')}`)
    if (entitled.lost.length) print(`  lost by this: ${entitled.lost.join(', ')}`)
    if (entitled.waiting.length) print(`  no seat free: ${entitled.waiting.join(', ')}`)
  }
  print('\nOutcome')
  if (isRefusal(outcome)) {
    print(`  refused (${outcome.code}): ${plain(outcome.detail)}`)
  } else {
    const { kind, user, transition } = outcome
    print(
      `  ${kind === 'create' ? 'a new person would be created' : `${user.id} would be let in, ${kind === 'update' ? 'and changed' : 'unchanged'}`}; state ${user.state}`,
    )
    if (transition) print(`  ${transition.from} -> ${transition.to}: ${plain(transition.reason)}`)
    for (const one of outcome.attributes)
      print(`  ${one.attribute}: ${changeInWords(reveal ? { before: one.before, after: one.after } : one)}`)
  }
  for (const { app, headers: rows } of shownHeaders(explained, policy, reveal)) {
    print(`\nWhat ${app} would get`)
    for (const [name, value] of rows) print(`  ${name}: ${plain(value)}`)
    if (!rows.length) print('  (no header has a value)')
  }
  print('\nNothing was written.')
}
