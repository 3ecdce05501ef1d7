// What drivers and databases throw, in the words of a feed. The database's own message stays, because it names the column or the
// line; the driver's error does not come along, because some of them hold the settings of the connection.

import { FeedFailure, type FeedFailureCode } from '../../flows/feed-ports.ts'

interface Thrown {
  readonly name?: string
  readonly message?: string
  /** PostgreSQL: its SQLSTATE. SQLite: its result code. Otherwise Node's, or mysql2's. */
  readonly code?: string
  readonly sqlState?: string
  readonly errno?: number
  /** One for each address that was tried. */
  readonly errors?: readonly Thrown[]
}

export function failureOf(error: unknown, hide: (text: string) => string): FeedFailure {
  if (error instanceof FeedFailure) return error
  // Ours, not the database's.
  if (error instanceof TypeError || error instanceof ReferenceError) throw error
  const thrown = error as Thrown
  const { code, said } = named(thrown)
  const own = thrown.message || thrown.errors?.[0]?.message || thrown.code || 'it does not say why'
  return new FeedFailure(code, hide(`${said}: ${own}`))
}

interface Named {
  readonly code: FeedFailureCode
  readonly said: string
}

function named(thrown: Thrown): Named {
  const { code = '', message = '' } = thrown
  if (code.startsWith('SQLITE_')) return ofSqlite(code, message)
  if (TLS.test(code) || /does not support SSL|SSL connection/.test(message)) return NO_TLS
  const state = thrown.sqlState ?? (/^(\d|F0|HV|P0|XX)[0-9A-Z]+$/.test(code) ? code : '')
  const byNumber = thrown.errno === undefined ? undefined : MYSQL[thrown.errno]
  if (byNumber) return byNumber
  if (state) return BY_STATE.find(([beginning]) => state.startsWith(beginning))?.[1] ?? QUERY
  return /^SASL|password/.test(message) ? DENIED : UNREACHABLE
}

const TLS = /^(CERT_|ERR_TLS|ERR_SSL|ERR_OSSL|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO_|HANDSHAKE_NO_SSL|HANDSHAKE_SSL)/

const NO_TLS: Named = { code: 'misconfigured', said: 'the server cannot do TLS, or its certificate is not to be trusted' }
const UNREACHABLE: Named = { code: 'unreachable', said: 'the database cannot be reached, or the connection broke off' }
const DENIED: Named = { code: 'denied', said: 'the database does not let this user in, or does not let them read this' }
const WRITES: Named = { code: 'denied', said: 'the query tries to change something, and may only read' }
const SLOW: Named = { code: 'too-slow', said: 'the database gave up, because it took too long' }
const STOPPED: Named = { code: 'cut-off', said: 'the query was stopped at the database' }
const QUERY: Named = { code: 'misconfigured', said: 'the query cannot be run as it is' }
const SYNTAX: Named = { code: 'misconfigured', said: 'the query has to be a single select that only reads' }

/** The longer beginning comes first. */
const BY_STATE: readonly (readonly [string, Named])[] = [
  ['25006', WRITES],
  ['28', DENIED],
  ['42501', DENIED],
  ['42601', SYNTAX],
  ['0A000', SYNTAX],
  // Nothing is bound when a query is looked at: it has a $1 of its own.
  ['08P01', SYNTAX],
  ['55P03', SLOW],
  ['57014', STOPPED],
  ['57', UNREACHABLE],
  ['08', UNREACHABLE],
  ['53', UNREACHABLE],
  ['58', UNREACHABLE],
  ['40', UNREACHABLE],
  ['XX', UNREACHABLE],
]

/** Where its SQLSTATE is the same for much else. */
const MYSQL: Readonly<Record<number, Named>> = {
  1040: UNREACHABLE,
  1044: DENIED,
  1053: UNREACHABLE,
  1064: SYNTAX,
  1129: UNREACHABLE,
  1130: DENIED,
  1142: DENIED,
  1143: DENIED,
  1205: SLOW,
  1227: DENIED,
  1317: STOPPED,
  1370: DENIED,
  1969: SLOW,
  3024: SLOW,
}

function ofSqlite(code: string, message: string): Named {
  switch (code) {
    case 'SQLITE_READONLY':
      return WRITES
    case 'SQLITE_PERM':
    case 'SQLITE_AUTH':
      return DENIED
    case 'SQLITE_NOTADB':
    case 'SQLITE_CORRUPT':
      return { code: 'malformed', said: 'the file is not a database of SQLite, or is damaged' }
    case 'SQLITE_BUSY':
    case 'SQLITE_LOCKED':
      return { code: 'too-slow', said: 'somebody else held the file for too long' }
    case 'SQLITE_TOOBIG':
      return { code: 'too-large', said: 'a value is beyond the limit of a row' }
    case 'SQLITE_CANTOPEN':
    case 'SQLITE_IOERR':
    case 'SQLITE_NOMEM':
    case 'SQLITE_FULL':
      return { code: 'unreachable', said: 'the file cannot be opened, or not be read' }
    case 'SQLITE_INTERRUPT':
      return STOPPED
    default:
      return /syntax error|incomplete input|parameters are not allowed/.test(message) ? SYNTAX : QUERY
  }
}
