// Keeps the cases in which somebody could not be told from the people who are here: one for each subject of a source.

import { actorName } from '../domain/events.ts'
import type { CaseId, SourceId } from '../domain/ids.ts'
import type { Candidate } from '../domain/matching.ts'
import type { ExternalId } from '../domain/model.ts'
import type { Cases, CaseVerdict, MatchCase, OpenCase } from '../flows/ports.ts'
import { type Db, fromJson, toDate } from './db.ts'
import { inside } from './transactions.ts'

interface CaseRow {
  id: CaseId
  source_id: SourceId
  external_key: string
  external_id: string
  kind: MatchCase['kind']
  candidates: unknown
  renamed_from: unknown
  why: string
  opened_at: unknown
  seen_at: unknown
  times: number
  verdict: CaseVerdict | null
  settled_by: string | null
}

export const cases: Cases = {
  async note(tx, { id, source, externalId, kind, candidates, renamedFrom, why }, now) {
    const db = inside(tx)
    const about = {
      kind,
      candidates: JSON.stringify(candidates),
      renamed_from: renamedFrom ? JSON.stringify(renamedFrom) : null,
      why,
      seen_at: now,
      external_id: externalId.value,
    }
    const subject = { source_id: source, external_key: externalId.key }
    const before: CaseRow | undefined = await db('match_cases').where(subject).first()
    if (!before) {
      await db('match_cases').insert({ id, ...subject, ...about, opened_at: now, times: 1 })
      return 'opened'
    }
    // What was settled and did not help, or was meant for other candidates, is open again; ignored stays ignored.
    const verdict = before.verdict === 'ignored' ? 'ignored' : null
    await db('match_cases')
      .where(subject)
      .update({ ...about, times: before.times + 1, verdict })
    return 'open'
  },

  async take(tx, id) {
    const row: CaseRow | undefined = await inside(tx)('match_cases').where({ id }).first()
    return row && toCase(row)
  },

  async settleSubject(tx, { source, externalKey }, verdict, { actor, now }) {
    await inside(tx)('match_cases')
      .where({ source_id: source, external_key: externalKey })
      .update({ verdict, settled_by: actorName(actor), settled_at: now })
  },

  async settle(tx, id, verdict, { actor, now }) {
    await inside(tx)('match_cases')
      .where({ id })
      .update({ verdict, settled_by: actorName(actor), settled_at: now })
  },
}

export interface CaseLine extends OpenCase {
  readonly sourceName: string
}

/** Those that wait for a person, oldest first; or all. */
export async function listCases(
  db: Db,
  { all, source, kind, limit }: { all: boolean; source?: string | undefined; kind?: string | undefined; limit: number },
): Promise<readonly CaseLine[]> {
  const rows: (CaseRow & { source_name: string })[] = await db.read((knex) => {
    const query = knex('match_cases')
      .join('sources', 'sources.id', 'match_cases.source_id')
      .orderBy('match_cases.id')
      .limit(limit)
      .select('match_cases.*', 'sources.name as source_name')
    if (!all) query.whereNull('verdict')
    if (source !== undefined) query.where({ 'sources.name': source })
    if (kind !== undefined) query.where({ 'match_cases.kind': kind })
    return query
  })
  return rows.map((row) => ({ ...toCase(row), sourceName: row.source_name }))
}

function toCase(row: CaseRow): OpenCase {
  return {
    id: row.id,
    source: row.source_id,
    externalId: { key: row.external_key, value: row.external_id },
    kind: row.kind,
    candidates: fromJson<readonly Candidate[]>(row.candidates),
    ...(row.renamed_from ? { renamedFrom: fromJson<ExternalId>(row.renamed_from) } : {}),
    why: row.why,
    openedAt: toDate(row.opened_at),
    seenAt: toDate(row.seen_at),
    times: row.times,
    ...(row.verdict ? { verdict: row.verdict } : {}),
  }
}
