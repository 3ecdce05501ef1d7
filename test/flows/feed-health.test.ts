// What holds an import before anything follows from it: a feed that cannot be right, and harm to too many people at once. As
// tables, and through whole runs.

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it, type TestContext } from 'node:test'
import { connectorOf } from '../../src/app/sources.ts'
import { memoryConnector } from '../../src/connectors/memory/memory.ts'
import { type Feed, type FeedCounts, healthOf } from '../../src/domain/feed-health.ts'
import { heldBecause, heldByHarm } from '../../src/domain/safeguard.ts'
import type { FeedRow } from '../../src/flows/feed-ports.ts'
import type { ImportRun } from '../../src/flows/import-ports.ts'
import { countsOf, hr, Importing, people } from '../support/imports.ts'
import { readTable } from '../support/world.ts'

const counted = (rows: number, meant = rows, more: Partial<FeedCounts> = {}): FeedCounts => ({
  rows,
  meant,
  faults: 0,
  attributes: {},
  ...more,
})

const FEED: Feed = { mode: 'full', counts: counted(100), columns: undefined, doubled: [], usual: undefined }
const RULES = { needed: [], smallest: 0.5 }

/** `usual` is how many were meant the last time; nothing: there was no last time. */
const HEALTH = `
mode,rows,meant,faults,usual,smallest,doubled,cut off,held by,note
full,100,100,,,0.5,,,,the first feed of a source
full,100,100,,100,0.5,,,,the same as ever
full,1000,1000,,100,0.5,,,,more than ever
full,0,0,,,0.5,,,feed.empty,nobody at all is never meant
full,0,0,,100,0.5,,,feed.empty,and it is not called shrunk as well
full,0,0,,0,0.5,,,feed.empty,also where that is usual
full,0,0,,100,0,,,feed.empty,also where any size is allowed
full,50,50,,100,0.5,,,,exactly half passes
full,49,49,,100,0.5,,,feed.shrunk,below it nothing does
full,51,51,,101,0.5,,,,half of an odd number
full,50,50,,101,0.5,,,feed.shrunk,and less than that
full,1,1,,2,0.5,,,,one of two
full,0,0,,1,0.5,,,feed.empty,none of one
full,100,49,,100,0.5,,,feed.shrunk,those count whom the source means
full,49,49,,200,0.2,,,,a source may say otherwise
full,99,99,,100,1,,,feed.shrunk,not one fewer
full,100,100,,100,1,,,,all of them
full,1,1,,100,0,,,,any number but none
full,20,0,,,0.5,,,feed.filtered,nobody passes the first time
full,20,0,,100,0.5,,,feed.filtered,nor another time
incremental,0,0,,100,0.5,,,,nothing has changed
incremental,1,1,,100,0.5,,,,little has changed
incremental,20,0,,100,0.5,,,,nothing has changed that is meant
full,10,10,10,,0.5,,,,ten bad lines are a few
full,9,9,11,,0.5,,,feed.faults,eleven of twenty are not
full,99,99,11,,0.5,,,,a tenth passes
full,98,98,11,,0.5,,,feed.faults,more does not
incremental,9,9,11,,0.5,,,feed.faults,nor among changes
full,100,100,,,0.5,yes,,feed.duplicate-keys,a key came twice
incremental,100,100,,,0.5,yes,,feed.duplicate-keys,also among changes
full,100,100,,,0.5,,yes,feed.cut-off,it ends in the middle
full,0,0,12,100,0.5,yes,yes,feed.cut-off feed.empty feed.duplicate-keys feed.faults,all at once and always in this order
`

/** What is needed is id, mail and phone. Of the columns, or of what rows had now and the last time (100 rows each). */
const COLUMNS = `
columns,now,last time,mode,missing,note
id mail phone,,,full,,all are there
phone x mail id,,,full,,in any order
id mail,,,full,phone,a column is gone
id mail,,,incremental,phone,also from a feed of changes
x,,,full,id mail phone,another file altogether
,,,full,,nothing is known
id Mail phone,,,full,mail,capitals count
id urn:oid:0.9.2342.19200300.100.1.3 phone,,,full,,by its OID
id http://schemas.example/claims/mail phone,,,full,,by an address
id mail,id:100 mail:100 phone:100,,full,phone,what the heading says goes first
,id:100 mail:100 phone:90,id:100 mail:100 phone:100,full,,fewer have it
,id:100 mail:100 phone:1,id:100 mail:100 phone:100,full,,somebody has it
,id:100 mail:100,id:100 mail:100 phone:100,full,phone,nobody has it any more
,id:100 mail:100,id:100 mail:100 phone:10,full,phone,a tenth had it
,id:100 mail:100,id:100 mail:100 phone:9,full,,few ever had it
,id:100 mail:100,id:100 mail:100,full,,nobody ever had it
,id:100 mail:100,,full,,there was no last time
,id:100,id:100 mail:100 phone:100,incremental,,those who changed may not have it
,mail:100 phone:100,id:100 mail:100 phone:100,full,id,not even the key
`

const numbers = (text = '') =>
  Object.fromEntries(
    text
      .split(' ')
      .filter(Boolean)
      .map((one) => one.split(/:(?=\d+$)/))
      .map(([name, count]) => [name, Number(count)]),
  )

describe('the health of a feed', () => {
  for (const line of readTable(HEALTH)) {
    const { mode, rows, meant, faults, usual, smallest, doubled, note = '' } = line
    it(`${line['held by'] || 'is good'}: ${note}`, () => {
      const held = healthOf(
        {
          ...FEED,
          mode: mode as Feed['mode'],
          counts: counted(Number(rows), Number(meant), { faults: Number(faults) }),
          usual: usual === '' ? undefined : counted(Number(usual)),
          doubled: doubled ? [{ key: 'E1', places: ['line 2', 'line 3'] }] : [],
          ...(line['cut off'] ? { cutOff: 'it ends within line 7' } : {}),
        },
        { needed: [], smallest: Number(smallest) },
      )
      assert.equal(held.map(({ code }) => code).join(' '), line['held by'])
      assert.ok(held.every(({ why }) => /\d|empty|passes/.test(why)))
    })
  }

  for (const { columns = '', now = '', mode, missing = '', note = '', ...line } of readTable(COLUMNS)) {
    it(`${missing ? `misses ${missing}` : 'misses nothing'}: ${note}`, () => {
      const usual = line['last time']
      const held = healthOf(
        {
          ...FEED,
          mode: mode as Feed['mode'],
          columns: columns ? columns.split(' ') : undefined,
          counts: counted(100, now && !now.includes('id:') ? 0 : 100, { attributes: numbers(now) }),
          usual: usual ? counted(100, 100, { attributes: numbers(usual) }) : undefined,
        },
        { needed: ['id', 'mail', 'phone'], smallest: 0.5 },
      )
      const why = held.find(({ code }) => code === 'feed.column-missing')?.why ?? ''
      assert.deepEqual(
        ['id', 'mail', 'phone'].filter((name) => why.includes(`«${name}»`)),
        missing.split(' ').filter(Boolean),
      )
    })
  }

  const why = (feed: Partial<Feed>, rules: Partial<Parameters<typeof healthOf>[1]> = {}) =>
    healthOf({ ...FEED, ...feed }, { ...RULES, ...rules }).map(({ why }) => why)

  it('is told with the figures that it was judged by', () => {
    assert.deepEqual(why({ counts: counted(0), usual: counted(40) }), ['the feed is empty, and the last one had 40 rows'])
    assert.deepEqual(why({ counts: counted(0) }), ['the feed is empty'])
    assert.deepEqual(why({ counts: counted(9), usual: counted(20) }), [
      '9 rows came, and the last time it was 20; below 50 % of that it is held',
    ])
    assert.deepEqual(why({ counts: counted(9, 0), usual: counted(9, 8) }, { filter: "any(attributes.kind, 'staff')" }), [
      "none of the 9 rows passes any(attributes.kind, 'staff'), and the last time 8 did",
    ])
    assert.deepEqual(why({ counts: counted(9, 0) }), ['none of the 9 rows has a key that can be used'])
    assert.deepEqual(why({ counts: counted(9, 9, { faults: 21 }) }), ['21 of 30 rows cannot be read'])
    assert.deepEqual(why({ cutOff: 'the file ends in the middle of line 7' }), ['the file ends in the middle of line 7'])
    assert.deepEqual(why({ columns: ['a', 'b'] }, { needed: ['b', 'id', 'mail'] }), [
      'there is no column «id», «mail», which the mapping reads; there are a, b',
    ])
    assert.deepEqual(why({ columns: [] }, { needed: ['id'] }), ['there is no column «id», which the mapping reads; there are none'])
    assert.deepEqual(why({ usual: counted(100, 100, { attributes: { mail: 80 } }) }, { needed: ['mail'] }), [
      'nobody has «mail» any more, which the mapping reads; the last time 80 had it',
    ])
  })

  it('names doubled keys with their places, some of them where they are many', () => {
    const key = (n: number, places = 2) => ({ key: `E${n}`, places: Array.from({ length: places }, (_, i) => `line ${n + i * 10}`) })
    assert.deepEqual(why({ doubled: [key(1)] }), ['one key comes more than once: «E1» (line 1, line 11)'])
    assert.deepEqual(why({ doubled: [key(1), key(2, 3)] }), [
      '2 keys come more than once: «E1» (line 1, line 11); «E2» (line 2, line 12, line 22)',
    ])
    const [many = ''] = why({ doubled: Array.from({ length: 400 }, (_, i) => key(i, 4_000)) })
    assert.match(many, /^400 keys come more than once: .*«E4» \(line 4, line 14, line 24, line 34, line 44, …\) and 395 more$/)
    assert.ok(many.length < 1_000)
  })

  it('is told in few words, however much was found', () => {
    const columns = Array.from({ length: 10_000 }, (_, i) => `${i} ${'x'.repeat(1_000)}`)
    const [told = ''] = why({ columns }, { needed: ['id'] })
    assert.ok(told.length < 5_000, `${told.length} characters`)
  })
})

const SAFEGUARDS = `
people,harmed,share,count,held,note
100,0,0,1,no,nobody is harmed
0,0,0,1,no,nobody is there
100,20,0.2,50,no,exactly the share
100,21,0.2,50,yes,more than the share
1000,49,0.2,50,no,below the count
1000,50,0.2,50,yes,the count itself holds
1000,50,0.2,51,no,as many as the count lets pass
10,2,0.2,50,no,exactly the share of a few
10,3,0.2,50,yes,more than the share of a few
5,1,0.2,50,no,one of five
5,2,0.2,50,yes,two of five
3,1,0.2,50,no,one of three is one alone
2,1,0,50,no,one alone is never too many by share
2,2,0.2,50,yes,both of two
1,1,0.2,50,no,the only one
1,1,0,1,yes,but by count one can be too many
3,3,1,50,no,all of a few where any share may pass
0,2,0.2,50,yes,more than there were
`

describe('a safeguard', () => {
  for (const { people, harmed, share, count, held, note = '' } of readTable(SAFEGUARDS)) {
    it(`${held === 'yes' ? 'holds' : 'lets pass'}: ${note}`, () => {
      const why = heldBecause({ people: Number(people), harmed: Number(harmed) }, { share: Number(share), count: Number(count) })
      assert.equal(why !== undefined, held === 'yes', why)
    })
  }

  it('judges each kind of harm by its own figures, and tells of each', () => {
    const figure = { share: 0.2, count: 50 }
    const all = { leavers: figure, blanked: { share: 1, count: 2 }, memberships: figure, moved: { share: 0, count: 50 } }
    assert.deepEqual(heldByHarm(100, { leavers: 0, blanked: 0, memberships: 0, moved: 0 }, all), [])
    assert.deepEqual(heldByHarm(100, { leavers: 20, blanked: 1, memberships: 20, moved: 1 }, all), [])
    assert.deepEqual(heldByHarm(100, { leavers: 21, blanked: 2, memberships: 50, moved: 2 }, all), [
      '21 of 100 people would lose their access; the safeguard lets 20 % pass',
      '2 people would lose a value; the safeguard lets 1 pass',
      '50 people would lose a group; the safeguard lets 49 pass',
      '2 of 100 people would be linked to another name than before; the safeguard lets 0 % pass',
    ])
  })
})

// --- whole runs --------------------------------------------------------------------------------------------------------------

const NO_SAFEGUARD = { share: 1, count: 1_000 }

/** So many people are known, by a source that says this otherwise than the sample does. */
async function known(t: TestContext, count: number, more: Record<string, unknown> = {}, row?: (n: number) => Record<string, string>) {
  const at = await Importing.open('sqlite', { sources: [hr(more)] })
  t.after(() => at.close())
  if (count) {
    at.putMany(count, row)
    const run = await at.run()
    assert.equal(run.state, 'done', JSON.stringify(run.details))
  }
  return at
}

const causesOf = ({ details }: ImportRun) => (details.causes ?? []).map(({ code }) => code)
const whyOf = ({ details }: ImportRun) => (details.causes ?? []).map(({ why }) => why).join('\n')

/** The run waits for a person, and nobody is changed at all. */
async function isHeld(at: Importing, codes: readonly string[], run = () => at.run()): Promise<ImportRun> {
  const before = await people(at)
  const held = await run()
  assert.deepEqual([held.state, causesOf(held)], ['held', codes], whyOf(held))
  assert.equal(held.counts.applied ?? 0, 0)
  assert.equal(await people(at), before, 'nothing at all is applied')
  return held
}

async function goesAhead(at: Importing, run = () => at.run()): Promise<ImportRun> {
  const done = await run()
  assert.equal(done.state, 'done', whyOf(done))
  return done
}

const folder = mkdtempSync(join(tmpdir(), 'gatehouse-feed-health-'))
after(() => rmSync(folder, { recursive: true }))
let files = 0

async function importing(at: Importing, content: string): Promise<ImportRun> {
  const file = join(folder, `${++files}.csv`)
  writeFileSync(file, content)
  const { spec } = await at.source()
  return at.reading(
    connectorOf(spec, { importDir: folder, environment: {}, ask: () => Promise.reject(new Error('nobody is asked')) }, file),
  )
}

const HEADING = 'employeeNumber,email,department\n'
const line = (n: number) => `E${n},e${n}@corp.example,Sales\n`
const lines = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => line(from + i)).join('')
const keep = (at: Importing, count: number) => {
  for (const key of [...at.people.keys()].slice(count)) at.drop(key)
}

describe('a feed that is held', () => {
  it('is empty, the first time and later', async (t) => {
    const at = await known(t, 0)
    assert.match(whyOf(await isHeld(at, ['feed.empty'])), /^the feed is empty$/)
    at.putMany(20)
    await goesAhead(at)
    keep(at, 0)
    const run = await isHeld(at, ['feed.empty', 'safeguard'])
    assert.match(whyOf(run), /the last one had 20 rows/)
    // Whoever says yes nevertheless gets what was planned.
    const approved = await at.approve(run.id)
    assert.ok(approved.outcome === 'applied' && approved.run.counts.applied === 20)
    assert.ok((await at.users()).every(({ state }) => state === 'deprovisioned'))
  })

  it('has fewer than half; exactly half passes', async (t) => {
    const at = await known(t, 20, { safeguard: NO_SAFEGUARD })
    keep(at, 9)
    assert.match(whyOf(await isHeld(at, ['feed.shrunk'])), /9 rows came, and the last time it was 20/)
    at.putMany(20)
    keep(at, 10)
    const run = await goesAhead(at)
    assert.deepEqual(countsOf(run), { unchanged: 10, leaver: 10, applied: 10 })
    // What was believed is what is usual from now on.
    keep(at, 5)
    await goesAhead(at)
    keep(at, 2)
    await isHeld(at, ['feed.shrunk'])
  })

  it('has fewer than the source says it has to have', async (t) => {
    const at = await known(t, 20, { safeguard: NO_SAFEGUARD, feed: { smallest: 0.95 } })
    keep(at, 18)
    await isHeld(at, ['feed.shrunk'])
    at.putMany(20)
    keep(at, 19)
    await goesAhead(at)
  })

  it('is not what the next one is measured by', async (t) => {
    const at = await known(t, 20, { safeguard: NO_SAFEGUARD })
    keep(at, 4)
    await isHeld(at, ['feed.shrunk'])
    keep(at, 3)
    assert.match(whyOf(await isHeld(at, ['feed.shrunk'])), /the last time it was 20/)
    // Until a person has said that it is right.
    await goesAhead(at, () => at.run({ approved: true }))
    keep(at, 2)
    await goesAhead(at)
  })

  it('lacks a column that the mapping reads', async (t) => {
    const at = await known(t, 20)
    const without = `employeeNumber,email\n${Array.from({ length: 20 }, (_, i) => `E${i + 1},e${i + 1}@corp.example\n`).join('')}`
    const run = await isHeld(at, ['feed.column-missing'], () => importing(at, without))
    assert.match(whyOf(run), /there is no column «department», which the mapping reads; there are employeeNumber, email$/)
    // A name that is spelled otherwise is another column.
    await isHeld(at, ['feed.column-missing'], () => importing(at, HEADING.replace('department', 'Department') + lines(1, 20)))
    await goesAhead(at, () => importing(at, HEADING + lines(1, 20)))
  })

  it('lacks the column of the key', async (t) => {
    const at = await known(t, 20)
    const renamed = HEADING.replace('employeeNumber', 'number') + lines(1, 20)
    const run = await isHeld(at, ['feed.filtered', 'feed.column-missing', 'safeguard'], () => importing(at, renamed))
    assert.match(whyOf(run), /none of the 20 rows has a key that can be used, and the last time 20 did[\s\S]*«employeeNumber»/)
  })

  it('lacks a column that the filter, the groups or the state are read from', async (t) => {
    const at = await known(t, 0, {
      only: "!has(attributes.kind) || any(attributes.kind, 'staff')",
      groups: { from: 'attributes.teams', mode: 'sync' },
      lifecycle: { leavers: 'nothing', state: { from: 'attributes.status', suspended: ['away'] } },
    })
    const run = await isHeld(at, ['feed.column-missing'], () => importing(at, HEADING + lines(1, 5)))
    assert.match(whyOf(run), /«teams», «status», «kind»/)
  })

  it('is from a source without a heading, and nobody has an attribute any more that many had', async (t) => {
    const at = await known(t, 20)
    const full = new Map(at.people)
    for (const [key, { department: _, ...row }] of full) at.put(key, row)
    const run = await isHeld(at, ['feed.column-missing'])
    assert.match(whyOf(run), /nobody has «department» any more, which the mapping reads; the last time 20 had it/)
    // One of them is enough to see that it is meant.
    at.put('E1', full.get('E1') ?? {})
    await goesAhead(at)
  })

  it('is from a source without a heading, and nobody has a key any more', async (t) => {
    const at = await known(t, 20)
    const rows = [...at.people.values()].map(({ email = '', department = '' }, i): FeedRow & { changed: number } => ({
      place: `row ${i}`,
      attributes: { number: [`E${i}`], email: [email], department: [department] },
      changed: 1,
    }))
    const run = await isHeld(at, ['feed.filtered', 'feed.column-missing', 'safeguard'], () => at.reading(memoryConnector(() => ({ rows }))))
    assert.match(whyOf(run), /nobody has «employeeNumber» any more/)
    assert.deepEqual(await at.rows(run.id, 'leaver').then((rows) => rows.filter(({ status }) => status === 'approved')), [])
  })

  it('does not mind that an attribute which few had is gone', async (t) => {
    const at = await known(t, 20, {}, (n) => ({ department: n === 1 ? 'Law' : '' }))
    at.put('E1', { email: 'e1@corp.example', department: '' })
    await goesAhead(at)
  })

  it('has a key twice: of people who are known', async (t) => {
    const at = await known(t, 20)
    const run = await isHeld(at, ['feed.duplicate-keys'], () =>
      importing(at, `${HEADING}${lines(1, 20)}E3,e3@corp.example,Law\ne4,e4@corp.example,Law\nE3,e3@corp.example,Law\n`),
    )
    // Capitals make no other key.
    assert.match(whyOf(run), /2 keys come more than once: «E3» \(line 22, line 24\); «e4» \(line 23\)/)
    assert.deepEqual(
      (await at.rows(run.id, 'refused')).map(({ place, planned }) => [place, planned.why]),
      ['line 22', 'line 23', 'line 24'].map((place) => [place, 'the same key came before in this feed']),
    )
  })

  it('has a key twice: of people who are new', async (t) => {
    const at = await known(t, 20)
    const run = await isHeld(at, ['feed.duplicate-keys'], () =>
      importing(at, `${HEADING}${lines(1, 20)}N1,a@corp.example,Law\nN2,b@corp.example,Law\nn1,c@corp.example,Law\n`),
    )
    assert.match(whyOf(run), /one key comes more than once: «N1» \(line 22, line 24\)/)
    const refused = await at.rows(run.id, 'refused')
    assert.deepEqual(
      refused.map(({ place, planned }) => [place, planned.why]),
      [
        ['line 22', 'line 22 and line 24 have the same key'],
        ['line 24', 'line 22 and line 24 have the same key'],
      ],
    )
    // Neither of the two is anybody, even where a person says yes to all of it.
    const approved = await at.approve(run.id)
    assert.ok(approved.outcome === 'applied')
    assert.deepEqual(countsOf(approved.run), { unchanged: 20, refused: 2, create: 1, applied: 1 })
    assert.equal((await at.users()).length, 21)
  })

  it('is cut off: nobody leaves because of it', async (t) => {
    const at = await known(t, 20, { safeguard: NO_SAFEGUARD })
    const run = await isHeld(at, ['feed.cut-off'], () => importing(at, `${HEADING}${lines(1, 14)}E15,e15`))
    assert.equal(run.counts.leaver ?? 0, 0)
    const approved = await at.run({ connector: (await cutOff(at)).connector, approved: true })
    assert.equal(approved.state, 'done')
    assert.equal((await at.users()).filter(({ state }) => state === 'active').length, 20)
    // Nor does it become what is usual.
    assert.equal((await at.ports.importReads.usual(run.source)).usual?.rows, 20)
  })

  async function cutOff(at: Importing) {
    const file = join(folder, `${++files}.csv`)
    writeFileSync(file, `${HEADING}${lines(1, 14)}E15,e15`)
    const { spec } = await at.source()
    return { connector: connectorOf(spec, { importDir: folder, environment: {}, ask: () => Promise.reject(new Error('no')) }, file) }
  }

  it('has rows, and not one that the filter lets pass', async (t) => {
    const only = "any(attributes.kind, 'staff')"
    const at = await known(t, 20, { only, safeguard: NO_SAFEGUARD }, (n) => ({ department: 'Sales', kind: n <= 10 ? 'staff' : 'guest' }))
    assert.equal((await at.users()).length, 10)
    const all = [...at.people]
    const say = (kind: (n: number) => string) => {
      for (const [i, [key, row]] of all.entries()) at.put(key, { ...row, kind: kind(i + 1) })
    }
    say(() => 'employee')
    const run = await isHeld(at, ['feed.filtered'])
    assert.match(whyOf(run), /none of the 20 rows passes any\(attributes.kind, 'staff'\), and the last time 10 did/)
    // Fewer than half of those whom it let pass.
    say((n) => (n <= 4 ? 'staff' : 'guest'))
    assert.match(whyOf(await isHeld(at, ['feed.shrunk'])), /4 rows came, and the last time it was 10/)
    say((n) => (n <= 5 ? 'staff' : 'guest'))
    assert.equal((await goesAhead(at)).counts.leaver, 5)
  })

  it('has rows, and none of them among the subjects that the source may speak of', async (t) => {
    const at = await known(t, 20, { subjects: '^E', safeguard: NO_SAFEGUARD })
    keep(at, 0)
    for (let n = 1; n <= 20; n++) at.put(`X${n}`, { email: email(n), department: 'Sales' })
    const run = await isHeld(at, ['feed.filtered'])
    assert.match(whyOf(run), /none of the 20 rows passes \^E/)
  })

  it('has too many lines that cannot be read', async (t) => {
    const at = await known(t, 20)
    const bad = (count: number) => Array.from({ length: count }, (_, i) => `bad ${i}\n`).join('')
    const run = await isHeld(at, ['feed.faults'], () => importing(at, HEADING + lines(1, 20) + bad(11)))
    assert.match(whyOf(run), /11 of 31 rows cannot be read/)
    assert.deepEqual(
      (await at.rows(run.id, 'refused')).slice(0, 2).map(({ place, planned }) => [place, planned.why]),
      ['line 22', 'line 23'].map((place) => [place, 'it has 1 columns, and the heading 3']),
    )
    const some = await goesAhead(at, () => importing(at, HEADING + lines(1, 20) + bad(10)))
    assert.deepEqual(countsOf(some), { faults: 10, refused: 10, unchanged: 20 })
  })
})

describe('rows that cannot be read', () => {
  const bad: Readonly<Record<string, string>> = {
    'a line with too few columns': 'E1,e1@corp.example\n',
    'a line with stray quotes': 'E1,"e1"@corp.example,Sales\n',
    'a line without a key': ',e1@corp.example,Sales\n',
    'the heading of another file': HEADING,
  }
  for (const [name, text] of Object.entries(bad)) {
    it(`make leavers wait for a person: ${name}`, async (t) => {
      const at = await known(t, 20)
      const run = await importing(at, `${HEADING}${text}${lines(2, 19)}E20,e20@corp.example,Law\n`)
      assert.equal(run.state, 'waiting')
      assert.deepEqual([run.counts.leaver, run.counts.waiting, run.counts.update, run.counts.refused], [1, 1, 1, 1])
      const [leaver] = await at.rows(run.id, 'leaver')
      assert.equal(leaver?.status, 'waiting')
      assert.match(leaver?.planned.why ?? '', /but 1 row could not be read, and one may be theirs/)
      assert.equal((await at.user('e1@corp.example')).state, 'active')
      // The others are not kept waiting.
      assert.deepEqual((await at.user('e20@corp.example')).profile.department?.values, ['Law'])
      const approved = await at.approve(run.id)
      assert.ok(approved.outcome === 'applied' && approved.run.state === 'done')
      assert.equal((await at.user('e1@corp.example')).state, 'deprovisioned')
    })
  }

  it('keep nobody waiting where all are there', async (t) => {
    const at = await known(t, 20)
    const run = await goesAhead(at, () => importing(at, `${HEADING}E1,x\n${lines(1, 20)}`))
    assert.deepEqual(countsOf(run), { faults: 1, refused: 1, unchanged: 20 })
  })

  it('are none: then whoever is missing has left', async (t) => {
    const at = await known(t, 20)
    const run = await goesAhead(at, () => importing(at, HEADING + lines(2, 20)))
    assert.deepEqual(countsOf(run), { unchanged: 19, leaver: 1, applied: 1 })
  })
})

// --- harm --------------------------------------------------------------------------------------------------------------------

interface Kind {
  /** What the source says besides, for this harm to be possible. */
  readonly source: Readonly<Record<string, unknown>>
  readonly row?: (n: number) => Record<string, string>
  harm(at: Importing, n: number): void
  readonly why: RegExp
}

const email = (n: number) => `e${n}@corp.example`

const kinds: Readonly<Record<string, Kind>> = {
  leavers: {
    source: {},
    harm: (at, n) => at.drop(`E${n}`),
    why: /would lose their access/,
  },
  blanked: {
    source: {},
    harm: (at, n) => at.put(`E${n}`, { email: email(n), department: '' }),
    why: /would lose a value/,
  },
  memberships: {
    source: { groups: { from: 'attributes.teams', mode: 'sync' } },
    row: () => ({ department: 'Sales', teams: 'red|blue' }),
    harm: (at, n) => at.put(`E${n}`, { email: email(n), department: 'Sales', teams: 'blue|green' }),
    why: /would lose a group/,
  },
  moved: {
    source: { linking: { renamed: 'relink' }, lifecycle: { leavers: 'nothing' } },
    harm(at, n) {
      at.drop(`E${n}`)
      at.put(`N${n}`, { email: email(n), department: 'Sales' })
    },
    why: /would be linked to another name/,
  },
}

describe('harm to many people', () => {
  for (const [kind, { source, row, harm, why }] of Object.entries(kinds)) {
    const of = (t: TestContext, count: number, figure: { share?: number; count?: number }) =>
      known(t, count, { ...source, safeguard: { ...NO_SAFEGUARD, [kind]: figure } }, row)
    const harming = (at: Importing, count: number) => {
      for (let n = 1; n <= count; n++) harm(at, n)
    }

    it(`is held by share: ${kind}`, async (t) => {
      const at = await of(t, 10, { share: 0.2 })
      harming(at, 3)
      const run = await isHeld(at, ['safeguard'])
      assert.match(whyOf(run), why)
      assert.match(whyOf(run), /3 of 10 people .* lets 20 % pass/)
      assert.equal(run.details.harmed?.[kind as 'leavers'], 3)
    })

    it(`passes where it is just the share: ${kind}`, async (t) => {
      const at = await of(t, 10, { share: 0.2 })
      harming(at, 2)
      const run = await goesAhead(at)
      assert.equal(run.details.harmed?.[kind as 'leavers'], 2)
    })

    it(`is held by count: ${kind}`, async (t) => {
      const at = await of(t, 20, { count: 3 })
      harming(at, 3)
      assert.match(whyOf(await isHeld(at, ['safeguard'])), /^3 people .* lets 2 pass$/)
    })

    it(`passes below the count: ${kind}`, async (t) => {
      const at = await of(t, 20, { count: 3 })
      harming(at, 2)
      await goesAhead(at)
    })

    it(`is held where two of five are harmed, and passes where it is one alone: ${kind}`, async (t) => {
      const at = await of(t, 5, { share: 0.2, count: 50 })
      harming(at, 1)
      await goesAhead(at)
      harm(at, 2)
      harm(at, 3)
      await isHeld(at, ['safeguard'])
    })

    it(`goes ahead where a person has said so, before or after: ${kind}`, async (t) => {
      const at = await of(t, 10, { share: 0.1 })
      harming(at, 2)
      const held = await isHeld(at, ['safeguard'])
      const approved = await at.approve(held.id)
      assert.ok(approved.outcome === 'applied' && approved.run.state === 'done', JSON.stringify(approved))
      assert.equal(approved.run.details.approvedBy, 'operator test')
      assert.ok((approved.run.counts.applied ?? 0) >= 2)
      const again = await at.run()
      assert.deepEqual([again.state, again.details.harmed?.[kind as 'leavers']], ['done', 0])
      harm(at, 3)
      harm(at, 4)
      const { state, details, counts } = await at.run({ approved: true })
      assert.deepEqual([state, (details.causes ?? []).length, details.approvedBy], ['done', 1, 'operator test'])
      assert.ok((counts.applied ?? 0) >= 2)
    })

    it(`is not held by the figures of the other kinds: ${kind}`, async (t) => {
      // Whoever is called something else is missing under the old name.
      const others = Object.keys(kinds).filter((other) => other !== kind && !(kind === 'moved' && other === 'leavers'))
      const strict = Object.fromEntries(others.map((other) => [other, { share: 0, count: 1 }]))
      const at = await known(t, 10, { ...source, safeguard: { ...NO_SAFEGUARD, ...strict } }, row)
      harming(at, 4)
      await goesAhead(at)
    })
  }

  it('does not count as leavers who is only called something else', {}, async (t) => {
    const at = await known(t, 10, { linking: { renamed: 'relink' }, safeguard: NO_SAFEGUARD })
    for (let n = 1; n <= 3; n++) kinds.moved?.harm(at, n)
    const run = await goesAhead(at)
    assert.deepEqual(run.details.harmed, { leavers: 0, blanked: 0, memberships: 0, moved: 3 })
    assert.deepEqual(countsOf(run), { unchanged: 7, link: 3, applied: 3 })
  })

  it('keeps everything else of the run waiting, too', async (t) => {
    const at = await known(t, 20)
    for (let n = 1; n <= 5; n++) at.drop(`E${n}`)
    at.put('E6', { email: email(6), department: 'Law' })
    at.put('E21', { email: email(21), department: 'Law' })
    const run = await isHeld(at, ['safeguard'])
    assert.deepEqual(countsOf(run), { unchanged: 14, update: 1, create: 1, leaver: 5 })
    // No row of it goes ahead alone.
    const [created] = await at.rows(run.id, 'create')
    const settled = await at.settle(run.id, created?.seq ?? 0, { pick: 'yes' })
    assert.ok(settled.outcome === 'refused' && /approve it as a whole first/.test(settled.why))
    // The source is well again: what was held has no say any more.
    for (let n = 1; n <= 5; n++) at.put(`E${n}`, { email: email(n), department: 'Sales' })
    assert.deepEqual(countsOf(await goesAhead(at)), { unchanged: 19, update: 1, create: 1, applied: 2 })
    const late = await at.approve(run.id)
    assert.ok(late.outcome === 'refused', JSON.stringify(late))
  })

  it('is measured by those whom the source itself knows', async (t) => {
    const many = hr({ name: 'erp', matching: [], safeguard: NO_SAFEGUARD })
    const at = await Importing.open('sqlite', { sources: [hr(), many] })
    t.after(() => at.close())
    at.putMany(5)
    await goesAhead(at)
    const erp = { source: await at.source('erp') }
    const others = (count: number) =>
      memoryConnector(() => ({
        rows: Array.from({ length: count }, (_, i) => ({
          place: `row ${i}`,
          attributes: { employeeNumber: [`P${i}`], email: [`p${i}@corp.example`], department: ['Plant'] },
          changed: 1,
        })),
      }))
    await goesAhead(at, () => at.run({ ...erp, connector: others(100) }))
    assert.equal((await at.users()).length, 105)
    // Two of five, and not two of a hundred and five.
    at.drop('E1')
    at.drop('E2')
    const held = await isHeld(at, ['safeguard'])
    assert.match(whyOf(held), /2 of 5 people/)
    // Nor does the other source's feed become what is usual here, or the other way round.
    await goesAhead(at, () => at.run({ ...erp, connector: others(60) }))
    await isHeld(at, ['feed.shrunk'], () => at.run({ ...erp, connector: others(20) }))
    const approved = await at.approve(held.id)
    assert.ok(approved.outcome === 'applied' && approved.run.state === 'done')
    assert.equal((await at.users()).filter(({ state }) => state === 'active').length, 63)
  })
})
