// Writes many rows with one statement, and asks about many keys with one question. A row at a time costs more in going to and
// fro than in the database. SQLite takes the values one by one into a statement that stays prepared; PostgreSQL takes one JSON
// text and makes rows of it itself.

import type { TxQueries } from './transactions.ts'

export type ColumnKind = 'text' | 'number' | 'flag' | 'time' | 'json' | 'bytes'

/** Name and kind of each column that is written, in order. JSON comes as text already. */
export type Columns = readonly (readonly [name: string, kind: ColumnKind])[]
export type Cell = string | number | boolean | Date | Uint8Array | null

/** Statements of these sizes stay prepared; what is left over is written with the smaller ones. */
const SIZES = [1000, 250, 32, 4, 1] as const
/** Of PostgreSQL's JSON text. */
const MOST_AT_ONCE = 2_000

/** @param conflict what follows the rows: `on conflict (…) do …` */
export async function insertRows(
  db: TxQueries,
  table: string,
  columns: Columns,
  rows: readonly (readonly Cell[])[],
  conflict = '',
): Promise<void> {
  const names = columns.map(([name]) => name).join(', ')
  if (db.dialect === 'postgres') {
    if (conflict === '' && rows.length >= WORTH_COPYING) return db.copy(`copy ${table} (${names}) from stdin`, copyText(columns, rows))
    const sql = `insert into ${table} (${names}) select ${names} from json_populate_recordset(null::${table}, $1::json) ${conflict}`
    for (let i = 0; i < rows.length; i += MOST_AT_ONCE) await db.many(sql, [jsonRows(columns, rows.slice(i, i + MOST_AT_ONCE))])
    return
  }
  for (const [some] of inSizes(rows)) {
    const { values, bindings } = sqliteValues(columns, some)
    await db.many(`insert into ${table} (${names}) values ${values} ${conflict}`, bindings)
  }
}

/** Rows by their key, which is the first column or the first two. */
export async function updateRows(
  db: TxQueries,
  table: string,
  columns: Columns,
  rows: readonly (readonly Cell[])[],
  { keys = 1 }: { keys?: 1 | 2 } = {},
): Promise<void> {
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
  if (db.dialect === 'postgres') {
    const named = (name: string) => `v.${name}`
    const sql = `update ${table} set ${set(named)} from json_populate_recordset(null::${table}, $1::json) v where ${matched(named)}`
    for (let i = 0; i < rows.length; i += MOST_AT_ONCE) await db.many(sql, [jsonRows(columns, rows.slice(i, i + MOST_AT_ONCE))])
    return
  }
  const placed = (_name: string, at: number) => `v.column${at + 1}`
  for (const [some] of inSizes(rows)) {
    const { values, bindings } = sqliteValues(columns, some)
    await db.many(`update ${table} set ${set(placed)} from (values ${values}) as v where ${matched(placed)}`, bindings)
  }
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

/** PostgreSQL's text format: half of what it costs there to take JSON apart (PostgreSQL 18, COPY, file formats). */
function copyText(columns: Columns, rows: readonly (readonly Cell[])[]): string {
  let text = ''
  for (const row of rows) {
    for (let i = 0; i < columns.length; i++) text += (i ? '\t' : '') + copyCell((columns[i] as Columns[number])[1], row[i] as Cell)
    text += '\n'
  }
  return text
}

function copyCell(kind: ColumnKind, cell: Cell): string {
  if (cell === null) return '\\N'
  if (kind === 'bytes') return `\\\\x${Buffer.from(cell as Uint8Array).toString('hex')}`
  if (kind === 'time') return (cell as Date).toISOString()
  if (kind === 'flag') return cell ? 't' : 'f'
  const text = String(cell)
  return NEEDS_ESCAPE.test(text) ? text.replace(/\\/g, '\\\\').replace(/\t/g, '\\t').replace(/\n/g, '\\n').replace(/\r/g, '\\r') : text
}

const NEEDS_ESCAPE = /[\\\t\n\r]/

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
