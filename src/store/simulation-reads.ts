// What a look at everybody, or at past sign-ins, needs of the database. Reads only, outside any transaction; many keys in one
// question, because a hundred thousand people ask.

import type { Question } from '../domain/deciding.ts'
import type { SignInId, SourceId } from '../domain/ids.ts'
import type { KeyHolder, PastSignIn, SignInContent } from '../flows/ports.ts'
import { type Db, fromJson } from './db.ts'
import { toContent } from './sign-ins.ts'
import { answerFrom, looking } from './user-answers.ts'
import { RECORD_COLUMNS, type RecordRow, toRecord } from './user-rows.ts'

/** What the decision asks, of what is committed at this moment. */
export function lookingAnswer(db: Db): (question: Question) => Promise<unknown> {
  return (question) => looking(db, (asking) => answerFrom(asking, question))
}

const MOST_AT_ONCE = 300

export function uniqueHolders(db: Db) {
  return async (keys: readonly { readonly name: string; readonly value: string }[]): Promise<readonly KeyHolder[]> => {
    const found: KeyHolder[] = []
    for (let i = 0; i < keys.length; i += MOST_AT_ONCE) {
      const pairs = keys.slice(i, i + MOST_AT_ONCE).map(({ name, value }) => [name, value])
      const rows: { name: string; value: string; user_id: KeyHolder['user'] }[] = await db.read((knex) =>
        knex('user_keys').whereIn(['name', 'value'], pairs).select('name', 'value', 'user_id'),
      )
      found.push(...rows.map((row) => ({ name: row.name, value: row.value, user: row.user_id })))
    }
    return found
  }
}

export async function seatsTaken(db: Db): Promise<ReadonlyMap<string, number>> {
  const rows: { name: string; taken: number }[] = await db.read((knex) => knex('licence_seats').select('name', 'taken'))
  return new Map(rows.map(({ name, taken }) => [name, taken]))
}

/** Newest first; those whose content is kept. */
export async function* pastSignIns(db: Db, most: number): AsyncGenerator<PastSignIn> {
  let before: SignInId | undefined
  for (let left = most; left > 0; ) {
    const size = Math.min(left, 200)
    const rows: { id: SignInId; reference: string; connection: string; sealed: Uint8Array }[] = await db.read((knex) => {
      const query = knex('sign_ins')
        .join('sign_in_contents', 'sign_in_contents.sign_in_id', 'sign_ins.id')
        .where({ flow: 'sign-in' })
        .orderBy('sign_ins.id', 'desc')
        .limit(size)
        .select('sign_ins.id', 'reference', 'connection', 'sealed')
      return before === undefined ? query : query.where('sign_ins.id', '<', before)
    })
    for (const { id, reference, connection, sealed } of rows) {
      before = id
      const { said } = toContent(sealed, id, db.sealer)
      if (!said) continue
      left--
      yield { id, reference, connection, said }
      if (!left) return
    }
    if (rows.length < size) return
  }
}

/** By id or by reference: what was sent, and to which connection. */
export async function signInContent(
  db: Db,
  which: { readonly id: string } | { readonly reference: string },
): Promise<
  | { readonly id: SignInId; readonly reference: string; readonly connection: string; readonly content: SignInContent | undefined }
  | undefined
> {
  const row: { id: SignInId; reference: string; connection: string; sealed: Uint8Array | null } | undefined = await db.read((knex) =>
    knex('sign_ins')
      .leftJoin('sign_in_contents', 'sign_in_contents.sign_in_id', 'sign_ins.id')
      .where('id' in which ? { 'sign_ins.id': which.id } : { reference: which.reference })
      .first('sign_ins.id', 'reference', 'connection', 'sealed'),
  )
  if (!row) return undefined
  const { id, reference, connection } = row
  return { id, reference, connection, content: row.sealed ? toContent(row.sealed, id, db.sealer) : undefined }
}

/** All records of one source, a few at a time. */
export async function* recordsOf(db: Db, source: SourceId) {
  for (let after = ''; ; ) {
    const rows: RecordRow[] = await db.read((knex) =>
      knex('source_records as r')
        .where({ source_id: source })
        .where('external_key', '>', after)
        .orderBy('external_key')
        .limit(500)
        .select(...RECORD_COLUMNS),
    )
    const last = rows.at(-1)
    if (!last) return
    after = last.external_key
    for (const row of rows) yield toRecord(row, db.sealer)
  }
}

export interface EntitlementCount {
  readonly name: string
  readonly holders: number
  readonly waiting: number
}

/** Who holds what, counted over everybody. */
export async function countEntitlements(db: Db): Promise<readonly EntitlementCount[]> {
  const counts = new Map<string, { holders: number; waiting: number }>()
  const of = (name: string) => {
    const found = counts.get(name) ?? { holders: 0, waiting: 0 }
    counts.set(name, found)
    return found
  }
  for (let after = ''; ; ) {
    const rows: { id: string; grants: unknown; waiting: unknown }[] = await db.read((knex) =>
      knex('users').where('id', '>', after).orderBy('id').limit(2_000).select('id', 'grants', 'waiting'),
    )
    const last = rows.at(-1)
    if (!last) break
    after = last.id
    for (const { grants, waiting } of rows) {
      for (const { name } of fromJson<{ name: string }[]>(grants)) of(name).holders++
      for (const name of fromJson<string[]>(waiting)) of(name).waiting++
    }
  }
  return [...counts].map(([name, count]) => ({ name, ...count })).sort((a, b) => (a.name < b.name ? -1 : 1))
}
