// Policy, people, and what a sign-in leaves behind. Times carry no index where only the sweep asks for them: every sign-in
// would pay for what a scan of a small table does as well, once in ten minutes.

import type { Knex } from 'knex'

export async function up(knex: Knex): Promise<void> {
  await knex.schema.createTable('sources', (t) => {
    t.string('id', 30).primary()
    t.string('kind', 20).notNullable()
    t.string('name', 63).notNullable().unique()
  })

  await knex.schema.createTable('policy_documents', (t) => {
    t.string('kind', 20).notNullable()
    t.string('name', 63).notNullable()
    t.integer('version').notNullable()
    t.string('source_id', 30).references('sources.id')
    // Null: taken out of force by this version.
    t.jsonb('document')
    t.timestamp('created_at', { useTz: true }).notNullable()
    t.primary(['kind', 'name', 'version'])
  })

  await knex.schema.createTable('policy_revision', (t) => {
    t.integer('revision').notNullable()
  })
  await knex('policy_revision').insert({ revision: 0 })

  await knex.schema.createTable('users', (t) => {
    t.string('id', 30).primary()
    t.string('state', 20).notNullable()
    t.timestamp('state_since', { useTz: true }).notNullable()
    t.text('state_reason')
    t.text('user_name').notNullable()
    // Folded for comparison. The key is what makes two first sign-ins of one person one user.
    t.text('user_name_key').notNullable().unique()
    t.jsonb('profile').notNullable()
    t.timestamp('created_at', { useTz: true }).notNullable()
    t.timestamp('updated_at', { useTz: true }).notNullable()
  })

  await knex.schema.createTable('links', (t) => {
    t.string('source_id', 30).notNullable().references('sources.id')
    t.text('external_key').notNullable()
    t.text('external_id').notNullable()
    t.string('user_id', 30).notNullable().references('users.id').index()
    t.timestamp('linked_at', { useTz: true }).notNullable()
    t.primary(['source_id', 'external_key'])
  })

  await knex.schema.createTable('source_records', (t) => {
    t.string('source_id', 30).notNullable().references('sources.id')
    t.text('external_key').notNullable()
    t.jsonb('record').notNullable()
    t.timestamp('observed_at', { useTz: true }).notNullable()
    t.primary(['source_id', 'external_key'])
  })

  await knex.schema.createTable('sign_in_requests', (t) => {
    t.string('id', 80).primary()
    t.string('source_id', 30).notNullable().references('sources.id')
    t.string('browser_hash', 43).notNullable()
    t.text('return_to').notNullable()
    t.string('entry_hash', 43)
    t.string('replaces_session', 30)
    t.timestamp('expires_at', { useTz: true }).notNullable()
  })

  await knex.schema.createTable('assertions_used', (t) => {
    t.string('source_id', 30).notNullable().references('sources.id')
    t.text('assertion_id').notNullable()
    t.timestamp('expires_at', { useTz: true }).notNullable()
    t.primary(['source_id', 'assertion_id'])
  })

  await knex.schema.createTable('sign_ins', (t) => {
    t.string('id', 30).primary()
    t.string('reference', 9).notNullable().unique()
    t.timestamp('at', { useTz: true }).notNullable()
    t.string('source_id', 30).references('sources.id')
    t.string('connection', 63)
    t.string('outcome', 10).notNullable()
    t.string('code', 60)
    t.text('detail')
    t.string('remedy', 20)
    t.string('user_id', 30).references('users.id').index()
    t.text('subject')
    t.string('address', 45).notNullable()
  })

  // One row for each host's key to a session; rows with the same id are one session. What a row says never changes, so
  // the repetition cannot go stale, and the gate finds all it needs by the key.
  await knex.schema.createTable('sessions', (t) => {
    t.string('secret_hash', 43).primary()
    t.string('host', 255).notNullable()
    t.string('id', 30).notNullable().index()
    t.string('user_id', 30).notNullable().references('users.id').index()
    t.string('source_id', 30).notNullable().references('sources.id')
    // Not a foreign key: sessions may outlive the record of their sign-in.
    t.string('sign_in_id', 30).notNullable()
    t.text('name_id')
    t.text('name_id_format')
    t.text('session_index')
    t.timestamp('opened_at', { useTz: true }).notNullable()
    t.timestamp('expires_at', { useTz: true }).notNullable()
  })

  await knex.schema.createTable('tickets', (t) => {
    t.string('secret_hash', 43).primary()
    t.string('session_id', 30).notNullable().index()
    t.string('host', 255).notNullable()
    t.string('entry_hash', 43).notNullable()
    t.text('return_to').notNullable()
    t.timestamp('session_expires_at', { useTz: true }).notNullable()
    t.timestamp('expires_at', { useTz: true }).notNullable()
  })

  await knex.schema.createTable('audit_events', (t) => {
    t.string('id', 30).primary()
    t.timestamp('at', { useTz: true }).notNullable().index()
    t.string('kind', 40).notNullable()
    t.string('actor_kind', 20).notNullable()
    t.string('actor_name', 120).notNullable()
    t.string('user_id', 30).index()
    t.string('source_id', 30)
    t.string('sign_in_id', 30)
    t.string('token_id', 30)
    t.jsonb('details')
  })

  await knex.schema.createTable('api_tokens', (t) => {
    t.string('id', 30).primary()
    t.string('name', 120).notNullable()
    t.string('secret_hash', 43).notNullable().unique()
    t.timestamp('created_at', { useTz: true }).notNullable()
    t.timestamp('expires_at', { useTz: true }).notNullable()
    t.timestamp('revoked_at', { useTz: true })
  })
}

export async function down(knex: Knex): Promise<void> {
  for (const table of [
    'api_tokens',
    'audit_events',
    'tickets',
    'sessions',
    'sign_ins',
    'assertions_used',
    'sign_in_requests',
    'source_records',
    'links',
    'users',
    'policy_revision',
    'policy_documents',
    'sources',
  ]) {
    await knex.schema.dropTable(table)
  }
}
