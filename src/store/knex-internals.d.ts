// The class of knex that sqlite-client.ts extends; knex ships it without types.

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
    _query(connection: Database, query: Query): Promise<Query>
    destroyRawConnection(connection: Database): Promise<void>
  }
}
