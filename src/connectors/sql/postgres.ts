// PostgreSQL: a cursor in a transaction that is read only, on one snapshot, of which some rows are fetched at a time. Every cell
// comes as the text that the server itself makes of it (a list as JSON), cut at the limit of a row: whatever a view holds, this
// process never has more of it in memory than that. What the administrator wrote goes by the extended protocol only, which
// takes one statement and no more.

import type { Address } from './address.ts'
import { BATCH_BYTES, type Cell, type Column, type Database, MOST_ROWS, type Row, type Since, sizeOf } from './database.ts'
import { lease } from './lease.ts'
import { asHexBytes, asJson, asLocalTime, asMoment, asText } from './values.ts'

/** What pg's client has, as far as it is used here. */
interface Connection {
  query(asked: { text: string; values?: readonly string[]; rowMode: 'array'; queryMode?: 'extended' }): Promise<Answer>
}

interface Answer {
  readonly fields: readonly { readonly name: string; readonly dataTypeID: number }[]
  readonly rows: readonly Row[]
}

/** A type's name and its category: A is an array, of whatever. */
type Kind = readonly [name: string, category: string]

/** The server stops by itself what this process, if it has died, no longer waits for. */
const GRACE_MS = 5_000
const FIRST_ROWS = 50

export function postgres(address: Address, query: string, { patienceMs, rowBytes }: { patienceMs: number; rowBytes: number }): Database {
  const { host, port, user, password, database, tls } = address
  const leased = lease<Connection>(
    {
      client: 'pg',
      connection: {
        host,
        port,
        user,
        // Given as a function it is not replaced by PGPASSWORD or ~/.pgpass where the URL has none.
        password: () => password,
        database,
        ssl: tls ? { ca: tls.ca, rejectUnauthorized: true, ...(tls.named ? {} : { checkServerIdentity: () => undefined }) } : false,
        application_name: 'gatehouse',
        connectionTimeoutMillis: patienceMs,
        keepAlive: true,
      },
    },
    patienceMs,
  )
  let connection: Connection
  let selected = ''
  let rowsNext = FIRST_ROWS
  const ours = (text: string) => connection.query({ text, rowMode: 'array' })
  const theirs = (text: string, values: readonly string[] = []) =>
    connection.query({ text, values, rowMode: 'array', queryMode: 'extended' })
  const feed = `(\n${query}\n) as feed`

  return {
    async open() {
      connection = await leased.take()
      await ours('begin isolation level repeatable read read only')
      const settings = {
        statement_timeout: patienceMs + GRACE_MS,
        // Between two fetches somebody works on what came; that may take its time.
        idle_in_transaction_session_timeout: 0,
        timezone: 'UTC',
        datestyle: 'ISO, YMD',
        intervalstyle: 'iso_8601',
        bytea_output: 'hex',
        extra_float_digits: 1,
        // All rows will be read, not the first ones.
        cursor_tuple_fraction: 1,
      }
      await ours(
        Object.entries(settings)
          .map(([name, value]) => `set local ${name} to '${value}'`)
          .join('; '),
      )
    },

    async describe() {
      const { fields } = await theirs(`select * from ${feed} limit 0`)
      const oids = `{${fields.map((field) => field.dataTypeID).join()}}`
      const { rows } = await theirs('select oid::text, typname::text, typcategory::text from pg_type where oid = any($1::oid[])', [oids])
      const kinds = new Map(rows.map(([oid, name, category]): [string, Kind] => [String(oid), [String(name), String(category)]]))
      const columns = fields.map(({ name, dataTypeID }) => ({ name, kind: kinds.get(String(dataTypeID)) ?? (['unknown', 'X'] as const) }))
      selected = columns
        .map(({ name, kind }, index) => `left(${asServerText(quoted(name), kind)}, ${longestOf(rowBytes)}) as c${index}`)
        .join(', ')
      return columns.map(({ name, kind }): Column => ({ name, values: valuesOf(kind) }))
    },

    async greatest(column) {
      const by = quoted(column)
      const { rows } = await theirs(`select ${by}::text from ${feed} where ${by} is not null order by ${by} desc limit 1`)
      return (rows[0]?.[0] ?? undefined) as string | undefined
    },

    async read(since) {
      const { where, values } = after(since)
      await theirs(`declare feed no scroll cursor for select ${selected} from ${feed}${where}`, values)
    },

    async more() {
      const began = performance.now()
      const { rows } = await ours(`fetch forward ${rowsNext} from feed`)
      const bytes = rows.reduce((sum, row) => sum + sizeOf(row), 0)
      rowsNext = nextCount(rows.length, bytes, performance.now() - began, patienceMs)
      return rows
    },

    close: (busy) => leased.end(busy ? leased.cancel : undefined),
  }
}

function after(since: Since | undefined): { where: string; values: readonly string[] } {
  if (!since) return { where: '', values: [] }
  const by = quoted(since.column)
  return { where: ` where ${by} >= $1 order by ${by}`, values: [since.value] }
}

/** So many that they are about a batch, and come long before patience ends. */
function nextCount(rows: number, bytes: number, ms: number, patienceMs: number): number {
  const fitting = Math.min(rows * 2, MOST_ROWS, (rows * BATCH_BYTES) / Math.max(bytes, 1), (rows * patienceMs) / 4 / Math.max(ms, 1))
  return Math.max(1, Math.floor(fitting))
}

function quoted(name: string): string {
  return `feed."${name.replaceAll('"', '""')}"`
}

function asServerText(column: string, [, category]: Kind): string {
  return category === 'A' ? `to_json(${column})::text` : `${column}::text`
}

/** Characters, of which none is less than a byte; one more than may be, so that it is seen. */
function longestOf(rowBytes: number): number {
  return Math.min(rowBytes + 1, 2 ** 28)
}

function valuesOf([name, category]: Kind): (cell: NonNullable<Cell>) => readonly string[] | undefined {
  if (category === 'A' || name === 'json' || name === 'jsonb') return asJson
  if (name === 'timestamptz') return asMoment
  if (name === 'timestamp') return asLocalTime
  if (name === 'bytea') return asHexBytes
  return asText
}
