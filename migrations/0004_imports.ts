// What an import keeps: plans, what sources have said last (as a digest, so that a row that has not changed costs nothing), who
// has left and what is due; deprovisioning's jobs and tasks; when people were seen last. Profiles are kept shorter.

import type { Knex } from 'knex'

const BATCH = 500

export async function up(knex: Knex): Promise<void> {
  // How often somebody was written: a plan applies only to those whom nobody has moved since.
  await knex.raw('alter table users add column version integer not null default 0')

  await lighten(knex)

  // A number for each link, by which a run marks whom it has seen: one bit each. The name is what the table is called while it is made.
  await knex.schema.createTable('links_numbered', (t) => {
    t.bigIncrements('number')
    t.string('source_id', 30).notNullable().references('sources.id')
    t.text('external_key').notNullable()
    t.text('external_id').notNullable()
    t.string('user_id', 30).notNullable().references('users.id')
    t.timestamp('linked_at', { useTz: true }).notNullable()
    // Of the last row that was imported, keyed: it tells that a row is the same, and nobody what was in it.
    t.string('digest', 24)
    t.timestamp('missing_since', { useTz: true })
    t.timestamp('signed_in_at', { useTz: true })
  })
  await knex.raw(
    'insert into links_numbered (source_id, external_key, external_id, user_id, linked_at) select source_id, external_key, external_id, user_id, linked_at from links order by linked_at, user_id',
  )
  await knex.schema.dropTable('links')
  await knex.schema.renameTable('links_numbered', 'links')
  await knex.raw('create unique index links_subject on links (source_id, external_key)')
  await knex.raw('create index links_user on links (user_id)')
  await knex.raw(
    "update links set signed_in_at = (select max(at) from sign_ins where sign_ins.user_id = links.user_id and sign_ins.source_id = links.source_id and outcome = 'accepted')",
  )

  await uncheck(knex)
  await knex.schema.alterTable('runs', (t) => {
    t.string('source_id', 30)
    t.string('mode', 20)
    t.string('phase', 20)
    // Who works on it, and until when others have to believe that.
    t.string('holder', 120)
    t.timestamp('held_until', { useTz: true })
    t.jsonb('details')
    t.timestamp('finished_at', { useTz: true })
  })
  await knex.raw('drop index runs_open')
  // One at a time for each source; a reapplication goes on where it was held, too.
  await knex.raw(
    "create unique index runs_open on runs (kind, coalesce(source_id, '')) where state = 'running' or (kind = 'reapply' and state = 'held')",
  )

  await knex.schema.createTable('import_rows', (t) => {
    t.string('run_id', 30).notNullable()
    t.integer('seq').notNullable()
    t.text('external_key').notNullable()
    t.text('external_id').notNullable()
    t.string('decision', 12).notNullable()
    t.string('status', 12).notNullable()
    t.string('user_id', 30)
    // The version of the user that was decided about.
    t.integer('basis')
    t.text('place')
    t.binary('sealed').notNullable()
    t.primary(['run_id', 'seq'])
  })
  // Rows of the other kinds are found among many of their like, if there are many at all.
  await knex.raw(
    "create index import_rows_decision on import_rows (run_id, decision, seq) where decision not in ('create', 'update', 'unchanged')",
  )
  // Whoever is erased is erased from plans, too.
  await knex.raw('create index import_rows_user on import_rows (user_id)')
  await knex.raw("create index import_rows_waiting on import_rows (run_id, seq) where status = 'waiting'")

  // What must be there once in a feed, as numbers, in pieces; the first row of a piece is its name.
  await knex.schema.createTable('import_claims', (t) => {
    t.string('run_id', 30).notNullable()
    t.integer('seq').notNullable()
    t.binary('claims').notNullable()
    t.primary(['run_id', 'seq'])
  })

  // Whoever creates people writes here, so that two who create the same person notice (PostgreSQL).
  await knex.schema.createTable('newcomers', (t) => {
    t.integer('place').primary()
    t.bigInteger('turn').notNullable()
  })
  // Of whoever creates many; it has to be there for others to hold it.
  await knex('newcomers').insert({ place: -1, turn: 0 })

  await knex.schema.createTable('source_states', (t) => {
    t.string('source_id', 30).primary().references('sources.id')
    t.text('cursor')
    // Of the last full feed that was believed: rows, and how many had which attribute.
    t.jsonb('usual')
    t.timestamp('next_full_at', { useTz: true })
    t.timestamp('next_incremental_at', { useTz: true })
  })

  await knex.schema.createTable('leavings', (t) => {
    t.string('user_id', 30).notNullable().references('users.id')
    t.string('source_id', 30).notNullable().references('sources.id')
    t.text('external_key').notNullable()
    t.string('to_state', 20).notNullable()
    t.text('reason').notNullable()
    t.string('run_id', 30)
    t.timestamp('since', { useTz: true }).notNullable()
    t.timestamp('due_at', { useTz: true }).notNullable().index()
    t.primary(['user_id', 'source_id'])
  })

  await knex.schema.createTable('jobs', (t) => {
    t.string('id', 30).primary()
    t.string('target', 63).notNullable()
    t.string('kind', 20).notNullable()
    t.string('user_id', 30).references('users.id').index()
    t.jsonb('payload').notNullable()
    t.string('state', 10).notNullable()
    t.integer('attempts').notNullable().defaultTo(0)
    t.timestamp('created_at', { useTz: true }).notNullable()
    t.timestamp('next_at', { useTz: true }).notNullable()
    t.string('holder', 120)
    t.timestamp('held_until', { useTz: true })
    t.text('last_error')
    t.timestamp('ended_at', { useTz: true })
    t.string('run_id', 30)
  })
  await knex.raw("create index jobs_due on jobs (next_at) where state = 'queued'")
  await knex.raw("create index jobs_order on jobs (target, user_id, id) where state in ('queued', 'dead')")

  await knex.schema.createTable('tasks', (t) => {
    t.string('id', 30).primary()
    t.string('target', 63).notNullable()
    t.string('kind', 20).notNullable()
    t.string('user_id', 30).references('users.id').index()
    t.text('title').notNullable()
    t.text('instructions')
    t.string('assignee', 320)
    t.timestamp('opened_at', { useTz: true }).notNullable()
    t.timestamp('due_at', { useTz: true }).notNullable()
    t.timestamp('mailed_at', { useTz: true })
    t.timestamp('reminded_at', { useTz: true })
    t.timestamp('done_at', { useTz: true })
    t.string('done_by', 160)
    t.text('note')
    t.string('run_id', 30)
  })
  await knex.raw('create index tasks_open on tasks (due_at) where done_at is null')

  await knex.schema.createTable('coverage_states', (t) => {
    t.string('user_id', 30).primary().references('users.id')
    t.string('stage', 10).notNullable()
    t.timestamp('at', { useTz: true }).notNullable()
  })

  await knex.schema.alterTable('api_tokens', (t) => {
    // Tokens that are there were made for looking.
    t.boolean('may_write').notNullable().defaultTo(false)
  })
}

const JSON_COLUMNS: readonly (readonly [table: string, column: string])[] = [
  ['users', 'profile'],
  ['users', 'grants'],
  ['users', 'waiting'],
  ['audit_events', 'details'],
]

/** A million people at once pay for every index, and for JSON that is taken apart to be put together again. */
async function lighten(knex: Knex): Promise<void> {
  await knex.schema.alterTable('users', (t) => t.dropIndex(['revision']))
  // Ids are in the order of time.
  await knex.schema.alterTable('audit_events', (t) => t.dropIndex(['at']))
  await retype(knex, 'json')
  // One index finds a key and keeps a unique one so.
  await knex.schema.createTable('user_keys_new', (t) => {
    t.string('name', 320).notNullable()
    t.text('value').notNullable()
    t.string('user_id', 30).notNullable().references('users.id')
    t.boolean('is_unique').notNullable()
  })
  await knex.raw('insert into user_keys_new (name, value, user_id, is_unique) select name, value, user_id, is_unique from user_keys')
  await knex.schema.dropTable('user_keys')
  await knex.schema.renameTable('user_keys_new', 'user_keys')
  await knex.raw("create unique index user_keys_value on user_keys (name, value, (case when is_unique then '' else user_id end))")
  await knex.raw('create index user_keys_user on user_keys (user_id)')
}

/** PostgreSQL looks up each row's parent by itself, which is a fifth of an import; the store writes parent and child together. */
const CHECKED: readonly (readonly [table: string, column: string, parent: string])[] = [
  ['user_keys', 'user_id', 'users'],
  ['links', 'user_id', 'users'],
  ['links', 'source_id', 'sources'],
  ['source_records', 'source_id', 'sources'],
]

async function uncheck(knex: Knex): Promise<void> {
  if (knex.client.dialect !== 'postgresql') return
  const { rows } = await knex.raw(
    "select conrelid::regclass::text as child, conname from pg_constraint where contype = 'f' and conrelid::regclass::text = any(?)",
    [CHECKED.map(([table]) => table)],
  )
  for (const { child, conname } of rows) await knex.raw('alter table ?? drop constraint ??', [child, conname])
}

async function check(knex: Knex): Promise<void> {
  if (knex.client.dialect !== 'postgresql') return
  for (const [table, column, parent] of CHECKED.filter(([name]) => name === 'source_records'))
    await knex.raw('alter table ?? add constraint ?? foreign key (??) references ?? (id)', [
      table,
      `${table}_${column}_foreign`,
      column,
      parent,
    ])
}

async function laden(knex: Knex): Promise<void> {
  await knex.schema.createTable('user_keys_old', (t) => {
    t.string('name', 320).notNullable()
    t.text('value').notNullable()
    t.string('user_id', 30).notNullable().references('users.id')
    t.boolean('is_unique').notNullable()
    t.primary(['name', 'value', 'user_id'])
  })
  await knex.raw('insert into user_keys_old (name, value, user_id, is_unique) select name, value, user_id, is_unique from user_keys')
  await knex.schema.dropTable('user_keys')
  await knex.schema.renameTable('user_keys_old', 'user_keys')
  await knex.raw('create unique index user_keys_unique on user_keys (name, value) where is_unique')
  await knex.raw('create index user_keys_user_id_index on user_keys (user_id)')
  await retype(knex, 'jsonb')
  await knex.schema.alterTable('audit_events', (t) => t.index(['at']))
  await knex.schema.alterTable('users', (t) => t.index(['revision']))
}

/** SQLite has text either way. */
async function retype(knex: Knex, type: 'json' | 'jsonb'): Promise<void> {
  if (knex.client.dialect !== 'postgresql') return
  for (const [table, column] of JSON_COLUMNS) {
    await knex.raw('alter table ?? alter column ?? drop default', [table, column])
    await knex.raw(`alter table ?? alter column ?? type ${type} using ??::${type}`, [table, column, column])
    if (column === 'grants' || column === 'waiting') await knex.raw(`alter table ?? alter column ?? set default '[]'`, [table, column])
  }
}

type LongValue = Record<string, unknown> & {
  values: string[]
  source: string
  policyVersion: number
  from: string
  since: number
  via?: string
}
type Origin = [source: string, policyVersion: number, since: number, via?: string]
type Short = [
  origins: Origin[],
  values: Record<string, string | [values: string | string[], from: string, origin: number, more?: Record<string, unknown>]>,
]

/** As the release before writes a profile. */
function long([origins, values]: Short): Record<string, LongValue> {
  return Object.fromEntries(
    Object.entries(values).map(([name, short]) => {
      const [said, from, at, more] = typeof short === 'string' ? ([short, `attributes.${name}`, 0] as const) : short
      const [source, policyVersion, since, via] = origins[at] as Origin
      const value = {
        values: typeof said === 'string' ? [said] : said,
        source,
        policyVersion,
        from,
        since,
        ...(via ? { via } : {}),
        ...more,
      }
      return [name, value]
    }),
  )
}

export async function down(knex: Knex): Promise<void> {
  for (const table of ['coverage_states', 'tasks', 'jobs', 'leavings', 'source_states', 'newcomers', 'import_claims', 'import_rows'])
    await knex.schema.dropTable(table)
  await knex.raw('alter table api_tokens drop column may_write')
  await knex('runs').whereNot({ kind: 'reapply' }).delete()
  await knex.raw('drop index runs_open')
  for (const column of ['finished_at', 'details', 'held_until', 'holder', 'phase', 'mode', 'source_id']) {
    await knex.raw('alter table runs drop column ??', [column])
  }
  await knex.raw("create unique index runs_open on runs (kind) where state in ('held', 'running')")
  await knex('policy_documents').whereIn('kind', ['source', 'target', 'coverage']).delete()

  await knex.schema.createTable('links_plain', (t) => {
    t.string('source_id', 30).notNullable().references('sources.id')
    t.text('external_key').notNullable()
    t.text('external_id').notNullable()
    t.string('user_id', 30).notNullable().references('users.id')
    t.timestamp('linked_at', { useTz: true }).notNullable()
    t.primary(['source_id', 'external_key'])
  })
  await knex.raw(
    'insert into links_plain (source_id, external_key, external_id, user_id, linked_at) select source_id, external_key, external_id, user_id, linked_at from links',
  )
  await knex.schema.dropTable('links')
  await knex.schema.renameTable('links_plain', 'links')
  await knex.raw('create index links_user_id_index on links (user_id)')
  await knex.raw('alter table users drop column version')
  await laden(knex)
  await check(knex)
  for (let after = ''; ; ) {
    const rows: { id: string; profile: unknown }[] = await knex('users')
      .where('id', '>', after)
      .orderBy('id')
      .limit(BATCH)
      .select('id', 'profile')
    const last = rows.at(-1)
    if (!last) return
    after = last.id
    for (const { id, profile } of rows) {
      const kept = typeof profile === 'string' ? JSON.parse(profile) : profile
      if (Array.isArray(kept))
        await knex('users')
          .where({ id })
          .update({ profile: JSON.stringify(long(kept as Short)) })
    }
  }
}
