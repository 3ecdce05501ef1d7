// npm run bench:decide, second half: «gatehouse simulate» over a hundred thousand people on SQLite, as an administrator runs
// it, from start to end: once with a draft that changes something for everybody, once with the policy that is in force.

import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { metadataReader } from '../src/app/metadata-reader.ts'
import { mint } from '../src/app/mint.ts'
import { outbound } from '../src/app/outbound.ts'
import { writeYaml } from '../src/app/policy-file.ts'
import { portsOf } from '../src/app/ports.ts'
import { decide } from '../src/domain/decide.ts'
import { conclude } from '../src/domain/deciding.ts'
import { parsePolicyFile } from '../src/domain/documents.ts'
import { isRefusal } from '../src/domain/refusals.ts'
import { applyPolicy } from '../src/flows/apply-policy.ts'
import { NOTHING_INSECURE } from '../src/http/saml/names.ts'
import { type Db, openDatabase } from '../src/store/db.ts'
import { migrateUp } from '../src/store/migrations.ts'
import { policyReader } from '../src/store/policies.ts'
import { writeRecord } from '../src/store/record-format.ts'
import { placeOf, userColumns } from '../src/store/user-rows.ts'
import { keyPair, metadataXml } from '../test/support/idp.ts'
import { peoplePolicy, personSays, ROWS } from './support/people.ts'
import { ISSUER } from './support/prepared.ts'

const PEOPLE = Number(process.env.BENCH_PEOPLE ?? 100_000)
const BATCH = 250
const DATA_KEY = 'a key for the bench that is long enough'

const now = new Date()
const folder = mkdtempSync(`${tmpdir()}/gatehouse-bench-`)
try {
  const { certificate } = await keyPair('bench')
  writeFileSync(join(folder, 'metadata.xml'), metadataXml(ISSUER, 'https://idp.example/sso', [certificate]))
  const db = openDatabase({ sqlite: join(folder, 'gatehouse.db') }, { current: DATA_KEY })
  await migrateUp(db)
  await apply(db, peoplePolicy(ROWS, { file: 'metadata.xml' }))
  process.stdout.write(`Bringing in ${PEOPLE} people …\n`)
  await bringIn(db)
  await db.close()

  const renamed = ROWS.map((row) => (row.to === 'displayName' ? { ...row, from: "user.familyName + ', ' + user.givenName" } : row))
  await measure('a draft that changes everybody', renamed, PEOPLE)
  await measure('the policy in force', ROWS, 0)
} finally {
  if (!process.env.BENCH_KEEP) rmSync(folder, { recursive: true })
}

async function apply(db: Db, content: unknown): Promise<void> {
  const parsed = parsePolicyFile(content)
  if ('faults' in parsed) throw new Error(JSON.stringify(parsed.faults))
  const metadata = metadataReader({ folder, outbound: outbound([]), allow: NOTHING_INSECURE, clock: () => now })
  const ask = {
    file: parsed.file,
    ownHost: 'localhost:3000',
    actor: { kind: 'system', name: 'bench' },
    now,
    prune: false,
    dryRun: false,
  } as const
  const result = await applyPolicy({ ...portsOf(db), metadata }, ask)
  if ('faults' in result) throw new Error(JSON.stringify(result.faults))
}

/** As first sign-ins would, the rows of many at once (src/store/users.ts has their shape); without audit events. */
async function bringIn(db: Db): Promise<void> {
  const policy = await policyReader(db).inForce()
  const source = [...policy.sources.values()].find(({ name }) => name === 'corp')
  if (!source) throw new Error('no source')
  for (let from = 0; from < PEOPLE; from += BATCH) {
    const rows: Record<'users' | 'user_keys' | 'links' | 'source_records', object[]> = {
      users: [],
      user_keys: [],
      links: [],
      source_records: [],
    }
    for (let number = from; number < Math.min(from + BATCH, PEOPLE); number++) {
      const said = { ...personSays(number, { source: source.id, now }), via: mint.id('sgn', now) }
      const deciding = decide(said, { source, policy, fresh: mint.id('usr', now) })
      const { outcome } = conclude(deciding, ({ about }) => (about === 'subject' ? { records: [] } : []))
      if (isRefusal(outcome) || !outcome.record) throw new Error(`number ${number} was not let in`)
      const { user, record, keys = [] } = outcome
      const place = { source_id: source.id, external_key: record.externalId.key }
      rows.users.push({
        id: user.id,
        state: user.state,
        state_since: now,
        state_by: 'system bench',
        created_at: now,
        updated_at: now,
        ...userColumns(user),
      })
      rows.user_keys.push(...keys.map(({ name, value, unique }) => ({ name, value, user_id: user.id, is_unique: unique })))
      rows.links.push({ ...place, external_id: record.externalId.value, user_id: user.id, linked_at: now })
      const sealed = db.sealer.seal(writeRecord(record), placeOf(source.id, record.externalId.key))
      rows.source_records.push({ ...place, record: null, sealed, observed_at: now })
    }
    await db.writer.transaction(async (transaction) => {
      for (const table of ['users', 'user_keys', 'links', 'source_records'] as const) {
        for (let i = 0; i < rows[table].length; i += BATCH) await transaction(table).insert(rows[table].slice(i, i + BATCH))
      }
    })
  }
}

async function measure(what: string, rows: typeof ROWS, changes: number): Promise<void> {
  writeFileSync(join(folder, 'draft.yaml'), writeYaml(peoplePolicy(rows, { file: 'metadata.xml' })))
  const began = performance.now()
  const child = spawn(
    process.execPath,
    ['--import', here('./support/peak.ts'), here('../bin/gatehouse.js'), 'simulate', '--policy', join(folder, 'draft.yaml'), '--json'],
    {
      env: { ...process.env, GATEHOUSE_DATA_DIR: folder, GATEHOUSE_DATA_KEY: DATA_KEY, DATABASE_URL: '' },
      stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
    },
  )
  const [answer, shown, usage, code] = await Promise.all([told(child, 1), told(child, 2), told(child, 3), ended(child)])
  const seconds = (performance.now() - began) / 1000
  if (code !== 0) throw new Error(`simulate ended with ${code}: ${shown}${answer}`)
  const { people } = JSON.parse(answer) as { people: { people: number; changed: number; refused: number; collisions: number } }
  if (people.people !== PEOPLE || people.changed !== changes || people.refused || people.collisions)
    throw new Error(`not what it should come to: ${JSON.stringify(people)}`)
  const progress = shown.split('\n').filter((line) => line.startsWith('people  ['))
  if (!progress.length) throw new Error('no progress was shown')
  const { peak, cpu } = JSON.parse(usage) as { peak: number; cpu: number }
  process.stdout.write(
    [
      `simulate, ${what}: ${people.changed} of ${people.people} would change`,
      `  ${seconds.toFixed(1)} s from start to end, ${Math.round(PEOPLE / seconds)} people/s; processor time ${(cpu / 1000).toFixed(1)} s`,
      `  peak memory ${Math.round(peak)} MB`,
      `  progress was shown ${progress.length} times, last «${progress.at(-1)}»`,
      '',
    ].join('\n'),
  )
}

function told(child: ChildProcess, descriptor: 1 | 2 | 3): Promise<string> {
  const stream = child.stdio[descriptor]
  if (!stream) throw new Error(`nothing is told on ${descriptor}`)
  return text(stream as NodeJS.ReadableStream)
}

function ended(child: ChildProcess): Promise<number | null> {
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', resolve)
  })
}

function here(file: string): string {
  return fileURLToPath(new URL(file, import.meta.url))
}
