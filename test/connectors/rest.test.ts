// People from services that answer with JSON: what their rows look like as attributes, each way from page to page, and what
// becomes of a feed when that goes wrong.

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { webAsker } from '../../src/app/outbound.ts'
import { nextLink } from '../../src/connectors/rest/paging.ts'
import { restConnector } from '../../src/connectors/rest/rest.ts'
import type { RestSettings } from '../../src/domain/documents/source.ts'
import type { Connector, FeedLimits } from '../../src/flows/feed-ports.ts'
import * as scripts from '../support/misbehaving-http.ts'
import { type Asked, type Honest, type MisbehavingHttp, type Said, type Script, startMisbehaving } from '../support/misbehaving-http.ts'
import { collect, connectorContract, failsAs, type Misbehaviour } from './contract.ts'

const SECRET = 'sesame+opens/everything='
const LIMITS: FeedLimits = { rows: 1_000, columns: 100, rowBytes: 10_000, patienceMs: 20_000 }
const never = () => new AbortController().signal

type Differing = Partial<RestSettings> & { limits?: Partial<FeedLimits> }

function connect(url: string, { limits, ...differing }: Differing = {}): Connector {
  const settings: RestSettings = {
    url,
    auth: { header: { name: 'X-Api-Key', value: { env: 'GATEHOUSE_SOURCE_KEY' } } },
    headers: {},
    rows: '/items',
    paging: { style: 'none' },
    ...differing,
  }
  return restConnector({ settings, secrets: () => SECRET, limits: { ...LIMITS, ...limits }, ask: webAsker(['localhost', '127.0.0.1']) })
}

const PEOPLE = Array.from({ length: 30 }, (_, i) => ({ login: `user${i + 1}`, team: `team ${i % 4}`, changed: i + 1 }))
const PAGE: RestSettings['paging'] = { style: 'page', parameter: 'page', first: 1, sizeParameter: 'size', size: 10 }

/** Pages of at most `most`, told by number. */
const pages =
  (most = 10): Honest =>
  ({ url }) => {
    const size = Math.min(most, Number(url.searchParams.get('size') ?? most))
    const from = (Number(url.searchParams.get('page') ?? 1) - 1) * size
    const since = Number(url.searchParams.get('since')?.replace(/\D/g, '') ?? 0)
    return { body: { items: people(since).slice(from, from + size) } }
  }

/** Who has changed, by a clock that stood still until somebody did. */
let changed = 0
const people = (since: number) => PEOPLE.filter(({ login }) => !since || (changed && login === 'user7'))

connectorContract('a REST service', async () => {
  const http = await startMisbehaving()
  const case_ = (name: string, script: Script, fails: Misbehaviour['fails'], differing: Differing = {}): Misbehaviour => ({
    name,
    connector: () => connect(http.play(script, pages()), { paging: PAGE, ...differing }),
    fails,
  })
  /** Where nothing good comes; and where something does, with short pauses between the tries. */
  const impatient: Differing = { limits: { patienceMs: 400 } }
  const quick: Differing = { limits: { patienceMs: 3_000 } }
  const soon = { headers: { 'retry-after': '0' } }
  const linked: Differing = { paging: { style: 'link', next: '/next' } }
  const next = (of: (asked: Asked) => string) =>
    scripts.saying((asked) => ({ body: { items: [{ login: `u${asked.turn}` }], next: of(asked) } }))
  return {
    connector: connect(http.play(scripts.behave, pages(7)), { paging: PAGE, changedSince: 'since' }),
    key: 'login',
    people: PEOPLE.map(({ login }) => login),
    attribute: 'team',
    change: async () => {
      changed++
      return 'user7'
    },
    misbehaving: [
      case_('hangs before it answers', scripts.hangBeforeHeaders, ['too-slow'], impatient),
      case_('hangs in its answer', scripts.hangInBody, ['too-slow'], impatient),
      case_('breaks off in its answer', scripts.dropInBody, ['cut-off'], quick),
      case_('breaks off before it answers', scripts.dropAtOnce, ['unreachable'], quick),
      case_('breaks off once', scripts.atFirst(scripts.dropAtOnce), [], quick),
      case_('gives half of its answer', scripts.later(scripts.halfOfTheBody), ['cut-off']),
      case_('repeats the first page', scripts.theSameForever(), ['endless']),
      case_(
        'never comes to an end',
        scripts.saying(({ turn }) => ({ body: { items: PEOPLE.map(({ login }) => ({ login: `${login}-${turn}` })) } })),
        ['too-large'],
      ),
      case_(
        'goes round in circles',
        next(({ base, turn }) => `${base}/?at=${turn % 3}`),
        ['endless'],
        linked,
      ),
      case_(
        'has a next page for each, with nobody on it',
        scripts.saying(({ turn }) => ({ body: { items: [], next: `?${turn}` } })),
        ['endless'],
        linked,
      ),
      case_(
        'says the same next page again',
        next(({ base }) => base),
        ['endless'],
        linked,
      ),
      case_(
        'leads to another service',
        next(() => `http://localhost:1/?key=${SECRET}`),
        ['misconfigured'],
        linked,
      ),
      case_(
        'leads to another service by its name',
        next(({ base }) => base.replace('127.0.0.1', 'localhost')),
        ['misconfigured'],
        linked,
      ),
      case_(
        'leads to where a password is given away',
        next(({ base }) => base.replace('//', '//user:pw@')),
        ['misconfigured'],
        linked,
      ),
      case_(
        'leads nowhere',
        next(() => 'http://'),
        ['misconfigured'],
        linked,
      ),
      case_('has an object for its next page', scripts.saying({ body: { items: [], next: {} } }), ['misconfigured'], linked),
      case_('gives a huge page', scripts.hugePage, ['too-large']),
      case_('gives garbage', scripts.garbage, ['malformed']),
      case_('shows a page to sign in', scripts.signInPage, ['malformed']),
      case_('is no HTTP', scripts.notHttp, ['malformed']),
      case_('is not in UTF-8', scripts.invalidUtf8, ['malformed']),
      case_('says nothing', scripts.saying({}), ['malformed']),
      case_('has no rows', scripts.saying({ body: { error: 'try later' } }), ['misconfigured']),
      case_('has no rows from the second page on', scripts.later(scripts.saying({ body: { error: 'try later' } })), ['misconfigured']),
      case_('has something else for its rows', scripts.saying({ body: { items: { a: 1 } } }), ['misconfigured']),
      case_('does not know us', scripts.status(401, { body: { message: `no such key: ${SECRET}` } }), ['denied']),
      case_('forbids it', scripts.later(scripts.status(403)), ['denied']),
      case_('is not there', scripts.status(404), ['misconfigured']),
      case_('is elsewhere', scripts.status(307, { headers: { location: '/elsewhere' } }), ['misconfigured']),
      case_('asks for patience once', scripts.atFirst(scripts.status(429, soon)), []),
      case_('fails twice', scripts.atFirst(scripts.status(503, soon), 2), []),
      case_('always fails', scripts.status(500, soon), ['unreachable']),
    ],
    secret: SECRET,
    close: () => http.close(),
  }
})

describe('a REST service', () => {
  let http: MisbehavingHttp
  before(async () => {
    http = await startMisbehaving()
  })
  after(() => http.close())

  /** Reads it, and returns what was asked, too. */
  async function read(honest: Honest, differing: Differing = {}) {
    const base = http.play(scripts.behave, honest)
    const collected = await collect(await connect(base, differing).readFull(never()))
    return {
      ...collected,
      logins: collected.rows.map(({ attributes }) => attributes.login?.[0]),
      asked: http.asked(base),
      queries: queries(base),
    }
  }
  const queries = (base: string) => http.asked(base).map(({ url }) => decodeURIComponent(url.search))
  const everybody = PEOPLE.map(({ login }) => login)

  describe('as attributes', () => {
    const flat = async (text: string, differing: Differing = {}) => {
      const { rows } = await read(() => ({ body: text }), { rows: '', ...differing })
      return rows.map(({ attributes }) => ({ ...attributes }))
    }
    const tables: readonly [string, string, Record<string, readonly string[]>][] = [
      ['paths', '{"a":{"b":{"c":"x"}}, "d":"y"}', { 'a.b.c': ['x'], d: ['y'] }],
      ['several values', '{"a":["x","y"], "b":[["p"],["q"]]}', { a: ['x', 'y'], b: ['p', 'q'] }],
      ['the values of several objects', '{"e":[{"v":"1","t":"w"},{"v":"2"},null]}', { e: [], 'e.v': ['1', '2'], 'e.t': ['w'] }],
      [
        'numbers as they are written',
        '{"a":12345678901234567890, "b":1.50, "c":-0, "d":1e3, "e":9007199254740993}',
        { a: ['12345678901234567890'], b: ['1.50'], c: ['-0'], d: ['1e3'], e: ['9007199254740993'] },
      ],
      ['booleans', '{"a":true, "b":false}', { a: ['true'], b: ['false'] }],
      ['nothing as nothing', '{"a":null, "b":[], "c":{}, "d":"", "e":{"f":null}}', { a: [], b: [], c: [], d: [], 'e.f': [] }],
      ['two places with one path together', '{"a.b":"x", "a":{"b":"y"}}', { 'a.b': ['x', 'y'] }],
      [
        'names that mean something elsewhere',
        '{"__proto__":{"admin":"x"}, "constructor":"y"}',
        { '__proto__.admin': ['x'], constructor: ['y'] },
      ],
    ]
    for (const [name, text, wanted] of tables) {
      it(`has ${name}`, async () => assert.deepEqual(await flat(`[${text}]`), [wanted]))
    }

    it('stands after a mark for UTF-8', async () => assert.deepEqual(await flat('\uFEFF[{"a":"ä"}]'), [{ a: ['ä'] }]))

    it('is not read deeper than anything that describes a person', () =>
      assert.rejects(flat(`[${'{"a":'.repeat(30)}1${'}'.repeat(30)}]`), failsAs(['malformed'])))

    it('is not read if it is nested to bring us down', () =>
      assert.rejects(flat(`${'['.repeat(200_000)}${']'.repeat(200_000)}`), failsAs(['malformed'])))

    it('is found by its pointer', async () => {
      assert.deepEqual(await flat('{"a/b":[0,{"~":[{"x":"1"}]}]}', { rows: '/a~1b/1/~0' }), [{ x: ['1'] }])
    })

    it('has faults for what is no object, and the others stand', async () => {
      const { rows, faults } = await read(
        ({ turn }) => ({
          body: {
            items:
              [
                [{ a: 1 }, 'b', null],
                [[], { a: 2 }],
              ][turn - 1] ?? [],
          },
        }),
        { paging: PAGE },
      )
      assert.deepEqual(
        rows.map(({ place }) => place),
        ['row 1', 'row 5'],
      )
      assert.deepEqual(
        faults.map(({ place }) => place),
        ['row 2', 'row 3', 'row 4'],
      )
    })

    for (const [name, limits] of [
      ['is larger than a row may be', { rowBytes: 3 }],
      ['has more attributes than a row may have', { columns: 1 }],
      ['is one row too many', { rows: 1 }],
    ] as const) {
      it(`is not read if it ${name}`, () => assert.rejects(flat('[{"a":"xyz","b":"1"},{}]', { limits }), failsAs(['too-large'])))
    }
  })

  describe('page by page', () => {
    const few = PEOPLE.slice(0, 5)
    const sliced = (from: number, to: number) => few.slice(from, to)

    it('may have one page', async () => {
      const { queries, logins } = await read(() => ({ body: { items: PEOPLE } }))
      assert.deepEqual(logins, everybody)
      assert.deepEqual(queries, [''])
    })

    it('may count its pages, from any number, until one is empty', async () => {
      const from0: RestSettings['paging'] = { style: 'page', parameter: 'p', first: 0, size: 100 }
      const { queries, logins } = await read(({ turn }) => ({ body: { items: sliced(2 * turn - 2, 2 * turn) } }), { paging: from0 })
      assert.deepEqual(logins, everybody.slice(0, 5))
      assert.deepEqual(queries, ['?p=0', '?p=1', '?p=2', '?p=3'])
    })

    it('may be asked to pass over rows: as many as came, not as many as were asked for', async () => {
      const offset: RestSettings['paging'] = { style: 'offset', parameter: 'skip', sizeParameter: 'top', size: 4 }
      const honest: Honest = ({ url }) => ({
        body: { items: sliced(Number(url.searchParams.get('skip')), Number(url.searchParams.get('skip')) + 2) },
      })
      const { queries, logins } = await read(honest, { paging: offset })
      assert.deepEqual(logins, everybody.slice(0, 5))
      assert.deepEqual(queries, ['?skip=0&top=4', '?skip=2&top=4', '?skip=4&top=4', '?skip=5&top=4'])
    })

    it('may give a cursor, a number too, with empty pages between', async () => {
      const cursor: RestSettings['paging'] = { style: 'cursor', parameter: 'after', next: '/meta/next' }
      const answers: Said[] = [
        { body: { items: sliced(0, 3), meta: { next: 'a+b/c=' } } },
        { body: { items: [], meta: { next: 9007199254740993n.toString() } } },
        { body: { items: null, meta: { next: 7 } } },
        { body: { items: sliced(3, 5), meta: {} } },
      ]
      const { queries, logins } = await read(({ turn }) => answers[turn - 1] ?? { status: 500 }, { paging: cursor })
      assert.deepEqual(logins, everybody.slice(0, 5))
      assert.deepEqual(queries, ['', '?after=a+b/c=', '?after=9007199254740993', '?after=7'])
    })

    for (const end of [undefined, null, false, '']) {
      it(`ends where the next is ${JSON.stringify(end)}`, async () => {
        const { logins } = await read(() => ({ body: { items: few, next: end } }), { paging: { style: 'link', next: '/next' } })
        assert.equal(logins.length, 5)
      })
    }

    it('may give the address of the next page, whole or in part', async () => {
      const honest: Honest = ({ base, turn }) =>
        ({
          1: { body: { items: sliced(0, 2), next: `${base}/more?x=1` } },
          2: { body: { items: sliced(2, 4), next: 'more?x=2' } },
          3: { body: { items: sliced(4, 5) } },
        })[turn] ?? {}
      const { logins, asked } = await read(honest, { paging: { style: 'link', next: '/next' } })
      assert.deepEqual(logins, everybody.slice(0, 5))
      assert.deepEqual(
        asked.map(({ url, base }) => url.href.slice(base.length)),
        ['', '/more?x=1', '/more?x=2'],
      )
      assert.ok(asked.every(({ headers }) => headers['x-api-key'] === SECRET))
    })

    it('may give it in a header', async () => {
      const honest: Honest = ({ base, turn }) =>
        turn === 1
          ? { headers: { link: `<${base}?q=1,2>; rel="prev", <${base}?q=2,3>; rel="last next"` }, body: { items: sliced(0, 3) } }
          : { body: { items: sliced(3, 5) } }
      const { logins, queries } = await read(honest, { paging: { style: 'link' } })
      assert.deepEqual(logins, everybody.slice(0, 5))
      assert.deepEqual(queries, ['', '?q=2,3'])
    })

    it('ends where there is no content', async () => {
      const { logins } = await read(({ turn }) => (turn === 1 ? { body: { items: few } } : { status: 204 }), { paging: PAGE })
      assert.equal(logins.length, 5)
    })

    it('keeps the parameters of its address, and sends the headers that the document has', async () => {
      const base = http.play(scripts.behave, pages())
      await collect(
        await connect(`${base}?type=a%20b&page=9`, { paging: PAGE, headers: { Accept: 'application/vnd.acme+json' } }).readFull(never()),
      )
      assert.equal(queries(base)[0], '?type=a b&page=1&size=10')
      assert.equal(http.asked(base)[0]?.headers.accept, 'application/vnd.acme+json')
    })

    it('is told about when it is tried', async () => {
      const tried = (paging: RestSettings['paging']) => connect(http.play(scripts.behave, pages()), { paging }).test(never())
      assert.match(await tried(PAGE), /has 10 rows, and another page may follow; the first has login, team, changed$/)
      assert.match(await tried({ style: 'none' }), /is the only one/)
    })
  })

  describe('with a parameter for changes', () => {
    const since: Differing = { changedSince: 'updated_after' }
    const dated =
      (date: string): Honest =>
      () => ({ headers: { date }, body: { items: PEOPLE } })

    it('is asked from the time of its own clock when it was asked the last time', async () => {
      const { cursor = '' } = await read(dated('Tue, 05 Mar 2024 10:00:00 GMT'), since)
      assert.ok(cursor <= '2024-03-05T10:00:00Z' && cursor > '2024-03-05T09:00:00Z', cursor)
      const base = http.play(scripts.behave, dated('Tue, 05 Mar 2024 11:00:00 GMT'))
      const again = await collect((await connect(base, since).readChanges?.(cursor, never())) ?? assert.fail())
      assert.deepEqual(queries(base), [`?updated_after=${cursor}`])
      assert.ok(again.cursor && again.cursor > cursor)
    })

    it('is asked from ours if it has no clock', async () => {
      const { cursor = '' } = await read(dated('some day'), since)
      assert.match(cursor, /^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ$/)
    })

    it('is not asked without one', async () => {
      assert.equal(connect('http://127.0.0.1').readChanges, undefined)
      assert.equal((await read(dated('Tue, 05 Mar 2024 10:00:00 GMT'))).cursor, undefined)
    })
  })
})

describe('a Link header', () => {
  for (const [header, next] of [
    ['', undefined],
    ['<a>; rel=next', 'a'],
    ['<a>;rel="Next"', 'a'],
    ['<a>; title="x, <b>; rel=next"; rel=prev, <c>; rel="up next"', 'c'],
    ['<a,b;c>; rel = "next"', 'a,b;c'],
    ['<a>; rel=prev; rel=next', undefined],
    ['<a>; rel=next; anchor="#other", <b>; rel=next', 'b'],
    ['<a>; rel="nextish"', undefined],
    ['<a; rel=next', undefined],
  ] as const) {
    it(`has ${next ?? 'no next'} in ${header || 'nothing'}`, () => assert.equal(nextLink(header), next))
  }
})
