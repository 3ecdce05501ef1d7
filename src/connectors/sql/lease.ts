// One connection for one read, out of a pool of one that ends with it. However the read ends, the connection is given back, what
// still runs at the server is stopped there, and nobody waits long for either.

import { setTimeout as pause } from 'node:timers/promises'
import knex, { type Knex } from 'knex'

/** What knex has of a dialect; it does not declare it. */
interface Client<Connection> {
  acquireConnection(): Promise<Connection>
  releaseConnection(connection: Connection): Promise<void>
  /** Over a connection of its own. */
  cancelQuery(connection: Connection): Promise<unknown>
}

export interface Lease<Connection> {
  take(): Promise<Connection>
  /** @param stop what has to happen to the connection first, if it is in the middle of something */
  end(stop?: (connection: Connection) => Promise<unknown>): Promise<void>
  /** Asks the server to stop what this connection runs. */
  cancel(connection: Connection): Promise<unknown>
}

/** knex tells the console what it also throws. */
const quiet = { warn() {}, error() {}, deprecate() {}, debug() {} }

/** A server that does not even answer this is left alone. */
const LONGEST_END_MS = 2_000

export function lease<Connection>(
  config: Pick<Knex.Config, 'client' | 'connection' | 'useNullAsDefault'>,
  patienceMs: number,
): Lease<Connection> {
  // Whoever waits for the connection gives up first, and says so; these only see to it that nothing stays behind.
  const longest = patienceMs + 1_000
  const pool = knex({
    ...config,
    log: quiet,
    pool: { min: 0, max: 1, createTimeoutMillis: longest, acquireTimeoutMillis: longest },
  })
  const client: Client<Connection> = pool.client
  let asked: Promise<Connection> | undefined
  let connection: Connection | undefined
  return {
    async take() {
      asked = client.acquireConnection()
      connection = await asked
      return connection
    },
    cancel: (running) => client.cancelQuery(running),
    async end(stop) {
      if (connection === undefined) {
        // It may come yet, and is closed then.
        asked?.then((late) => client.releaseConnection(late)).catch(() => {})
        pool.destroy().catch(() => {})
        return
      }
      const given = connection
      connection = undefined
      if (stop) await soon(stop(given))
      await client.releaseConnection(given)
      await soon(pool.destroy())
    },
  }
}

/** What fails here has nobody left who would mind. */
async function soon(work: Promise<unknown>): Promise<void> {
  const enough = new AbortController()
  const longest = pause(LONGEST_END_MS, undefined, { signal: enough.signal })
  await Promise.race([work, longest]).catch(() => {})
  enough.abort()
  await longest.catch(() => {})
}
