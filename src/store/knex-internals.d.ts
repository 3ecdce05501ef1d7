// The two classes of knex that db.ts extends; knex ships them without types.

declare module 'knex/lib/dialects/sqlite3/index.js' {
  export default class Sqlite3Client {
    transaction(...args: unknown[]): unknown
  }
}

declare module 'knex/lib/dialects/sqlite3/execution/sqlite-transaction.js' {
  export default class SqliteTransaction {
    constructor(client: unknown, ...args: unknown[])
    query(connection: unknown, sql: string): Promise<unknown>
  }
}
