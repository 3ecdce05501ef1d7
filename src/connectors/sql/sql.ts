// Reads people from a table or a view of PostgreSQL, MariaDB or MySQL, or SQLite, as the rows come: never the whole result at
// once. It only reads: what a query of the administrator's would change is refused by the database (see database.ts). A user of
// the database who may do nothing but select is still the better wall.
//
// Changes are asked for by a column that grows with each (`changedBy`): `where changedBy >= the greatest seen`, so rows at the
// boundary come again. The greatest is the database's to find, because only it knows the order of its numbers, texts and
// microseconds; a feed that ends with a cursor asks for it before the first row, in the same transaction. Without an index on that
// column the database goes through the query twice. Rows that are committed late with an early time are missed by any such
// feed; a full one finds them.

import { bare } from '../../domain/bare.ts'
import type { SqlSettings } from '../../domain/documents/source.ts'
import {
  type Connector,
  type Feed,
  type FeedBatch,
  type FeedEnd,
  FeedFailure,
  type FeedLimits,
  type FeedRow,
} from '../../flows/feed-ports.ts'
import { discoverIn } from '../discovery.ts'
import { addressOf, withoutSecrets } from './address.ts'
import { type Column, type Database, type Row, sizeOf } from './database.ts'
import { mysql } from './mysql.ts'
import { type Patience, patience } from './patience.ts'
import { postgres } from './postgres.ts'
import { sqlite } from './sqlite.ts'

export interface SqlAsk {
  readonly settings: SqlSettings
  /** What a variable holds. */
  readonly secrets: (name: string) => string
  readonly limits: FeedLimits
}

interface Wanted {
  /** Whether the feed ends with a cursor. */
  readonly cursor: boolean
  readonly since?: string
}

export function sqlConnector({ settings, secrets, limits }: SqlAsk): Connector {
  const { changedBy } = settings
  const read = (signal: AbortSignal, wanted: Wanted) => begun({ settings, secrets, limits }, wanted, signal)
  return {
    kind: 'sql',
    changesShowLeavers: false,
    async test(signal) {
      const { columns = [], batches } = await read(signal, { cursor: false })
      const first = await batches.next()
      await batches.return({})
      const shown = `${columns.slice(0, 20).join(', ')}${columns.length > 20 ? ', …' : ''}`
      return `the query has ${columns.length} columns: ${shown}; ${first.done ? 'it finds nobody' : 'its first row could be read'}`
    },
    readFull: (signal) => read(signal, { cursor: changedBy !== undefined }),
    ...(changedBy === undefined ? {} : { readChanges: (since, signal) => read(signal, { cursor: true, since }) }),
    discover: async (signal) => discoverIn(await read(signal, { cursor: false })),
  }
}

/** A generator that has not begun does nothing when it is told to return: it begins here, up to where the columns are known. */
async function begun(ask: SqlAsk, wanted: Wanted, signal: AbortSignal): Promise<Feed> {
  let columns: readonly string[] = []
  const batches = batchesOf(ask, wanted, signal, (found) => {
    columns = found
  })
  await batches.next()
  return { columns, batches }
}

const BEGUN: FeedBatch = { rows: [], faults: [], done: 0 }

async function* batchesOf(
  { settings, secrets, limits }: SqlAsk,
  { cursor, since }: Wanted,
  signal: AbortSignal,
  found: (columns: readonly string[]) => void,
): AsyncGenerator<FeedBatch, FeedEnd, void> {
  const { database, wait } = opened({ settings, secrets, limits }, signal)
  try {
    await wait.ask(
      () => database.open(),
      new FeedFailure('unreachable', `there was no connection to the database within ${limits.patienceMs / 1_000} seconds`),
    )
    const columns = await wait.ask(() => database.describe())
    check(columns, settings, limits)
    found(columns.map(({ name }) => name))
    yield BEGUN

    const by = settings.changedBy
    const greatest = cursor && by !== undefined ? await wait.ask(() => database.greatest(by)) : undefined
    await wait.ask(() => database.read(by !== undefined && since !== undefined ? { column: by, value: since } : undefined))
    let done = 0
    for (;;) {
      const rows = await wait.ask(() => database.more())
      if (!rows.length) break
      yield { rows: rows.map((row) => rowOf(row, columns, ++done, limits)), faults: [], done }
    }
    const end = greatest ?? since
    return end === undefined ? {} : { cursor: end }
  } finally {
    await database.close(wait.owed)
  }
}

function opened({ settings, secrets, limits }: SqlAsk, signal: AbortSignal): { database: Database; wait: Patience } {
  const written = secrets(settings.connection.env)
  // What is behind the last row would be a statement of its own.
  const query = settings.query.replace(/[\s;]+$/, '')
  const { patienceMs } = limits
  if (settings.client === 'sqlite') {
    // It may be a URL with a password, put into the wrong variable: no message quotes it.
    if (/^[a-z][a-z0-9+.-]+:\/\//i.test(written) || !written.trim())
      throw new FeedFailure('misconfigured', `${settings.connection.env} has to hold the path of a file`)
    return { database: sqlite(written.trim(), query, limits), wait: patience({ signal, patienceMs, hide: (text) => text }) }
  }
  const address = addressOf(written, { ...settings, client: settings.client })
  return {
    database: (settings.client === 'postgres' ? postgres : mysql)(address, query, limits),
    wait: patience({ signal, patienceMs, hide: withoutSecrets(address) }),
  }
}

function check(columns: readonly Column[], { changedBy }: SqlSettings, limits: FeedLimits): void {
  const names = columns.map(({ name }) => name)
  if (!names.length) throw new FeedFailure('misconfigured', 'the query has no columns')
  if (names.length > limits.columns)
    throw new FeedFailure('too-large', `the query has ${names.length} columns; feed.columns allows ${limits.columns}`)
  const twice = names.find((name, index) => names.indexOf(name) !== index)
  if (twice !== undefined)
    throw new FeedFailure('misconfigured', `two columns of the query are called «${twice}»; «as» gives one of them another name`)
  if (changedBy !== undefined && !names.includes(changedBy))
    throw new FeedFailure('misconfigured', `the query has no column «${changedBy}», which sql.changedBy names; it has ${names.join(', ')}`)
}

function rowOf(row: Row, columns: readonly Column[], number: number, { rowBytes }: FeedLimits): FeedRow {
  if (sizeOf(row) > rowBytes) throw new FeedFailure('too-large', `row ${number} is larger than ${rowBytes} bytes`)
  const attributes = bare<readonly string[]>()
  for (let i = 0; i < columns.length; i++) {
    const { name, values } = columns[i] as Column
    const cell = row[i] ?? null
    const said = cell === null ? NOTHING : values(cell)
    if (said) attributes[name] = said
  }
  return { place: `row ${number}`, attributes }
}

const NOTHING: readonly string[] = []
