// knex's SQLite client with a habit of ours: statements stay prepared. Compiling them again for every call, on another
// thread, costs more than running them.

import Sqlite3Client, { type Query } from 'knex/lib/dialects/sqlite3/index.js'
import type { Database, Statement } from 'sqlite3'

/** As many as one connection keeps; the house has about sixty. */
const MOST_STATEMENTS = 200
const keptStatements = new WeakMap<Database, Map<string, Statement>>()

export class SqliteClient extends Sqlite3Client {
  override async _query(connection: Database, query: Query): Promise<Query> {
    // Schema changes run once, and a kept statement would outlive what it was compiled for.
    if (!/^\s*(select|insert|update|delete|begin|commit|rollback)/i.test(query.sql)) return super._query(connection, query)
    const statement = await prepared(connection, query.sql)
    return new Promise((resolve, reject) => {
      const done = function (this: unknown, error: Error | null, response?: unknown) {
        if (error) return reject(error)
        // knex reads `changes` and `lastID` off the context.
        resolve(Object.assign(query, { response, context: this }))
      }
      if (wantsRows(query)) statement.all(query.bindings, done)
      else statement.run(query.bindings, done)
    })
  }

  override async destroyRawConnection(connection: Database): Promise<void> {
    const statements = keptStatements.get(connection)?.values() ?? []
    // SQLite does not close while a statement is left.
    await Promise.all(Array.from(statements, (statement) => new Promise<void>((resolve) => statement.finalize(() => resolve()))))
    keptStatements.delete(connection)
    return super.destroyRawConnection(connection)
  }
}

function wantsRows({ method, returning }: Query): boolean {
  if (method === 'insert' || method === 'update') return Boolean(returning)
  return method !== 'counter' && method !== 'del'
}

function prepared(connection: Database, sql: string): Promise<Statement> {
  let statements = keptStatements.get(connection)
  if (!statements) {
    statements = new Map()
    keptStatements.set(connection, statements)
  }
  const kept = statements.get(sql)
  if (kept) return Promise.resolve(kept)
  const all = statements
  return new Promise((resolve, reject) => {
    const statement = connection.prepare(sql, (error: Error | null) => {
      if (error) return reject(error)
      const [oldest] = all
      if (oldest && all.size >= MOST_STATEMENTS) {
        all.delete(oldest[0])
        oldest[1].finalize()
      }
      all.set(sql, statement)
      resolve(statement)
    })
  })
}
