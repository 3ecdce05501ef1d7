// The two classes of knex that sqlite-client.ts extends; knex ships them without types.

declare module 'knex/lib/dialects/sqlite3/index.js' {
  import type { Database } from 'sqlite3'

  export interface Query {
    readonly sql: string
    readonly bindings: readonly unknown[]
    readonly method?: string
    readonly returning?: unknown
    response?: unknown
    context?: unknown
  }

  export default class Sqlite3Client {
    transaction(...args: unknown[]): unknown
    _query(connection: Database, query: Query): Promise<Query>
    destroyRawConnection(connection: Database): Promise<void>
  }
}

declare module 'knex/lib/dialects/sqlite3/execution/sqlite-transaction.js' {
  export default class SqliteTransaction {
    constructor(client: unknown, ...args: unknown[])
    query(connection: unknown, sql: string): Promise<unknown>
  }
}
