// What goes on by itself while Gatehouse serves: schedules, watched folders, what was left, jobs and mail. Imports are only asked for
// here; that they work is shown elsewhere.

import assert from 'node:assert/strict'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import pino from 'pino'
import { readConfig } from '../../src/app/config.ts'
import { nextTime } from '../../src/app/schedule.ts'
import { startWorker, type Worker } from '../../src/app/worker.ts'
import { listJobs } from '../../src/store/jobs.ts'
import { listTasks } from '../../src/store/tasks.ts'
import { hr, Importing, OPERATOR } from '../support/imports.ts'

describe('the worker', () => {
  let at: Importing
  let folder: string
  let worker: Worker
  const asked: string[][] = []
  let exits = 0

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'gatehouse-worker-'))
    at = await Importing.open('sqlite', {
      sources: [
        hr({
          kind: 'rest',
          rest: { url: 'https://hr.example/people', changedSince: 'since' },
          schedule: { full: '0 2 * * *', incremental: '*/15 * * * *', zone: 'Europe/Berlin' },
          safeguard: { share: 1, count: 100 },
        }),
        hr({ name: 'dropped', csv: { folder: 'inbox' } }),
      ],
      targets: [
        { name: 'crm', kind: 'memory' },
        { name: 'badges', kind: 'manual', assignee: 'desk@corp.example' },
      ],
    })
    worker = startWorker({
      config: readConfig({ GATEHOUSE_IMPORT_DIR: folder, GATEHOUSE_SMTP_URL: 'smtp://localhost:9', GATEHOUSE_MAIL_FROM: 'g@corp.example' }),
      db: at.db,
      ports: at.ports,
      log: pino({ level: 'silent' }),
      clock: () => at.now,
      runImport: async (args) => {
        asked.push([...args])
        return exits
      },
    })
  })
  after(async () => {
    await worker?.stop()
    await at?.close()
    rmSync(folder, { recursive: true, force: true })
  })

  it('begins what the schedule says, once for each slot, however many look', async () => {
    at.now = new Date('2026-06-01T00:00:00Z')
    await worker.tick()
    assert.equal(asked.length, 0, 'the first look only starts the clock')
    at.now = new Date('2026-06-01T00:15:00Z')
    await worker.tick()
    await worker.tick()
    assert.deepEqual(asked.splice(0), [['import', 'hr', '--incremental', '--begun-by', 'system schedule']])
    at.now = new Date('2026-06-02T00:00:00Z')
    await worker.tick()
    assert.deepEqual(
      asked
        .splice(0)
        .map(([, name, mode]) => [name, mode])
        .sort(),
      [
        ['hr', '--full'],
        ['hr', '--incremental'],
      ],
    )
  })

  it('knows summer from winter', () => {
    assert.equal(nextTime('0 2 * * *', 'Europe/Berlin', new Date('2026-06-01T12:00:00Z'))?.toISOString(), '2026-06-02T00:00:00.000Z')
    assert.equal(nextTime('0 2 * * *', 'Europe/Berlin', new Date('2026-12-01T12:00:00Z'))?.toISOString(), '2026-12-02T01:00:00.000Z')
  })

  it('imports a file that was put into the folder, once nobody writes to it any more', async () => {
    const inbox = join(folder, 'inbox')
    mkdirSync(inbox)
    const put = (name: string, secondsAgo: number) => {
      writeFileSync(join(inbox, name), 'a,b\n')
      const when = new Date(at.now.getTime() - secondsAgo * 1000)
      utimesSync(join(inbox, name), when, when)
    }
    put('late.csv', 1)
    put('b.csv', 60)
    put('a.csv', 60)
    put('.hidden', 60)
    await worker.tick()
    const files = asked.splice(0).filter(([, name]) => name === 'dropped')
    assert.deepEqual(
      files.map((args) => args.at(args.indexOf('--file') + 1)),
      [join(inbox, 'underway/a.csv'), join(inbox, 'underway/b.csv')],
    )
    assert.deepEqual(readdirSync(join(inbox, 'done')).sort(), ['a.csv', 'b.csv'])
    assert.ok(existsSync(join(inbox, 'late.csv')))
    exits = 1
    at.later(1)
    await worker.tick()
    assert.deepEqual(readdirSync(join(inbox, 'failed')), ['late.csv'])
    exits = 0
    asked.splice(0)
  })

  it('takes up a run that nobody works on any more', async () => {
    const { id: source } = await at.source()
    const run = {
      id: 'run_left' as never,
      kind: 'import',
      source,
      mode: 'full',
      state: 'running',
      phase: 'applying',
      revision: 1,
      cursor: 0,
      counts: {},
      details: {},
      startedAt: at.now,
      actor: 'x',
    } as const
    await at.ports.inTransaction((tx) =>
      at.ports.imports.begin(tx, run, { actor: OPERATOR, holder: 'elsewhere 1 x', until: new Date(at.now.getTime() + 60_000) }),
    )
    await worker.tick()
    assert.deepEqual(
      asked.splice(0).filter((args) => args.includes('--resume')),
      [],
    )
    at.later(1)
    await worker.tick()
    assert.deepEqual(
      asked.splice(0).filter((args) => args.includes('--resume')),
      [['import', 'hr', '--resume']],
    )
    await at.ports.inTransaction((tx) => at.ports.imports.put(tx, { ...run, state: 'cancelled' }, at.now))
  })

  it('tells systems and people what follows from somebody’s leaving', async () => {
    at.putMany(4)
    await at.run()
    at.drop('E1')
    await at.run()
    await worker.tick()
    const jobs = await listJobs(at.db, { limit: 10 })
    assert.deepEqual(
      jobs.filter(({ target }) => target === 'crm').map(({ state }) => state),
      ['done'],
    )
    assert.equal(jobs.filter(({ kind }) => kind === 'mail').length, 1, 'a mail is on its way')
    assert.equal((await listTasks(at.db, { done: false, limit: 10 })).length, 1)
  })
})
