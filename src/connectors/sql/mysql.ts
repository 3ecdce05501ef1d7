// MariaDB and MySQL: one statement of the text protocol, whose rows are taken off the connection as they are wanted; the server
// waits meanwhile. Cells come as the bytes that the server sent, and the driver makes nothing of them.
//
// The query is first prepared as a part of `select * from (…)`. That is the wall here: within a transaction that is read only,
// MariaDB still runs DROP and other statements that commit by themselves, and SELECT … INTO OUTFILE. After that, the whole is
// read with the query as it was written, because MariaDB forgets the order of a query within a query.
//
// There is no max_statement_time: the server counts the time in which nobody took the rows, too. Whoever gives up has the query
// killed.

import { isIP } from 'node:net'
import type { Readable } from 'node:stream'
import { FeedFailure } from '../../flows/feed-ports.ts'
import type { Address } from './address.ts'
import { BATCH_BYTES, type Column, type Database, MOST_ROWS, type Row, type Since, sizeOf } from './database.ts'
import { lease } from './lease.ts'
import { asBits, asBytes, asDate, asJson, asLocalTime, asMoment, asText } from './values.ts'

interface Field {
  readonly name: string
  readonly columnType: number
  readonly characterSet: number
  readonly decimals: number
  /** MariaDB's JSON is a text of which only this tells. */
  readonly extendedFormat?: string
}

interface Statement {
  readonly columns: readonly Field[]
  readonly parameters: readonly unknown[]
  close(): void
}

/** What mysql2's connection has, as far as it is used here. */
interface Connection {
  query(asked: Asked, done: (error: Error | null, rows: readonly Row[]) => void): unknown
  query(asked: Asked): { stream(options: { highWaterMark: number }): Readable }
  prepare(asked: { sql: string }, done: (error: Error | null, statement: Statement) => void): unknown
  on(event: 'error' | 'end', listener: (error?: Error) => void): unknown
  destroy(): void
  readonly stream: { destroy(): void }
}

interface Asked {
  readonly sql: string
  readonly rowsAsArray: true
  readonly typeCast: (field: { buffer(): Uint8Array | null }) => Uint8Array | null
}

const asked = (sql: string): Asked => ({ sql, rowsAsArray: true, typeCast: (field) => field.buffer() })

export function mysql(
  { host, port, user, password, database, tls }: Address,
  query: string,
  { patienceMs }: { patienceMs: number },
): Database {
  if (tls?.named && isIP(host))
    throw new FeedFailure('misconfigured', 'the certificate of this server is checked against its name: write the name, not the address')
  const leased = lease<Connection>(
    {
      client: 'mysql2',
      connection: {
        host,
        port,
        user,
        password,
        database,
        ...(tls ? { ssl: { ...(tls.ca === undefined ? {} : { ca: tls.ca }), rejectUnauthorized: true, verifyIdentity: tls.named } } : {}),
        connectTimeout: patienceMs,
        multipleStatements: false,
        // No server may ask for a file of this machine.
        flags: ['-LOCAL_FILES'],
        // Parsers are not compiled from the names of columns.
        disableEval: true,
      } as object,
    },
    patienceMs,
  )
  let connection: Connection
  let fields: readonly Field[] = []
  let rows: Readable | undefined
  let iterator: AsyncIterator<Row> | undefined
  const run = (sql: string) =>
    new Promise<readonly Row[]>((resolve, reject) => {
      connection.query(asked(sql), (error, found) => (error ? reject(error) : resolve(found)))
    })
  const feed = `(\n${query}\n) as feed`
  const comparable = ({ column, value }: Since) =>
    literal(
      value,
      fields.find(({ name }) => name === column),
    )

  return {
    async open() {
      connection = await leased.take()
      // mysql2 tells the connection, and not the statement, when the server is gone.
      const gone = (error?: Error) => rows?.destroy(error ?? new Error('the server closed the connection'))
      connection.on('error', gone)
      connection.on('end', gone)
      // The server gives up when nobody takes rows for so many seconds; whoever works on what came may need them.
      await run("set time_zone = '+00:00', net_write_timeout = 600")
      await run('set session transaction isolation level repeatable read')
      await run('start transaction with consistent snapshot, read only')
    },

    async describe() {
      const statement = await new Promise<Statement>((resolve, reject) => {
        connection.prepare({ sql: `select * from ${feed}` }, (error, prepared) => (error ? reject(error) : resolve(prepared)))
      })
      statement.close()
      if (statement.parameters.length) throw new FeedFailure('misconfigured', 'the query has a ? in it that nothing stands for')
      fields = statement.columns
      return fields.map((field): Column => ({ name: field.name, values: valuesOf(field) }))
    },

    async greatest(column) {
      const by = quoted(column)
      const [row] = await run(`select ${by} from ${feed} where ${by} is not null order by ${by} desc limit 1`)
      const cell = row?.[0] ?? undefined
      return cell === undefined ? undefined : Buffer.from(cell as Uint8Array).toString('utf8')
    },

    async read(since) {
      const by = since && quoted(since.column)
      const sql = since ? `select * from ${feed} where ${by} >= ${comparable(since)} order by ${by}` : query
      rows = connection.query(asked(sql)).stream({ highWaterMark: 64 })
      // What goes wrong is told to whoever takes the next row.
      rows.on('error', () => {})
      iterator = rows[Symbol.asyncIterator]()
    },

    async more() {
      const some: Row[] = []
      let bytes = 0
      do {
        const step = await (iterator as AsyncIterator<Row>).next()
        if (step.done) {
          if (!some.length) rows = undefined
          break
        }
        some.push(step.value)
        bytes += sizeOf(step.value)
      } while (some.length < MOST_ROWS && bytes < BATCH_BYTES && rows?.readableLength)
      return some
    },

    close(busy) {
      if (!busy && !rows) return leased.end()
      return leased.end(async (running) => {
        await leased.cancel(running).catch(() => {})
        // It would take all rows that are still on their way.
        running.destroy()
        running.stream.destroy()
      })
    },
  }
}

function quoted(name: string): string {
  return `feed.\`${name.replaceAll('`', '``')}\``
}

/** Numbers of the protocol. */
const TYPE = { timestamp: 7, date: 10, datetime: 12, year: 13, newDate: 14, bit: 16, json: 245, decimal: 246, geometry: 255 } as const
const INTEGERS: readonly number[] = [1, 2, 3, 8, 9, TYPE.year]
const STRINGS: readonly number[] = [249, 250, 251, 252, 253, 254, TYPE.geometry]
const BINARY = 63

function valuesOf({ columnType, characterSet, extendedFormat }: Field): Column['values'] {
  if (columnType === TYPE.json || extendedFormat === 'json') return asJson
  if (columnType === TYPE.timestamp) return asMoment
  if (columnType === TYPE.datetime) return asLocalTime
  if (columnType === TYPE.date || columnType === TYPE.newDate) return asDate
  if (columnType === TYPE.bit) return asBits
  return STRINGS.includes(columnType) && characterSet === BINARY ? asBytes : asText
}

/**
 * In digits, so that no way of quoting and no setting of the server's can make anything else of it; the driver's own binding is
 * quoting, too. A number would be compared as a float with a text.
 */
function literal(value: string, field: Field | undefined): string {
  const text = `_utf8mb4 x'${Buffer.from(value).toString('hex')}'`
  if (field && INTEGERS.includes(field.columnType)) return `cast(${text} as decimal(65, 0))`
  if (field?.columnType === TYPE.decimal) return `cast(${text} as decimal(65, ${Math.min(field.decimals, 30)}))`
  return text
}
