// Answers what the decision asks: one question at a time in a sign-in, a thousand with one statement in an import. In a
// transaction whoever an answer is about is held; outside of one it is only looked at.

import type { Known, Question } from '../domain/deciding.ts'
import type { SourceId, UserId } from '../domain/ids.ts'
import type { Key } from '../domain/keys.ts'
import type { Holder } from '../domain/matching.ts'
import type { User } from '../domain/model.ts'
import type { Tx } from '../flows/ports.ts'
import { amongKeys, keyTable } from './bulk.ts'
import type { Db } from './db.ts'
import type { Sealer } from './sealing.ts'
import { tombstonesOf } from './tombstones.ts'
import { inside, type TxQueries } from './transactions.ts'
import { LINKED_COLUMNS, type RecordRow, toRecord, toUser, USER_COLUMNS, type UserRow } from './user-rows.ts'

/** What it takes to ask: a transaction, or one look at what is committed. */
export interface Asking {
  readonly sealer: Sealer
  readonly dialect: TxQueries['dialect']
  readonly holds?: true
  (table: string): ReturnType<TxQueries>
  raw(sql: string, bindings: readonly string[]): Promise<unknown>
}

/** For looking only. */
export function looking<Result>(db: Db, look: (asking: Asking) => Promise<Result>): Promise<Result> {
  return db.read((knex) => {
    const asking = (table: string) => knex(table)
    return look(
      Object.assign(asking, {
        sealer: db.sealer,
        dialect: db.dialect,
        raw: async (sql: string, bindings: readonly string[]) => knex.raw(sql, [...bindings]),
      }),
    )
  })
}

/** In a transaction. */
export function asking(tx: Tx): Asking {
  return inside(tx) as unknown as Asking
}

export async function answerFrom(db: Asking, question: Question): Promise<unknown> {
  const [answer] = await answerAllFrom(db, [question])
  return answer
}

/** One answer for each question, in their order. Questions of one kind share a statement. */
export async function answerAllFrom(db: Asking, questions: readonly Question[]): Promise<readonly unknown[]> {
  const answers: unknown[] = new Array(questions.length)
  const ofKind = <About extends Question['about']>(about: About) =>
    questions.flatMap((question, i) => (question.about === about ? [{ i, question: question as Extract<Question, { about: About }> }] : []))
  const put = (asked: readonly { i: number }[], found: readonly unknown[]) => {
    for (const [at, { i }] of asked.entries()) answers[i] = found[at]
  }
  const subjects = ofKind('subject')
  if (subjects.length)
    put(
      subjects,
      await subjectsOf(
        db,
        subjects.map(({ question }) => [question.source, question.externalId.key] as const),
      ),
    )
  const users = ofKind('user')
  if (users.length)
    put(
      users,
      await usersOf(
        db,
        users.map(({ question }) => question.user),
      ),
    )
  const holders = ofKind('holders')
  if (holders.length)
    put(
      holders,
      await holdersOf(
        db,
        holders.map(({ question }) => question),
      ),
    )
  const seats = ofKind('seats')
  if (seats.length) {
    const names = [...new Set(seats.flatMap(({ question }) => question.licences))]
    const rows: { name: string; taken: number }[] = await db('licence_seats').whereIn('name', names)
    const taken = new Map(rows.map((row) => [row.name, row.taken]))
    put(
      seats,
      seats.map(() => taken),
    )
  }
  return answers
}

type Subject = readonly [source: SourceId, externalKey: string]
type PlacedRow = UserRow & RecordRow & { readonly i: number }

/** The link leads to the user, the user's links to all that any source has said. */
async function subjectsOf(db: Asking, subjects: readonly Subject[]): Promise<readonly Known[]> {
  const found = await linkedTo(db, subjects)
  const unknown = subjects.flatMap(([source, key], i) => (found.has(i) ? [] : [{ i, source, key }]))
  if (!unknown.length) return subjects.map((_, i) => found.get(i) as Known)
  const gone = new Map<number, Known>()
  const digests = await tombstonesOf(db, unknown)
  if (digests) {
    const asked = digests.map((digest, at): Subject => [(unknown[at] as { source: SourceId }).source, digest])
    for (const [at, known] of await linkedTo(db, asked)) gone.set((unknown[at] as { i: number }).i, known)
  }
  const settled = await settledAsNew(db, unknown)
  return subjects.map((_, i) => found.get(i) ?? gone.get(i) ?? { records: [], settledAsNew: settled.has(i) })
}

async function settledAsNew(db: Asking, subjects: readonly { i: number; source: SourceId; key: string }[]): Promise<ReadonlySet<number>> {
  const sql = `select q.i from ${keyTable(db.dialect, 2)} q join match_cases c on c.source_id = q.a and c.external_key = q.b where c.verdict = 'new'`
  const rows = await rowsOf<{ i: number }>(db, sql, [JSON.stringify(subjects.map(({ source, key }) => [source, key]))])
  return new Set(rows.map(({ i }) => (subjects[Number(i)] as { i: number }).i))
}

async function linkedTo(db: Asking, subjects: readonly Subject[]): Promise<ReadonlyMap<number, Known>> {
  const sql = `select q.i, ${COLUMNS} from ${keyTable(db.dialect, 2)} q
    ${first(db)} links l on l.source_id = q.a and l.external_key = q.b
    ${first(db)} users on users.id = l.user_id
    ${WITH_RECORDS} ${held(db)}`
  return knownBy(await rowsOf<PlacedRow>(db, sql, [JSON.stringify(subjects)]), db.sealer)
}

export async function usersOf(db: Asking, ids: readonly UserId[]): Promise<readonly Known[]> {
  const sql = `select q.i, ${COLUMNS} from ${keyTable(db.dialect, 1)} q ${first(db)} users on users.id = q.a ${WITH_RECORDS} ${held(db)}`
  const found = knownBy(await rowsOf<PlacedRow>(db, sql, [JSON.stringify(ids.map((id) => [id]))]), db.sealer)
  return ids.map((_, i) => found.get(i) ?? { records: [] })
}

const COLUMNS = [...USER_COLUMNS, ...LINKED_COLUMNS].join(', ')
/** Each user with every record on file: one row for each record. */
const WITH_RECORDS = `left join links lr on lr.user_id = users.id
    left join source_records r on r.source_id = lr.source_id and r.external_key = lr.external_key`

/** SQLite would begin where there are most rows; `cross join` is its way of keeping the order that is written. */
function first({ dialect }: Asking): string {
  return dialect === 'postgres' ? 'join' : 'cross join'
}

function held({ dialect, holds }: Asking): string {
  return holds && dialect === 'postgres' ? 'for update of users' : ''
}

function knownBy(rows: readonly PlacedRow[], sealer: Sealer): Map<number, Known> {
  const found = new Map<number, { linked: User; records: Known['records'][number][] }>()
  for (const row of rows) {
    const i = Number(row.i)
    let known = found.get(i)
    if (!known) {
      known = { linked: toUser(row), records: [] }
      found.set(i, known)
    }
    if (row.source_id !== null) known.records.push(toRecord(row, sealer))
  }
  return found
}

/** A few of each key are enough to say that there are several. */
const MOST_HOLDERS = 20

async function holdersOf(
  db: Asking,
  questions: readonly { readonly source: SourceId; readonly keys: readonly Key[] }[],
): Promise<readonly (readonly Holder[])[]> {
  const asked = questions.flatMap(({ source, keys }, at) => keys.map((key) => ({ at, source, key })))
  const answers: Holder[][] = questions.map(() => [])
  if (!asked.length) return answers
  const few = `select k.user_id from user_keys k where k.name = q.a and k.value = q.b order by k.user_id limit ${MOST_HOLDERS}`
  const found =
    db.dialect === 'postgres'
      ? `cross join lateral (${few}) k join users on users.id = k.user_id`
      : `cross join users on users.id in (${few})`
  const sql = `select q.i, ${USER_COLUMNS.join(', ')} from ${keyTable(db.dialect, 2)} q ${found}`
  const rows = await rowsOf<UserRow & { i: number }>(db, sql, [JSON.stringify(asked.map(({ key }) => [key.name, key.value]))])
  if (!rows.length) return answers
  const links = await linksOf(db, [...new Set(rows.map(({ id }) => id))])
  const sorted = [...rows].sort((a, b) => Number(a.i) - Number(b.i) || (a.id < b.id ? -1 : 1))
  for (const row of sorted) {
    const { at, source, key } = asked[Number(row.i)] as (typeof asked)[number]
    const known = links.filter((link) => link.user_id === row.id && link.source_id === source)
    answers[at]?.push({ key, user: toUser(row), links: known.map((link) => ({ key: link.external_key, value: link.external_id })) })
  }
  return answers
}

interface LinkRow {
  user_id: UserId
  source_id: SourceId
  external_key: string
  external_id: string
}

function linksOf(db: Asking, users: readonly UserId[]): Promise<readonly LinkRow[]> {
  const sql = `select user_id, source_id, external_key, external_id from links where ${amongKeys(db.dialect, 'user_id')}`
  return rowsOf<LinkRow>(db, sql, [JSON.stringify(users)])
}

export async function rowsOf<Row>(db: Pick<Asking, 'raw' | 'dialect'>, sql: string, bindings: readonly string[]): Promise<readonly Row[]> {
  const answer = await db.raw(sql, bindings)
  return (db.dialect === 'postgres' ? (answer as { rows: Row[] }).rows : answer) as Row[]
}
