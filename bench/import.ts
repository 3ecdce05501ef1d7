// npm run bench:import [ROWS]: one million rows of 12 columns through the whole of an import (parse, map, match, master, plan, apply,
// audit), twice, on SQLite and on PostgreSQL; then the same at a tenth of it, to show that the rate holds. Beside each, in the same
// run, the same file loaded raw: `sqlite3 .import` and COPY. What may be asked: 6,000 rows a second at first and 30,000 when nothing
// has changed, below 400 MB, at least 80 % of the small one's rate.

import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, createWriteStream, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { startPostgres } from '../test/support/databases.ts'
import { pathOf } from '../test/support/peers.ts'

const MAIN = new URL('../src/main.ts', import.meta.url).pathname
const rows = Number(process.argv[2] ?? 1_000_000)
const folder = mkdtempSync(join(tmpdir(), 'gatehouse-bench-'))
// PostgreSQL, which reads the file for COPY, may be another user.
chmodSync(folder, 0o755)

const COLUMNS = [
  'employeeNumber',
  'email',
  'givenName',
  'familyName',
  'displayName',
  'department',
  'title',
  'costCenter',
  'phoneNumber',
  'locality',
  'country',
  'userType',
]
const POLICY = `sources:
  - name: hr
    kind: csv
    key: employeeNumber
    lifecycle: { leavers: deprovision }
    matching:
      - { by: [email], link: auto }
    mapping:
      - { to: userName, from: attributes.email }
${COLUMNS.slice(1)
  .map((name) => `      - { to: ${name}, from: attributes.${name} }`)
  .join('\n')}
`

async function writePeople(count: number): Promise<string> {
  const file = join(folder, `${count}.csv`)
  const out = createWriteStream(file)
  let text = `${COLUMNS.join(',')}\n`
  for (let i = 0; i < count; i++) {
    const id = String(i).padStart(8, '0')
    text += `E${id},person${i}@corp.example,Given${i % 997},Family${i},"Family${i}, Given${i % 997}",Department ${i % 57},Engineer ${i % 13},CC-${i % 301},+49 30 ${1_000_000 + i},Berlin,DE,employee\n`
    if (text.length > 1 << 20) {
      if (!out.write(text)) await once(out, 'drain')
      text = ''
    }
  }
  out.end(text)
  await once(out, 'finish')
  return file
}

interface Measured {
  readonly seconds: number
  /** MB, at most, in each quarter of the run. */
  readonly memory: readonly number[]
  readonly counts: Readonly<Record<string, number>>
}

/** Memory is what the system says that the process holds. */
async function gatehouse(args: readonly string[], environment: Record<string, string>): Promise<Measured> {
  const began = performance.now()
  const child = spawn(process.execPath, [MAIN, ...args], { env: { ...process.env, ...environment }, stdio: ['ignore', 'pipe', 'inherit'] })
  let said = ''
  child.stdout.on('data', (part) => {
    said += part
  })
  const samples: number[] = []
  const watching = setInterval(() => {
    try {
      samples.push(Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))?.[1] ?? 0) / 1024)
    } catch {
      // It has just ended.
    }
  }, 250)
  const [code] = await once(child, 'exit')
  clearInterval(watching)
  if (code !== 0) throw new Error(`gatehouse ${args.join(' ')} ended with ${code}`)
  const quarter = Math.max(1, Math.ceil(samples.length / 4))
  const memory = [0, 1, 2, 3].map((i) => Math.round(Math.max(0, ...samples.slice(i * quarter, (i + 1) * quarter))))
  return { seconds: (performance.now() - began) / 1000, memory, counts: said.startsWith('{') ? JSON.parse(said).counts : {} }
}

interface Line {
  readonly what: string
  readonly count: number
  readonly first: Measured
  readonly second: Measured
  readonly raw: number | undefined
}

async function measure(
  what: string,
  count: number,
  file: string,
  environment: Record<string, string>,
  raw: () => Promise<number | undefined>,
): Promise<Line> {
  const policy = join(folder, 'policy.yaml')
  writeFileSync(policy, POLICY)
  await gatehouse(['migrate'], environment)
  await gatehouse(['apply', '-f', policy], environment)
  const ask = ['import', 'hr', '--full', '--file', file, '--json']
  const first = await gatehouse(ask, environment)
  const second = await gatehouse(ask, environment)
  if (first.counts.created !== count || second.counts.unchanged !== count)
    throw new Error(`${what}: ${JSON.stringify([first.counts, second.counts])}`)
  return { what, count, first, second, raw: await raw() }
}

async function onSqlite(count: number, file: string): Promise<Line> {
  const data = mkdtempSync(join(folder, 'sqlite-'))
  const line = await measure('SQLite', count, file, { GATEHOUSE_DATA_DIR: data }, async () => {
    const program = pathOf('sqlite3')
    const began = performance.now()
    const done = spawnSync(program, [join(data, 'raw.db'), '-cmd', '.mode csv', `.import ${file} people`])
    return done.status === 0 ? (performance.now() - began) / 1000 : undefined
  })
  rmSync(data, { recursive: true })
  return line
}

/** As it would be set for so many people; its own settings are for the smallest machine (docs/production.md). */
const SERVER = { shared_buffers: '1GB', max_wal_size: '8GB', checkpoint_timeout: '30min' }

async function onPostgres(count: number, file: string): Promise<Line> {
  const server = await startPostgres(SERVER)
  try {
    await server.createDatabase('bench')
    const data = mkdtempSync(join(folder, 'data-'))
    return await measure('PostgreSQL', count, file, { GATEHOUSE_DATA_DIR: data, DATABASE_URL: server.url('bench') }, async () => {
      const client = new pg.Client(server.url('bench'))
      await client.connect()
      await client.query(`create table raw (${COLUMNS.map((name) => `"${name}" text`).join(', ')})`)
      const began = performance.now()
      await client.query(`copy raw from '${file}' with (format csv, header)`)
      const seconds = (performance.now() - began) / 1000
      await client.end()
      return seconds
    })
  } finally {
    await server.stop()
  }
}

const perSecond = (count: number, seconds: number) => Math.round(count / seconds)
const print = (line: string) => process.stdout.write(`${line}\n`)

try {
  const small = Math.round(rows / 10)
  print(`Writing ${rows} and ${small} rows of ${COLUMNS.length} columns …`)
  const [large, little] = [await writePeople(rows), await writePeople(small)]
  print(
    `${''.padEnd(24)}${['first run/s', 'unchanged/s', 'raw load/s', 'raw/first', 'MB by quarter'].map((one) => one.padStart(18)).join('')}`,
  )
  for (const on of [onSqlite, onPostgres]) {
    const lines = [await on(small, little), await on(rows, large)]
    for (const { what, count, first, second, raw } of lines) {
      const cells = [
        perSecond(count, first.seconds),
        perSecond(count, second.seconds),
        raw === undefined ? 'not here' : perSecond(count, raw),
        raw === undefined ? '' : (first.seconds / raw).toFixed(0),
        first.memory.join(' '),
      ]
      print(`${`${what}, ${count}`.padEnd(24)}${cells.map((one) => String(one).padStart(18)).join('')}`)
    }
    const [a, b] = lines as [Line, Line]
    const ratio = (pick: (line: Line) => Measured) => (perSecond(b.count, pick(b).seconds) / perSecond(a.count, pick(a).seconds)).toFixed(2)
    print(`  rate at ${rows} / rate at ${small}: ${ratio(({ first }) => first)} (first), ${ratio(({ second }) => second)} (unchanged)`)
  }
} finally {
  rmSync(folder, { recursive: true })
}
