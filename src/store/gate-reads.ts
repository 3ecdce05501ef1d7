// The gate's one question: whose session is this key's, and at which revision is the policy? Asked of the database for
// every request, so that an ended session is gone everywhere with the commit. Questions that arrive while another is
// under way share the next query, so that a busy gate asks seldom without ever trusting its memory.

import type { SessionId, SourceId, UserId } from '../domain/ids.ts'
import type { User } from '../domain/model.ts'
import { type Db, toDate } from './db.ts'
import { toUser } from './user-rows.ts'

export interface SessionInForce {
  readonly id: SessionId
  readonly user: User
  readonly connection: SourceId
  readonly expiresAt: Date
}

export interface GateAnswer {
  readonly revision: number
  /** Undefined: no such key at this host, or its session is over, or its user may not come in. */
  readonly session?: SessionInForce
}

/** @param secretHash undefined where the client sent no key and only the revision is wanted */
export type AskGate = (question: { secretHash: string | undefined; host: string; now: Date }) => Promise<GateAnswer>

interface Row {
  revision: number
  secret_hash: string | null
  host: string
  session_id: SessionId
  source_id: SourceId
  expires_at: unknown
  user_id: UserId
  state: User['state']
  profile: unknown
  grants: unknown
  waiting: unknown
  derived: number
}

interface Waiting {
  readonly secretHash: string | undefined
  readonly host: string
  readonly now: Date
  readonly resolve: (answer: GateAnswer) => void
  readonly reject: (error: unknown) => void
}

/** As many keys as one query may name; SQLite's and PostgreSQL's limits on parameters are far above. */
const MOST_KEYS = 500

export function gateReads(db: Db): AskGate {
  const waiting: Waiting[] = []
  let running = false

  async function drain(): Promise<void> {
    running = true
    while (waiting.length) {
      const batch = waiting.splice(0, MOST_KEYS)
      try {
        const rows = await lookUp(
          db,
          batch.flatMap(({ secretHash }) => (secretHash === undefined ? [] : [secretHash])),
        )
        const byKey = new Map(rows.map((row) => [row.secret_hash, row]))
        const revision = rows[0]?.revision
        if (revision === undefined) throw new Error('the policy_revision row is missing')
        for (const one of batch) one.resolve(answer(revision, one.secretHash === undefined ? undefined : byKey.get(one.secretHash), one))
      } catch (error) {
        for (const one of batch) one.reject(error)
      }
    }
    running = false
  }

  return ({ secretHash, host, now }) =>
    new Promise((resolve, reject) => {
      waiting.push({ secretHash, host, now, resolve, reject })
      // The first one waits for the end of this turn, so that its neighbours come along.
      if (!running) {
        running = true
        setImmediate(drain)
      }
    })
}

async function lookUp(db: Db, keys: readonly string[]): Promise<readonly Row[]> {
  const marks = keys.length ? keys.map(() => '?').join(',') : 'null'
  const sql = `select p.revision, s.secret_hash, s.host, s.id as session_id, s.source_id, s.expires_at, u.id as user_id, u.state, u.profile, u.grants, u.waiting, u.revision as derived
    from policy_revision p
    left join sessions s on s.secret_hash in (${marks})
    left join users u on u.id = s.user_id`
  const found = await db.read(async (knex) => knex.raw(sql, [...keys]))
  return db.dialect === 'postgres' ? found.rows : found
}

function answer(revision: number, row: Row | undefined, { host, now }: Waiting): GateAnswer {
  if (!row?.session_id || row.host !== host || row.state !== 'active') return { revision }
  const expiresAt = toDate(row.expires_at)
  if (expiresAt <= now) return { revision }
  // A session's question is not about who changed what.
  const user = toUser({ ...row, id: row.user_id, revision: row.derived, version: 0, state_by: null })
  return { revision, session: { id: row.session_id, user, connection: row.source_id, expiresAt } }
}
