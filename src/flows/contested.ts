// Two rows of one feed that would be one person, or would take the same unique value: parts of a feed are planned without knowing of
// one another, so that is seen when the whole is there. Who is right is for a person to say, or for whoever keeps the feed.

import { type PlanDecision, type Planned, WITHOUT_EFFECT } from '../domain/plan.ts'
import { refuse } from '../domain/refusals.ts'
import { CLAIMS, type ClaimKind, kindOf } from './claims.ts'
import type { ImportReads, ImportRun, Imports, PlanRow } from './import-ports.ts'
import type { Sums } from './plan-feed.ts'
import type { Transactions, Tx } from './ports.ts'

export interface Contested {
  readonly run: ImportRun
  /** Claims that may have come twice; undefined: any may. */
  readonly suspects: readonly number[] | undefined
  /** So many rows are one transaction. */
  readonly size: number
  readonly keep: (tx: Tx, run: ImportRun) => Promise<void>
  /** What the plan comes to; corrected. */
  readonly sums: Sums
  /** Told of rows with the same key. */
  readonly onDoubled: (key: string, places: readonly string[]) => void
}

export async function settleContested(
  { inTransaction, imports, importReads }: Transactions & { readonly imports: Imports; readonly importReads: ImportReads },
  { run, suspects, size, keep, sums, onDoubled }: Contested,
): Promise<void> {
  const groups = await inTransaction((tx) => imports.takeContested(tx, run.id, suspects))
  const rewritten = new Map<number, PlanRow>()
  const inOrder = groups
    .map(({ claim, seqs }) => ({ kind: kindOf(claim), seqs }))
    .sort((a, b) => CLAIMS.indexOf(a.kind) - CLAIMS.indexOf(b.kind))
  for (const { kind, seqs } of inOrder) {
    const rows = (await importReads.rowsAt(run.id, seqs)).map((row) => rewritten.get(row.seq) ?? row)
    // A row that cannot be used contests nothing.
    const alive = rows.filter(({ planned: { decision } }) => decision !== 'refused' || kind === 'subject')
    const [first] = alive
    if (!first || alive.length < 2) continue
    const places = alive.map(({ place }) => place)
    if (kind === 'subject') {
      if (new Set(alive.map(({ externalId: { key } }) => key)).size > 1) continue
      onDoubled(first.externalId.value, places)
    }
    for (const row of alive) {
      const again = contestedRow(row, kind, listed(places))
      sums.tally(row.planned, -1)
      sums.count(again.planned.decision)
      rewritten.set(row.seq, again)
    }
  }
  const rows = [...rewritten.values()]
  for (let i = 0; i < rows.length; i += size)
    await inTransaction(async (tx) => {
      await imports.rewrite(tx, run.id, rows.slice(i, i + size))
      await keep(tx, run)
    })
}

const MOST_LISTED = 5

function listed(places: readonly string[]): string {
  const told = places.slice(0, MOST_LISTED)
  return `${told.join(' and ')}${places.length > told.length ? ` and ${places.length - told.length} more` : ''}`
}

function contestedRow(row: PlanRow, kind: ClaimKind, places: string): PlanRow {
  const { label } = row.planned
  const become = (decision: PlanDecision, why: string, code?: Planned['code']): PlanRow['planned'] => ({
    ...WITHOUT_EFFECT,
    ...(label === undefined ? {} : { label }),
    decision,
    why,
    ...(code === undefined ? {} : { code }),
  })
  if (kind === 'matching') {
    const { code, detail } = refuse('match.disputed', `${places} of this feed look like the same person`)
    return { ...row, planned: become('disputed', detail, code), status: 'waiting' }
  }
  if (kind === 'subject') return { ...row, planned: become('refused', `${places} have the same key`), status: 'refused' }
  const why = `${places} of this feed would have the same value of an attribute that is unique`
  return { ...row, planned: become('refused', why, 'attribute.taken'), status: 'refused' }
}
