// The database goes away during a sign-in, and comes back: nobody gets in meanwhile, everybody is told when to try again,
// and Gatehouse carries on by itself.

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { type Db, openDatabase } from '../../src/store/db.ts'
import { migrateUp } from '../../src/store/migrations.ts'
import { startPostgres, TEST_KEYS, type TestPostgres } from '../support/databases.ts'
import { startHouse, type TestHouse } from '../support/house.ts'
import { requestOnce, Walker } from '../support/walker.ts'

describe('a database that goes away', () => {
  let server: TestPostgres
  let db: Db
  let house: TestHouse

  before(async () => {
    server = await startPostgres()
    await server.createDatabase('gatehouse')
    db = openDatabase({ postgres: server.url('gatehouse') }, TEST_KEYS)
    await migrateUp(db)
    house = await startHouse({ db })
  })
  after(async () => {
    await house?.close()
    await db?.close()
    await server?.stop()
  })

  it('is told as 503 with a time to come back, and forgotten when it is over', async () => {
    const walker = new Walker()
    assert.equal((await house.signIn(walker)).status, 200)
    const waiting = new Walker()
    const { id } = await house.begin(waiting)

    await server.pause()
    const answer = house.answer({ inResponseTo: id, nameId: 'grace' })
    const page = await house.post(waiting, answer)
    assert.equal(page.status, 503)
    assert.equal(page.headers['retry-after'], '5')
    assert.match(page.body, /try again in a moment/)
    const me = await walker.get(`${house.baseUrl}/me`, { accept: 'application/json' })
    assert.equal(me.status, 503, 'a session that cannot be looked up lets nobody in')
    const app = await walker.step(house.appUrl)
    assert.equal(app.status, 503)
    assert.equal(house.upstream.received.length, 0)
    assert.equal((await requestOnce('GET', new URL('/readyz', house.baseUrl), {})).status, 503)
    assert.equal((await requestOnce('GET', new URL('/healthz', house.baseUrl), {})).status, 200)

    await server.resume()
    assert.equal((await requestOnce('GET', new URL('/readyz', house.baseUrl), {})).status, 200)
    // The very answer that met the outage: nothing of it was half-written.
    assert.equal((await house.post(waiting, answer)).status, 200)
    assert.equal((await walker.get(`${house.baseUrl}/me`, { accept: 'application/json' })).status, 200)
  })
})
