// Migrations over rows, up and down, on both databases.

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { migrateDown, migrateUp, pendingMigrations } from '../../src/store/migrations.ts'
import { dialects, type TestDatabase, testDatabase } from '../support/databases.ts'

for (const dialect of dialects) {
  describe(`migrations on ${dialect}`, () => {
    let database: TestDatabase
    before(async () => {
      database = await testDatabase(dialect, { migrate: false })
    })
    after(() => database?.close())

    it('go up, keep rows, go down over them, and up again', async () => {
      const { db } = database
      const all = await pendingMigrations(db)
      assert.ok(all.length)
      assert.deepEqual(await migrateUp(db), all)
      assert.deepEqual(await pendingMigrations(db), [])
      assert.deepEqual(await migrateUp(db), [])

      const now = new Date('2026-01-01T00:00:00Z')
      await db.writer('sources').insert({ id: 'src_1', kind: 'saml', name: 'corp' })
      await db.writer('users').insert({
        id: 'usr_1',
        state: 'active',
        state_since: now,
        user_name: 'Ada',
        user_name_key: 'ada',
        profile: '{}',
        created_at: now,
        updated_at: now,
      })
      await db.writer('links').insert({ source_id: 'src_1', external_key: 'k', external_id: 'k', user_id: 'usr_1', linked_at: now })
      await db.writer('sessions').insert({
        secret_hash: 's',
        host: 'h',
        id: 'ses_1',
        user_id: 'usr_1',
        source_id: 'src_1',
        sign_in_id: 'sgn_1',
        opened_at: now,
        expires_at: now,
      })
      await db.writer('policy_documents').insert({ kind: 'app', name: 'a', version: 1, document: '{"a":[1]}', created_at: now })

      assert.deepEqual([...(await migrateDown(db, 'all'))].sort(), [...all].sort())
      assert.deepEqual(await pendingMigrations(db), all)
      assert.equal(await db.writer.schema.hasTable('users'), false)
      assert.deepEqual(await migrateUp(db), all)
      assert.equal(Number((await db.writer('users').count({ n: '*' }))[0]?.n), 0)
    })
  })
}
