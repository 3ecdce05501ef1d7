// Lets somebody in on a verified assertion, or says why not. One transaction: claim the assertion, take the request it
// answers, look up, decide, commit, open the session, record the attempt. A refusal commits its claim and its record
// and nothing else.

import type { VerifiedAssertion } from '../domain/assertion.ts'
import { decide, type Hearing, withoutRedacted } from '../domain/decide.ts'
import type { Actor } from '../domain/events.ts'
import type { SignInId, UserId } from '../domain/ids.ts'
import type { SourceRecord } from '../domain/model.ts'
import type { Connection, Policy } from '../domain/policy.ts'
import { isRefusal, kindOf, type Refusal, type RefusalCode, refuse } from '../domain/refusals.ts'
import type { Explanation } from '../domain/settle.ts'
import type { SourcePolicy } from '../domain/source-policy.ts'
import { type Step, Trace } from '../domain/steps.ts'
import { answering } from './answering.ts'
import type {
  Assertions,
  Audit,
  Cases,
  MatchCase,
  Mint,
  Session,
  Sessions,
  SignIn,
  SignInRequest,
  SignInRequests,
  SignIns,
  Transactions,
  Tx,
  Users,
} from './ports.ts'
import { hashSecret } from './secrets.ts'
import { together } from './together.ts'

export type AcceptAssertionPorts = Transactions & {
  users: Users
  cases: Cases
  audit: Audit
  requests: SignInRequests
  assertions: Assertions
  sessions: Sessions
  signIns: SignIns
  mint: Mint
}

export interface Arrival {
  readonly assertion: VerifiedAssertion
  readonly connection: Connection
  readonly policy: Policy
  /** base64, as it was posted. */
  readonly response: string | undefined
  /** Whether what was sent is kept, for explaining it and for trying changes of policy on it. */
  readonly keepsContent: boolean
  /** The secret in this browser's cookie for a request, where it holds one. */
  readonly browserSecret: (requestId: string) => string | undefined
  /** The host that gets the session's first key. */
  readonly host: string
  readonly address: string
  /** What the verifier has checked. */
  readonly steps: readonly Step[]
  readonly clockSkewSeconds: number
  readonly sessionHours: number
  readonly now: Date
}

export interface Accepted {
  readonly reference: string
  readonly session: Session
  /** For the host's cookie. */
  readonly secret: string
  /** What the answered request was for; undefined when the identity provider began. */
  readonly request: SignInRequest | undefined
}

export interface Refused {
  readonly refusal: Refusal
  readonly reference: string
}

export async function acceptAssertion(ports: AcceptAssertionPorts, arrival: Arrival): Promise<Accepted | Refused> {
  const { assertion, connection, now } = arrival
  const id: SignInId = ports.mint.id('sgn', now)
  const reference = ports.mint.reference()
  const attempt = {
    id,
    flow: 'sign-in',
    reference,
    at: now,
    connection: { id: connection.id, name: connection.name },
    ...(assertion.nameId ? { subject: assertion.nameId.value } : {}),
    address: arrival.address,
  } satisfies Partial<SignIn>

  const said = recordOf(arrival, id)
  const source = arrival.policy.sources.get(connection.id)
  if (!source) throw new Error(`connection ${connection.name} is in force but its source is not`)
  const hearing: Hearing = { source, policy: arrival.policy, fresh: ports.mint.id('usr', now) }

  return ports.inTransaction(async (tx) => {
    const trace = new Trace(arrival.steps)
    const no = async (refusal: Refusal, user?: UserId): Promise<Refused> => {
      const { code, detail } = refusal
      // Whoever was erased does not come back by trying: not even as a name on a record.
      const gone = code === 'user.erased'
      const about = user ? { user } : {}
      await ports.signIns.record(tx, {
        ...attempt,
        ...about,
        outcome: 'refused',
        code,
        detail,
        remedy: kindOf(code).remedy,
        steps: gone ? [] : trace.steps,
        ...(gone ? { subject: undefined } : {}),
      })
      if (!gone) await keepContent(ports, tx, { id, arrival, said, source })
      return { refusal, reference }
    }

    // Gather and decide: all at once, because each wait costs more than the question.
    const claim = { connection: connection.id, id: assertion.id, expiresAt: assertion.replayableUntil }
    const [claimed, request, { outcome, explanation }] = await together([
      ports.assertions.claim(tx, claim),
      takeRequest(ports, tx, arrival),
      answering(ports.users, tx, decide(said, hearing)),
    ])
    if (!claimed) return no(trace.fail('unused', refuse('assertion.replayed', `assertion ${assertion.id} was used before`)))
    trace.pass('unused', assertion.id)
    const answers = trace.note('request', request, (one) => one?.id ?? 'the identity provider began')
    if (isRefusal(answers)) return no(answers)
    const stale = staleSignIn(arrival, answers)
    if (stale) return no(trace.fail('authentication', stale))

    const { match } = explanation
    if (match) trace.pass('match', `${match.situation}: ${match.why}`)
    trace.note(match ? 'decision' : 'match', outcome, ({ kind }) => kind)
    const actor: Actor = { kind: 'connection', id: connection.id, name: connection.name }
    if (isRefusal(outcome)) {
      await openCase(ports, tx, { outcome, explanation, signIn: id, actor, now })
      return no(outcome, explanation.user)
    }

    // Commit.
    await ports.users.commit(tx, outcome, { actor, now, signIn: id })
    // Left open, it would go on speaking for this browser at the apps, past a sign-out from the new one.
    if (answers?.replaces) await ports.sessions.end(tx, { session: answers.replaces })
    const session = newSession(ports.mint, arrival, outcome.user.id, id)
    const secret = ports.mint.secret()
    await together([
      ports.sessions.open(tx, session, { secretHash: hashSecret(secret), host: arrival.host }),
      ports.signIns.record(tx, { ...attempt, outcome: 'accepted', user: outcome.user.id, steps: trace.steps }),
      keepContent(ports, tx, { id, arrival, said, source }),
      outcome.record ? ports.users.signedIn(tx, outcome.record.source, outcome.record.externalId, now) : Promise.resolve(),
    ])
    return { reference, session, secret, request: answers }
  })
}

function recordOf({ assertion, connection, now }: Arrival, via: SignInId): SourceRecord {
  return {
    source: connection.id,
    ...(assertion.nameId ? { nameId: assertion.nameId } : {}),
    attributes: assertion.attributes,
    aliases: assertion.aliases,
    session: { authnContext: assertion.authnContext ?? '', authnInstant: assertion.authnInstant.toISOString() },
    observedAt: now,
    via,
  }
}

/** What was sent, so that it can be explained and tried again; without what is not to be kept. */
async function keepContent(
  ports: { signIns: SignIns },
  tx: Tx,
  { id, arrival, said, source }: { id: SignInId; arrival: Arrival; said: SourceRecord; source: SourcePolicy },
): Promise<void> {
  const { response, connection, keepsContent } = arrival
  if (!keepsContent) return
  // A response cannot lose a part of it and keep its signature.
  const whole = response === undefined || source.redact.size ? {} : { response }
  await ports.signIns.keepContent(tx, id, connection.id, { ...whole, said: withoutRedacted(said, source) })
}

/** Somebody whom a person has to tell from the others. */
async function openCase(
  ports: { cases: Cases; audit: Audit; mint: Mint },
  tx: Tx,
  { outcome, explanation, signIn, actor, now }: { outcome: Refusal; explanation: Explanation; signIn: SignInId; actor: Actor; now: Date },
): Promise<void> {
  const { match, externalId } = explanation
  const kind = CASES[outcome.code]
  if (!kind || !match || !externalId || actor.kind !== 'connection') return
  const { candidates, renamedFrom, why } = match
  const met = {
    id: ports.mint.id('cas', now),
    source: actor.id,
    externalId,
    kind,
    candidates,
    why,
    ...(renamedFrom ? { renamedFrom } : {}),
  }
  if ((await ports.cases.note(tx, met, now)) !== 'opened') return
  // Why is on the case, which goes when the person does.
  const details = { case: met.id, kind }
  await ports.audit.write(tx, [{ kind: 'match.opened', at: now, actor, signIn, source: actor.id, details }])
}

const CASES: Partial<Record<RefusalCode, MatchCase['kind']>> = {
  'match.unlinked': 'unlinked',
  'match.disputed': 'disputed',
  'match.renamed': 'renamed',
}

/** The request this assertion answers, used up; undefined where the identity provider may begin and did. */
async function takeRequest(
  ports: { requests: SignInRequests },
  tx: Tx,
  { assertion, connection, browserSecret, now }: Arrival,
): Promise<SignInRequest | undefined | Refusal> {
  const id = assertion.inResponseTo
  if (id === undefined) {
    if (connection.idpInitiated) return undefined
    return refuse('assertion.unsolicited', `nobody asked for it, and connection ${connection.name} has idpInitiated: false`)
  }
  const secret = browserSecret(id)
  if (secret !== undefined) {
    const request = await ports.requests.take(tx, { id, connection: connection.id, browserHash: hashSecret(secret), now })
    if (request) return request
  }
  return (await ports.requests.isOpen(tx, id, connection.id, now))
    ? refuse('request.other-browser', `request ${id} was begun by another browser, or this one sent no cookie for it`)
    : refuse('request.unknown', `request ${id} is not open at connection ${connection.name}: never made, used, or run out`)
}

const FRESH_MINUTES = 10

/** A fresh sign-in was asked for, so the person must have signed in there after that (SAML core 2.0, section 3.4.1). */
function staleSignIn({ assertion, connection, clockSkewSeconds, now }: Arrival, request: SignInRequest | undefined): Refusal | undefined {
  if (!connection.requests.forceAuthn) return undefined
  // Where the identity provider began, there is no moment of asking.
  const since = request?.createdAt ?? new Date(now.getTime() - FRESH_MINUTES * 60_000)
  if (assertion.authnInstant.getTime() >= since.getTime() - clockSkewSeconds * 1000) return undefined
  const [expected, came] = [`after ${since.toISOString()}`, assertion.authnInstant.toISOString()]
  return refuse('assertion.authn-instant', `a fresh sign-in was asked for, and the person signed in at ${came}`, { expected, came })
}

/** Ends when ours would, or earlier where the identity provider says so; with the skew that was granted in accepting it. */
function newSession(
  mint: Mint,
  { assertion, connection, sessionHours, clockSkewSeconds, now }: Arrival,
  user: UserId,
  signIn: SignInId,
): Session {
  const ours = now.getTime() + sessionHours * 3_600_000
  const theirs = (assertion.sessionNotOnOrAfter?.getTime() ?? Number.POSITIVE_INFINITY) + clockSkewSeconds * 1000
  return {
    id: mint.id('ses', now),
    user,
    connection: connection.id,
    signIn,
    ...(assertion.nameId ? { nameId: assertion.nameId } : {}),
    ...(assertion.nameQualifiers ? { nameQualifiers: assertion.nameQualifiers } : {}),
    ...(assertion.sessionIndex ? { sessionIndex: assertion.sessionIndex } : {}),
    openedAt: now,
    expiresAt: new Date(Math.min(ours, theirs)),
  }
}
