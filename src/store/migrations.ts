// Runs the files of migrations/ in order of their names, and tells whether the database is at the newest.

import { readdirSync } from 'node:fs'
import type { Knex } from 'knex'
import type { Db } from './db.ts'

const folder = new URL('../../migrations/', import.meta.url)

const migrationSource: Knex.MigrationSource<string> = {
  getMigrations: async () =>
    readdirSync(folder)
      .filter((file) => /^\d{4}_.*\.ts$/.test(file))
      .sort(),
  getMigrationName: (file) => file,
  getMigration: (file) => import(new URL(file, folder).href),
}

const config: Knex.MigratorConfig = { migrationSource, tableName: 'migrations' }

/** @returns the names of the migrations that were run now */
export async function migrateUp(db: Db): Promise<readonly string[]> {
  const [, names] = await db.writer.migrate.latest(config)
  return names
}

/** Takes the newest migration back, or all of them. @returns the names of those taken back */
export async function migrateDown(db: Db, how: 'one' | 'all' = 'one'): Promise<readonly string[]> {
  if (how === 'all') return (await db.writer.migrate.rollback(config, true))[1]
  return (await db.writer.migrate.down(config))[1]
}

/** Names of migrations that the database has not seen. */
export async function pendingMigrations(db: Db): Promise<readonly string[]> {
  const pending: readonly unknown[] = (await db.writer.migrate.list(config))[1]
  return pending.map((one) => (typeof one === 'string' ? one : (one as { file: string }).file))
}
