// What people look at: users, sign-ins, audit events. Reads only, shaped for lists and pages.

import { earliestId, type SignInId, type UserId } from '../domain/ids.ts'
import type { LifecycleState } from '../domain/lifecycle.ts'
import type { Grant, Profile } from '../domain/model.ts'
import { foldKey } from '../domain/schema.ts'
import { LOCAL } from '../domain/source-policy.ts'
import type { Step } from '../domain/steps.ts'
import { readDetails } from './audit-format.ts'
import { type Db, fromJson, toDate } from './db.ts'
import { toUser } from './user-rows.ts'

export interface UserLine {
  readonly id: UserId
  readonly userName: string
  readonly state: LifecycleState
  readonly createdAt: Date
  /** When they came into this state. */
  readonly stateSince: Date
  readonly updatedAt: Date
}

export interface UserPage extends UserLine {
  readonly stateSince: Date
  readonly stateReason: string | null
  readonly profile: Profile
  readonly grants: readonly Grant[]
  /** Licences that fit and have no free seat. */
  readonly waiting: readonly string[]
  /** Of the policy that the profile was derived under. */
  readonly revision: number
  readonly links: readonly { readonly source: string; readonly externalId: string; readonly linkedAt: Date }[]
  readonly sessions: number
  /** Whom a source does not name any more, and who keeps their access until then. */
  readonly leaving: readonly { readonly source: string; readonly to: string; readonly due: Date; readonly reason: string }[]
  readonly events: readonly { readonly at: Date; readonly kind: string; readonly actor: string; readonly details: unknown }[]
}

export interface SignInLine {
  readonly id: SignInId
  readonly reference: string
  readonly at: Date
  readonly connection: string | null
  readonly outcome: 'accepted' | 'refused'
  readonly code: string | null
  readonly detail: string | null
  readonly remedy: string | null
  readonly user: UserId | null
  readonly userName: string | null
  readonly subject: string | null
  readonly address: string
  readonly flow: 'sign-in' | 'logout'
}

/** One attempt with all that was checked. */
export interface SignInPage extends SignInLine {
  readonly steps: readonly Step[]
}

interface UserRow {
  id: UserId
  user_name: string
  state: LifecycleState
  created_at: unknown
  updated_at: unknown
  state_since: unknown
  state_reason: string | null
  profile: unknown
  grants: unknown
  waiting: unknown
  revision: number
  version: number
  state_by: string | null
}

interface SignInRow extends Omit<SignInLine, 'at' | 'user' | 'userName'> {
  steps: unknown
  at: unknown
  user_id: UserId | null
  user_name: string | null
}

export async function listUsers(
  db: Db,
  { state, search, limit }: { state?: LifecycleState | undefined; search?: string | undefined; limit: number },
): Promise<readonly UserLine[]> {
  const rows: UserRow[] = await db.read((knex) => {
    const query = knex('users').orderBy('user_name_key').limit(limit)
    if (state) query.where({ state })
    if (search) query.whereRaw(`user_name_key like ? escape '\\'`, [`%${foldKey(search).replace(/[\\%_]/g, '\\$&')}%`])
    return query.select()
  })
  return rows.map(toLine)
}

/** By id or by user name, in any letter case. */
export async function findUser(db: Db, who: string): Promise<UserPage | undefined> {
  return db.read(async (knex) => {
    const row: UserRow | undefined = await knex('users')
      .where({ id: who })
      .orWhere({ user_name_key: foldKey(who) })
      .first()
    if (!row) return undefined
    const { profile, grants, waiting, revision } = toUser(row)
    const links = await knex('links')
      .join('sources', 'sources.id', 'links.source_id')
      .where({ user_id: row.id })
      .select('sources.id', 'sources.name', 'external_id', 'linked_at')
    const [open] = await knex('sessions').where({ user_id: row.id }).countDistinct({ count: 'id' })
    const leaving = await knex('leavings')
      .join('sources', 'sources.id', 'leavings.source_id')
      .where({ user_id: row.id })
      .orderBy('due_at')
      .select('sources.name', 'to_state', 'due_at', 'reason')
    const events = await knex('audit_events').where({ user_id: row.id }).orderBy('id', 'desc').limit(20)
    return {
      ...toLine(row),
      stateSince: toDate(row.state_since),
      stateReason: row.state_reason,
      profile,
      grants,
      waiting,
      revision,
      links: links.map((link) => ({
        source: link.id === LOCAL ? 'local' : link.name,
        externalId: link.external_id,
        linkedAt: toDate(link.linked_at),
      })),
      sessions: Number(open?.count ?? 0),
      leaving: leaving.map(({ name, to_state, due_at, reason }) => ({ source: name, to: to_state, due: toDate(due_at), reason })),
      events: events.map((event) => ({
        at: toDate(event.at),
        kind: event.kind,
        actor: `${event.actor_kind} ${event.actor_name}`,
        details: event.details ? readDetails(event.details) : null,
      })),
    }
  })
}

/** Newest first. */
export async function listSignIns(
  db: Db,
  { limit, since, refusedOnly }: { limit: number; since?: Date | undefined; refusedOnly?: boolean | undefined },
): Promise<readonly SignInLine[]> {
  const rows: SignInRow[] = await db.read((knex) => {
    const query = signInQuery(knex).limit(limit).orderBy('sign_ins.id', 'desc')
    if (refusedOnly) query.where({ outcome: 'refused' })
    if (since) query.where('sign_ins.id', '>=', earliestId('sgn', since))
    return query
  })
  return rows.map(toSignIn)
}

export async function findSignIn(db: Db, reference: string): Promise<SignInPage | undefined> {
  const row: SignInRow | undefined = await db.read((knex) => signInQuery(knex).where({ reference }).first())
  return row && { ...toSignIn(row), steps: row.steps ? fromJson<readonly Step[]>(row.steps) : [] }
}

/** source id -> name, for provenance. */
export async function sourceNames(db: Db): Promise<ReadonlyMap<string, string>> {
  const rows: { id: string; name: string }[] = await db.read((knex) => knex('sources').select('id', 'name'))
  return new Map(rows.map((row) => [row.id, row.id === LOCAL ? 'local' : row.name]))
}

function signInQuery(knex: import('knex').Knex) {
  return knex('sign_ins').leftJoin('users', 'users.id', 'sign_ins.user_id').select('sign_ins.*', 'users.user_name')
}

function toLine(row: UserRow): UserLine {
  return {
    id: row.id,
    userName: row.user_name,
    state: row.state,
    createdAt: toDate(row.created_at),
    updatedAt: toDate(row.updated_at),
    stateSince: toDate(row.state_since),
  }
}

function toSignIn(row: SignInRow): SignInLine {
  const { id, reference, connection, outcome, code, detail, remedy, subject, address, flow } = row
  return {
    id,
    reference,
    at: toDate(row.at),
    connection,
    outcome,
    code,
    detail,
    remedy,
    user: row.user_id,
    userName: row.user_name,
    subject,
    address,
    flow,
  }
}
