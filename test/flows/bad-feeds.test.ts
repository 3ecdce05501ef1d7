// Feeds that are nothing to go by: files that are broken in every way, and connectors that hang, repeat themselves, break off or do
// not listen. Each ends by its name, with nobody changed, and the next good import goes through.

import assert from 'node:assert/strict'
import { appendFileSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, it, type TestContext } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'
import { connectorOf } from '../../src/app/sources.ts'
import { type Connector, type Feed, type FeedBatch, type FeedEnd, FeedFailure, type FeedRow } from '../../src/flows/feed-ports.ts'
import type { ImportRun, ImportState } from '../../src/flows/import-ports.ts'
import { listRuns } from '../../src/store/import-pages.ts'
import { testFiles } from '../support/files.ts'
import { countsOf, hr, Importing, people } from '../support/imports.ts'

const PEOPLE = 20

async function withPeople(): Promise<Importing> {
  const at = await Importing.open('sqlite')
  at.putMany(PEOPLE)
  assert.equal((await at.run()).state, 'done')
  return at
}

/** For one test alone. */
async function own(t: TestContext): Promise<Importing> {
  const at = await withPeople()
  t.after(() => at.close())
  return at
}

/** The source is well again, and has somebody new. */
async function goesOn(at: Importing, key: string): Promise<void> {
  at.put(key, { email: `${key.toLowerCase()}@corp.example`, department: 'Sales' })
  const run = await at.run()
  assert.equal(run.state, 'done', JSON.stringify(run.details))
  assert.equal(run.counts.create, 1)
  at.drop(key)
  assert.equal((await at.run()).counts.leaver, 1)
}

const causesOf = ({ details }: ImportRun) => (details.causes ?? []).map(({ code }) => code)
const whyOf = ({ details }: ImportRun) => [details.failure?.why, ...(details.causes ?? []).map(({ why }) => why)].filter(Boolean).join('\n')

// --- files -------------------------------------------------------------------------------------------------------------------

const { folder, put } = testFiles('csv')

async function importing(at: Importing, file: string, change: (connector: Connector) => Connector = (same) => same): Promise<ImportRun> {
  const { spec } = await at.source()
  const place = { importDir: folder, environment: {}, ask: () => Promise.reject(new Error('nobody is asked')) }
  return at.reading(change(connectorOf(spec, place, file)))
}

const HEADING = 'employeeNumber,email,department\n'
const line = (n: number) => `E${n},e${n}@corp.example,Sales\n`
const lines = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => line(from + i)).join('')
/** What the source says when all is well. */
const good = HEADING + lines(1, PEOPLE)
const columns = (count: number) => Array.from({ length: count }, (_, i) => `c${i}`).join(',')

interface BadFile {
  readonly content: string | Uint8Array
  /** The code of what it fails with, or of all that holds it. */
  readonly ends: string | readonly string[]
  /** What the administrator reads. */
  readonly says: RegExp
}

const badFiles: Readonly<Record<string, BadFile>> = {
  'an empty file': {
    content: '',
    ends: ['feed.empty', 'feed.column-missing', 'safeguard'],
    says: /the last one had 20 rows[\s\S]*there are none/,
  },
  'a heading alone': { content: HEADING, ends: ['feed.empty', 'safeguard'], says: /the last one had 20 rows/ },
  'a heading of blanks': { content: ' ,, \n', ends: ['feed.empty', 'feed.column-missing', 'safeguard'], says: /«employeeNumber»/ },
  'a heading of blanks before the rows': {
    content: `,,\n${lines(1, PEOPLE)}`,
    ends: ['feed.filtered', 'feed.column-missing', 'safeguard'],
    says: /there is no column «employeeNumber», «email», «department»/,
  },
  'a heading of a million columns': { content: `${HEADING.trim()},${columns(1_000_000)}\n`, ends: 'feed.too-large', says: /line 1/ },
  'a heading of a hundred thousand columns': { content: `${columns(100_000)}\n`, ends: 'feed.too-large', says: /feed.columns allows 500/ },
  'a million delimiters': { content: `id${','.repeat(1_000_000)}\n`, ends: 'feed.too-large', says: /1000001 columns/ },
  'a heading with a very long name': { content: `${'x'.repeat(900_000)},b\n`, ends: 'feed.malformed', says: /900000 characters/ },
  'two columns of one name': {
    content: good.replace('department', 'email'),
    ends: 'feed.misconfigured',
    says: /two columns are called «email»/,
  },
  'a line of many megabytes': { content: `${good}E21,${'x'.repeat(8_000_000)},Sales\n`, ends: 'feed.too-large', says: /line 22/ },
  'a line of nothing but delimiters': { content: `${good}${','.repeat(8_000_000)}\n`, ends: 'feed.too-large', says: /line 22/ },
  'a line of nothing but quotes': { content: `${good}${'x"'.repeat(4_000_000)}\n`, ends: 'feed.too-large', says: /line 22/ },
  'a NUL': { content: good.replace('E7,', 'E7\0,'), ends: 'feed.malformed', says: /NUL character in line 8/ },
  'one line of another encoding': {
    content: Buffer.concat([Buffer.from(good), Buffer.from('E21,ü@corp.example,Büro\n', 'latin1')]),
    ends: 'feed.malformed',
    says: /line 22 is not UTF-8/,
  },
  'two files of different encodings, one after the other': {
    content: Buffer.concat([Buffer.from(`\uFEFF${good}`), Buffer.from(`\uFEFF${good}`, 'utf16le')]),
    ends: 'feed.malformed',
    says: /line 22 is not UTF-8/,
  },
  'two files of one encoding, one after the other': {
    content: good + good,
    ends: ['feed.duplicate-keys'],
    says: /20 keys come more than once/,
  },
  'a compressed file': { content: gzipSync(good), ends: 'feed.malformed', says: /compressed/ },
  'something else altogether': { content: Buffer.from('PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x89', 'latin1'), ends: 'feed.malformed', says: /./ },
  'control characters in the heading': { content: `\x1b[31m${good}`, ends: 'feed.malformed', says: /control characters/ },
  'a quote that is opened in the middle and never closed': {
    content: HEADING + lines(1, 9) + line(10).replace('Sales', '"Sales') + lines(11, PEOPLE),
    ends: ['feed.cut-off', 'feed.shrunk'],
    says: /within a quoted cell of the row at line 11/,
  },
  'a quote that is open at the end': { content: `${good}E21,"e21`, ends: ['feed.cut-off'], says: /line 22/ },
  'a last line that breaks off': {
    content: `${HEADING}${lines(1, 18)}E19,e19@co`,
    ends: ['feed.cut-off'],
    says: /line 20: it has 2 of 3 columns/,
  },
}

describe('a file that is no feed', () => {
  let at: Importing
  before(async () => {
    at = await withPeople()
  })
  after(() => at?.close())

  for (const [name, { content, ends, says }] of Object.entries(badFiles)) {
    it(`ends by name: ${name}`, async () => {
      const before = await people(at)
      const run = await importing(at, put(content))
      if (typeof ends === 'string') assert.deepEqual([run.state, run.details.failure?.code], ['failed', ends], whyOf(run))
      else assert.deepEqual([run.state, causesOf(run)], ['held', ends], whyOf(run))
      assert.match(whyOf(run), says)
      assert.ok(whyOf(run).length < 3_000, `${whyOf(run).length} characters are not plain words`)
      assert.equal(await people(at), before)
      const again = await importing(at, put(good))
      assert.equal(again.state, 'done')
      assert.equal(again.counts.unchanged, PEOPLE)
    })
  }

  it('ends by name: no file, a folder, a file that changes while it is read', async () => {
    const before = await people(at)
    const ended = async (file: string, change?: (connector: Connector) => Connector) => {
      const { state, details } = await importing(at, file, change)
      return [state, details.failure?.code]
    }
    assert.deepEqual(await ended(join(folder, 'nothing.csv')), ['failed', 'feed.unreachable'])
    assert.deepEqual(await ended(folder), ['failed', 'feed.misconfigured'])
    const after = (act: (file: string) => void) => (connector: Connector) => ({
      ...connector,
      async readFull(signal: AbortSignal) {
        const feed = await connector.readFull(signal)
        act(growing)
        return feed
      },
    })
    const growing = put(good)
    assert.deepEqual(
      await ended(
        growing,
        after((file) => appendFileSync(file, line(21))),
      ),
      ['failed', 'feed.changed'],
    )
    assert.deepEqual(
      await ended(
        growing,
        after((file) => truncateSync(file, 0)),
      ),
      ['failed', 'feed.changed'],
    )
    assert.equal(await people(at), before)
    await goesOn(at, 'N1')
  })

  it('tells nothing of who is missing where it is cut off', async () => {
    const run = await importing(at, put(`${HEADING}${lines(1, 12)}E13,e13@co`))
    assert.deepEqual([run.state, causesOf(run)], ['held', ['feed.cut-off']])
    assert.match(run.details.leaversUnknown ?? '', /nobody can be said to be missing/)
    assert.deepEqual(await at.rows(run.id, 'leaver'), [])
    assert.equal(run.counts.leaver ?? 0, 0)
    // Whoever lets it go ahead changes those who are in it, and nobody who is not.
    const before = await people(at)
    const approved = await at.approve(run.id)
    assert.ok(approved.outcome === 'applied' && approved.run.state === 'done')
    assert.equal((await at.users()).filter(({ state }) => state === 'active').length, PEOPLE)
    assert.equal(await people(at), before)
  })
})

describe('a file with strange words in it', () => {
  let at: Importing
  before(async () => {
    at = await withPeople()
  })
  after(() => at?.close())

  it('is text, whatever a spreadsheet would make of it', async () => {
    const formulas = [
      "=cmd|' /C calc'!A0",
      '+1+1',
      '-2',
      '@SUM(1)',
      '<script>alert(1)</script>',
      "'; drop table users; --",
      '{{7*7}}',
      '%00',
    ]
    const rows = formulas.map((formula, i) => `E${i + 1},e${i + 1}@corp.example,"${formula}"\n`).join('')
    const run = await importing(at, put(HEADING + rows + lines(formulas.length + 1, PEOPLE)))
    assert.equal(run.state, 'done', whyOf(run))
    for (const [i, formula] of formulas.entries()) {
      const user = await at.user(`e${i + 1}@corp.example`)
      assert.deepEqual(user.profile.department?.values, [formula])
    }
  })

  it('may call its columns what it likes', async () => {
    const names = ['__proto__', 'constructor', 'toString', 'hasOwnProperty']
    const rows = Array.from({ length: PEOPLE }, (_, i) => `${line(i + 1).trim()},a,b,c,d\n`).join('')
    const run = await importing(at, put(`${HEADING.trim()},${names.join()}\n${rows}`))
    assert.equal(run.state, 'done', whyOf(run))
    assert.equal((await at.users()).length, PEOPLE)
    assert.equal(Object.hasOwn(Object.prototype, 'a'), false)
    const again = await importing(at, put(good))
    assert.equal(again.state, 'done', whyOf(again))
  })

  it('is counted by column, whatever the columns are called', {}, async () => {
    const names = ['__proto__', 'constructor', 'toString']
    const rows = Array.from({ length: PEOPLE }, (_, i) => `${line(i + 1).trim()},a,b,c\n`).join('')
    const run = await importing(at, put(`${HEADING.trim()},${names.join()}\n${rows}`))
    const counted = run.details.feed?.attributes ?? {}
    assert.deepEqual(
      names.map((name) => Object.hasOwn(counted, name) && counted[name]),
      [PEOPLE, PEOPLE, PEOPLE],
    )
  })
})

// --- connectors --------------------------------------------------------------------------------------------------------------

const row = (n: number, department = 'Sales'): FeedRow => ({
  place: `row ${n}`,
  attributes: { employeeNumber: [`E${n}`], email: [`e${n}@corp.example`], department: [department] },
})
const rows = (from: number, to: number, department?: string) => Array.from({ length: to - from + 1 }, (_, i) => row(from + i, department))
const batch = (some: readonly FeedRow[]): FeedBatch => ({ rows: some, faults: [], done: some.length })

type Batches = AsyncGenerator<FeedBatch, FeedEnd, void>

function scripted(readFull: (signal: AbortSignal) => Promise<Feed>): Connector {
  return { kind: 'scripted', changesShowLeavers: false, test: async () => 'it is a script', readFull }
}

/** One that is read, and then does this. */
const doing = (batches: (signal: AbortSignal) => Batches) => scripted(async (signal) => ({ columns: undefined, batches: batches(signal) }))
const forever = () => new Promise<never>(() => {})

/** How often the rows were asked for, and whether they were left. */
function watched(connector: Connector): Connector & { asked: number; left: boolean } {
  const seen = {
    ...connector,
    asked: 0,
    left: false,
    async readFull(signal: AbortSignal): Promise<Feed> {
      const { columns, batches } = await connector.readFull(signal)
      const next = batches.next.bind(batches)
      const leave = batches.return.bind(batches)
      const watching = {
        next: () => {
          seen.asked++
          return next()
        },
        return: (end: FeedEnd) => {
          seen.left = true
          return leave(end)
        },
      }
      return { columns, batches: Object.assign(batches, watching) }
    },
  }
  return seen
}

interface BadConnector {
  readonly connector: () => Connector
  /** Of the source's document. */
  readonly feed: Readonly<Record<string, number>>
  readonly ends: readonly [ImportState, string]
  readonly says: RegExp
}

const PATIENT = { patience: 60, minutes: 10 }

const badConnectors: Readonly<Record<string, BadConnector>> = {
  'never says anything': {
    connector: () => doing(() => endless(forever)),
    feed: { patience: 0.2 },
    ends: ['failed', 'feed.too-slow'],
    says: /nothing came for 0.2 seconds \(feed.patience\)/,
  },
  'never answers at all': {
    connector: () => scripted(forever),
    feed: { patience: 0.2 },
    ends: ['failed', 'feed.too-slow'],
    says: /feed.patience/,
  },
  'falls silent in the middle': {
    connector: () =>
      doing(async function* () {
        yield batch(rows(1, 5, 'Law'))
        return await forever()
      }),
    feed: { patience: 0.2 },
    ends: ['failed', 'feed.too-slow'],
    says: /feed.patience/,
  },
  'gives up when it is told to, by another name': {
    connector: () =>
      scripted((signal) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(new Error('socket hang up'))))),
    feed: { patience: 0.2 },
    ends: ['failed', 'feed.too-slow'],
    says: /feed.patience/,
  },
  'says a little again and again, and does not listen': {
    connector: () =>
      doing(() =>
        endless(async (turn) => {
          await pause(5)
          return batch([row(turn, 'Law')])
        }),
      ),
    feed: { patience: 60, minutes: 0.01 },
    ends: ['failed', 'feed.too-slow'],
    says: /not read to its end within 0.01 minutes \(feed.minutes\)/,
  },
  'says nothing again and again, at once, and does not listen': {
    connector: () => doing(() => endless(async () => batch([]))),
    feed: { patience: 60, minutes: 0.01 },
    ends: ['failed', 'feed.too-slow'],
    says: /feed.minutes/,
  },
  'does not end': {
    connector: () => doing(() => endless(async (turn) => batch(rows(turn * 100, turn * 100 + 99)))),
    feed: { ...PATIENT, rows: 3_000 },
    ends: ['failed', 'feed.too-large'],
    says: /more than 3000 rows \(feed.rows\)/,
  },
  'says the same again and again': {
    connector: () => doing(() => endless(async () => batch(rows(1, PEOPLE)))),
    feed: { ...PATIENT, rows: 3_000 },
    ends: ['failed', 'feed.too-large'],
    says: /feed.rows/,
  },
  'has a row too many': {
    connector: () => doing(() => once(rows(1, PEOPLE))),
    feed: { ...PATIENT, rows: PEOPLE - 1 },
    ends: ['failed', 'feed.too-large'],
    says: /more than 19 rows/,
  },
  'has too many rows that cannot be read': {
    connector: () =>
      doing(() => endless(async (turn) => ({ rows: [], faults: [{ place: `row ${turn}`, why: 'it cannot be read' }], done: turn }))),
    feed: { ...PATIENT, rows: 500 },
    ends: ['failed', 'feed.too-large'],
    says: /feed.rows/,
  },
  'breaks off': {
    connector: () =>
      doing(async function* () {
        yield batch(rows(1, 15, 'Law'))
        throw new FeedFailure('unreachable', 'the connection broke off')
      }),
    feed: PATIENT,
    ends: ['failed', 'feed.unreachable'],
    says: /the connection broke off/,
  },
  'ends in the middle, and knows it': {
    connector: () =>
      doing(async function* () {
        yield batch(rows(1, 15, 'Law'))
        throw new FeedFailure('cut-off', 'the answer ends in the middle')
      }),
    feed: PATIENT,
    ends: ['held', 'feed.cut-off'],
    says: /ends in the middle/,
  },
  'is denied': {
    connector: () => scripted(() => Promise.reject(new FeedFailure('denied', 'the password is wrong'))),
    feed: PATIENT,
    ends: ['failed', 'feed.denied'],
    says: /password is wrong/,
  },
  'does not let itself be left': {
    connector: () => ({
      ...doing(() =>
        Object.assign(
          endless(async (turn) => batch(rows(turn * 500, turn * 500 + 499))),
          { return: forever },
        ),
      ),
    }),
    feed: { ...PATIENT, rows: 2_000 },
    ends: ['failed', 'feed.too-large'],
    says: /feed.rows/,
  },
}

async function* endless(say: (turn: number) => Promise<FeedBatch>): Batches {
  for (let turn = 1; ; turn++) yield await say(turn)
}

async function* once(some: readonly FeedRow[]): Batches {
  yield batch(some)
  return {}
}

describe('a connector', { concurrency: true }, () => {
  for (const [name, { connector, feed, ends, says }] of Object.entries(badConnectors)) {
    it(`that ${name} is given up by name`, async (t) => {
      const at = await own(t)
      await at.apply({ sources: [hr({ feed })] })
      const before = await people(at)
      const bad = watched(connector())
      const run = await at.reading(bad)
      assert.deepEqual([run.state, run.details.failure?.code ?? causesOf(run)[0]], ends, whyOf(run))
      assert.match(whyOf(run), says)
      assert.equal(await people(at), before)
      if (run.state === 'failed') assert.deepEqual(await at.rows(run.id), [])
      const { asked } = bad
      await at.apply({ sources: [hr({ safeguard: { share: 1, count: 1_000 } })] })
      await goesOn(at, 'N1')
      assert.equal(bad.asked, asked, 'nothing more is asked of it')
      if (asked) assert.ok(bad.left, 'it is told that nobody listens any more')
    })
  }

  for (const [name, thrown, why] of [
    ['an error of its own', new Error('boom'), /boom/],
    ['a text', 'boom', /boom/],
    ['nothing', undefined, /undefined/],
  ] as const) {
    for (const [where, connector] of [
      ['while it is read', doing(() => endless(() => Promise.reject(thrown)))],
      ['before it is read', scripted(() => Promise.reject(thrown))],
      [
        'at once',
        scripted(() => {
          throw thrown
        }),
      ],
    ] as const) {
      it(`that throws ${name} ${where} fails as a fault, and is told`, async (t) => {
        const at = await own(t)
        const before = await people(at)
        at.later(1)
        await assert.rejects(at.reading(connector), why)
        const [last] = await listRuns(at.db, { source: 'hr', limit: 1 })
        assert.deepEqual([last?.run.state, last?.run.details.failure?.code], ['failed', 'fault'])
        assert.match(last?.run.details.failure?.why ?? '', why)
        assert.equal(await people(at), before)
        await goesOn(at, 'N1')
      })
    }
  }

  it('that hangs is left when somebody stops the run', async (t) => {
    for (const connector of [scripted(forever), doing(() => endless(forever)), doing(() => endless(async () => batch([])))]) {
      const at = await own(t)
      const before = await people(at)
      const stop = new AbortController()
      const running = at.run({ connector, stop: stop.signal })
      setTimeout(() => stop.abort(), 50)
      const run = await running
      assert.deepEqual([run.state, run.details.failure?.code], ['cancelled', 'feed.cancelled'])
      assert.equal(await people(at), before)
      await goesOn(at, 'N1')
    }
  })

  it('may take any time that the document allows, whatever fraction of a minute', async (t) => {
    const at = await own(t)
    // 60299.99999999999 milliseconds.
    await at.apply({ sources: [hr({ feed: { minutes: 1.005, patience: 59.999 } })] })
    assert.equal((await at.run()).state, 'done')
  })

  it('that names somebody known again and again is told in few words', async (t) => {
    const at = await own(t)
    const run = await at.reading(doing(() => once([...rows(1, PEOPLE), ...Array.from({ length: 1_000 }, () => row(1))])))
    assert.deepEqual([run.state, causesOf(run)], ['held', ['feed.duplicate-keys']])
    assert.ok(whyOf(run).length < 1_000)
    const again = await at.rows(run.id)
    assert.equal(again.length, 1_000)
    assert.ok(again.every(({ planned }) => planned.decision === 'refused' && planned.why.length < 1_000))
  })

  const newcomers = (count: number, key: string) =>
    doing(() =>
      once([
        ...rows(1, PEOPLE),
        ...Array.from({ length: count }, () => ({ ...row(99), attributes: { ...row(99).attributes, employeeNumber: [key] } })),
      ]),
    )

  it('that names somebody new again and again is told in few words', async (t) => {
    const at = await own(t)
    const run = await at.reading(newcomers(1_000, 'N1'))
    assert.deepEqual([run.state, causesOf(run)], ['held', ['feed.duplicate-keys']])
    assert.ok(whyOf(run).length < 1_000)
    const longest = Math.max(...(await at.rows(run.id)).map(({ planned }) => planned.why.length))
    assert.ok(longest < 1_000, `${longest} characters in each of 1,000 rows`)
  })

  it('that names somebody new twice is refused both, whatever the key', {}, async (t) => {
    const at = await own(t)
    for (let n = 1; n <= 10; n++) {
      const run = await at.reading(newcomers(2, `N${n}`))
      assert.deepEqual(countsOf(run), { unchanged: PEOPLE, refused: 2 }, `N${n}`)
    }
  })

  it('that names somebody new tens of thousands of times is held', async (t) => {
    const at = await own(t)
    const run = await at.reading(newcomers(33_000, 'N1'))
    assert.deepEqual([run.state, causesOf(run)], ['held', ['feed.duplicate-keys']])
  })
})

describe('the counts of a run that is held', () => {
  it('are as they would be', async (t) => {
    const at = await own(t)
    const run = await importing(at, put(`${good}${lines(1, 3)}`))
    assert.deepEqual([run.state, causesOf(run)], ['held', ['feed.duplicate-keys']])
    assert.deepEqual(countsOf(run), { unchanged: PEOPLE, refused: 3 })
  })
})
