// What the SAML door keeps beside a first sign-in: the steps of an attempt, logouts on their way, and what became of
// looking at an identity provider's metadata again.

import type { Knex } from 'knex'

export async function up(knex: Knex): Promise<void> {
  await knex.schema.alterTable('sign_ins', (t) => {
    t.string('flow', 10).notNullable().defaultTo('sign-in')
    t.jsonb('steps')
  })
  await knex.schema.alterTable('sign_in_requests', (t) => {
    t.boolean('passive').notNullable().defaultTo(false)
    t.timestamp('created_at', { useTz: true })
  })
  await knex.schema.alterTable('sessions', (t) => {
    t.text('name_qualifier')
    t.text('sp_name_qualifier')
    // An identity provider that signs somebody out names them.
    t.index(['name_id'])
  })

  await knex.schema.createTable('logout_requests', (t) => {
    t.string('id', 80).primary()
    t.string('source_id', 30).notNullable().references('sources.id')
    t.string('user_id', 30).notNullable().references('users.id')
    t.timestamp('expires_at', { useTz: true }).notNullable()
  })

  await knex.schema.createTable('metadata_states', (t) => {
    t.string('source_id', 30).primary().references('sources.id')
    t.timestamp('next_at', { useTz: true }).notNullable()
    t.timestamp('checked_at', { useTz: true })
    t.timestamp('rescued_at', { useTz: true })
    t.string('outcome', 10)
    t.jsonb('details')
    t.integer('entities')
  })
}

export async function down(knex: Knex): Promise<void> {
  await knex.schema.dropTable('metadata_states')
  await knex.schema.dropTable('logout_requests')
  await knex.schema.alterTable('sessions', (t) => {
    t.dropIndex(['name_id'])
    t.dropColumn('sp_name_qualifier')
    t.dropColumn('name_qualifier')
  })
  await knex.schema.alterTable('sign_in_requests', (t) => {
    t.dropColumn('created_at')
    t.dropColumn('passive')
  })
  await knex.schema.alterTable('sign_ins', (t) => {
    t.dropColumn('steps')
    t.dropColumn('flow')
  })
}
