// Opens the database and owns its transactions. SQLite (one writing connection, a few reading ones, WAL) or PostgreSQL.
// Turns what drivers throw into what flows understand: a lost race is tried again, a lost database is StoreUnavailable.

import { mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import knex, { type Knex } from 'knex'
import type { Database } from 'sqlite3'
import { StoreUnavailable, type Transactions, type Tx } from '../flows/ports.ts'
import { ALONE_WITH_NEWCOMERS } from './newcomers.ts'
import { PostgresClient } from './postgres-client.ts'
import { type DataKeys, type Sealer, sealer } from './sealing.ts'
import { SqliteClient } from './sqlite-client.ts'
import { inside, transaction } from './transactions.ts'

export type DatabaseLocation = { readonly sqlite: string } | { readonly postgres: string }

export interface Db extends Transactions {
  readonly dialect: 'sqlite' | 'postgres'
  /** For looking only: outside any transaction, what is committed at this moment. */
  read<Result>(look: (knex: Knex) => Promise<Result>): Promise<Result>
  /** Opens what is kept of sources' words. */
  readonly sealer: Sealer
  /** For migrations and tests; everything else goes through `read` and `inTransaction`. */
  readonly writer: Knex
  close(): Promise<void>
}

/** How long one waits for another writer, or for a connection, before the database counts as unavailable. */
const PATIENCE_MS = 5_000
/** A PostgreSQL that is silent for longer has hung, or the network has. */
const SLOWEST_QUERY_MS = 15_000
const MOST_ATTEMPTS = 40
/** Many who lose to one another at once must not come back at once. */
const LONGEST_PAUSE_MS = 150

export function openDatabase(location: DatabaseLocation, keys: DataKeys): Db {
  // A flow looks at several tables before it decides; it must see them all as they were at one moment. SQLite takes its
  // write lock at once: a transaction that reads first and then writes is refused without waiting.
  const begin = 'postgres' in location ? 'begin isolation level repeatable read' : 'begin immediate'
  const { writer, reader } = 'sqlite' in location ? openSqlite(location.sqlite) : openPostgres(location.postgres)
  const sealing = sealer(keys)
  return {
    dialect: 'sqlite' in location ? 'sqlite' : 'postgres',
    writer,
    sealer: sealing,
    read: (look) => translated(() => look(reader)),
    inTransaction: (work, { createsMany = false } = {}) =>
      retried((beaten) => {
        // Whoever was beaten again and again waits for their turn.
        const first = 'postgres' in location && (createsMany || beaten >= 2) ? [begin, ALONE_WITH_NEWCOMERS] : [begin]
        return translated(() => transaction(writer, first, work, sealing))
      }),
    async close() {
      await writer.destroy()
      if (reader !== writer) await reader.destroy()
    },
  }
}

/** knex tells the console what it also throws; whoever catches it has a log of their own. */
const quiet = { warn() {}, error() {}, deprecate() {}, debug() {} }

function openPostgres(connectionString: string) {
  const both = knex({
    client: PostgresClient as unknown as typeof Knex.Client,
    log: quiet,
    connection: {
      connectionString,
      application_name: 'gatehouse',
      connectionTimeoutMillis: PATIENCE_MS,
      query_timeout: SLOWEST_QUERY_MS,
      keepAlive: true,
    },
    pool: { min: 0, max: 10 },
    acquireConnectionTimeout: PATIENCE_MS,
  })
  return { writer: both, reader: both }
}

/** A checkpoint copies each changed page once, however often it changed: a longer log (32 MB) copies the busy ones less often. */
function openSqlite(filename: string) {
  mkdirSync(dirname(filename), { recursive: true, mode: 0o700 })
  const open = (most: number, cacheKiB: number) =>
    knex({
      client: SqliteClient as unknown as typeof Knex.Client,
      connection: { filename },
      useNullAsDefault: true,
      log: quiet,
      pool: {
        min: 1,
        max: most,
        afterCreate: (connection: Database, done: (error: Error | null) => void) => {
          // In the order they are asked, whichever of the driver's threads is free.
          connection.serialize()
          connection.exec(
            `pragma busy_timeout = ${PATIENCE_MS}; pragma journal_mode = wal; pragma synchronous = full; pragma foreign_keys = on; pragma wal_autocheckpoint = 8000; pragma cache_size = -${cacheKiB}; pragma temp_store = memory;`,
            done,
          )
        },
      },
      acquireConnectionTimeout: PATIENCE_MS * 2,
    })
  // SQLite has one writer anyway; queueing for it here beats being refused by it.
  return { writer: open(1, 24_576), reader: open(2, 8_192) }
}

/** Another transaction was first: look again, with its result in view. */
async function retried<Result>(attempt: (beaten: number) => Promise<Result>): Promise<Result> {
  for (let count = 1; ; count++) {
    try {
      return await attempt(count - 1)
    } catch (error) {
      if (!lostRace(error)) throw error
      if (count === MOST_ATTEMPTS) throw new StoreUnavailable('too many want the same at once', { cause: error })
      if (count > 2) await pause(Math.random() * Math.min(2 ** count, LONGEST_PAUSE_MS))
    }
  }
}

async function translated<Result>(attempt: () => Promise<Result>): Promise<Result> {
  try {
    return await attempt()
  } catch (error) {
    if (isUnavailable(error)) throw new StoreUnavailable('the database cannot be reached', { cause: error })
    throw withoutValues(error)
  }
}

/** PostgreSQL: unique_violation, serialization_failure, deadlock_detected, and what follows one of them. SQLite: a unique or primary key. */
function lostRace(error: unknown): boolean {
  const { code, message } = error as { code?: string; message?: string }
  if (code === 'SQLITE_CONSTRAINT') return /UNIQUE constraint/.test(message ?? '')
  return code === '23505' || code === '40001' || code === '40P01' || code === '25P02'
}

/** knex puts the whole statement into the message, with what people are called in it; what went wrong comes after that. */
function withoutValues(error: unknown): unknown {
  if (error instanceof Error && 'code' in error) {
    const at = error.message.lastIndexOf(' - ')
    if (at > 0) error.message = error.message.slice(at + 3)
  }
  return error
}

function isUnavailable(error: unknown): boolean {
  const { code, message, name } = error as { code?: string; message?: string; name?: string }
  if (name === 'KnexTimeoutError') return true
  if (code && /^(ECONN|EPIPE|ENOTFOUND|EAI_AGAIN|ETIMEDOUT|EHOST|ENETUNREACH|08|57P|53)/.test(code)) return true
  if (code && /^SQLITE_(BUSY|LOCKED|CANTOPEN|IOERR|FULL|READONLY|NOTADB|CORRUPT)/.test(code)) return true
  return /Connection terminated|Client has encountered a connection error|timeout expired|Query read timeout/.test(message ?? '')
}

/**
 * Runs `delete … returning *` and hands over the row; a second call finds nothing. One statement, so that of two
 * transactions only one gets it. (knex writes RETURNING on a delete for PostgreSQL only.)
 */
export async function takeRow<Row>(tx: Tx, sql: string, bindings: readonly Knex.RawBinding[]): Promise<Row | undefined> {
  const answer = await inside(tx).raw(sql, bindings)
  const rows: Row[] = Array.isArray(answer) ? answer : answer.rows
  return rows[0]
}

/** A JSON column as PostgreSQL (parsed) and SQLite (text) hand it over. Dates inside stay text. */
export function fromJson<Value>(column: unknown): Value {
  return (typeof column === 'string' ? JSON.parse(column) : column) as Value
}

/** A timestamp column as PostgreSQL (Date) and SQLite (milliseconds) hand it over. */
export function toDate(column: unknown): Date {
  return column instanceof Date ? column : new Date(column as number)
}
