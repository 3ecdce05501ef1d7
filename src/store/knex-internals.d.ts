// The classes of knex that sqlite-client.ts and postgres-client.ts extend; knex ships them without types.

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

declare module 'knex/lib/dialects/postgres/index.js' {
  export interface PostgresQuery {
    readonly sql: string
    readonly bindings: readonly unknown[]
    response?: unknown
  }

  export default class PostgresqlClient {
    _query(connection: object, query: PostgresQuery): Promise<PostgresQuery>
  }
}
