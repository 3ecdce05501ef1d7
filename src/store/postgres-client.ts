// knex's PostgreSQL client with a habit of ours: a flow may ask several questions of one transaction at once, and its connection is
// asked one after the other. The driver keeps such a queue, too, but will not for much longer (pg 9).

import PostgresqlClient, { type PostgresQuery } from 'knex/lib/dialects/postgres/index.js'

/** What was asked last of each connection. */
const asked = new WeakMap<object, Promise<unknown>>()

export class PostgresClient extends PostgresqlClient {
  override _query(connection: object, query: PostgresQuery): Promise<PostgresQuery> {
    const ask = () => super._query(connection, query)
    const answered = asked.get(connection)?.then(ask, ask) ?? ask()
    asked.set(connection, answered)
    return answered
  }
}
