// Two who make the same person at once, of whom neither can see the other, would make two: PostgreSQL shows each transaction the
// database as it was before the other, and keys that are not unique collide nowhere. So whoever creates somebody writes a row that
// whoever creates somebody like them has to write as well; of two such transactions the later one fails and looks again.
// (PostgreSQL documentation, 13.2.2, Repeatable Read Isolation Level.) SQLite has one writer at a time, and needs none of it.

import { crc32 } from 'node:zlib'
import type { Key } from '../domain/keys.ts'
import { holdRow, type TxQueries } from './transactions.ts'

/** Keys that share a row wait for each other for nothing. */
const ROWS = 256
/** Written by whoever creates many, who are alone at it. */
const MANY = -1
/** More than these are many. */
const FEW_ROWS = 16

/** To be held until the end of the transaction: nobody with one of these keys comes into being beside it. */
export async function holdNewcomers(db: TxQueries, keys: readonly Key[]): Promise<void> {
  if (db.dialect !== 'postgres' || !keys.length) return
  const rows = [...new Set(keys.map(({ name, value }) => crc32(`${name} ${value}`) % ROWS))]
  const isMany = rows.length > FEW_ROWS
  // In one order for everybody, so that two do not wait for each other.
  await db.raw(
    `insert into newcomers (place, turn) select place, 1 from json_array_elements_text(?::json) as t(text), cast(t.text as integer) as place order by place
     on conflict (place) do update set turn = newcomers.turn + 1`,
    [JSON.stringify(isMany ? [MANY] : rows)],
  )
  // Whoever has created many since this one looked shows in that row.
  if (!isMany) await db('newcomers').where({ place: MANY }).modify(holdRow, 'newcomers', 'forShare').first('turn')
}

/**
 * As the first statement of a transaction: waits until nobody creates people, lets nobody until its end, and sees all whom others
 * have created. Who creates many has to begin with it.
 */
export const ALONE_WITH_NEWCOMERS = 'lock table newcomers in share row exclusive mode'
