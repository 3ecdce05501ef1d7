// kill -9 at many moments: while an import reads, at the turn, in its first, middle and last batch, while a person approves, while it is
// taken back. The same command again comes to what comes of it undisturbed, with nobody doubled and nothing left over.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { type DatabaseLocation, type Db, fromJson, openDatabase } from '../../src/store/db.ts'
import { toProfile } from '../../src/store/profile-format.ts'
import { type RecordRow, toRecord } from '../../src/store/user-rows.ts'
import { dialects, TEST_KEYS, type TestDatabase, testDatabase } from '../support/databases.ts'
import { hr, Importing, type Row } from '../support/imports.ts'

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url))

const SEATS = 110
const source = (more: Record<string, unknown> = {}) => hr({ safeguard: { share: 1, count: 1_000_000 }, feed: { smallest: 0 }, ...more })
const POLICY = {
  sources: [
    source(),
    // The same people; a person is asked about each of them.
    source({
      name: 'asked',
      lifecycle: { leavers: 'nothing' },
      approve: { new: 'ask', exact: 'ask', update: 'ask' },
      mapping: [
        { to: 'userName', from: 'attributes.email' },
        { to: 'email', from: 'attributes.email' },
        { to: 'title', from: 'attributes.department' },
      ],
    }),
  ],
  entitlements: [{ name: 'office', when: "user.department == 'Sales'", seats: SEATS }],
  targets: [
    { name: 'mailer', kind: 'memory' },
    { name: 'door', kind: 'manual', assignee: 'desk@corp.example' },
  ],
}

const person = (name: string, department: string): Row => ({
  employeeNumber: name,
  email: `${name.toLowerCase()}@corp.example`,
  department,
})
const department = (n: number) => (n % 12 === 0 ? 'Sales' : n % 2 ? 'Law' : 'Research')
const upTo = (last: number) => Array.from({ length: last }, (_, i) => i + 1)

/** Known to the source before; known from signing in alone. */
const [KNOWN, MET] = [1_000, 60]
const knownBefore = upTo(KNOWN).map((n) => person(`P${n}`, department(n)))

/** Newcomers, people to be linked, changes and leavers. By turns, so that each batch has some of all. */
function feed({ newcomers, changes, leavers }: { newcomers: number; changes: number; leavers: number }): readonly Row[] {
  const stay = KNOWN - leavers
  const parts: readonly (readonly Row[])[] = [
    upTo(newcomers).map((n) => person(`N${n}`, department(n))),
    upTo(stay).map((n) => person(`P${n}`, department(n <= changes ? n + 1 : n))),
    upTo(MET).map((n) => person(`M${n}`, 'Law')),
  ]
  const placed = parts.flatMap((rows) => rows.map((row, at) => [at / rows.length, row] as const))
  return placed.sort(([a], [b]) => a - b).map(([, row]) => row)
}

const MANY = { newcomers: 1_300, changes: 500, leavers: 250 }
const FEW = { newcomers: 120, changes: 120, leavers: 40 }

function csv(rows: readonly Row[]): string {
  const columns = Object.keys(rows[0] ?? {})
  return `${[columns, ...rows.map((row) => columns.map((name) => row[name]))].map((cells) => cells.join(',')).join('\n')}\n`
}

/** What is seen of the run that is open. */
interface Open {
  readonly kind: 'import' | 'undo'
  readonly reading: boolean
  readonly rows: number
  readonly cursor: number
  readonly applied: number
  readonly undone: number
}
type Moment = readonly [name: string, seen: (run: Open) => boolean]

const WHILE_IMPORTED: readonly Moment[] = [
  ['as it begins', ({ rows }) => rows === 0],
  ['while it reads', ({ reading, rows }) => reading && rows > 0],
  ['at the turn from reading to applying', ({ reading, cursor }) => !reading && cursor === 0],
  ['after its first batch', ({ cursor }) => cursor >= 1_000],
  ['after a middle one', ({ cursor }) => cursor >= 2_000],
]
const WHILE_APPROVED: readonly Moment[] = [
  ['as it is taken up', () => true],
  ['after the first batch', ({ applied }) => applied >= 500],
]
const WHILE_A_PLAN_IS_APPROVED: readonly Moment[] = [
  ['as it is taken up', () => true],
  ['once it is approved', ({ reading }) => !reading],
  ['after the first batch', ({ cursor }) => cursor >= 1_000],
]
const WHILE_TAKEN_BACK: readonly Moment[] = [
  ['as it begins', ({ kind }) => kind === 'undo'],
  ['after the first batch', ({ undone }) => undone > 0],
]

// The processes that are killed work at once, here as anywhere.
describe('an import that is killed', { concurrency: dialects.length }, () => {
  for (const dialect of dialects)
    describe(`on ${dialect}`, { concurrency: 1 }, () => {
      let folder: string
      let server: TestDatabase
      let base: Importing
      const places: Place[] = []
      let copies = 0

      before(async () => {
        folder = mkdtempSync(join(tmpdir(), 'gatehouse-killed-'))
        server = await testDatabase(dialect, { migrate: false })
        base = await Importing.open(dialect, POLICY)
        for (const row of knownBefore) base.put(row.employeeNumber as string, row)
        assert.equal((await base.run()).state, 'done')
        for (const n of upTo(MET)) await base.signIn(`m${n}@corp.example`)
        for (const n of upTo(KNOWN)) if (n % 20 === 0) await openSession(base, `p${n}@corp.example`)
        writeFileSync(join(folder, 'many.csv'), csv(feed(MANY)))
        writeFileSync(join(folder, 'few.csv'), csv(feed(FEW)))
        writeFileSync(join(folder, 'before.csv'), csv(knownBefore))
        // Nobody may look on while a database is copied.
        await base.db.close()
      })
      after(async () => {
        for (const place of places) await place.close()
        await base?.close()
        await server?.close()
        rmSync(folder, { recursive: true, force: true })
      })

      /** Of the database as it was before anything was begun, or of another one on which nobody looks any more. */
      const copy = async (of: DatabaseLocation = base.database.location): Promise<Place> => {
        const name = `copy_${++copies}`
        const place = new Place(join(folder, name), await copied(of, { server: server.db, folder, name }))
        places.push(place)
        return place
      }
      /** With a run that is to be approved or taken back. */
      const prepared = async (code: number, command: readonly string[]) => {
        const place = await copy()
        assert.equal((await place.command(command)).code, code)
        const run = await place.newest()
        await place.close()
        return { run, copied: () => copy(place.location) }
      }

      /**
       * Begins, is killed at a moment, begins again, is killed at the next one, and so on; then once more, undisturbed.
       * One that came to its end before it was killed shows nothing; then it is tried on another copy.
       */
      const disturbed = async (command: readonly string[], moments: readonly Moment[], fresh: () => Promise<Place> = copy) => {
        const all: Place[] = []
        let left = moments
        while (left.length) {
          assert.ok(all.length < 6, `it was never killed ${left[0]?.[0]}`)
          const place = await fresh()
          all.push(place)
          for (const moment of left) {
            if (!(await place.killed(command, moment))) break
            left = left.slice(1)
          }
          const { code, err } = await place.command(command)
          assert.equal(code, 0, err)
        }
        return all
      }

      const importing = ['import', 'hr', '--full', '--file', 'many.csv']
      /** What comes of it where nobody is killed. */
      let undisturbed: State

      it('while it reads and while it is applied', async () => {
        const twin = await copy()
        // Whoever waits for a seat gets one that has become free with the next run.
        for (const _ of [1, 2]) assert.equal((await twin.command(importing)).code, 0)
        undisturbed = await stateOf(twin.db)
        const people = [...undisturbed.people.values()]
        const { newcomers, leavers } = MANY
        assert.equal(people.length, KNOWN + MET + newcomers)
        assert.equal(people.filter(({ sessions }) => sessions).length, Math.floor((KNOWN - leavers) / 20))
        assert.deepEqual(undisturbed.seats, { taken: SEATS, held: SEATS })
        const out = people.filter(({ state }) => state === 'deprovisioned')
        assert.equal(out.length, leavers)
        for (const { sessions, jobs, tasks } of out)
          assert.deepEqual(
            { sessions, jobs, tasks },
            { sessions: 0, jobs: ['mailer deprovisioned queued'], tasks: ['door take-away open'] },
          )

        for (const place of await disturbed(importing, WHILE_IMPORTED)) {
          assert.equal((await place.command(importing)).code, 0)
          assert.deepEqual(await stateOf(place.db), undisturbed)
        }
      })

      it('while a person approves a plan', async () => {
        const { run, copied: planned } = await prepared(3, [...importing, '--plan-only'])
        for (const place of await disturbed(['runs', 'approve', run], WHILE_A_PLAN_IS_APPROVED, planned)) {
          assert.equal((await place.command(importing)).code, 0)
          assert.deepEqual(await stateOf(place.db), undisturbed)
        }
      })

      it('while a person approves what waits', async () => {
        const { run, copied: waiting } = await prepared(3, ['import', 'asked', '--full', '--file', 'before.csv'])
        const approving = ['runs', 'approve', run]
        const twin = await waiting()
        assert.equal((await twin.command(approving)).code, 0)
        const approved = await stateOf(twin.db)
        assert.equal([...approved.people.values()].filter(({ links }) => links.length === 2).length, KNOWN)
        for (const place of await disturbed(approving, WHILE_APPROVED, waiting)) assert.deepEqual(await stateOf(place.db), approved)
      })

      it('while it is taken back', async () => {
        // That somebody was told, and was signed out, is not taken back.
        const kept = ({ people, seats }: State) => ({
          seats,
          people: new Map([...people].map(([name, { jobs: _, tasks: __, sessions: ___, ...one }]) => [name, one])),
        })
        const before = kept(await stateOf((await copy()).db))
        const { run, copied: imported } = await prepared(0, ['import', 'hr', '--full', '--file', 'few.csv'])
        for (const place of await disturbed(['undo', run], WHILE_TAKEN_BACK, imported)) {
          const after = await stateOf(place.db)
          assert.deepEqual(kept(after), before)
          const tasks = [...after.people.values()].flatMap((one) => one.tasks)
          assert.deepEqual(tasks, Array(FEW.leavers).fill('door take-away done'))
        }
      })
    })
})

/** A database of its own, and the command line for it. */
class Place {
  readonly db: Db
  readonly location: DatabaseLocation
  private readonly folder: string
  private readonly environment: Record<string, string>

  constructor(folder: string, location: DatabaseLocation) {
    mkdirSync(folder, { recursive: true })
    this.folder = folder
    this.location = location
    this.db = openDatabase(location, TEST_KEYS)
    this.environment = {
      GATEHOUSE_DATA_DIR: folder,
      GATEHOUSE_DATA_KEY: TEST_KEYS.current,
      ...('postgres' in location ? { DATABASE_URL: location.postgres } : {}),
    }
  }

  close(): Promise<void> {
    return this.db.close()
  }

  private begin(args: readonly string[]) {
    const { PATH } = process.env
    const env = { ...(PATH === undefined ? {} : { PATH }), ...this.environment }
    const child = spawn(process.execPath, [MAIN, ...args, '--json'], {
      env,
      cwd: join(this.folder, '..'),
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    let err = ''
    child.stderr.setEncoding('utf8').on('data', (text) => {
      err += text
    })
    return { child, closed: once(child, 'close').then(([code, signal]) => ({ code, signal, err })) }
  }

  async command(args: readonly string[]): Promise<{ code: number | null; err: string }> {
    return this.begin(args).closed
  }

  /** False: it had come to its end. */
  async killed(args: readonly string[], [, seen]: Moment): Promise<boolean> {
    const before = await this.newest()
    const { child, closed } = this.begin(args)
    let over = false
    closed.then(() => {
      over = true
    })
    while (!over) {
      const open = await this.open(child.pid as number)
      if (open && seen(open)) break
      await pause(5)
    }
    child.kill('SIGKILL')
    const { signal, err } = await closed
    assert.ok(signal === 'SIGKILL' || before, err)
    return signal === 'SIGKILL'
  }

  /** What this process works on. */
  private async open(pid: number): Promise<Open | undefined> {
    const [row] = await this.db.read((knex) =>
      knex('runs').where({ state: 'running' }).whereLike('holder', `% ${pid} %`).select('id', 'kind', 'phase', 'cursor', 'counts'),
    )
    if (!row) return undefined
    const [found] = await this.db.read((knex) => knex('import_rows').where({ run_id: row.id }).limit(1).count({ n: '*' }))
    const { applied = 0, undone = 0 } = fromJson<{ applied?: number; undone?: number }>(row.counts)
    return { kind: row.kind, reading: row.phase === 'reading', rows: Number(found?.n), cursor: Number(row.cursor), applied, undone }
  }

  async newest(): Promise<string> {
    const [row] = await this.db.read((knex) => knex('runs').where({ kind: 'import' }).orderBy('id', 'desc').limit(1).select('id'))
    return row.id
  }
}

async function copied(
  base: DatabaseLocation,
  { server, folder, name }: { server: Db; folder: string; name: string },
): Promise<DatabaseLocation> {
  if ('sqlite' in base) {
    mkdirSync(join(folder, name))
    // Two connections that close at one moment may each take the other for the last one, and leave the log beside the file.
    for (const part of ['', '-wal'])
      if (existsSync(`${base.sqlite}${part}`)) copyFileSync(`${base.sqlite}${part}`, join(folder, name, `gatehouse.db${part}`))
    return { sqlite: join(folder, name, 'gatehouse.db') }
  }
  const url = new URL(base.postgres)
  await server.read((knex) => knex.raw('create database ?? template ??', [name, url.pathname.slice(1)]))
  url.pathname = name
  return { postgres: url.href }
}

async function openSession(at: Importing, name: string): Promise<void> {
  const { id: user } = await at.user(name)
  const connection = [...(await at.policy()).sources.values()].find((one) => one.name === 'corp')?.id
  assert.ok(connection)
  const { mint, sessions } = at.ports
  const session = {
    id: mint.id('ses', at.now),
    user,
    connection,
    signIn: mint.id('sgn', at.now),
    openedAt: at.now,
    expiresAt: new Date(at.now.getTime() + 1_000_000_000),
  }
  await at.ports.inTransaction((tx) => sessions.open(tx, session, { secretHash: mint.secret(), host: 'h' }))
}

interface State {
  readonly people: ReadonlyMap<string, PersonState>
  readonly seats: { readonly taken: number; readonly held: number }
}

interface PersonState {
  readonly state: string
  readonly values: Readonly<Record<string, readonly string[]>>
  readonly links: readonly string[]
  readonly records: readonly string[]
  readonly keys: readonly string[]
  readonly sessions: number
  readonly jobs: readonly string[]
  readonly tasks: readonly string[]
}

/** All that counts, by user name; and that nothing lies about which nobody would come back for. */
async function stateOf(db: Db): Promise<State> {
  const all = async <Found>(table: string): Promise<Found[]> => (await db.read((knex) => knex(table).select())) as Found[]
  const users = await all<{ id: string; user_name: string; state: string; profile: unknown; grants: unknown }>('users')
  const of = async <Found extends { user_id: string }, Value>(
    table: string,
    value: (row: Found) => Value,
  ): Promise<Map<string, Value[]>> => {
    const found = new Map<string, Value[]>()
    for (const row of await all<Found>(table)) found.set(row.user_id, [...(found.get(row.user_id) ?? []), value(row)])
    return found
  }
  const words = new Map<string, string>(
    (await all<RecordRow>('source_records')).map((row) => {
      const { attributes } = toRecord(row, db.sealer)
      const said = Object.entries(attributes).flatMap(([name, { state, values }]) => (state === 'present' ? [`${name}=${values}`] : []))
      return [`${row.source_id} ${row.external_key}`, said.sort().join(' ')] as const
    }),
  )
  type Link = { user_id: string; source_id: string; external_key: string; external_id: string; missing_since: unknown }
  const nameOf = (link: Link) => `${link.source_id} ${link.external_key}`
  const links = await of('links', (link: Link) => ({
    text: `${link.source_id} ${link.external_id}${link.missing_since === null ? '' : ' missing'}`,
    said: words.get(nameOf(link)) ?? 'nothing is on file',
  }))
  const keys = await of('user_keys', ({ name, value }: { user_id: string; name: string; value: string }) => `${name}=${value}`)
  const sessions = await of('sessions', () => 1)
  const jobs = await of('jobs', (job: { user_id: string; target: string; state: string; payload: unknown }) => {
    return `${job.target} ${fromJson<{ state: string }>(job.payload).state} ${job.state}`
  })
  const tasks = await of('tasks', (task: { user_id: string; target: string; kind: string; done_at: unknown }) => {
    return `${task.target} ${task.kind} ${task.done_at === null ? 'open' : 'done'}`
  })
  const created = await of('audit_events', ({ kind }: { user_id: string; kind: string }) => kind)
  assert.deepEqual(await db.read((knex) => knex('runs').where({ state: 'running' })), [], 'runs that are open')
  assert.deepEqual(await db.read((knex) => knex('import_claims').limit(1)), [], 'claims that are left')
  const linked = [...links.values()].flat().length
  assert.equal(words.size, linked, 'records without a link')

  let held = 0
  const people = users.map(({ id, user_name, state, profile, grants }): [string, PersonState] => {
    assert.equal(created.get(id)?.filter((kind) => kind === 'user.created').length, 1, `${user_name} was created once`)
    held += fromJson<readonly unknown[]>(grants).length
    const values = Object.fromEntries(Object.entries(toProfile(profile)).map(([name, { values: said }]) => [name, said]))
    return [
      user_name,
      {
        state,
        values,
        links: (links.get(id) ?? []).map(({ text }) => text).sort(),
        records: (links.get(id) ?? []).map(({ said }) => said).sort(),
        keys: (keys.get(id) ?? []).sort(),
        sessions: sessions.get(id)?.length ?? 0,
        jobs: (jobs.get(id) ?? []).sort(),
        tasks: (tasks.get(id) ?? []).sort(),
      },
    ]
  })
  const [seats] = await db.read((knex) => knex('licence_seats').where({ name: 'office' }).select('taken'))
  return { people: new Map(people.sort(([a], [b]) => (a < b ? -1 : 1))), seats: { taken: Number(seats?.taken ?? 0), held } }
}
