// Takes things out of what is kept of sources' words, and encrypts it again when the key changes.

import { namesMeant } from '../domain/attribute-names.ts'
import type { RunId, SignInId, SourceId } from '../domain/ids.ts'
import type { RecordOnFile } from '../domain/model.ts'
import type { Kept } from '../flows/ports.ts'
import { type PlanRowColumns, planPlace, withoutAttribute } from './plan-rows.ts'
import { writeRecord } from './record-format.ts'
import type { Sealer } from './sealing.ts'
import { contentPlace, toContent } from './sign-ins.ts'
import { secretPlace } from './tombstones.ts'
import { inside, type TxQueries } from './transactions.ts'
import { placeOf, RECORD_COLUMNS, type RecordRow, toRecord } from './user-rows.ts'

const BATCH = 500

export const kept: Kept = {
  async redact(tx, source, attribute) {
    const db = inside(tx)
    let records = 0
    for (let after = ''; ; ) {
      const rows: RecordRow[] = await db('source_records as r')
        .where({ source_id: source })
        .where('external_key', '>', after)
        .orderBy('external_key')
        .limit(BATCH)
        .select(...RECORD_COLUMNS)
      const last = rows.at(-1)
      if (!last) break
      after = last.external_key
      for (const row of rows) {
        const record = toRecord(row, db.sealer)
        const names = namesMeant(record, [attribute])
        if (!Object.keys(record.attributes).some((name) => names.has(name))) continue
        records++
        await db('source_records')
          .where({ source_id: source, external_key: row.external_key })
          .update(sealedRecord(without(record, names), db.sealer))
      }
    }
    await redactPlans(db, source, attribute)
    let responses = 0
    for (let after = ''; ; ) {
      const rows: { sign_in_id: SignInId; sealed: Uint8Array }[] = await db('sign_in_contents')
        .where({ source_id: source })
        .where('sign_in_id', '>', after)
        .orderBy('sign_in_id')
        .limit(BATCH)
      const last = rows.at(-1)
      if (!last) return { records, responses }
      after = last.sign_in_id
      for (const { sign_in_id, sealed } of rows) {
        const { said } = toContent(sealed, sign_in_id, db.sealer)
        responses++
        const place = { sign_in_id }
        // A response cannot lose a part and keep its signature: what it said stays, and it goes.
        if (!said) await db('sign_in_contents').where(place).delete()
        else {
          const names = namesMeant(said, [attribute])
          const attributes = Object.fromEntries(Object.entries(said.attributes).filter(([name]) => !names.has(name)))
          const content = db.sealer.seal(JSON.stringify({ said: { ...said, attributes } }), contentPlace(sign_in_id))
          await db('sign_in_contents').where(place).update({ sealed: content })
        }
      }
    }
  },

  async trim(tx, { before, most, read }) {
    const db = inside(tx)
    const rows: RecordRow[] = await db('source_records as r')
      .where({ trimmed: false })
      .where('observed_at', '<', before)
      .orderBy(['source_id', 'external_key'])
      .limit(most)
      .select(...RECORD_COLUMNS)
    for (const row of rows) {
      const record = toRecord(row, db.sealer)
      const attributes = Object.fromEntries(Object.entries(record.attributes).filter(([name]) => read(record, name)))
      const place = { source_id: record.source, external_key: row.external_key }
      await db('source_records')
        .where(place)
        .update({ ...sealedRecord({ ...record, attributes }, db.sealer), trimmed: true })
    }
    return rows.length
  },

  async reseal(tx, most) {
    const db = inside(tx)
    const { prefix } = db.sealer
    const [low, high] = [Buffer.from(prefix), Buffer.concat([prefix, Buffer.alloc(64, 0xff)])]
    const stale = (query: ReturnType<typeof db>) =>
      query
        .where((either: ReturnType<typeof db>) => either.whereNull('sealed').orWhere('sealed', '<', low).orWhere('sealed', '>', high))
        .limit(most)
    const records: RecordRow[] = await stale(db('source_records as r').select(...RECORD_COLUMNS))
    for (const row of records) {
      const place = { source_id: row.source_id, external_key: row.external_key }
      await db('source_records')
        .where(place)
        .update(sealedRecord(toRecord(row, db.sealer), db.sealer))
    }
    if (records.length) return records.length
    const contents: { sign_in_id: SignInId; sealed: Uint8Array }[] = await stale(db('sign_in_contents'))
    for (const { sign_in_id, sealed } of contents) {
      const text = db.sealer.open(sealed, contentPlace(sign_in_id))
      await db('sign_in_contents')
        .where({ sign_in_id })
        .update({ sealed: db.sealer.seal(text, contentPlace(sign_in_id)) })
    }
    if (contents.length) return contents.length
    const rows: { run_id: RunId; seq: number; sealed: Uint8Array }[] = await stale(db('import_rows').select('run_id', 'seq', 'sealed'))
    for (const { run_id, seq, sealed } of rows) {
      const place = planPlace(run_id, seq)
      await db('import_rows')
        .where({ run_id, seq })
        .update({ sealed: db.sealer.seal(db.sealer.open(sealed, place), place) })
    }
    if (rows.length) return rows.length
    const secrets: { name: string; sealed: Uint8Array }[] = await stale(db('kept_secrets'))
    for (const { name, sealed } of secrets) {
      const again = db.sealer.seal(db.sealer.open(sealed, secretPlace(name)), secretPlace(name))
      await db('kept_secrets').where({ name }).update({ sealed: again })
    }
    return secrets.length
  },
}

/** A row loses the attribute, and with it what was planned from it: the rest of a plan is what its run says of itself. */
async function redactPlans(db: TxQueries, source: SourceId, attribute: string): Promise<void> {
  const runs: { id: RunId }[] = await db('runs').where({ source_id: source }).select('id')
  for (const { id } of runs) {
    for (let after = 0; ; ) {
      const rows: PlanRowColumns[] = await db('import_rows').where({ run_id: id }).where('seq', '>', after).orderBy('seq').limit(BATCH)
      const last = rows.at(-1)
      if (!last) break
      after = last.seq
      for (const row of rows) {
        const sealed = withoutAttribute(id, row, attribute, db.sealer)
        if (sealed) await db('import_rows').where({ run_id: id, seq: row.seq }).update({ sealed })
      }
    }
  }
}

function without(record: RecordOnFile, names: ReadonlySet<string>): RecordOnFile {
  const attributes = Object.fromEntries(Object.entries(record.attributes).filter(([name]) => !names.has(name)))
  return { ...record, attributes }
}

function sealedRecord(record: RecordOnFile, sealer: Sealer) {
  return { record: null, sealed: sealer.seal(writeRecord(record), placeOf(record.source, record.externalId.key)) }
}
