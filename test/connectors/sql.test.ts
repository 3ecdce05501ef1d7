// People from real databases: SQLite, PostgreSQL and MariaDB, with queries that end, that do not, and that try to write.

import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, connect, createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { inspect } from 'node:util'
import pg from 'pg'
import sqlite3 from 'sqlite3'
import { addressOf } from '../../src/connectors/sql/address.ts'
import { sqlConnector } from '../../src/connectors/sql/sql.ts'
import type { SqlSettings } from '../../src/domain/documents/source.ts'
import { type Connector, FeedFailure, type FeedFailureCode, type FeedLimits } from '../../src/flows/feed-ports.ts'
import { startPostgres } from '../support/databases.ts'
import { keyPair } from '../support/idp.ts'
import { startMariadb } from '../support/mariadb.ts'
import { missing } from '../support/peers.ts'
import { freePort } from '../support/ports.ts'
import { type Collected, collect, connectorContract, failsAs, type Misbehaviour } from './contract.ts'

/** Everything that an address has to write in another way. */
const SECRET = 'p@ss/word#1?%é'
const ENV = 'GATEHOUSE_SOURCE_PEOPLE'
const LIMITS: FeedLimits = { rows: 1_000_000, columns: 100, rowBytes: 200_000, patienceMs: 20_000 }
const QUERY = 'select uid, mail, dept, note, changed from people order by uid'
const never = () => new AbortController().signal

/** One database with people in it. */
interface Side {
  readonly url: string
  /** The authority of its certificate. */
  readonly ca?: string
  /** As somebody else, who may do everything. */
  run(...statements: readonly string[]): Promise<readonly Readonly<Record<string, unknown>>[]>
  /** Whether a connection of the connector's is still there. */
  running(): Promise<boolean>
  /** Ends the server in the middle of whatever it does. */
  kill?(): Promise<void>
  stop(): Promise<void>
}

interface Kind {
  readonly client: SqlSettings['client']
  readonly skip?: string | false
  start(): Promise<Side>
  /** Its tables, and whatever else would show that something was written. */
  readonly traces: readonly string[]
  readonly writes: readonly string[]
  /** Never says anything. */
  readonly endless: readonly string[]
  /** 20,000 rows of 2,000 characters, numbered. */
  readonly many: string
  /** So many characters in one cell. */
  readonly wide: (characters: number) => string
  /** Two values of `changed` that are next to each other, later than all the others. */
  readonly neighbours: readonly [string, string]
}

const people = Array.from({ length: 30 }, (_, i) => `u${String(i + 1).padStart(2, '0')}`)

/** @param moment the `changed` of the n-th of them, as SQL */
function filled(columns: string, moment: (n: number) => string): readonly string[] {
  const rows = people.map((uid, i) => `('${uid}', '${uid}@corp.example', 'dept ${i % 4}', ${i === 0 ? "''" : 'null'}, ${moment(i)})`)
  return [`create table people (${columns})`, `insert into people values ${rows.join()}`]
}

/** Files that some of the writes would leave behind. */
const OUTFILE = join(tmpdir(), `gatehouse-outfile-${process.pid}`)
const ATTACHED = join(tmpdir(), `gatehouse-attached-${process.pid}`)
const LATER = 'select 1 as uid; delete from people'
const OUT_OF_THE_BRACKETS = 'select 1 as uid) as a; delete from people; select * from (select 1 as uid'

const kinds: Readonly<Record<string, Kind>> = {
  SQLite: {
    client: 'sqlite',
    start: startSqlite,
    traces: ['select count(*) as n from people', 'select name from sqlite_master order by name'],
    writes: [
      'delete from people',
      'drop table people',
      LATER,
      OUT_OF_THE_BRACKETS,
      'select 1 as uid; commit; delete from people',
      'with gone as (select 1) delete from people',
      `attach database '${ATTACHED}' as other`,
      'pragma journal_mode = wal',
    ],
    endless: ['with recursive t(n) as (select 1 union all select n + 1 from t) select max(n) as uid from people, t'],
    many: 'with recursive t(n) as (select 1 union all select n + 1 from t where n < 20000) select n as uid, hex(zeroblob(1000)) as x from t',
    wide: (characters) => `select hex(zeroblob(${characters / 2})) as uid`,
    neighbours: ['9007199254741993', '9007199254741994'],
  },
  PostgreSQL: {
    client: 'postgres',
    start: startPostgresSide,
    traces: [
      'select count(*)::int as n from people',
      "select tablename from pg_tables where schemaname = 'public' order by 1",
      'select last_value::text from counter',
    ],
    writes: [
      'delete from people',
      'drop table people',
      LATER,
      OUT_OF_THE_BRACKETS,
      'select 1 as uid; commit; delete from people',
      'with gone as (delete from people returning *) select * from gone',
      'select leave() as uid',
      "select nextval('counter') as uid",
      'select uid into copied from people',
      "select set_config('transaction_read_only', 'off', false) as uid, leave()",
      'select uid from people for update',
    ],
    endless: [
      'select pg_sleep(600) as uid',
      'with recursive t(n) as (select 1::bigint union all select n + 1 from t) select max(n) as uid from t',
    ],
    many: "select n as uid, repeat('x', 2000) as x from generate_series(1, 20000) as n",
    wide: (characters) => `select repeat('x', ${characters}) as uid`,
    neighbours: ["'2026-05-01 00:00:00.000001'", "'2026-05-01 00:00:00.000002'"],
  },
  MariaDB: {
    client: 'mysql',
    skip: missing('mariadb'),
    start: startMariadbSide,
    traces: ['select count(*) as n from people.people', 'show tables from people', 'select next_not_cached_value as n from people.counter'],
    writes: [
      'delete from people',
      'drop table people',
      LATER,
      OUT_OF_THE_BRACKETS,
      'select leave_all() as uid',
      'select nextval(counter) as uid',
      `select uid from people into outfile '${OUTFILE}'`,
      'select uid from people for update',
      'create table copied as select uid from people',
      'call leave_again()',
      'commit',
    ],
    endless: ['select sleep(600) as uid', 'select max(a.seq + b.seq) as uid from seq_1_to_1000000000 as a, seq_1_to_1000000000 as b'],
    many: "select seq as uid, repeat('x', 2000) as x from seq_1_to_20000",
    wide: (characters) => `select repeat('x', ${characters}) as uid`,
    neighbours: ["'2026-05-01 00:00:00.000001'", "'2026-05-01 00:00:00.000002'"],
  },
}

for (const [name, kind] of Object.entries(kinds)) {
  describe(`people from ${name}`, { skip: kind.skip ?? false }, () => {
    let side: Side
    before(async () => {
      side = await kind.start()
    })
    after(() => side?.stop())

    const from = (query: string, over: Over = {}): Connector => connectorFor(side.url, { client: kind.client, query, ...over })
    const all = async (query: string, over?: Over): Promise<Collected> => collect(await from(query, over).readFull(never()))
    const fails = (query: string, codes: readonly FeedFailureCode[], over?: Over) =>
      assert.rejects(() => all(query, over), revealing(codes))
    const freed = async () => {
      for (let tries = 0; await side.running(); tries++) {
        assert.ok(tries < 500, 'a connection is left at the database')
        await pause(20)
      }
    }

    connectorContract(name, async () => ({
      connector: from(QUERY, { changedBy: 'changed' }),
      key: 'uid',
      people,
      attribute: 'dept',
      change: async () => {
        await side.run(`update people set changed = ${kind.neighbours[0]} where uid = 'u07'`)
        return 'u07'
      },
      secret: SECRET,
      misbehaving: misbehaving(kind, () => side, from),
      close: async () => {},
    }))

    it('tells null from an empty text', async () => {
      const { rows } = await all(QUERY)
      assert.deepEqual(
        rows.slice(0, 2).map(({ place, attributes }) => [place, Object.keys(attributes), attributes.note]),
        [
          ['row 1', ['uid', 'mail', 'dept', 'note', 'changed'], ['']],
          ['row 2', ['uid', 'mail', 'dept', 'note', 'changed'], []],
        ],
      )
    })

    it('says its columns before the first row, and when there is none', async () => {
      const feed = await from('select uid, note from people where uid is null;\n ; ').readFull(never())
      assert.deepEqual(feed.columns, ['uid', 'note'])
      assert.deepEqual((await collect(feed)).rows, [])
      assert.match(await from(QUERY).test(never()), /5 columns: uid, mail, dept, note, changed; its first row could be read/)
      assert.match(await from('select uid from people where uid is null -- nobody').test(never()), /1 columns: uid; it finds nobody/)
    })

    it('gives back its connection when nobody reads on', async () => {
      const { batches } = await from(kind.many).readFull(never())
      await batches.next()
      await batches.return({})
      await freed()
      const unread = await from(QUERY).readFull(never())
      await unread.batches.return({})
      await freed()
    })

    for (const query of kind.writes) {
      it(`changes nothing: ${query}`, async () => {
        const traces = async () => {
          const found: unknown[] = []
          for (const trace of kind.traces) found.push(await side.run(trace))
          return inspect(found, { depth: 5 })
        }
        const was = await traces()
        await fails(query, ['denied', 'misconfigured'])
        assert.equal(await traces(), was)
        assert.ok(!existsSync(OUTFILE) && !existsSync(ATTACHED))
        await freed()
      })
    }

    for (const query of kind.endless) {
      it(`waits only so long, and stops it at the database: ${query.slice(0, 60)}`, async () => {
        await fails(query, ['too-slow'], { limits: { patienceMs: 300 } })
        await freed()
      })

      it(`stops at once when it is told to, and at the database: ${query.slice(0, 60)}`, async () => {
        const stop = new AbortController()
        const { batches } = await from(query).readFull(stop.signal)
        const next = batches.next()
        while (!(await side.running())) await pause(20)
        stop.abort()
        await assert.rejects(next, revealing(['cancelled']))
        await freed()
      })
    }

    it('streams: some rows at a time, whatever their number', async () => {
      const { batches } = await from(kind.many).readFull(never())
      const seen = new Set<string>()
      let last = 0
      for await (const { rows, done } of batches) {
        const bytes = rows.reduce((sum, { attributes }) => sum + (attributes.x?.[0]?.length ?? 0), 0)
        assert.ok(rows.length <= 1_000 && bytes < 4_000_000, `${rows.length} rows and ${bytes} bytes at once`)
        for (const { attributes } of rows) {
          assert.equal(Number(attributes.uid?.[0]), ++last)
          seen.add(attributes.uid?.[0] as string)
        }
        assert.equal(done, last)
      }
      assert.equal(seen.size, 20_000)
      await freed()
    })

    it('refuses rows and queries that are too wide', async () => {
      assert.equal((await all(kind.wide(200_000))).rows[0]?.attributes.uid?.[0]?.length, 200_000)
      await fails(kind.wide(200_002), ['too-large'])
      await fails(kind.wide(8_000_000), ['too-large'])
      await fails(QUERY, ['too-large'], { limits: { columns: 4 } })
      assert.equal((await all(QUERY, { limits: { columns: 5 } })).rows.length, people.length)
    })

    it('says what is wrong with a query', async () => {
      const wrong: readonly (readonly [string, RegExp, Over?])[] = [
        ['select uid, mail as uid from people', /uid/],
        ['select uid, oops from people', /oops/],
        ['select uid from nowhere', /nowhere/],
        ['selekt uid from people', /selekt|single select/],
        ['select uid from people where uid = ?', /\?|single select/],
        ['', /./],
        [QUERY, /«modified».*sql\.changedBy.*uid, mail, dept, note, changed/, { changedBy: 'modified' }],
      ]
      for (const [query, message, over] of wrong) {
        await assert.rejects(
          () => all(query, over),
          (error: FeedFailure) => revealing(['misconfigured'])(error) && message.test(error.message),
          query,
        )
      }
    })

    it('asks for changes by the order of the database, to the last digit', async () => {
      const [first, second] = kind.neighbours
      const connector = from(QUERY, { changedBy: 'changed' })
      const uids = ({ rows }: Collected) => rows.map(({ attributes }) => attributes.uid?.[0])
      const since = async (cursor = '') => collect(await (connector.readChanges as NonNullable<Connector['readChanges']>)(cursor, never()))
      await side.run(`update people set changed = ${first} where uid in ('u03', 'u07')`)
      const full = await collect(await connector.readFull(never()))
      assert.deepEqual(uids(await since(full.cursor)).sort(), ['u03', 'u07'], 'those at the boundary come again')
      await side.run(`update people set changed = ${second} where uid = 'u03'`)
      const changed = await since(full.cursor)
      assert.deepEqual(uids(changed), ['u07', 'u03'], 'the oldest first')
      assert.deepEqual(uids(await since(changed.cursor)), ['u03'])
      await side.run(`update people set changed = null where uid in ('u03', 'u07')`)
      assert.deepEqual(await since(changed.cursor), {
        rows: [],
        faults: [],
        done: [],
        cursor: (await collect(await connector.readFull(never()))).cursor,
      })
      assert.equal(from(QUERY).readChanges, undefined)
    })

    it('does not lose its place when nobody is there', async () => {
      const nobody = from('select uid, changed from people where uid is null', { changedBy: 'changed' })
      assert.equal((await collect(await nobody.readFull(never()))).cursor, undefined)
      const { cursor = '' } = await all(QUERY, { changedBy: 'changed' })
      assert.equal((await collect(await (nobody.readChanges as NonNullable<Connector['readChanges']>)(cursor, never()))).cursor, cursor)
    })

    specific(kind.client, () => side, all)

    it('notices that the server is gone in the middle', { skip: kind.client === 'sqlite' ? 'it has no server' : false }, async () => {
      const { batches } = await from(kind.many).readFull(never())
      await batches.next()
      await side.kill?.()
      await assert.rejects(
        async () => {
          for await (const { done } of batches) assert.ok(done < 20_000)
        },
        revealing(['unreachable']),
      )
    })
  })
}

// --- what only one of them has ---------------------------------------------------------------------------------------------

function specific(client: SqlSettings['client'], side: () => Side, all: (query: string, over?: Over) => Promise<Collected>): void {
  const one = async (query: string) => ({ ...(await all(query)).rows[0]?.attributes })

  if (client === 'sqlite')
    it('says each type as text', async () => {
      assert.deepEqual(
        await one(`select 9223372036854775807 as big, 0.1 as real, 1e300 as large, 'é' as text, x'68c3a9' as bytes, x'00ff' as raw,
          '["a", "b,c", null, 12345678901234567890]' as list, '[]' as nobody, '[draft] x' as plain, '{"a": 1}' as object, 1 as "9", null as none`),
        {
          big: ['9223372036854775807'],
          real: ['0.1'],
          large: ['1e+300'],
          text: ['é'],
          bytes: ['hé'],
          list: ['a', 'b,c', '12345678901234567890'],
          nobody: [],
          plain: ['[draft] x'],
          object: ['{"a": 1}'],
          '9': ['1'],
          none: [],
        },
      )
    })

  if (client === 'postgres') {
    it('says each type as text', async () => {
      assert.deepEqual(
        await one(`select 9223372036854775807 as big, 1.50000000000000000000000001 as exact, 0.1::float8 as float, true as yes, null::text as nothing,
          timestamptz '2026-03-29 02:30:00.123456+01' as moment, timestamp '2026-03-29 02:30:00.123456' as local, date '2026-03-29' as day,
          timestamptz 'infinity' as forever, '\\x68c3a9'::bytea as bytes, '\\x00ff'::bytea as raw, array['a', 'b,c', null, '{'] as words,
          array[date '2026-03-29'] as days, '{}'::text[] as nobody, '["a", 12345678901234567890, true]'::jsonb as list, '"x"'::json as scalar,
          '{"a":[1]}'::json as object, '[[1]]'::json as nested, 'ab'::char(5) as padded, interval '1 day 2 hours' as span, 'x?y' as mark`),
        {
          big: ['9223372036854775807'],
          exact: ['1.50000000000000000000000001'],
          float: ['0.1'],
          yes: ['true'],
          nothing: [],
          moment: ['2026-03-29T01:30:00.123456Z'],
          local: ['2026-03-29T02:30:00.123456'],
          day: ['2026-03-29'],
          forever: ['infinity'],
          bytes: ['hé'],
          words: ['a', 'b,c', '{'],
          days: ['2026-03-29'],
          nobody: [],
          list: ['a', '12345678901234567890', 'true'],
          scalar: ['x'],
          object: ['{"a":[1]}'],
          nested: ['[[1]]'],
          padded: ['ab'],
          span: ['P1DT2H'],
          mark: ['x?y'],
        },
      )
      assert.deepEqual(await one(`select '{"a": 1}'::jsonb ? 'a' as "has?"`), { 'has?': ['true'] })
    })

    it('lets no more of a cell come than a row may have', async () => {
      const between = await proxy(side().url)
      await assert.rejects(
        () => collectFrom(between.url, { client, query: "select repeat(repeat('x', 1000), 64000) as uid" }),
        revealing(['too-large']),
      )
      assert.ok(between.received() < 2 * LIMITS.rowBytes, `${between.received()} bytes came`)
      await between.close()
    })
  }

  if (client === 'mysql') {
    it('says each type as text', async () => {
      await side().run(
        `create table people.types (big bigint unsigned, exact decimal(40, 20), yes tinyint(1), bits bit(10), moment timestamp(6), local datetime(6),
          day date, none date, words json, object json, bytes varbinary(10), raw binary(16), text varchar(20), choice enum('a', 'b'), real8 double)`,
        `set time_zone = '+01:00', sql_mode = ''`,
        `insert into people.types values (18446744073709551615, 1.5, 1, b'1000000001', '2026-03-29 02:30:00.123456', '2026-03-29 02:30:00.123456',
          '2026-03-29', '0000-00-00', '["a", "b,c", null, 12345678901234567890]', '{"a": 1}', x'68c3a9', x'00ff', 'x?y', 'b', 0.1)`,
      )
      assert.deepEqual(await one('select * from types'), {
        big: ['18446744073709551615'],
        exact: ['1.50000000000000000000'],
        yes: ['1'],
        bits: ['513'],
        moment: ['2026-03-29T01:30:00.123456Z'],
        local: ['2026-03-29T02:30:00.123456'],
        day: ['2026-03-29'],
        none: [],
        words: ['a', 'b,c', '12345678901234567890'],
        object: ['{"a": 1}'],
        bytes: ['hé'],
        text: ['x?y'],
        choice: ['b'],
        real8: ['0.1'],
      })
    })

    it('compares numbers as numbers, beyond what a float holds', async () => {
      await side().run(
        'create table people.numbers (uid int, big bigint, exact decimal(40, 20))',
        'insert into people.numbers values (1, 9007199254740993, 1.00000000000000000001), (2, 9007199254740992, 1.00000000000000000002)',
      )
      for (const [changedBy, last] of [
        ['big', '1'],
        ['exact', '2'],
      ] as const) {
        const connector = connectorFor(side().url, { client, query: 'select uid, big, exact from numbers', changedBy })
        const { cursor = '' } = await collect(await connector.readFull(never()))
        const { rows } = await collect(await (connector.readChanges as NonNullable<Connector['readChanges']>)(cursor, never()))
        assert.deepEqual(
          rows.map(({ attributes }) => attributes.uid?.[0]),
          [last],
          changedBy,
        )
      }
    })

    it('lets the server wait for whoever reads', async () => {
      const { batches } = await connectorFor(side().url, {
        client,
        query: `${kinds.MariaDB?.many} union all ${kinds.MariaDB?.many}`,
      }).readFull(never())
      await batches.next()
      const sending = async () =>
        (await side().run("select state from information_schema.processlist where user = 'gatehouse' and command = 'Query'"))[0]?.state
      for (let tries = 0; (await sending()) !== 'Writing to net'; tries++) {
        assert.ok(tries < 200, 'the server has sent everything')
        await pause(20)
      }
      await batches.return({})
    })
  }

  if (client !== 'sqlite')
    it('speaks TLS where it is wanted, and only with whom it trusts', async () => {
      const { url, ca = '' } = side()
      const named = url.replace('127.0.0.1', 'localhost')
      const another = (await keyPair('localhost')).certificate
      const at = (where: string, more: { ca?: string } = {}) => collectFrom(where, { client, query: QUERY, ...more })
      assert.equal((await at(named, { ca })).rows.length, people.length)
      assert.equal((await at(`${url}?sslmode=verify-ca`, { ca })).rows.length, people.length)
      assert.deepEqual(await encrypted(named, client, ca), ['yes'])
      assert.deepEqual(await encrypted(named, client), ['no'])
      await assert.rejects(() => at(named, { ca: another }), revealing(['misconfigured']))
      await assert.rejects(() => at(`${named}?sslmode=require`), revealing(['misconfigured']))
      // Another name for it than those in the certificate.
      const between = await proxy(url, '127.0.0.2')
      await assert.rejects(() => at(between.url, { ca }), revealing(['misconfigured']))
      assert.equal((await at(`${between.url}?sslmode=verify-ca`, { ca })).rows.length, people.length)
      await between.close()
    })
}

async function encrypted(url: string, client: SqlSettings['client'], ca?: string) {
  const query =
    client === 'postgres'
      ? "select case when ssl then 'yes' else 'no' end as tls from pg_stat_ssl where pid = pg_backend_pid()"
      : "select if(variable_value = '', 'no', 'yes') as tls from information_schema.session_status where variable_name = 'Ssl_cipher'"
  return (await collectFrom(url, { client, query, ...(ca ? { ca } : {}) })).rows[0]?.attributes.tls
}

function misbehaving(kind: Kind, side: () => Side, from: (query: string, over?: Over) => Connector): readonly Misbehaviour[] {
  const { client } = kind
  const at = (url: string, limits: Partial<FeedLimits> = {}) => connectorFor(url, { client, query: QUERY, limits })
  const any: readonly Misbehaviour[] = [
    { name: 'an address that is none', connector: () => at(`${client}:/${SECRET}`), fails: ['misconfigured', 'unreachable'] },
    {
      name: 'the address of something else',
      connector: () => at(`https://gatehouse:${SECRET}@localhost/people`),
      fails: ['misconfigured'],
    },
    { name: 'a query that writes', connector: () => from('delete from people'), fails: ['denied', 'misconfigured'] },
    {
      name: 'a query without an end',
      connector: () => from(kind.endless[0] as string, { limits: { patienceMs: 200 } }),
      fails: ['too-slow'],
    },
    { name: 'no such table', connector: () => from('select uid from nowhere'), fails: ['misconfigured'] },
    { name: 'a query that ends with a comment', connector: () => from(`${QUERY} -- everybody`), fails: [] },
  ]
  if (client === 'sqlite') {
    const beside = (name: string) => join(dirname(side().url), name)
    return [
      ...any,
      { name: 'no such file', connector: () => at(beside('nothing.db')), fails: ['unreachable'] },
      { name: 'another file', connector: () => at(beside('letter.txt')), fails: ['malformed'] },
      { name: 'a folder', connector: () => at(beside('')), fails: ['unreachable'] },
    ]
  }
  const otherwise = (change: (url: URL) => void) => {
    const url = new URL(side().url)
    change(url)
    return url.href
  }
  return [
    ...any,
    { name: 'nobody there', connector: () => at(otherwise((url) => (url.port = String(closedPort)))), fails: ['unreachable'] },
    {
      name: 'a server that says nothing',
      connector: () => at(silentServer(client), { patienceMs: 200 }),
      fails: ['unreachable'],
    },
    {
      name: 'a wrong password',
      connector: () => at(otherwise((url) => (url.password = encodeURIComponent(`${SECRET}!`)))),
      fails: ['denied'],
    },
    { name: 'no password', connector: () => at(otherwise((url) => (url.password = ''))), fails: ['denied'] },
    { name: 'no such user', connector: () => at(otherwise((url) => (url.username = 'stranger'))), fails: ['denied'] },
    {
      name: 'a table for others',
      connector: () => from(`select * from ${client === 'postgres' ? 'payroll' : 'mysql.user'}`),
      fails: ['denied'],
    },
    { name: 'no such database', connector: () => at(otherwise((url) => (url.pathname = '/nothing'))), fails: ['misconfigured', 'denied'] },
  ]
}

describe('the address of a database', () => {
  const at = (url: string, more: Partial<SqlSettings> = {}) =>
    addressOf(url, { client: 'postgres', connection: { env: ENV }, query: QUERY, ...more } as Parameters<typeof addressOf>[1])

  it('is taken apart', () => {
    assert.deepEqual(at(`postgresql://a%40b:${encodeURIComponent(SECRET)}@[::1]/hr`), {
      host: '::1',
      port: 5432,
      user: 'a@b',
      password: SECRET,
      database: 'hr',
      tls: undefined,
    })
  })

  it('decides about TLS', () => {
    const verified = { ca: undefined, named: true }
    assert.deepEqual(at('postgres://u:p@db.corp.example/hr').tls, verified)
    assert.deepEqual(at('postgres://u:p@10.0.0.5/hr').tls, verified)
    assert.equal(at('postgres://u:p@db.corp.example/hr?sslmode=disable').tls, undefined)
    assert.equal(at('postgres://u:p@127.8.9.1/hr').tls, undefined)
    assert.equal(at('postgres://u:p@localhost/hr').tls, undefined)
    assert.deepEqual(at('postgres://u:p@localhost/hr?sslmode=require').tls, verified)
    assert.deepEqual(at('postgres://u:p@localhost.corp.example/hr').tls, verified)
    assert.deepEqual(at('postgres://u:p@localhost/hr', { ca: 'PEM' }).tls, { ca: 'PEM', named: true })
    assert.deepEqual(at('postgres://u:p@db/hr?sslmode=verify-ca', { ca: 'PEM' }).tls, { ca: 'PEM', named: false })
  })

  it('is refused without a word of it', () => {
    for (const [url, more] of [
      ['postgres://u:sesame@db.corp.example/hr?sslmode=prefer'],
      ['postgres://u:sesame@db.corp.example/hr?sslmode=verify-ca'],
      ['postgres://u:sesame@db.corp.example/hr?sslmode=disable', { ca: 'PEM' }],
      ['postgres://u:pass?sesame@db.corp.example/hr'],
      ['postgres://u:12?sesame=@db.corp.example/hr'],
      ['postgres://u:12/sesame@db.corp.example/hr'],
      ['postgres://u:12#sesame@db.corp.example/hr'],
      ['postgres://u:%sesame@db.corp.example/hr'],
      ['mysql://u:sesame@db.corp.example/hr'],
      ['postgres://u:sesame@db.corp.example'],
      ['postgres://:sesame@db.corp.example/hr'],
      ['sesame'],
      [''],
    ] as const)
      assert.throws(
        () => at(url, more),
        (error: unknown) => failsAs(['misconfigured'], 'sesame')(error) && !inspect(error).includes('sesame'),
        url,
      )
  })
})

// --- the databases --------------------------------------------------------------------------------------------------------

async function startSqlite(): Promise<Side> {
  const folder = mkdtempSync(join(tmpdir(), 'gatehouse-sql-'))
  const file = join(folder, 'people ?#%.db')
  writeFileSync(join(folder, 'letter.txt'), 'Dear all, '.repeat(1_000))
  const database = new sqlite3.Database(file)
  const ask = (sql: string) =>
    new Promise<readonly Record<string, unknown>[]>((resolve, reject) => {
      database.all(sql, (error, rows) => (error ? reject(error) : resolve(rows as Record<string, unknown>[])))
    })
  const run = async (...statements: readonly string[]) => {
    let rows: readonly Record<string, unknown>[] = []
    for (const statement of statements) rows = await ask(statement)
    return rows
  }
  // Beyond 2^53, one from the next.
  await run(...filled('uid text, mail text, dept text, note text, changed integer', (n) => String(9007199254740993n + BigInt(n))))
  return {
    url: file,
    run,
    async running() {
      // Whoever reads keeps everybody else from writing.
      return run('begin exclusive', 'rollback').then(
        () => false,
        (error: NodeJS.ErrnoException) => error.code === 'SQLITE_BUSY',
      )
    },
    async stop() {
      await new Promise((resolve) => database.close(resolve))
      rmSync(folder, { recursive: true })
    },
  }
}

async function startPostgresSide(): Promise<Side> {
  const server = await startPostgres()
  await server.createDatabase('people')
  const admin = new pg.Client(server.url('people'))
  admin.on('error', () => {})
  await admin.connect()
  const run = async (...statements: readonly string[]) => {
    let rows: readonly Record<string, unknown>[] = []
    for (const statement of statements) rows = (await admin.query(statement)).rows
    return rows
  }
  const { key, certificate } = await keyPair('localhost')
  const quoted = (text: string) => `'${text.replaceAll("'", "''")}'`
  await run(
    // The server's own files, written by the server: no question of who may read them.
    `copy (select ${quoted(key.trim())}) to program 'cat > key.raw && awk "{gsub(/\\\\\\\\n/, \\"\\\\n\\")}1" key.raw > server.key && chmod 600 server.key'`,
    `copy (select ${quoted(certificate.trim())}) to program 'cat > cert.raw && awk "{gsub(/\\\\\\\\n/, \\"\\\\n\\")}1" cert.raw > server.crt'`,
    'alter system set ssl = on',
    'select pg_reload_conf()',
    `create role gatehouse login password ${quoted(SECRET)}`,
    'create sequence counter',
    ...filled(
      'uid text, mail text, dept text, note text, changed timestamp(6)',
      (n) => `timestamp '2026-01-01 00:00:00' + interval '${n} microseconds'`,
    ),
    'create table payroll (uid text)',
    "create function leave() returns int language sql as 'delete from people returning 1'",
    'alter table people owner to gatehouse',
    'grant all on sequence counter to gatehouse',
    'grant create on schema public to gatehouse',
  )
  const url = new URL(server.url('people'))
  url.username = 'gatehouse'
  url.password = encodeURIComponent(SECRET)
  return {
    url: url.href,
    ca: certificate,
    run,
    running: async () => (await run("select 1 from pg_stat_activity where usename = 'gatehouse'")).length > 0,
    kill: () => server.pause(),
    async stop() {
      await admin.end().catch(() => {})
      await server.stop()
    },
  }
}

async function startMariadbSide(): Promise<Side> {
  const { port, certificate, run, kill, stop } = await startMariadb()
  await run(
    'create database people',
    'use people',
    ...filled(
      'uid varchar(20), mail varchar(60), dept varchar(20), note varchar(20), changed datetime(6)',
      (n) => `timestamp '2026-01-01 00:00:00' + interval ${n} microsecond`,
    ),
    'create sequence counter nocache',
    'create function leave_all() returns int modifies sql data begin delete from people; return 1; end',
    'create procedure leave_again() delete from people',
    `create user gatehouse@'%' identified by '${SECRET}'`,
    "grant all on people.* to gatehouse@'%'",
    "grant file on *.* to gatehouse@'%'",
  )
  return {
    url: `mysql://gatehouse:${encodeURIComponent(SECRET)}@127.0.0.1:${port}/people`,
    ca: certificate,
    run,
    running: async () => (await run("select 1 from information_schema.processlist where user = 'gatehouse'")).length > 0,
    kill,
    stop,
  }
}

interface Over {
  readonly changedBy?: string
  readonly ca?: string
  readonly limits?: Partial<FeedLimits>
}

function connectorFor(url: string, { limits, ...settings }: Over & Pick<SqlSettings, 'client' | 'query'>): Connector {
  return sqlConnector({
    settings: { connection: { env: ENV }, ...settings },
    secrets: (name) => {
      assert.equal(name, ENV)
      return url
    },
    limits: { ...LIMITS, ...limits },
  })
}

async function collectFrom(url: string, settings: Over & Pick<SqlSettings, 'client' | 'query'>): Promise<Collected> {
  return collect(await connectorFor(url, settings).readFull(never()))
}

/** Fails like this, and the secret is nowhere in what was thrown. */
function revealing(codes: readonly FeedFailureCode[]) {
  return (error: unknown): boolean => {
    failsAs(codes, SECRET)(error)
    const everything = inspect(error, { depth: 10, showHidden: true })
    assert.ok(error instanceof FeedFailure && !everything.includes(SECRET) && !everything.includes(encodeURIComponent(SECRET)))
    return true
  }
}

let closedPort = 0
let silent: Server
before(async () => {
  closedPort = await freePort()
  silent = createServer((socket) => socket.on('error', () => {}))
  await listening(silent, '127.0.0.1')
})
after(() => silent.close())

/** A server that takes connections and never says a word. */
function silentServer(client: SqlSettings['client']): string {
  return `${client}://gatehouse:${encodeURIComponent(SECRET)}@127.0.0.1:${portOf(silent)}/people`
}

/** Another address for a server, that counts what comes from it. */
async function proxy(to: string, host = '127.0.0.1') {
  const url = new URL(to)
  const target = { host: url.hostname, port: Number(url.port) }
  let received = 0
  const server = createServer((client) => {
    const inner = connect(target)
    inner.on('data', (bytes) => {
      received += bytes.length
    })
    client.on('error', () => {}).on('close', () => inner.destroy())
    inner.on('error', () => {}).on('close', () => client.destroy())
    client.pipe(inner).pipe(client)
  })
  await listening(server, host)
  url.hostname = host
  url.port = String(portOf(server))
  return { url: url.href, received: () => received, close: () => new Promise((resolve) => server.close(resolve)) }
}

function listening(server: Server, host: string): Promise<void> {
  return new Promise((resolve, reject) => server.once('error', reject).listen(0, host, resolve))
}

function portOf(server: Server): number {
  return (server.address() as AddressInfo).port
}
