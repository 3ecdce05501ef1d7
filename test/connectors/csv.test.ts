// People from CSV files, however they are spelled, and from files that are nothing of the kind.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import {
  appendFileSync,
  closeSync,
  copyFileSync,
  existsSync,
  openSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { csvConnector } from '../../src/connectors/csv/csv.ts'
import { type Found, Records } from '../../src/connectors/csv/records.ts'
import { type CsvSettings, sourceSpec } from '../../src/domain/documents/source.ts'
import type { Connector, FeedColumns, FeedFailureCode, FeedLimits } from '../../src/flows/feed-ports.ts'
import { testFiles } from '../support/files.ts'
import { type Collected, collect, connectorContract, failsAs, type Misbehaviour } from './contract.ts'

const LIMITS: FeedLimits = { rows: 1_000_000, columns: 500, rowBytes: 1024 * 1024, patienceMs: 20_000 }
const never = () => new AbortController().signal

const { folder, put } = testFiles('csv')

type Said = Readonly<Record<string, unknown>>

function settingsOf(csv: Said = {}): CsvSettings {
  const spec = sourceSpec.parse({ name: 'hr', kind: 'csv', key: 'id', mapping: [], csv })
  assert.ok(spec.kind === 'csv')
  return spec.csv
}

function reading(file: string, csv: Said = {}, limits: Partial<FeedLimits> = {}): Connector {
  return csvConnector({ settings: settingsOf(csv), file, limits: { ...LIMITS, ...limits } })
}

async function read(
  content: string | Uint8Array,
  csv: Said = {},
  limits: Partial<FeedLimits> = {},
): Promise<Collected & { columns: FeedColumns }> {
  const feed = await reading(put(content), csv, limits).readFull(never())
  return { ...(await collect(feed)), columns: feed.columns }
}

/** As `line: cell | cell`, several values with + between them, none as ∅. */
const told = ({ rows }: Collected) =>
  rows.map(
    ({ place, attributes }) =>
      `${place}: ${Object.values(attributes)
        .map((values) => values.join('+') || '∅')
        .join(' | ')}`,
  )

const faultsOf = ({ faults }: Collected) => faults.map(({ place, why }) => `${place}: ${why}`)

async function fails(content: string | Uint8Array, code: FeedFailureCode, says: RegExp, csv: Said = {}, limits: Partial<FeedLimits> = {}) {
  await assert.rejects(read(content, csv, limits), (error: Error) => {
    failsAs([code])(error)
    assert.match(error.message, says)
    assert.ok(error.message.length < 1_500, `${error.message.length} characters are not plain words`)
    return true
  })
}

// --- the contract, for each way of writing a file ---------------------------------------------------------------------------

const people = Array.from({ length: 30 }, (_, i) => `p${String(i + 1).padStart(2, '0')}`)
const HEADING = ['id', 'department', 'note']
const rowsOf = (keys: readonly string[]) => keys.map((id, i) => [id, `Abteilung für ${i % 4}`, i % 3 ? 'plain' : ''])

function written(rows: readonly (readonly string[])[], { delimiter = ',', newline = '\n', always = false } = {}): string {
  const cell = (text: string) => (always || text.includes(delimiter) || /["\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text)
  return rows.map((row) => row.map(cell).join(delimiter) + newline).join('')
}

const table = [HEADING, ...rowsOf(people)]
const bigEndian = (text: string) => Buffer.from(text, 'utf16le').swap16()

interface Spelling {
  readonly content: string | Uint8Array
  readonly csv?: Said
}

const spellings: Readonly<Record<string, Spelling>> = {
  'commas, as RFC 4180 says': { content: written(table, { newline: '\r\n' }) },
  'semicolons, as Excel does in much of Europe': { content: written(table, { delimiter: ';' }) },
  tabs: { content: written(table, { delimiter: '\t' }) },
  'tabs, by setting': { content: written(table, { delimiter: '\t' }), csv: { delimiter: 'tab' } },
  bars: { content: written(table, { delimiter: '|' }) },
  'two characters between columns': { content: written(table, { delimiter: '||' }), csv: { delimiter: '||' } },
  'a line that says sep=;': { content: `sep=;\r\n${written(table, { delimiter: ';', newline: '\r\n' })}` },
  'a line that says sep=^': { content: `sep=^\n${written(table, { delimiter: '^' })}` },
  'a sep line, and the delimiter by setting': { content: `sep=;\n${written(table, { delimiter: ';' })}`, csv: { delimiter: ';' } },
  'UTF-8 with its mark': { content: `\uFEFF${written(table)}` },
  'UTF-8 by setting, with its mark': { content: `\uFEFF${written(table)}`, csv: { encoding: 'utf-8' } },
  'UTF-16LE with its mark': { content: Buffer.from(`\uFEFF${written(table, { delimiter: '\t', newline: '\r\n' })}`, 'utf16le') },
  'UTF-16BE with its mark': { content: bigEndian(`\uFEFF${written(table, { delimiter: '\t', newline: '\r\n' })}`) },
  'UTF-16LE without a mark, by setting': { content: Buffer.from(written(table), 'utf16le'), csv: { encoding: 'utf-16le' } },
  'windows-1252, by setting': { content: Buffer.from(written(table, { delimiter: ';' }), 'latin1'), csv: { encoding: 'windows-1252' } },
  'every cell in quotes': { content: written(table, { always: true }) },
  'another quote': { content: written(table, { always: true }).replaceAll('"', "'"), csv: { quote: "'" } },
  'cells that hold line breaks, delimiters and quotes': {
    content: written([HEADING, ...rowsOf(people).map(([id = '', department = '']) => [id, `${department},\r\n"so"\n\n`, '""'])]),
  },
  'CR alone': { content: written(table, { newline: '\r' }) },
  'CRLF, LF and CR in one file': {
    content: table.map((row, i) => written([row], { newline: ['\r\n', '\n', '\r'][i % 3] as string })).join(''),
  },
  'no line break at the end': { content: written(table).trimEnd() },
  'a heading by settings': { content: written(rowsOf(people)), csv: { header: HEADING } },
  'columns that are called something else': {
    content: written([['Personalnummer', ' Abteilung ', 'Bemerkung'], ...rowsOf(people)]),
    csv: { columns: { Personalnummer: 'id', Abteilung: 'department' } },
  },
  'lists in cells': {
    content: written([HEADING, ...people.map((id, i) => [id, `Sales, Law,,${i % 4}`, 'x'])]),
    csv: { lists: { department: ',' } },
  },
  'blank lines, and lines of nothing but delimiters': {
    content: `\n\r\n${table.map((row) => `${written([row])}\n,,\n"",,""\n,,,,,\n`).join('')}\n\n`,
  },
}

const good = written(table)

/** What each of these ends with; those without a code are got over. */
function misbehaving(): readonly Misbehaviour[] {
  const of = (
    name: string,
    content: string | Uint8Array,
    fails: readonly FeedFailureCode[],
    csv: Said = {},
    limits = {},
  ): Misbehaviour => ({
    name,
    fails,
    connector: () => reading(put(content), csv, limits),
  })
  return [
    { name: 'there is no file', fails: ['unreachable'], connector: () => reading(join(folder, 'nothing.csv')) },
    { name: 'it is a folder', fails: ['misconfigured'], connector: () => reading(folder) },
    {
      name: 'it grows while it is read',
      fails: ['changed'],
      connector: () => meanwhile(put(good), (file) => appendFileSync(file, 'p31,Sales,\n')),
    },
    { name: 'it is taken away while it is read', fails: ['changed'], connector: () => meanwhile(put(good), (file) => rmSync(file)) },
    of('it is marked as another encoding', Buffer.from(`\uFEFF${good}`, 'utf16le'), ['misconfigured'], { encoding: 'utf-8' }),
    of('two columns have one name', good.replace('note', 'id'), ['misconfigured']),
    of('it is compressed', gzipSync(good), ['malformed']),
    of('it is a workbook', Buffer.concat([Buffer.from('PK\x03\x04'), gzipSync(good)]), ['malformed']),
    of('it holds a NUL', good.replace('p07', 'p\x007'), ['malformed']),
    of('it is UTF-16 without a mark', Buffer.from(good, 'utf16le'), ['malformed']),
    of('it is in another encoding', Buffer.from(good, 'latin1'), ['malformed']),
    of('it ends within quotes', `${good}p31,"Sales,\n`, ['cut-off']),
    of('it ends in the middle of a line', `${good}p31,Sal`, ['cut-off']),
    of('it has too many columns', good, ['too-large'], {}, { columns: 2 }),
    of('a row is too large', `${good}p31,${'x'.repeat(2_000)},\n`, ['too-large'], {}, { rowBytes: 1_000 }),
    of('two columns of the heading are blank', good.replace('id,department,note\n', ',,\nid,department,note\n'), []),
  ]
}

/** Somebody does something to the file after it was opened. */
function meanwhile(file: string, act: (file: string) => void): Connector {
  const connector = reading(file)
  return {
    ...connector,
    async readFull(signal) {
      const feed = await connector.readFull(signal)
      act(file)
      return feed
    },
  }
}

for (const [name, { content, csv = {} }] of Object.entries(spellings)) {
  connectorContract(`CSV, ${name}`, async () => ({
    connector: reading(put(content), csv),
    key: 'id',
    people,
    attribute: 'department',
    misbehaving: [],
    close: async () => {},
  }))
}

connectorContract('CSV', async () => ({
  connector: reading(put(good)),
  key: 'id',
  people,
  attribute: 'department',
  misbehaving: misbehaving(),
  close: async () => {},
}))

// --- what is read ------------------------------------------------------------------------------------------------------------

describe('what a CSV file says', () => {
  it('is the same in every encoding', async () => {
    const text = 'id,name\n1,Zoë «€» Müller’s\n'
    const expected = ['line 2: 1 | Zoë «€» Müller’s']
    const bytes: Readonly<Record<string, Buffer>> = {
      'utf-8': Buffer.from(text),
      'utf-16le': Buffer.from(text, 'utf16le'),
      'utf-16be': bigEndian(text),
      'windows-1252': Buffer.from(text.replace('€', '\x80').replace('’', '\x92'), 'latin1'),
    }
    for (const [encoding, content] of Object.entries(bytes)) assert.deepEqual(told(await read(content, { encoding })), expected, encoding)
    const euro = Buffer.from('id,name\n1,\xa4\n', 'latin1')
    assert.deepEqual(told(await read(euro, { encoding: 'iso-8859-15' })), ['line 2: 1 | €'])
  })

  it('is whole where a character lies across what is read at once', async () => {
    for (const shift of [0, 1, 2, 3]) {
      const before = 'x'.repeat(128 * 1024 - 6 - shift)
      const { rows } = await read(`id,n\n${before},😀é😀\n`)
      assert.deepEqual(rows[0]?.attributes.n, ['😀é😀'])
    }
  })

  it('is taken as it stands: nothing is counted, trimmed or calculated', async () => {
    const cells = ["=cmd|' /C calc'!A0", '+1', '-1', '@SUM(A1)', '007', '1e5', ' x ', 'null', 'true', '\t', '\u00a0', '#REF!']
    const { rows } = await read(written([cells.map((_, i) => `c${i}`), cells]))
    assert.deepEqual(
      Object.values(rows[0]?.attributes ?? {}),
      cells.map((cell) => [cell]),
    )
  })

  it('is an empty list where a cell is there and empty, in quotes or not', async () => {
    const { rows } = await read('id,a,b,c\n1,,"",x\n', { lists: { a: ',', c: ';' } })
    assert.deepEqual({ ...rows[0]?.attributes }, { id: ['1'], a: [], b: [], c: ['x'] })
  })

  it('is several values where a column is a list, without what is blank between them', async () => {
    const { rows } = await read('id,groups,tags\n1," a;b ;; c;",x|y\n2,;,"|"\n', { lists: { groups: ';', tags: '|' } })
    assert.deepEqual(
      rows.map(({ attributes }) => [attributes.groups, attributes.tags]),
      [
        [
          ['a', 'b', 'c'],
          ['x', 'y'],
        ],
        [[], []],
      ],
    )
  })

  it('goes by columns whatever they are called', async () => {
    const names = ['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'length']
    const { columns, rows } = await read(written([names, names.map((_, i) => ` ${i} `)]))
    assert.deepEqual(columns, names)
    const { attributes = {} } = rows[0] ?? {}
    assert.deepEqual(Object.keys(attributes), names)
    assert.deepEqual(
      names.map((name) => attributes[name]),
      [[' 0 '], [' 1 '], [' 2 '], [' 3 '], [' 4 ']],
    )
    assert.equal(({} as Record<string, unknown>).polluted, undefined)
  })

  it('gives columns without a name one, and folds a name that is broken over lines', async () => {
    const { columns } = await read('id,," ","Cost\r\ncentre\n",\tx \n1,2,3,4,5\n')
    assert.deepEqual(columns, ['id', 'column 2', 'column 3', 'Cost centre', 'x'])
  })

  it('goes by the names that settings give, and knows where the file says them, too', async () => {
    const found = await read('id,name\n1,Ada\n', { header: ['id', 'name'] })
    assert.deepEqual(told(found), ['line 2: 1 | Ada'])
    assert.match(faultsOf(found)[0] ?? '', /^line 1: it is the heading again/)
  })

  it('is split by what stands most often outside of quotes', async () => {
    assert.deepEqual((await read('"a,b,c,d";"e,f"\n1;2\n')).columns, ['a,b,c,d', 'e,f'])
    assert.deepEqual((await read('"a;b;c\n;;;;";"e,f";g\n1;2;3\n')).columns, ['a;b;c ;;;;', 'e,f', 'g'])
    assert.deepEqual((await read('\r\n\n\na|b|c,d\n')).columns, ['a', 'b', 'c,d'])
    assert.deepEqual((await read('alone\n1\n')).columns, ['alone'])
    assert.deepEqual((await read('a;b,c\n', { delimiter: ',' })).columns, ['a;b', 'c'])
    assert.deepEqual((await read("'a,b,c';d;e\n", { quote: "'" })).columns, ['a,b,c', 'd', 'e'])
    assert.deepEqual((await read('sep=|\na|b,c,d\n')).columns, ['a', 'b,c,d'])
    assert.deepEqual((await read('1;2;3\n', { header: ['a', 'b', 'c'] })).rows.length, 1)
  })
})

describe('a line of a CSV file that cannot be read', () => {
  it('is told with its number, and the others stand', async () => {
    const found = await read('id,n\n1,a\n2\n3,c\n4,d,e\n\n\n5\n6,f\n')
    assert.deepEqual(told(found), ['line 2: 1 | a', 'line 4: 3 | c', 'line 9: 6 | f'])
    assert.deepEqual(faultsOf(found), [
      'line 3: it has 1 columns, and the heading 2',
      'line 5: it has 3 columns, and the heading 2',
      'line 8: it has 1 columns, and the heading 2',
    ])
  })

  it('has the right number after cells of several lines, whatever the lines end with', async () => {
    for (const newline of ['\n', '\r\n', '\r']) {
      const text = ['id,n', '1,"a', '', 'b"', '2', '3,"c""', '"', '', '4,5,6', '7,e', ''].join('\n').replaceAll('\n', newline)
      const found = await read(text)
      assert.deepEqual(
        found.rows.map(({ place, attributes: { id } }) => `${place}: ${id}`),
        ['line 2: 1', 'line 6: 3', 'line 10: 7'],
        JSON.stringify(newline),
      )
      assert.deepEqual(
        found.faults.map(({ place }) => place),
        ['line 5', 'line 9'],
      )
      assert.deepEqual(found.rows[0]?.attributes.n, [`a${newline}${newline}b`])
    }
  })

  it('has the right number after a line that says what stands between the columns', async () => {
    for (const newline of ['\n', '\r\n']) {
      const found = await read(['sep=;', 'id;n', '1;a', '2', ''].join(newline))
      assert.deepEqual(told(found), ['line 3: 1 | a'])
      assert.deepEqual(
        found.faults.map(({ place }) => place),
        ['line 4'],
      )
    }
  })

  it('has the right number far into a long file', async () => {
    const rows = Array.from({ length: 30_000 }, (_, i) => (i % 10_000 === 9_999 ? `${i}\n` : `${i},"a\nb"\n`))
    const { faults } = await read(`id,n\n${rows.join('')}`)
    // Each of the others takes two lines, and the heading one.
    assert.deepEqual(
      faults.map(({ place }) => place),
      ['line 20000', 'line 39999', 'line 59998'],
    )
  })

  it('is one fault, however many quotes stand where they should not', async () => {
    const found = await read('id,n\n1,a"b"c"\n2,"b"b"b\n3,"c"\n4," ""d"" " \n5, "e"\n6,"f"\n"7""",g\n')
    assert.deepEqual(told(found), ['line 4: 3 | c', 'line 7: 6 | f', 'line 8: 7" | g'])
    assert.deepEqual(faultsOf(found), [
      'line 2: a quote stands in the middle of a cell that is not quoted',
      'line 3: after a closing quote comes neither the next column nor the next line',
      'line 5: after a closing quote comes neither the next column nor the next line',
      'line 6: a quote stands in the middle of a cell that is not quoted',
    ])
  })

  it('does not take the lines after it along, but for those that its quotes hold', async () => {
    const found = await read('id,n\n1,"open\n2,b\n3,"c"\n4,d\n5,"e"\n')
    assert.deepEqual(told(found), ['line 5: 4 | d', 'line 6: 5 | e'])
    assert.deepEqual(faultsOf(found), ['lines 2 to 4: after a closing quote comes neither the next column nor the next line'])
  })

  it('may be the heading of a second file that was appended', async () => {
    const found = await read('id,n\n1,a\nid,n\n2,b\n\uFEFFid,n\n3,c\n', { columns: { n: 'name' } })
    assert.deepEqual(told(found), ['line 2: 1 | a', 'line 4: 2 | b', 'line 6: 3 | c'])
    assert.deepEqual(faultsOf(found), [
      'line 3: it is the heading again, as where two files were put together',
      'line 5: it is the heading again, as where two files were put together',
    ])
  })

  it('is passed over where it is blank, or nothing but delimiters, however many', async () => {
    const found = await read('id,n\n\n,\n,,,,\n"",""\n1,a\n\r\n\r\n,')
    assert.deepEqual(told(found), ['line 6: 1 | a'])
    assert.deepEqual(found.faults, [])
  })

  it('is told where it is the last, and whole but for a column too many', async () => {
    const found = await read('id,n\n1,a\n2,b,c')
    assert.deepEqual(faultsOf(found), ['line 3: it has 3 columns, and the heading 2'])
  })
})

describe('splitting text into records', () => {
  const COMMA = { delimiter: ',', quote: '"', bytes: 10_000 }
  const all = (pieces: readonly string[], by = COMMA): { found: Found[]; failure?: string } => {
    const records = new Records(by)
    const found: Found[] = []
    try {
      for (const [i, piece] of [...pieces, ''].entries()) found.push(...collected(records.read(piece, i === pieces.length), found))
    } catch (error) {
      return { found, failure: (error as Error).message }
    }
    return { found }
  }
  /** What comes before a failure counts, too. */
  function collected(some: Generator<Found, void, void>, into: Found[]): Found[] {
    for (const one of some) into.push(one)
    return []
  }
  const cut = (text: string, at: readonly number[]) => {
    const places = [...new Set(at.map((one) => one % (text.length + 1)))].sort((a, b) => a - b)
    return [...places, text.length].map((place, i) => text.slice(i ? places[i - 1] : 0, place))
  }
  const character = fc.constantFrom('a', 'é', '😀', '"', ',', ';', '\n', '\r', ' ', '\uFEFF')
  const cell = fc.array(character, { maxLength: 6 }).map((some) => some.join(''))
  const places = fc.array(fc.nat(1_000), { maxLength: 8 })

  it('gives back what was written, in whichever pieces it comes', () => {
    fc.assert(
      fc.property(
        fc.array(fc.array(cell, { minLength: 2, maxLength: 4 }), { maxLength: 6 }),
        fc.constantFrom(',', ';', '||', 'a'),
        fc.constantFrom('\n', '\r\n', '\r'),
        places,
        (rows, delimiter, newline, at) => {
          const text = written(rows, { delimiter, newline, always: delimiter === 'a' })
          const { found, failure } = all(cut(text, at), { ...COMMA, delimiter })
          assert.equal(failure, undefined)
          assert.deepEqual(
            found.map((one) => 'cells' in one && one.cells),
            rows,
          )
        },
      ),
    )
  })

  it('says the same of any text, in whichever pieces it comes', () => {
    fc.assert(
      fc.property(
        fc.array(character, { maxLength: 60 }).map((some) => some.join('')),
        places,
        (text, at) => assert.deepEqual(all(cut(text, at)), all([text])),
      ),
    )
  })

  it('takes no more time where quotes stand everywhere', () => {
    const by = { ...COMMA, bytes: 4_000_000 }
    const hostile = ['x"', '"', '""x', '"x",', '",', 'x,', '\r', '"\r'].map((one) => one.repeat(Math.floor(500_000 / one.length)))
    for (const text of hostile) all([text, '\n1,2\n'], by)
    // As it is read from a file.
    for (const text of hostile)
      all(
        Array.from({ length: 8 }, (_, i) => text.slice(i * 62_500, (i + 1) * 62_500)),
        by,
      )
  })
})

// --- what is no feed ---------------------------------------------------------------------------------------------------------

describe('a file that is not what it should be', () => {
  it('has no rows where it is empty, or has only a heading', async () => {
    for (const content of ['', '\n\n', '\uFEFF', 'id,n', 'id,n\n', 'id,n\r\n\r\n,,\n']) {
      const { rows, faults } = await read(content)
      assert.deepEqual([rows, faults], [[], []], JSON.stringify(content))
    }
    assert.deepEqual((await read('')).columns, [])
    // A heading of blanks is none: the next line is, and it lacks what a mapping reads.
    for (const blank of [' , ,\n', '"",""\n\n', ',,,\n;\n'])
      assert.deepEqual((await read(blank)).columns, blank.includes(';') ? [';'] : [], blank)
    assert.deepEqual((await read(' , ,\n1,2,3\n')).columns, ['1', '2', '3'])
  })

  it('says which line is in another encoding', async () => {
    const line = (text: string, encoding: 'utf8' | 'latin1') => Buffer.from(`${text}\n`, encoding)
    const mixed = Buffer.concat([line('id,n', 'utf8'), line('1,Müller', 'utf8'), line('2,Müller', 'latin1'), line('3,Müller', 'utf8')])
    await fails(mixed, 'malformed', /line 3 is not UTF-8.*windows-1252.*two files/)
    const later = Buffer.concat([
      line('id,n', 'utf8'),
      ...Array.from({ length: 30_000 }, (_, i) => line(`${i},é`, 'utf8')),
      line('x,é', 'latin1'),
    ])
    await fails(later, 'malformed', /line 30002 is not UTF-8/)
    // Cut off in the middle of a character.
    await fails(Buffer.from('id,n\n1,é').subarray(0, -1), 'malformed', /line 2 is not UTF-8/)
  })

  it('is refused where two files of different encodings were put together', async () => {
    const first = 'id;n\n1;Müller\n'
    await fails(Buffer.concat([Buffer.from(first), Buffer.from(first, 'latin1')]), 'malformed', /line 4/)
    await fails(Buffer.concat([Buffer.from(first), Buffer.from(`\uFEFF${first}`, 'utf16le')]), 'malformed', /line 3/)
    const wide = Buffer.from(`\uFEFF${first}`, 'utf16le')
    for (const narrow of [first, `${first} `])
      await assert.rejects(read(Buffer.concat([wide, Buffer.from(narrow)])), failsAs(['malformed', 'cut-off']))
  })

  it('is refused where it holds NULs, and the line is told', async () => {
    await fails('id,n\n1,a\n2,"x\ny"\n3,\0\n', 'malformed', /NUL character in line 5/)
    await fails(Buffer.from('id,n\n1,a\n', 'utf16le'), 'malformed', /utf-16le/)
    const sparse = put('id,n\n1,a\n')
    truncateSync(sparse, 2 * 1024 ** 3)
    await assert.rejects(async () => collect(await reading(sparse).readFull(never())), failsAs(['malformed']))
    rmSync(sparse)
  })

  it('is refused where it is something else altogether', async () => {
    await fails(gzipSync('id,n\n1,a\n'), 'malformed', /compressed/)
    await fails(gzipSync('id,n\n1,a\n'), 'malformed', /compressed/, { encoding: 'windows-1252' })
    await fails(Buffer.from('PK\x03\x04\x14\x00'), 'malformed', /Excel/)
    await fails(Buffer.from([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0]), 'malformed', /./)
    await fails(Buffer.from([0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10]), 'malformed', /./)
    await fails('a\x01b,c\n1,2\n', 'malformed', /control characters/)
    await fails('a\x01b,c\n1,2\n', 'malformed', /control characters/, { encoding: 'windows-1252' })
    // Ends within quotes, has control characters, or is no UTF-8: always by name.
    const garbage = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 7919 + ((i * i) >> 3)) & 0xff))
    await assert.rejects(read(garbage), failsAs(['malformed']))
    await assert.rejects(read(garbage, { encoding: 'windows-1252' }), failsAs(['malformed', 'cut-off']))
    await assert.rejects(read(garbage.map((byte) => byte & 0x7f)), failsAs(['malformed', 'cut-off', 'misconfigured']))
  })

  it('is refused where its heading is: no data row takes its place', async () => {
    await fails('id,"n"x\n1,2\n3,4\n', 'malformed', /heading cannot be read \(line 1\)/)
    await fails('"id,n\n1,2\n3,4\n', 'cut-off', /line 1/)
    await fails('id,id\n', 'misconfigured', /two columns are called «id»/)
    await fails('id,n\n', 'misconfigured', /two columns are called «id»/, { columns: { n: 'id' } })
    await fails('a,b\n', 'misconfigured', /two columns are called «id»/, { header: ['id', 'id'] })
    await fails(`id,${'x'.repeat(500_000)}\n1,2\n`, 'malformed', /column 2 has a name of 500000 characters/)
  })

  it('is cut off where quotes stay open, or its last line is short and does not end; what came before is told', async () => {
    const ends: Readonly<Record<string, RegExp>> = {
      'id,n,m\n1,a,b\n\n2,"open,c\n3,d,e\n': /within a quoted cell of the row at line 4/,
      'id,n,m\n1,a,b\n\n2,c,"': /within a quoted cell of the row at line 4/,
      'id,n,m\n1,a,b\n2,c': /ends in the middle of line 3: it has 2 of 3 columns/,
      'id,n,m\r\n1,a,b\r\n2': /ends in the middle of line 3: it has 1 of 3 columns/,
    }
    for (const [content, says] of Object.entries(ends)) {
      const { batches } = await reading(put(content)).readFull(never())
      const first = await batches.next()
      assert.deepEqual(first.done === false && first.value.rows.map(({ place }) => place), ['line 2'], content)
      await assert.rejects(batches.next(), (error: Error) => failsAs(['cut-off'])(error) && says.test(error.message))
    }
  })

  it('is not cut off because of a short line that is not the last', async () => {
    const found = await read('a,b\nx\n,y')
    assert.deepEqual(faultsOf(found), ['line 2: it has 1 columns, and the heading 2'])
    assert.deepEqual(told(found), ['line 3: ∅ | y'])
  })

  it('is too large where a heading or a row is, and only then', async () => {
    const wide = (count: number) => Array.from({ length: count }, (_, i) => `c${i}`).join(',')
    await fails(`${wide(1_000_000)}\n`, 'too-large', /line 1/)
    await fails(`id${','.repeat(1_000_000)}\n`, 'too-large', /1000001 columns; feed.columns allows 500/)
    await fails(`${wide(100_000)}\n`, 'too-large', /100000 columns; feed.columns allows 500/)
    assert.equal((await read(`${wide(500)}\n`)).columns?.length, 500)
    await fails(`${wide(501)}\n`, 'too-large', /501 columns/)
    // A row like that is a line that cannot be read, until it is too large to be a row.
    const found = await read(`id,n\n1,a\n${wide(100_000)}\n2,b\n`)
    assert.deepEqual(faultsOf(found), ['line 3: it has 100000 columns, and the heading 2'])
    assert.equal(found.rows.length, 2)
    await fails(`id,n\n1,a\n${','.repeat(3_000_000)}\n`, 'too-large', /line 3/)
    await fails(`id,n\n1,"${'a\n'.repeat(600_000)}\n`, 'too-large', /line 2.*may not be closed/)
  })

  it('is measured in bytes, to the last one', async () => {
    for (const letter of ['x', 'é', '€', '😀']) {
      const row = `1,${letter.repeat(20)}\n`
      const rowBytes = Buffer.byteLength(row)
      assert.equal((await read(`id,n\n${row}`, {}, { rowBytes })).rows.length, 1)
      await fails(`id,n\n${row}`, 'too-large', /line 2/, {}, { rowBytes: rowBytes - 1 })
    }
  })
})

// --- files as things of the world --------------------------------------------------------------------------------------------

const MANY = `id,n\n${Array.from({ length: 60_000 }, (_, i) => `${i},${'x'.repeat(10)}\n`).join('')}`

describe('a file while it is read', () => {
  it('may not be replaced, not even by one of the same size and age', async () => {
    const file = put(MANY)
    const { atime, mtime } = statSync(file)
    const replaced = meanwhile(file, () => {
      copyFileSync(file, `${file}.new`)
      utimesSync(`${file}.new`, atime, mtime)
      utimesSync(file, atime, mtime)
      renameSync(`${file}.new`, file)
    })
    await assert.rejects(async () => collect(await replaced.readFull(never())), failsAs(['changed']))
  })

  it('is «changed» and not «cut off» where it is still being copied', async () => {
    const file = put(`${MANY}60000`)
    const growing = meanwhile(file, () => appendFileSync(file, ',x\n'))
    await assert.rejects(async () => collect(await growing.readFull(never())), failsAs(['changed']))
    await assert.rejects(
      meanwhile(put('id,"n'), (one) => appendFileSync(one, '"\n')).readFull(never()),
      failsAs(['cut-off']),
      'nobody has written to it yet',
    )
  })

  it('may be cut short only at the cost of the feed', async () => {
    const cut = meanwhile(put(MANY), (file) => truncateSync(file, 300_001))
    await assert.rejects(async () => collect(await cut.readFull(never())), failsAs(['changed']))
  })

  it('is left when the run is stopped in the middle', async () => {
    const stop = new AbortController()
    const { batches } = await reading(put(MANY)).readFull(stop.signal)
    assert.equal((await batches.next()).done, false)
    stop.abort()
    await assert.rejects(
      async () => {
        for (;;) if ((await batches.next()).done) return
      },
      failsAs(['cancelled']),
    )
  })

  it('is left when the run is stopped before the heading has come', async () => {
    const stop = new AbortController()
    const file = put(`${'\n'.repeat(3_000_000)}${MANY}`)
    const read = reading(file).readFull(stop.signal)
    stop.abort()
    await assert.rejects(read, failsAs(['cancelled']))
  })

  it('is closed, however it is left', { skip: !existsSync('/proc/self/fd') && 'only Linux shows what is open' }, async () => {
    const isOpen = (file: string) => readdirSync('/proc/self/fd').some((fd) => linkOf(`/proc/self/fd/${fd}`) === file)
    const closes = async (what: string, content: string, act: (connector: Connector, file: string) => Promise<unknown>) => {
      const file = put(content)
      await act(reading(file), file)
      for (let i = 0; i < 500 && isOpen(file); i++) await pause(10)
      assert.ok(!isOpen(file), what)
    }
    await closes('at its end', MANY, async (connector) => collect(await connector.readFull(never())))
    await closes('in the middle', MANY, async (connector, file) => {
      const { batches } = await connector.readFull(never())
      await batches.next()
      assert.ok(isOpen(file))
      await batches.return({})
    })
    await closes('before the first row', MANY, async (connector, file) => {
      const { batches } = await connector.readFull(never())
      assert.ok(isOpen(file))
      await batches.return({})
    })
    await closes('by a loop', MANY, async (connector) => {
      for await (const batch of (await connector.readFull(never())).batches) if (batch.rows.length) break
    })
    await closes('while the next rows are on their way', MANY, async (connector) => {
      const { batches } = await connector.readFull(never())
      const next = batches.next()
      await batches.return({})
      await next.catch(() => {})
    })
    await closes('after a look', MANY, (connector) => connector.test(never()))
    await closes('after another look', MANY, async (connector) => connector.discover?.(never()))
    await closes('after a bad heading', `id,id\n${MANY}`, (connector) => connector.readFull(never()).catch(() => {}))
    await closes('after a failure', `${MANY}"open`, async (connector) => collect(await connector.readFull(never())).catch(() => {}))
    await closes('after a stop', MANY, async (connector) => {
      const stop = new AbortController()
      const { batches } = await connector.readFull(stop.signal)
      stop.abort()
      await collect({ columns: undefined, batches }).catch(() => {})
    })
  })
})

function linkOf(path: string): string {
  try {
    return readlinkSync(path)
  } catch {
    return ''
  }
}

// --- memory ------------------------------------------------------------------------------------------------------------------

interface Apart {
  readonly ended: string
  readonly rows: number
  readonly megabytes: number
  /** Bytes. */
  readonly read: number
}

/** Another process, of little memory, reads the file, and tells how it ended, its largest size and how much it has read. */
async function apart(file: string, rowBytes: number): Promise<Apart> {
  const script = `
    import { readFileSync } from 'node:fs'
    import { csvConnector } from '${new URL('../../src/connectors/csv/csv.ts', import.meta.url)}'
    const settings = { delimiter: 'auto', quote: '"', encoding: 'auto', columns: {}, lists: {} }
    const limits = { rows: 1e9, columns: 500, rowBytes: ${rowBytes}, patienceMs: 60_000 }
    const readSoFar = () => Number(/rchar: (\\d+)/.exec(readFileSync('/proc/self/io', 'utf8'))[1])
    const before = readSoFar()
    let ended = 'read', rows = 0
    try {
      const { batches } = await csvConnector({ settings, file: '${file}', limits }).readFull(new AbortController().signal)
      for await (const batch of batches) rows += batch.rows.length
    } catch (error) { ended = error.code }
    const megabytes = process.resourceUsage().maxRSS / 1024
    console.log(JSON.stringify({ ended, rows, megabytes, read: readSoFar() - before }))`
  const little = ['--max-old-space-size=64', '--max-semi-space-size=8']
  const child = spawn(process.execPath, [...little, '--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
  let said = ''
  for await (const some of child.stdout) said += some
  assert.ok(said, 'it had too little memory')
  return JSON.parse(said)
}

/** About so many megabytes of this again and again, after a heading and a row. */
function long(megabytes: number, piece: string): string {
  const file = put('id,n\n1,a\n')
  const some = Buffer.from(piece.repeat(MB / piece.length))
  const open = openSync(file, 'a')
  for (let i = 0; i < megabytes; i++) writeSync(open, some)
  closeSync(open)
  return file
}

const MB = 1024 * 1024

describe('how much a file may take', { skip: !existsSync('/proc/self/io') && 'only Linux tells how much was read' }, () => {
  it('is little, and what is too long is not read on', async () => {
    const file = long(300, 'x')
    for (const rowBytes of [1_000, MB]) {
      const { ended, megabytes, read } = await apart(file, rowBytes)
      assert.equal(ended, 'too-large')
      assert.ok(megabytes < 300, `${megabytes} MB`)
      assert.ok(read < rowBytes + 2 * MB, `${read} bytes were read`)
    }
    rmSync(file)
  })

  it('is as little where a line is nothing but delimiters or quotes, and does not end', async () => {
    for (const piece of [',', '"', '"x', 'x"', '",']) {
      const file = long(20, piece)
      const { ended, megabytes, read } = await apart(file, MB)
      assert.equal(ended, 'too-large', piece)
      assert.ok(megabytes < 300, `${megabytes} MB for ${piece}`)
      assert.ok(read < 3 * MB, `${read} bytes were read for ${piece}`)
      rmSync(file)
    }
  })

  it('does not grow with the file, be its lines good or bad', async () => {
    for (const piece of ['12345,somebody12\n', 'bad"\n']) {
      const file = long(10, piece)
      const { ended, rows, megabytes, read } = await apart(file, MB)
      assert.equal(ended, 'read')
      assert.equal(rows, piece.includes('bad') ? 1 : 1 + 10 * Math.floor(MB / piece.length))
      assert.ok(megabytes < 300, `${megabytes} MB`)
      assert.ok(read > 9 * MB)
      rmSync(file)
    }
  })
})
