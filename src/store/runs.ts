// Keeps runs: how far a pass over everybody has come, and what it has found. A batch and its place are written together, so
// that whoever goes on begins where the last one ended.

import { setImmediate } from 'node:timers/promises'
import type { Knex } from 'knex'
import type { Known } from '../domain/deciding.ts'
import { actorName } from '../domain/events.ts'
import type { Id, RunId, UserId } from '../domain/ids.ts'
import type { User } from '../domain/model.ts'
import type { Run, RunCounts, Runs } from '../flows/ports.ts'
import { type Db, fromJson, toDate } from './db.ts'
import type { Sealer } from './sealing.ts'
import { holdRow, inside, type Queries } from './transactions.ts'
import { LINKED_COLUMNS, type RecordRow, toRecord, toUser, USER_COLUMNS, type UserRow } from './user-rows.ts'

interface RunRow {
  id: RunId
  kind: Run['kind']
  state: Run['state']
  revision: number
  cursor: UserId | null
  counts: unknown
  held_because: string | null
  started_at: unknown
}

export const runs: Runs = {
  async keep(tx, run, { actor, now }) {
    const moved = {
      state: run.state,
      cursor: run.cursor ?? null,
      counts: JSON.stringify(run.counts),
      held_because: run.heldBecause ?? null,
      revision: run.revision,
      updated_at: now,
    }
    const written: unknown = await inside(tx)('runs').where({ id: run.id }).update(moved)
    if (!written)
      await inside(tx)('runs').insert({ id: run.id, kind: run.kind, actor: actorName(actor), started_at: run.startedAt, ...moved })
  },

  async open(tx, kind) {
    const row: RunRow | undefined = await inside(tx)('runs')
      .where({ kind })
      .whereIn('state', ['held', 'running'])
      .orderBy('id', 'desc')
      .first()
    return row && toRun(row)
  },

  async batch(tx, { after, derivedBefore, size }) {
    const db = inside(tx)
    const people: UserRow[] = await db('users')
      .where('users.id', '>', after ?? '')
      .where('users.revision', '<', derivedBefore)
      .whereNot({ 'users.state': 'erased' })
      .orderBy('users.id')
      .limit(size)
      .select(...USER_COLUMNS)
      .modify(holdRow, 'users')
    return (await rawPeople(db, people)).map((one) => toPerson(one, db.sealer))
  },

  async stamp(tx, users, revision) {
    for (let i = 0; i < users.length; i += MOST_AT_ONCE) {
      await inside(tx)('users')
        .whereIn('id', users.slice(i, i + MOST_AT_ONCE))
        .update({ revision })
    }
  },
}

const MOST_AT_ONCE = 500

type Person = Known & { readonly linked: User }

/** As it comes from the database: nothing is opened yet. */
interface RawPerson {
  readonly row: UserRow
  readonly records: readonly RecordRow[]
}

type OwnedRecord = RecordRow & { readonly user_id: UserId }

function ownedRecords(db: (table: string) => ReturnType<Queries>) {
  return db('links as lr')
    .join('source_records as r', (on) => on.on('r.source_id', 'lr.source_id').andOn('r.external_key', 'lr.external_key'))
    .select('lr.user_id', ...LINKED_COLUMNS)
}

async function rawPeople(db: (table: string) => ReturnType<Queries>, people: readonly UserRow[]): Promise<readonly RawPerson[]> {
  const records: OwnedRecord[] = []
  for (let i = 0; i < people.length; i += MOST_AT_ONCE) {
    const ids = people.slice(i, i + MOST_AT_ONCE).map(({ id }) => id)
    records.push(...((await ownedRecords(db).whereIn('lr.user_id', ids)) as OwnedRecord[]))
  }
  return joined(people, records)
}

function joined(people: readonly UserRow[], records: readonly OwnedRecord[]): readonly RawPerson[] {
  const byUser = new Map<UserId, RecordRow[]>()
  for (const row of records) {
    const all = byUser.get(row.user_id)
    if (all) all.push(row)
    else byUser.set(row.user_id, [row])
  }
  return people.map((row) => ({ row, records: byUser.get(row.id) ?? [] }))
}

function toPerson({ row, records }: RawPerson, sealer: Sealer): Person {
  return { linked: toUser(row), records: records.map((one) => toRecord(one, sealer)) }
}

/** One at a time, so that what is opened of one person is gone before the next is: most of the cost of many is to move it about. */
function* opened(people: readonly RawPerson[], sealer: Sealer): Generator<Person> {
  for (const one of people) yield toPerson(one, sealer)
}

/** Everybody who was not erased, by id, with all that is on file of them; for looking only. While one batch is looked at, the next is read. */
export async function* everybody(
  db: Db,
  { derivedBefore, size = 400 }: { derivedBefore?: number; size?: number } = {},
): AsyncGenerator<Iterable<Person>> {
  const read = async (after: Id<'usr'> | ''): Promise<readonly RawPerson[]> => {
    // The same people twice, so that neither question waits for the other's answer.
    const those = (knex: Knex) => {
      const query = knex('users').where('users.id', '>', after).whereNot({ 'users.state': 'erased' }).orderBy('users.id').limit(size)
      return derivedBefore === undefined ? query : query.where('users.revision', '<', derivedBefore)
    }
    const [people, records] = await Promise.all([
      db.read((knex): Promise<UserRow[]> => those(knex).select(...USER_COLUMNS)),
      db.read(
        (knex): Promise<OwnedRecord[]> =>
          ownedRecords((table: string) => knex(table)).whereIn(
            'lr.user_id',
            knex.select('id').from(those(knex).select('users.id').as('those')),
          ),
      ),
    ])
    return joined(people, records)
  }
  let next: Promise<readonly RawPerson[]> | undefined = read('')
  while (next) {
    const batch: readonly RawPerson[] = await next
    const last = batch.at(-1)
    if (!last) return
    next = batch.length < size ? undefined : read(last.row.id)
    // Whoever stops looking does not wait for what is under way.
    next?.catch(() => {})
    // The question goes out in a turn or two, which it would not get while the batch is worked on.
    await setImmediate()
    yield opened(batch, db.sealer)
  }
}

export async function countUsers(db: Db): Promise<number> {
  const row = await db.read((knex) => knex('users').whereNot({ state: 'erased' }).count({ n: '*' }).first())
  return Number(row?.n ?? 0)
}

/** Who was last derived under an older policy. */
export async function countStale(db: Db): Promise<number> {
  const row = await db.read((knex) =>
    knex('users')
      .whereNot({ state: 'erased' })
      .where('revision', '<', knex('policy_revision').select('revision'))
      .count({ n: '*' })
      .first(),
  )
  return Number(row?.n ?? 0)
}

function toRun(row: RunRow): Run {
  return {
    id: row.id,
    kind: row.kind,
    state: row.state,
    revision: row.revision,
    ...(row.cursor ? { cursor: row.cursor } : {}),
    counts: fromJson<RunCounts>(row.counts),
    ...(row.held_because ? { heldBecause: row.held_because } : {}),
    startedAt: toDate(row.started_at),
  }
}
