// The API of imports, tasks and coverage: what a token may, what an upload comes to, and that bad questions get clear answers.

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import request from 'supertest'
import { portsOf } from '../../../src/app/ports.ts'
import { csvConnector } from '../../../src/connectors/csv/csv.ts'
import type { BeginWork } from '../../../src/flows/background-ports.ts'
import { createToken } from '../../../src/flows/create-token.ts'
import { runImport, type SourceInForce } from '../../../src/flows/run-import.ts'
import { approveRun } from '../../../src/flows/settle-rows.ts'
import { undoImport } from '../../../src/flows/undo-import.ts'
import type { Db } from '../../../src/store/db.ts'
import { policyReader } from '../../../src/store/policies.ts'
import { OPERATOR, startHouse, type TestHouse } from '../../support/house.ts'
import { hr } from '../../support/imports.ts'

/** What the command line does in a process of its own. */
const beginWork =
  (db: Db): BeginWork =>
  async (work, actor) => {
    const ports = portsOf(db)
    const policy = await policyReader(db).inForce()
    const source = policy.imports.get('hr') as SourceInForce
    const common = {
      source,
      policy,
      actor,
      holder: 'here 1 test',
      isGone: () => false,
      clock: () => new Date(),
      stop: new AbortController().signal,
    }
    if (work.what === 'approve') await approveRun(ports, { ...common, run: work.run })
    else if (work.what === 'undo') await undoImport(ports, { ...common, run: work.run, planOnly: false })
    else {
      const limits = { rows: 1_000, columns: 100, rowBytes: 10_000, patienceMs: 5_000 }
      const settings = { delimiter: 'auto', quote: '"', encoding: 'auto', columns: {}, lists: {} } as const
      const connector = csvConnector({ settings, file: work.file?.path ?? '', limits })
      await runImport(ports, {
        ...common,
        id: work.run,
        connector,
        mode: work.mode,
        planOnly: work.planOnly,
        approved: false,
        ...(work.file ? { file: work.file.name } : {}),
      })
    }
  }

describe('the API of imports', () => {
  let house: TestHouse
  let folder: string
  const tokens = { look: '', write: '' }
  const as = (token: keyof typeof tokens) => ({
    get: (path: string) => request(house.baseUrl).get(path).set('Authorization', `Bearer ${tokens[token]}`),
    post: (path: string) => request(house.baseUrl).post(path).set('Authorization', `Bearer ${tokens[token]}`),
  })
  const feed = (...people: string[]) =>
    ['employeeNumber,email,department', ...people.map((n) => `${n},${n.toLowerCase()}@corp.example,Sales`), ''].join('\n')
  const put = (content: string, query = '') =>
    as('write').post(`/api/v1/sources/hr/runs${query}`).set('Content-Type', 'text/csv').send(content)

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'gatehouse-api-'))
    house = await startHouse({ beginWork, environment: { GATEHOUSE_IMPORT_DIR: folder } })
    await house.apply({
      sources: [hr({ approve: { leaver: 'ask' }, safeguard: { share: 1, count: 100 } })],
      targets: [{ name: 'badges', kind: 'manual' }],
    })
    for (const [name, mayWrite] of [
      ['look', false],
      ['write', true],
    ] as const)
      tokens[name] = (await createToken(portsOf(house.db), { name, days: 1, mayWrite, actor: OPERATOR, now: house.clock.now })).secret
  })
  after(async () => {
    await house?.close()
    rmSync(folder, { recursive: true, force: true })
  })

  it('wants a token, and for whatever changes anything one that may write', async () => {
    await request(house.baseUrl).get('/api/v1/runs').expect(401)
    await as('look').get('/api/v1/sources').expect(200)
    const answer = await as('look').post('/api/v1/sources/hr/runs').send({}).expect(403)
    assert.match(answer.body.detail, /--write/)
    await as('look').post('/api/v1/tasks/tsk_x/done').send({}).expect(403)
  })

  it('takes a file, and tells what came of it', async () => {
    const begun = await put(feed('E1', 'E2', 'E3', 'E4')).expect(202)
    assert.equal(begun.headers.location, `/api/v1/runs/${begun.body.run}`)
    assert.equal(begun.body.detectsLeavers, true)
    const { body: run } = await as('look')
      .get(begun.headers.location ?? '')
      .expect(200)
    assert.deepEqual([run.outcome, run.counts.created, run.by], ['applied', 4, `token ${'write'}`])
    const { body: rows } = await as('look').get(`${begun.headers.location}/rows?decision=create&limit=2`).expect(200)
    assert.equal(rows.rows.length, 2)
    assert.ok(rows.next)
    const { body: sources } = await as('look').get('/api/v1/sources').expect(200)
    assert.deepEqual([sources.sources[0].name, sources.sources[0].people, sources.sources[0].readsChanges], ['hr', 4, false])
  })

  it('lets leavers wait, approves them, opens a task, and has it done', async () => {
    const begun = await put(feed('E1', 'E2', 'E3')).expect(202)
    const at = `/api/v1/runs/${begun.body.run}`
    assert.equal((await as('look').get(at)).body.outcome, 'waiting')
    await as('write').post(`${at}/rows/99`).send({ pick: 'yes' }).expect(409)
    await as('write').post(`${at}/rows/1`).send({ pick: 'perhaps' }).expect(400)
    await as('write').post(`${at}/approve`).send({}).expect(202)
    assert.equal((await as('look').get(at)).body.outcome, 'applied')
    await as('write').post(`${at}/approve`).send({}).expect(409)
    const { body } = await as('look').get('/api/v1/tasks').expect(200)
    assert.equal(body.tasks.length, 1)
    await as('write').post(`/api/v1/tasks/${body.tasks[0].id}/done`).send({ note: 'done' }).expect(200)
    await as('write').post(`/api/v1/tasks/${body.tasks[0].id}/done`).send({}).expect(409)
    const { body: evidence } = await as('look').get('/api/v1/users/e4@corp.example/evidence').expect(200)
    assert.equal(evidence.complete, true)
  })

  it('plans only, cancels, and takes back', async () => {
    const planned = await put(feed('E1', 'E2', 'E3', 'E5'), '?planOnly=true').expect(202)
    const at = `/api/v1/runs/${planned.body.run}`
    assert.equal((await as('look').get(at)).body.state, 'planned')
    assert.equal((await as('write').post(`${at}/cancel`).send({}).expect(200)).body.outcome, 'cancelled')
    await as('write').post(`${at}/cancel`).send({}).expect(409)
    const { body } = await as('look').get('/api/v1/runs?source=hr').expect(200)
    const first = body.runs.at(-1)
    await as('write').post(`/api/v1/runs/${first.run}/undo`).send({}).expect(202)
    assert.equal((await as('look').get(`/api/v1/runs/${first.run}`)).body.outcome, 'undone')
  })

  it('says what is wrong with a bad question', async () => {
    await put(feed('E1'), '?mode=incremental').expect(400)
    await as('write').post('/api/v1/sources/nowhere/runs').send({}).expect(404)
    await as('write').post('/api/v1/sources/hr/runs').send({ mode: 'sometimes' }).expect(400)
    await as('look').get('/api/v1/runs/run_nowhere').expect(404)
    await as('look').get('/api/v1/runs/run_nowhere/rows').expect(404)
    await as('write').post('/api/v1/runs/run_nowhere/approve').send({}).expect(404)
    await as('look').get('/api/v1/users/nobody/evidence').expect(404)
    await as('write').post('/api/v1/sources/hr/runs').set('Content-Type', 'application/json').send('{').expect(400)
  })
})
