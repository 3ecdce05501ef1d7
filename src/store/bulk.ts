// Writes many rows with one statement, and asks about many keys with one question. A row at a time costs more in going to and
// fro than in the database. SQLite takes the values one by one into a statement that stays prepared; PostgreSQL takes many rows
// by COPY, and makes a few, or those that may be there already, of one JSON text.

import { copyData } from './copy-data.ts'
import type { TxQueries } from './transactions.ts'

/** number: four bytes, where it matters. */
export type ColumnKind = 'text' | 'number' | 'flag' | 'time' | 'json' | 'bytes'

/** Name and kind of each column that is written, in order. JSON comes as text already. */
export type Columns = readonly (readonly [name: string, kind: ColumnKind])[]
export type Cell = string | number | boolean | Date | Uint8Array | null

/** Statements of these sizes stay prepared; what is left over is written with the smaller ones. */
const SIZES = [1000, 500, 250, 125, 64, 32, 16, 8, 4, 2, 1] as const
/** Of PostgreSQL's JSON text. */
const MOST_AT_ONCE = 2_000

/** Made ready before it is run: what it takes to write down a thousand rows is not to keep a transaction open. */
export type Statement = { readonly sql: string; readonly bindings: readonly unknown[] } | { readonly copy: string; readonly data: Buffer }

export async function runAll(db: TxQueries, statements: readonly Statement[]): Promise<void> {
  for (const one of statements) await ('copy' in one ? db.copy(one.copy, one.data) : db.many(one.sql, one.bindings))
}

/** @param conflict what follows the rows: `on conflict (…) do …` */
export function insertion(
  dialect: TxQueries['dialect'],
  table: string,
  columns: Columns,
  rows: readonly (readonly Cell[])[],
  conflict = '',
): readonly Statement[] {
  const names = columns.map(([name]) => name).join(', ')
  if (dialect === 'postgres') {
    if (conflict === '' && rows.length >= WORTH_COPYING)
      return [{ copy: `copy ${table} (${names}) from stdin (format binary)`, data: copyData(columns, rows) }]
    const sql = `insert into ${table} (${names}) select ${names} from json_populate_recordset(null::${table}, $1::json) ${conflict}`
    return inParts(rows).map((some) => ({ sql, bindings: [jsonRows(columns, some)] }))
  }
  return [...inSizes(rows)].map(([some]) => {
    const { values, bindings } = sqliteValues(columns, some)
    return { sql: `insert into ${table} (${names}) values ${values} ${conflict}`, bindings }
  })
}

export async function insertRows(
  db: TxQueries,
  table: string,
  columns: Columns,
  rows: readonly (readonly Cell[])[],
  conflict = '',
): Promise<void> {
  await runAll(db, insertion(db.dialect, table, columns, rows, conflict))
}

function inParts<Row>(rows: readonly Row[]): readonly (readonly Row[])[] {
  return Array.from({ length: Math.ceil(rows.length / MOST_AT_ONCE) }, (_, at) => rows.slice(at * MOST_AT_ONCE, (at + 1) * MOST_AT_ONCE))
}

/** Rows by their key, which is the first column or the first two. */
export function updating(
  dialect: TxQueries['dialect'],
  table: string,
  columns: Columns,
  rows: readonly (readonly Cell[])[],
  { keys = 1 }: { keys?: 1 | 2 } = {},
): readonly Statement[] {
  const matched = (other: (name: string, at: number) => string) =>
    columns
      .slice(0, keys)
      .map(([name], at) => `${table}.${name} = ${other(name, at)}`)
      .join(' and ')
  const set = (other: (name: string, at: number) => string) =>
    columns
      .slice(keys)
      .map(([name], at) => `${name} = ${other(name, at + keys)}`)
      .join(', ')
  if (dialect === 'postgres') {
    const named = (name: string) => `v.${name}`
    const sql = `update ${table} set ${set(named)} from json_populate_recordset(null::${table}, $1::json) v where ${matched(named)}`
    return inParts(rows).map((some) => ({ sql, bindings: [jsonRows(columns, some)] }))
  }
  const placed = (_name: string, at: number) => `v.column${at + 1}`
  return [...inSizes(rows)].map(([some]) => {
    const { values, bindings } = sqliteValues(columns, some)
    return { sql: `update ${table} set ${set(placed)} from (values ${values}) as v where ${matched(placed)}`, bindings }
  })
}

function* inSizes<Row>(rows: readonly Row[]): Generator<readonly [readonly Row[], number]> {
  let at = 0
  for (const size of SIZES) {
    for (; rows.length - at >= size; at += size) yield [rows.slice(at, at + size), size]
  }
}

/** Handing each value over costs more than writing it, so what is the same in all rows is handed over once. */
function sqliteValues(columns: Columns, rows: readonly (readonly Cell[])[]): { readonly values: string; readonly bindings: unknown[] } {
  const [first = []] = rows
  const same = columns.map((_, at) => rows.length > 1 && rows.every((row) => row[at] === first[at]))
  const bindings: unknown[] = []
  const once = columns.map(([, kind], at) => (same[at] ? `?${bindings.push(bound(kind, first[at] as Cell))}` : ''))
  const shape = `${columns.length} ${rows.length} ${same.map(Number).join('')}`
  for (const row of rows)
    for (let at = 0; at < columns.length; at++) if (!same[at]) bindings.push(bound((columns[at] as Columns[number])[1], row[at] as Cell))
  let values = shapes.get(shape)
  if (values === undefined) {
    let next = same.filter(Boolean).length
    const marks = () => `(${once.map((mark) => mark || `?${++next}`).join(',')})`
    values = Array.from(rows, marks).join(',')
    shapes.set(shape, values)
  }
  return { values, bindings }
}

/** Texts of marks, which are long and few. */
const shapes = new Map<string, string>()

function bound(kind: ColumnKind, cell: Cell): unknown {
  if (kind === 'time' && cell instanceof Date) return cell.getTime()
  return kind === 'flag' && cell !== null ? Number(cell) : cell
}

/** Fewer go as quickly with one statement more or less. */
const WORTH_COPYING = 20

/** By hand, because JSON columns are JSON already and go in as they are. */
function jsonRows(columns: Columns, rows: readonly (readonly Cell[])[]): string {
  const heads = columns.map(([name], i) => `${i ? ',' : '{'}"${name}":`)
  let text = '['
  for (const [at, row] of rows.entries()) {
    if (at) text += ','
    for (let i = 0; i < heads.length; i++) text += heads[i] + jsonCell((columns[i] as Columns[number])[1], row[i] as Cell)
    text += '}'
  }
  return `${text}]`
}

function jsonCell(kind: ColumnKind, cell: Cell): string {
  if (cell === null) return 'null'
  if (kind === 'json') return cell as string
  if (kind === 'bytes') return `"\\\\x${Buffer.from(cell as Uint8Array).toString('hex')}"`
  if (kind === 'time') return `"${(cell as Date).toISOString()}"`
  return JSON.stringify(cell)
}

/** A table of the asked keys, for a join: `i`, their place, and `a`, `b`, …, the parts of each. Bound to one JSON text. */
export function keyTable(dialect: TxQueries['dialect'], parts: number): string {
  const names = ['a', 'b', 'c'].slice(0, parts)
  if (dialect === 'postgres') {
    const columns = names.map((name, at) => `t.e->>${at} as ${name}`).join(', ')
    return `(select (t.n - 1)::int as i, ${columns} from json_array_elements(?::json) with ordinality as t(e, n))`
  }
  return `(select key as i, ${names.map((name, at) => `value->>${at} as ${name}`).join(', ')} from json_each(?))`
}

/** Rows whose column is one of these; bound to one JSON text. */
export function amongKeys(dialect: TxQueries['dialect'], column: string): string {
  return dialect === 'postgres'
    ? `${column} in (select json_array_elements_text(?::json))`
    : `${column} in (select value from json_each(?))`
}
