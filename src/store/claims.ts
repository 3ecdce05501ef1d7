// What the rows of a feed claim for themselves, a piece for each part of it: most feeds contest nothing, and then nobody looks at
// them again. A claim is eight bytes, its row four.

import type { RunId } from '../domain/ids.ts'
import type { Tx } from '../flows/ports.ts'
import { type Columns, insertRows } from './bulk.ts'
import { inside, type TxQueries } from './transactions.ts'

const COLUMNS: Columns = [
  ['run_id', 'text'],
  ['seq', 'number'],
  ['claims', 'bytes'],
]
const BYTES = 12
const PIECES = 100
/** So many are looked at together, where any may be contested. */
const AT_ONCE = 500_000

export type Claim = readonly [claim: number, seq: number]

export async function addClaims(tx: Tx, run: RunId, claims: readonly Claim[]): Promise<void> {
  const [first] = claims
  if (!first) return
  const piece = Buffer.allocUnsafe(claims.length * BYTES)
  let at = 0
  for (const [claim, seq] of claims) at = piece.writeUInt32LE(seq, piece.writeDoubleLE(claim, at))
  await insertRows(inside(tx), 'import_claims', COLUMNS, [[run, first[1], piece]])
}

/** @param among no other claims can be contested; undefined: any can */
export async function takeContested(
  tx: Tx,
  run: RunId,
  among: readonly number[] | undefined,
): Promise<readonly { readonly claim: number; readonly seqs: readonly number[] }[]> {
  const db = inside(tx)
  const contested: { claim: number; seqs: readonly number[] }[] = []
  const gather = async (isMeant: (claim: number) => boolean) => {
    const groups = new Map<number, number[]>()
    for await (const [claim, seq] of claimsOf(db, run)) {
      if (!isMeant(claim)) continue
      const group = groups.get(claim)
      if (group) group.push(seq)
      else groups.set(claim, [seq])
    }
    for (const [claim, seqs] of groups) if (seqs.length > 1) contested.push({ claim, seqs })
  }
  if (among?.length) {
    const suspects = new Set(among)
    await gather((claim) => suspects.has(claim))
  } else if (!among) {
    const row: { bytes: number | string | null } | undefined = await db('import_claims')
      .where({ run_id: run })
      .first(db.raw('sum(length(claims)) as bytes'))
    const parts = Math.ceil(Number(row?.bytes ?? 0) / BYTES / AT_ONCE)
    for (let part = 0; part < parts; part++) await gather((claim) => claim % parts === part)
  }
  await db('import_claims').where({ run_id: run }).delete()
  return contested
}

async function* claimsOf(db: TxQueries, run: RunId): AsyncGenerator<Claim> {
  for (let after = 0; ; ) {
    const rows: { seq: number; claims: Uint8Array }[] = await db('import_claims')
      .where({ run_id: run })
      .where('seq', '>', after)
      .orderBy('seq')
      .limit(PIECES)
      .select('seq', 'claims')
    const last = rows.at(-1)
    if (!last) return
    after = last.seq
    for (const { claims } of rows) {
      const piece = Buffer.from(claims.buffer, claims.byteOffset, claims.byteLength)
      for (let at = 0; at < piece.length; at += BYTES) yield [piece.readDoubleLE(at), piece.readUInt32LE(at + 8)]
    }
  }
}
