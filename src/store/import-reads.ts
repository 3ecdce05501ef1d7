// What an import looks at outside of any transaction: what is on file of its subjects, and the rows of its plan.

import { hash, randomBytes } from 'node:crypto'
import type { Knex } from 'knex'
import type { EventKind } from '../domain/events.ts'
import type { RunId, SourceId, UserId } from '../domain/ids.ts'
import type { LifecycleState } from '../domain/lifecycle.ts'
import type { ImportReads, KnownSubject, PlanRow, SubjectOnFile } from '../flows/import-ports.ts'
import { keyTable } from './bulk.ts'
import { type Db, fromJson, toDate } from './db.ts'
import { type ImportRunRow, type SourceStateRow, toImportRun, toSourceState } from './imports.ts'
import { type PlanRowColumns, toPlanRow } from './plan-rows.ts'
import { keptSecret, TOMBSTONES } from './tombstones.ts'
import { inside } from './transactions.ts'
import { answerAllFrom, looking, rowsOf, usersOf } from './user-answers.ts'

export function importReads(db: Db): ImportReads {
  return {
    known: (source, rows, revision) => known(db, source, rows, revision),
    answerAll: (questions) => looking(db, (asking) => answerAllFrom(asking, questions)),
    people: (ids) => looking(db, (asking) => usersOf(asking, ids)),
    async countSubjects(source) {
      const row: { all: number | string; missing: number | string } | undefined = await db.read((knex) =>
        knex('links')
          .where({ source_id: source })
          .whereNot('external_key', 'like', 'erased %')
          .first(knex.raw('count(*) as "all"'), knex.raw('count(missing_since) as missing')),
      )
      const all = Number(row?.all ?? 0)
      return { all, present: all - Number(row?.missing ?? 0) }
    },
    subjects: (source, after, size) => subjects(db, source, after, size),
    async run(id) {
      const row: ImportRunRow | undefined = await db.read((knex) => knex('runs').where({ id }).whereNotNull('source_id').first())
      return row && toImportRun(row)
    },
    async rows(run, { after, size, status, decision }) {
      const rows: PlanRowColumns[] = await db.read((knex) => {
        const query = knex('import_rows').where({ run_id: run }).where('seq', '>', after).orderBy('seq').limit(size)
        if (status !== undefined) query.where({ status })
        if (decision !== undefined) query.where({ decision })
        return query
      })
      return rows.map((row): PlanRow => toPlanRow(run, row, db.sealer))
    },
    async count(run, status) {
      const row = await db.read((knex) => knex('import_rows').where({ run_id: run, status }).count({ n: '*' }).first())
      return Number(row?.n ?? 0)
    },
    async applied(run, after, size) {
      const rows: PlanRowColumns[] = await db.read((knex) =>
        knex('import_rows')
          .where({ run_id: run })
          .where('seq', '>', after)
          // What went ahead in order is known by how far the run came, what a person picked by its mark.
          .where((applied) =>
            applied
              .where({ status: 'applied' })
              .orWhere((inOrder) =>
                inOrder.where({ status: 'approved' }).where('seq', '<=', knex('runs').where({ id: run }).select(castCursor(db, knex))),
              ),
          )
          .orderBy('seq')
          .limit(size),
      )
      return rows.map((row) => toPlanRow(run, row, db.sealer))
    },
    hasSignedIn: async (tx, user) =>
      (await inside(tx)('links').where({ user_id: user }).whereNotNull('signed_in_at').first('number')) !== undefined ||
      (await inside(tx)('sign_ins').where({ user_id: user, outcome: 'accepted' }).first('id')) !== undefined,
    async stateBefore(tx, user, run) {
      const told: { details: unknown } | undefined = await inside(tx)('audit_events')
        .where({ user_id: user, run_id: run })
        .whereIn('kind', STATE_EVENTS)
        .orderBy('id')
        .first('details')
      return told?.details ? fromJson<{ from?: LifecycleState }>(told.details).from : undefined
    },
    async ignored(source, keys) {
      if (!keys.length) return new Set()
      const sql = `select q.a as key from ${keyTable(db.dialect, 1)} q join match_cases c on c.source_id = ? and c.external_key = q.a where c.verdict = 'ignored'`
      const asked = JSON.stringify(keys.map((key) => [key]))
      const rows = await looking(db, (asking) => rowsOf<{ key: string }>(asking, sql, [asked, source]))
      return new Set(rows.map(({ key }) => key))
    },
    remembersStrangers: (source) =>
      db.read(
        async (knex) =>
          (await knex('kept_secrets').where({ name: TOMBSTONES }).first('name')) !== undefined ||
          (await knex('match_cases').where({ source_id: source }).whereIn('verdict', ['new', 'ignored']).first('id')) !== undefined,
      ),
    async rowsAt(run, seqs) {
      const rows: PlanRow[] = []
      for (let i = 0; i < seqs.length; i += AT_ONCE) {
        const some: PlanRowColumns[] = await db.read((knex) =>
          knex('import_rows')
            .where({ run_id: run })
            .whereIn('seq', seqs.slice(i, i + AT_ONCE))
            .orderBy('seq'),
        )
        rows.push(...some.map((row) => toPlanRow(run, row, db.sealer)))
      }
      return rows
    },
    waiting: (source, run) => waitingRows(db, source, run),
    async usual(source) {
      const row: SourceStateRow | undefined = await db.read((knex) => knex('source_states').where({ source_id: source }).first())
      return toSourceState(row)
    },
    async digester() {
      const secret = await db.inTransaction((tx) => keptSecret(inside(tx), 'digests', () => randomBytes(32).toString('base64url')))
      // Half of the digest is kept, so nobody can go on from it to that of a longer text: a key in front is enough.
      return (text) => hash('sha256', `${secret} ${text}`, 'base64url').slice(0, DIGEST)
    },
  }
}

async function* waitingRows(db: Db, source: SourceId, run: RunId): AsyncGenerator<readonly PlanRow[]> {
  const earlier: { id: RunId }[] = await db.read((knex) => knex('runs').where({ source_id: source, state: 'waiting' }).select('id'))
  for (const { id } of earlier) {
    for (let after = 0; ; ) {
      const rows: PlanRowColumns[] = await db.read((knex) =>
        knex('import_rows')
          .where({ run_id: id, status: 'waiting' })
          .where('seq', '>', after)
          .whereNotIn('external_key', knex('import_rows').where({ run_id: run }).select('external_key'))
          .orderBy('seq')
          .limit(500),
      )
      const last = rows.at(-1)
      if (!last) break
      after = last.seq
      yield rows.map((row) => toPlanRow(id, row, db.sealer))
    }
  }
}

/** They say what somebody was until then. */
const STATE_EVENTS: readonly EventKind[] = ['user.activated', 'user.suspended', 'user.restored', 'user.deprovisioned']

/** Kept as text, because other runs keep an id there. */
function castCursor({ dialect }: Db, knex: Knex) {
  return knex.raw(dialect === 'postgres' ? 'cursor::int' : 'cast(cursor as integer)')
}

const AT_ONCE = 500

/** 132 bits. */
const DIGEST = 22

async function known(
  db: Db,
  source: SourceId,
  rows: readonly { readonly key: string; readonly digest: string }[],
  revision: number,
): Promise<ReadonlyMap<number, KnownSubject>> {
  const postgres = db.dialect === 'postgres'
  const join = postgres ? 'join' : 'cross join'
  const sql = `select q.i, l.number, (l.digest = q.b and l.missing_since is null and u.revision = ${Number(revision)} and ${postgres ? 'u.waiting::text' : 'u.waiting'} = '[]') as same
    from ${keyTable(db.dialect, 2)} q ${join} links l on l.source_id = ? and l.external_key = q.a ${join} users u on u.id = l.user_id`
  const asked = JSON.stringify(rows.map(({ key, digest }) => [key, digest]))
  const found = await looking(db, (asking) =>
    rowsOf<{ i: number; number: number | string; same: boolean | number | null }>(asking, sql, [asked, source]),
  )
  return new Map(found.map(({ i, number, same }) => [Number(i), { number: Number(number), same: Boolean(same) }]))
}

interface SubjectRow {
  number: number | string
  external_key: string
  external_id: string
  user_id: UserId
  missing_since: unknown
}

async function subjects(db: Db, source: SourceId, after: number, size: number): Promise<readonly SubjectOnFile[]> {
  const rows: SubjectRow[] = await db.read((knex) =>
    knex('links')
      .join('users', 'users.id', 'links.user_id')
      .where({ source_id: source })
      .where('number', '>', after)
      // Of somebody who was erased only a digest is left; of somebody who has left and is out nothing is to be decided.
      .whereNot('users.state', 'erased')
      .where((either) => either.whereNull('missing_since').orWhereNot('users.state', 'deprovisioned'))
      .orderBy('number')
      .limit(size)
      .select('number', 'external_key', 'external_id', 'user_id', 'missing_since'),
  )
  return rows.map((row) => ({
    number: Number(row.number),
    externalId: { key: row.external_key, value: row.external_id },
    user: row.user_id,
    missing: row.missing_since !== null && toDate(row.missing_since) instanceof Date,
  }))
}
