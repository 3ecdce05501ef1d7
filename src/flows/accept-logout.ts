// What follows from a verified message of single logout. A request ends every session that it names, on all nodes with the
// commit, once; a response closes the request that we had sent. Either leaves a record.

import type { Actor } from '../domain/events.ts'
import type { UserId } from '../domain/ids.ts'
import type { NameId } from '../domain/model.ts'
import type { Connection } from '../domain/policy.ts'
import { isRefusal, kindOf, type Refusal, refuse } from '../domain/refusals.ts'
import { type Step, Trace } from '../domain/steps.ts'
import type { Refused } from './accept-assertion.ts'
import type { Assertions, Audit, Mint, SentLogouts, Sessions, SignIn, SignIns, Transactions } from './ports.ts'

type Ports = Transactions & {
  sessions: Sessions
  sentLogouts: SentLogouts
  assertions: Assertions
  signIns: SignIns
  audit: Audit
  mint: Mint
}

interface Arrived {
  readonly connection: Connection
  readonly address: string
  readonly steps: readonly Step[]
  readonly now: Date
}

export interface ArrivedLogoutRequest extends Arrived {
  readonly id: string
  readonly nameId: NameId
  readonly sessionIndexes: readonly string[]
  readonly replayableUntil: Date
}

export async function acceptLogoutRequest(
  ports: Ports,
  arrived: ArrivedLogoutRequest,
): Promise<{ readonly reference: string; readonly ended: number } | Refused> {
  const { connection, id, nameId, sessionIndexes, replayableUntil, now } = arrived
  const reference = ports.mint.reference()
  return ports.inTransaction(async (tx) => {
    const trace = new Trace(arrived.steps)
    const attempt = attemptOf(ports.mint, arrived, reference, nameId.value)
    // Ids of assertions and of messages are drawn from one space, so they are kept in one.
    const claimed = await ports.assertions.claim(tx, { connection: connection.id, id, expiresAt: replayableUntil })
    const unused = trace.note('unused', claimed ? id : refuse('logout.replayed', `the logout request ${id} was used before`))
    if (isRefusal(unused)) return refused(ports, tx, { ...attempt, steps: trace.steps }, unused)

    const sessions = await ports.sessions.named(tx, { connection: connection.id, nameId, sessionIndexes })
    const users = new Set<UserId>()
    for (const session of sessions) {
      await ports.sessions.end(tx, { session: session.id })
      users.add(session.user)
    }
    trace.pass('sessions', `${sessions.length} of ${users.size} user${users.size === 1 ? '' : 's'}`)
    const actor: Actor = { kind: 'connection', id: connection.id, name: connection.name }
    const about = [...users].map((user) => ({
      kind: 'session.logout' as const,
      at: now,
      actor,
      user,
      source: connection.id,
      details: { count: sessions.filter((one) => one.user === user).length },
    }))
    if (about.length) await ports.audit.write(tx, about)
    const [user] = users
    await ports.signIns.record(tx, { ...attempt, ...(user ? { user } : {}), outcome: 'accepted', steps: trace.steps })
    return { reference, ended: sessions.length }
  })
}

export interface ArrivedLogoutResponse extends Arrived {
  readonly inResponseTo: string
  readonly outcome: 'success' | 'partial' | 'failed'
  readonly said: string
}

export async function acceptLogoutResponse(
  ports: Ports,
  arrived: ArrivedLogoutResponse,
): Promise<{ readonly reference: string; readonly outcome: ArrivedLogoutResponse['outcome'] } | Refused> {
  const { connection, inResponseTo, outcome, said, now } = arrived
  const reference = ports.mint.reference()
  return ports.inTransaction(async (tx) => {
    const trace = new Trace(arrived.steps)
    const attempt = attemptOf(ports.mint, arrived, reference)
    const sent = await ports.sentLogouts.take(tx, { id: inResponseTo, connection: connection.id, now })
    const answers = trace.note(
      'request',
      sent ?? refuse('logout.unsolicited', `no logout request ${inResponseTo} is open: never sent, answered, or run out`),
      (one) => one.id,
    )
    if (isRefusal(answers)) return refused(ports, tx, { ...attempt, steps: trace.steps }, answers)
    trace.pass('status', `${outcome}: ${said}`)
    await ports.signIns.record(tx, { ...attempt, user: answers.user, outcome: 'accepted', steps: trace.steps })
    return { reference, outcome }
  })
}

type Attempt = Omit<SignIn, 'outcome' | 'steps'>

function attemptOf(mint: Mint, { connection, address, now }: Arrived, reference: string, subject?: string): Attempt {
  return {
    id: mint.id('sgn', now),
    flow: 'logout',
    reference,
    at: now,
    connection: { id: connection.id, name: connection.name },
    ...(subject === undefined ? {} : { subject }),
    address,
  }
}

async function refused(
  ports: Ports,
  tx: Parameters<SignIns['record']>[0],
  attempt: Attempt & { steps: readonly Step[] },
  refusal: Refusal,
): Promise<Refused> {
  const { code, detail } = refusal
  await ports.signIns.record(tx, { ...attempt, outcome: 'refused', code, detail, remedy: kindOf(code).remedy })
  return { refusal, reference: attempt.reference }
}
