// SQLite: a file that is opened for reading, and a query that becomes a view of this connection alone, which only a single select
// can be. That is the wall: ATTACH on such a connection would still make a file. Rows are stepped through one by one, within a
// read transaction; a writer waits for it where the file has no write-ahead log.

import { setTimeout as pause } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { FeedFailure } from '../../flows/feed-ports.ts'
import { BATCH_BYTES, type Cell, type Column, type Database, MOST_ROWS, type Row, type Since, sizeOf } from './database.ts'
import { lease } from './lease.ts'
import { asLoosely } from './values.ts'

type Found = Readonly<Record<string, string | number | Uint8Array | null>>

interface Statement {
  /** Steps to the next row; undefined: there are no more. */
  get(done: (error: Error | null, row?: Found) => void): unknown
  finalize(done: () => void): unknown
}

/** What node-sqlite3's database has, as far as it is used here. */
interface Connection {
  all(sql: string, values: readonly string[], done: (error: Error | null, rows: readonly Found[]) => void): unknown
  prepare(sql: string, values: readonly string[], done: (error: Error | null) => void): Statement
  configure(option: 'limit', limit: number, value: number): void
  interrupt(): void
}

/** SQLITE_LIMIT_LENGTH: bytes of one value. The schema has to be read, too. */
const LIMIT_LENGTH = 0
const SMALLEST_LENGTH = 1024 * 1024
const LONGEST_LOCK_MS = 5_000
/** What has been read goes on its way, even if there is little of it. */
const BATCH_MS = 200
const VIEW = 'gatehouse_feed'

export function sqlite(file: string, query: string, { patienceMs, rowBytes }: { patienceMs: number; rowBytes: number }): Database {
  const leased = lease<Connection>(
    {
      client: 'sqlite3',
      // knex has no flag for reading only; SQLite's own way to say so is in the file's name.
      connection: { filename: `${pathToFileURL(file).href}?mode=ro`, flags: ['OPEN_URI'] },
      useNullAsDefault: true,
    },
    patienceMs,
  )
  let connection: Connection
  let selected = ''
  let statement: Statement | undefined
  let running: Promise<unknown> = Promise.resolve()
  let stopped = false

  const noted = <Result>(work: Promise<Result>): Promise<Result> => {
    running = work.catch(() => {})
    return work
  }
  const all = (sql: string, values: readonly string[] = []) =>
    noted(
      new Promise<readonly Found[]>((resolve, reject) => {
        connection.all(sql, values, (error, rows) => (error ? reject(error) : resolve(rows)))
      }),
    )
  const step = (from: Statement) =>
    new Promise<Found | undefined>((resolve, reject) => {
      from.get((error, row) => (error ? reject(error) : resolve(row)))
    })
  const some = async (from: Statement) => {
    const rows: Row[] = []
    const began = performance.now()
    let bytes = 0
    while (!stopped && rows.length < MOST_ROWS && bytes < BATCH_BYTES && (!rows.length || performance.now() - began < BATCH_MS)) {
      const found = await step(from)
      if (!found) break
      const row = Object.values(found).map((cell): Cell => (typeof cell === 'number' ? String(cell) : cell))
      rows.push(row)
      bytes += sizeOf(row)
    }
    return rows
  }

  return {
    async open() {
      connection = await leased.take()
      connection.configure('limit', LIMIT_LENGTH, Math.max(rowBytes, SMALLEST_LENGTH))
      await all(`pragma busy_timeout = ${Math.min(patienceMs, LONGEST_LOCK_MS)}`)
      await all('pragma temp_store = memory')
      // The file's header; without it, something else than a database is found out late.
      await all('select count(*) from sqlite_master')
    },

    async describe() {
      await all(`create temp view ${VIEW} as select * from (\n${query}\n)`)
      const [view] = await all(`select sql from sqlite_temp_master where name = '${VIEW}'`)
      // Only the first statement is ever looked at.
      if (!String(view?.sql).endsWith(`(\n${query}\n)`)) throw new FeedFailure('misconfigured', 'the query is more than one statement')
      const names = (await all(`select name from pragma_table_info('${VIEW}', 'temp')`)).map(({ name }) => String(name))
      const twice = sameName(names)
      if (twice !== undefined) throw new FeedFailure('misconfigured', `two columns of the query are called «${twice}»`)
      await all('pragma query_only = on')
      await all('begin')
      selected = names.map((name, index) => `${exactly(quoted(name))} as c${index}`).join(', ')
      return names.map((name): Column => ({ name, values: asLoosely }))
    },

    async greatest(column) {
      const by = quoted(column)
      const [row] = await all(
        `select typeof(${by}) || ':' || ${exactText(by)} as value from temp.${VIEW} where ${by} is not null order by ${by} desc limit 1`,
      )
      return row ? String(row.value) : undefined
    },

    async read(since) {
      const { where, values } = after(since)
      await noted(
        new Promise<void>((resolve, reject) => {
          const prepared = connection.prepare(`select ${selected} from temp.${VIEW}${where}`, values, (error) => {
            if (error) return reject(error)
            statement = prepared
            resolve()
          })
        }),
      )
    },

    more: () => noted(some(statement as Statement)),

    async close(busy) {
      stopped = true
      await leased.end(async () => {
        if (busy) await interrupted(connection, running)
        // SQLite does not close while a statement is left.
        await new Promise<void>((resolve) => (statement ? statement.finalize(resolve) : resolve()))
      })
    },
  }
}

/** An interrupt between two steps is lost: it is repeated until what runs has stopped. */
async function interrupted(connection: Connection, running: Promise<unknown>): Promise<void> {
  let over = false
  const end = running.then(() => {
    over = true
  })
  while (!over) {
    connection.interrupt()
    await Promise.race([end, pause(20)])
  }
}

/** Not in double quotes: SQLite takes those for a text where there is no such column. */
function quoted(name: string): string {
  return `\`${name.replaceAll('`', '``')}\``
}

/** The driver makes a double of an integer, which ends at 2^53. */
function exactly(column: string): string {
  return `case typeof(${column}) when 'integer' then cast(${column} as text) else ${column} end`
}

function exactText(column: string): string {
  return `case typeof(${column}) when 'real' then printf('%!.17g', ${column}) else cast(${column} as text) end`
}

const TYPES = ['integer', 'real', 'text', 'blob']

/** What was kept says its type, because 9 and '10' have another order than 9 and 10. */
function after(since: Since | undefined): { where: string; values: readonly string[] } {
  if (!since) return { where: '', values: [] }
  const [, type = '', value = ''] = /^([a-z]+):(.*)$/s.exec(since.value) ?? []
  if (!TYPES.includes(type))
    throw new FeedFailure('misconfigured', 'where the last feed ended is not known here: it has to be read in full once')
  const by = quoted(since.column)
  return { where: ` where ${by} >= cast(? as ${type}) order by ${by}`, values: [value] }
}

/** SQLite calls the second of two like-named columns `name:1`. */
function sameName(names: readonly string[]): string | undefined {
  const lower = new Set(names.map((name) => name.toLowerCase()))
  return names.map((name) => /^(.*):\d+$/s.exec(name)?.[1]).find((name) => name !== undefined && lower.has(name.toLowerCase()))
}
