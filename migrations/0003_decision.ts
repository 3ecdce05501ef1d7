// What the decision keeps beside a profile: who holds which key, entitlements and seats, the state's author; records and
// responses encrypted; authors of policy; matches that wait for a person; runs.

import type { Knex } from 'knex'

/** As the release of this migration compared values. */
function fold(value: string): string {
  return value.normalize('NFKC').trim().toLowerCase()
}

export async function up(knex: Knex): Promise<void> {
  // What administrators set by hand is a source, too. The brackets keep it apart from a connection that is called local.
  await knex('sources').insert({ id: 'src_local', kind: 'local', name: '(local)' })

  await knex.schema.alterTable('users', (t) => {
    t.jsonb('grants').notNullable().defaultTo('[]')
    t.jsonb('waiting').notNullable().defaultTo('[]')
    // Of the policy that the profile was derived under.
    t.integer('revision').notNullable().defaultTo(0)
    t.string('state_by', 160)
    t.index(['revision'])
  })

  await knex.schema.createTable('user_keys', (t) => {
    t.string('name', 320).notNullable()
    t.text('value').notNullable()
    t.string('user_id', 30).notNullable().references('users.id').index()
    t.boolean('is_unique').notNullable()
    t.primary(['name', 'value', 'user_id'])
  })
  await knex.raw('create unique index user_keys_unique on user_keys (name, value) where is_unique')
  await keyUsers(knex)

  await knex.schema.alterTable('source_records', (t) => {
    t.setNullable('record')
    t.binary('sealed')
    // What no row reads has been taken out of it.
    t.boolean('trimmed').notNullable().defaultTo(false)
  })
  await knex.schema.createTable('sign_in_contents', (t) => {
    t.string('sign_in_id', 30).primary()
    t.string('source_id', 30).notNullable().references('sources.id')
    t.binary('sealed').notNullable()
  })

  await knex.schema.alterTable('policy_documents', (t) => {
    t.string('actor_kind', 20)
    t.string('actor_name', 120)
  })

  // What sources called people once, as digests: should they be erased, these do not bring them back either.
  await knex.schema.createTable('former_names', (t) => {
    t.string('source_id', 30).notNullable().references('sources.id')
    t.string('digest', 60).notNullable()
    t.string('user_id', 30).notNullable().references('users.id').index()
    t.primary(['source_id', 'digest'])
  })

  // Of ours alone, encrypted; what it makes outlasts the key that it is encrypted with.
  await knex.schema.createTable('kept_secrets', (t) => {
    t.string('name', 40).primary()
    t.binary('sealed').notNullable()
  })

  await knex.schema.createTable('licence_seats', (t) => {
    t.string('name', 100).primary()
    t.integer('taken').notNullable()
  })

  await knex.schema.createTable('match_cases', (t) => {
    t.string('id', 30).primary()
    t.string('source_id', 30).notNullable().references('sources.id')
    t.text('external_key').notNullable()
    t.text('external_id').notNullable()
    t.string('kind', 20).notNullable()
    t.jsonb('candidates').notNullable()
    // The external id that the person had until now, where they were renamed.
    t.jsonb('renamed_from')
    t.text('why').notNullable()
    t.timestamp('opened_at', { useTz: true }).notNullable()
    t.timestamp('seen_at', { useTz: true }).notNullable()
    t.integer('times').notNullable()
    t.string('verdict', 20)
    t.string('settled_by', 160)
    t.timestamp('settled_at', { useTz: true })
    t.unique(['source_id', 'external_key'])
  })

  await knex.schema.createTable('runs', (t) => {
    t.string('id', 30).primary()
    t.string('kind', 20).notNullable()
    t.string('state', 20).notNullable()
    t.integer('revision').notNullable()
    // The last user that was done.
    t.string('cursor', 30)
    t.jsonb('counts').notNullable()
    t.text('held_because')
    t.string('actor', 160).notNullable()
    t.timestamp('started_at', { useTz: true }).notNullable()
    t.timestamp('updated_at', { useTz: true }).notNullable()
  })

  // One at a time.
  await knex.raw("create unique index runs_open on runs (kind) where state in ('held', 'running')")

  await knex.schema.alterTable('audit_events', (t) => {
    t.string('run_id', 30)
  })
}

async function keyUsers(knex: Knex): Promise<void> {
  let after = ''
  for (;;) {
    const users = await knex('users').where('id', '>', after).orderBy('id').limit(100).select('id', 'user_name_key', 'profile')
    const last = users.at(-1)
    if (!last) return
    after = last.id
    const keys = users.flatMap(({ id, user_name_key, profile }) => {
      const kept = typeof profile === 'string' ? JSON.parse(profile) : profile
      const [family, given] = ['familyName', 'givenName'].map((name) => kept[name]?.values?.[0])
      const own = [{ name: 'userName', value: user_name_key, user_id: id, is_unique: true }]
      if (!family || !given) return own
      return [...own, { name: 'familyName+givenName', value: JSON.stringify([fold(family), fold(given)]), user_id: id, is_unique: false }]
    })
    await knex('user_keys').insert(keys)
  }
}

export async function down(knex: Knex): Promise<void> {
  // The release before knows neither these states nor what keeps whoever was erased from coming back.
  const strange = await knex('users').whereIn('state', ['staged', 'suspended', 'erased']).count({ n: '*' }).first()
  if (Number(strange?.n))
    throw new Error(
      `${strange?.n} people are staged, suspended or erased, which the release before cannot hold; deprovision or restore them first. Whoever was erased makes this migration final.`,
    )
  await knex('policy_documents').whereIn('kind', ['schema', 'mastery', 'entitlements', 'lookups']).delete()
  await knex.schema.alterTable('audit_events', (t) => t.dropColumn('run_id'))
  await knex.schema.dropTable('runs')
  await knex.schema.dropTable('match_cases')
  await knex.schema.dropTable('licence_seats')
  await knex.schema.dropTable('kept_secrets')
  await knex.schema.dropTable('former_names')
  await knex.schema.alterTable('policy_documents', (t) => {
    t.dropColumn('actor_name')
    t.dropColumn('actor_kind')
  })
  await knex.schema.dropTable('sign_in_contents')
  // What is encrypted only the newer release can read; each person's next sign-in brings it again.
  await knex('source_records').whereNull('record').delete()
  await knex.schema.alterTable('source_records', (t) => {
    t.dropColumn('trimmed')
    t.dropColumn('sealed')
    t.dropNullable('record')
  })
  await knex.schema.dropTable('user_keys')
  await knex.schema.alterTable('users', (t) => t.dropIndex(['revision']))
  // knex would make the table anew on SQLite, which what points to it does not let happen.
  for (const column of ['state_by', 'revision', 'waiting', 'grants']) await knex.raw('alter table users drop column ??', [column])
  await knex('links').where({ source_id: 'src_local' }).delete()
  await knex('sources').where({ id: 'src_local' }).delete()
}
