// Looks for people whom no feed stands behind, and keeps what was done about them.

import type { CoverageStage } from '../domain/coverage.ts'
import type { UserId } from '../domain/ids.ts'
import type { Coverage, Uncovered } from '../flows/work-ports.ts'
import { type Db, toDate } from './db.ts'
import { inside } from './transactions.ts'

interface QuietRow {
  id: UserId
  user_name: string
  state: string
  last: unknown
  created_at: unknown
  stage: CoverageStage | null
  stage_at: unknown
}

export function coverage(db: Db): Coverage {
  return {
    quiet: (before, after, most) => uncovered(db, { before, after, most }),
    async keepStage(tx, user, stage, now) {
      await inside(tx)('coverage_states').insert({ user_id: user, stage, at: now }).onConflict('user_id').merge()
    },
    async forget(tx) {
      const { raw } = inside(tx)
      const gone: unknown = await raw(
        'delete from coverage_states where exists (select 1 from links l where l.user_id = coverage_states.user_id and l.signed_in_at > coverage_states.at)',
      )
      return Number((gone as { rowCount?: number }).rowCount ?? 0)
    },
  }
}

/** Of those who are in or suspended, who is named by no source that is imported. @param before undefined: whenever they signed in last */
export async function uncovered(
  db: Db,
  { before, after, most }: { before?: Date | undefined; after?: UserId | undefined; most: number },
): Promise<readonly Uncovered[]> {
  const rows: QuietRow[] = await db.read((knex) => {
    const feed = knex('links as f')
      .join('sources as s', 's.id', 'f.source_id')
      .whereRaw('f.user_id = u.id')
      .whereNotIn('s.kind', ['saml', 'local'])
      .whereNull('f.missing_since')
      .select('f.number')
    const last = knex('links as l').whereRaw('l.user_id = u.id').max('l.signed_in_at')
    const query = knex('users as u')
      .leftJoin('coverage_states as c', 'c.user_id', 'u.id')
      .whereIn('u.state', ['active', 'suspended'])
      .where('u.id', '>', after ?? '')
      .whereNotExists(feed)
      .orderBy('u.id')
      .limit(most)
      .select('u.id', 'u.user_name', 'u.state', 'u.created_at', 'c.stage', 'c.at as stage_at', last.as('last'))
    // Without a sign-in it counts from the day they were made.
    if (before) query.whereRaw('coalesce((select max(l.signed_in_at) from links l where l.user_id = u.id), u.created_at) <= ?', [before])
    return query
  })
  return rows.map((row) => ({
    user: row.id,
    userName: row.user_name,
    state: row.state,
    ...(row.last ? { lastSignIn: toDate(row.last) } : {}),
    since: toDate(row.created_at),
    ...(row.stage ? { stage: row.stage, stageAt: toDate(row.stage_at) } : {}),
  }))
}

/** Whom this actor has deprovisioned before then and who still is. */
export async function deprovisionedBy(db: Db, actor: string, before: Date, most: number): Promise<readonly UserId[]> {
  const rows: { id: UserId }[] = await db.read((knex) =>
    knex('users')
      .where({ state: 'deprovisioned', state_by: actor })
      .where('state_since', '<=', before)
      .orderBy('id')
      .limit(most)
      .select('id'),
  )
  return rows.map(({ id }) => id)
}
