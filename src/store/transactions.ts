// One transaction on one connection. knex's own transaction object costs more than all the statements of a sign-in
// together; what we need of it (no savepoints, no nesting) is begin, commit and rollback.

import type { Knex } from 'knex'
import { type CopyStreamQuery, from as copyFrom } from 'pg-copy-streams'
import type { Tx } from '../flows/ports.ts'
import type { Sealer } from './sealing.ts'

/** knex, bound to a transaction's connection. */
export interface Queries {
  // biome-ignore lint/suspicious/noExplicitAny: rows are typed where they are read, as with knex itself
  (table: string | Knex.QueryBuilder): Knex.QueryBuilder<any, any>
  raw(sql: string, bindings?: readonly Knex.RawBinding[]): Knex.Raw
  ref(column: string): Knex.Ref<string, Record<string, string>>
}

/** Those of a transaction, with what opens and seals what is kept. */
export interface TxQueries extends Queries {
  readonly sealer: Sealer
  readonly dialect: 'sqlite' | 'postgres'
  /** Runs a long statement as it is, with the driver's own marks, past what knex would do to it. */
  many(sql: string, bindings: readonly unknown[]): Promise<void>
  /** PostgreSQL’s COPY … FROM STDIN with these bytes. */
  copy(sql: string, data: Buffer): Promise<void>
  /** Rows that are read for a change are held until the end. */
  readonly holds?: true
}

/** Whoever else wants to change these rows waits. SQLite's writer is alone anyway. For `modify`; without a table nothing is held. */
export function holdRow(query: Lockable, table: string | undefined, how: 'forUpdate' | 'forShare' = 'forUpdate'): void {
  if (table !== undefined && query.client?.dialect === 'postgresql') query[how](table)
}

/** knex does not declare a builder's client. */
interface Lockable {
  readonly client?: { readonly dialect?: string }
  forUpdate(table: string): unknown
  forShare(table: string): unknown
}

/** What a pool hands out; the mark makes it throw the connection away instead of lending it again. */
interface Connection {
  __knex__disposed?: unknown
}

/** @param begin the statements before anything else */
export async function transaction<Result>(
  knex: Knex,
  begin: readonly string[],
  work: (tx: Tx) => Promise<Result>,
  sealer: Sealer,
): Promise<Result> {
  const connection: Connection = await knex.client.acquireConnection()
  const run = (sql: string) => knex.raw(sql).connection(connection)
  try {
    for (const sql of begin) await run(sql)
    const result = await work(bind(knex, connection, sealer) as unknown as Tx)
    await run('commit')
    return result
  } catch (error) {
    // A connection on which even that fails is no good to the next one.
    await run('rollback').catch((cause: unknown) => {
      connection.__knex__disposed = cause
    })
    throw error
  } finally {
    await knex.client.releaseConnection(connection)
  }
}

/** The queries behind a Tx. For store/ alone. */
export function inside(tx: Tx): TxQueries {
  return tx as unknown as TxQueries
}

function bind(knex: Knex, connection: Connection, sealer: Sealer): TxQueries {
  const queries = (table: string | Knex.QueryBuilder) => knex(table as string).connection(connection)
  return Object.assign(queries, {
    raw: (sql: string, bindings: readonly Knex.RawBinding[] = []) => knex.raw(sql, bindings as Knex.RawBinding[]).connection(connection),
    ref: (column: string) => knex.ref(column),
    sealer,
    dialect: knex.client.dialect === 'postgresql' ? ('postgres' as const) : ('sqlite' as const),
    many: async (sql: string, bindings: readonly unknown[]): Promise<void> => {
      await knex.client._query(connection, { sql, bindings, method: 'raw' })
    },
    copy: (sql: string, data: Buffer) =>
      new Promise<void>((resolve, reject) => {
        const stream = (connection as { query(copy: CopyStreamQuery): CopyStreamQuery }).query(copyFrom(sql))
        stream.on('error', reject)
        stream.on('finish', resolve)
        stream.end(data)
      }),
    holds: true as const,
  })
}
