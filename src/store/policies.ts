// Keeps policy: every version of every document, never changed once written. The revision counts changes of the whole,
// so that any node can tell with one number whether what it compiled still stands.

import type { Knex } from 'knex'
import { type DocumentInForce, type DocumentKind, isOfSource, type PolicyDocument } from '../domain/documents.ts'
import type { SourceId } from '../domain/ids.ts'
import { compilePolicy, type Policy } from '../domain/policy.ts'
import type { PolicyDocuments, Tx } from '../flows/ports.ts'
import { actorColumns, writeAudit } from './audit.ts'
import { type Db, fromJson, toDate } from './db.ts'
import { inside, type Queries } from './transactions.ts'

interface DocumentRow {
  kind: DocumentKind
  name: string
  version: number
  source_id: SourceId | null
  document: unknown
}

export const documents: PolicyDocuments = {
  async takeAll(tx) {
    // Whoever raises the revision first makes the others wait for the row.
    await inside(tx)('policy_revision').update({ revision: inside(tx).ref('revision') })
    return inForce(inside(tx))
  },

  async version(tx, { kind, name, version }) {
    const row: DocumentRow | undefined = await inside(tx)('policy_documents').where({ kind, name, version }).first()
    return row?.document ? fromJson<PolicyDocument>(row.document) : undefined
  },

  async put(tx, document, { actor, now, source }) {
    const { kind, name } = document
    const version = await nextVersion(tx, kind, name)
    const sourceId = isOfSource(kind) ? await sourceNamed(tx, document, source) : null
    await inside(tx)('policy_documents').insert({
      kind,
      name,
      version,
      source_id: sourceId,
      document: JSON.stringify(document),
      created_at: now,
      ...actorColumns(actor),
    })
    await raiseRevision(tx)
    await writeAudit(tx, [
      { kind: 'policy.changed', at: now, actor, ...(sourceId ? { source: sourceId } : {}), details: { document: kind, name, version } },
    ])
    return sourceId ?? undefined
  },

  async remove(tx, { kind, name }, { actor, now }) {
    const version = await nextVersion(tx, kind, name)
    await inside(tx)('policy_documents').insert({
      kind,
      name,
      version,
      source_id: null,
      document: null,
      created_at: now,
      ...actorColumns(actor),
    })
    await raiseRevision(tx)
    await writeAudit(tx, [{ kind: 'policy.removed', at: now, actor, details: { document: kind, name, version } }])
  },
}

/** Reads what is in force; compiles it again only when the revision has moved. */
export interface PolicyReader {
  /** Asks the database for the revision first: true at the moment of the answer. */
  inForce(): Promise<Policy>
  /** For a caller who has just read the revision together with something else. */
  at(revision: number): Promise<Policy>
}

export function policyReader(db: Db): PolicyReader {
  let compiled: Policy | undefined
  // The revision first: should the documents be newer than that, the next question only loads them once more.
  const load = async (): Promise<Policy> => {
    const fresh = await db.read(async (knex) => compilePolicy(await revisionOf(knex), await inForce(knex)))
    compiled = fresh
    return fresh
  }
  const at = async (revision: number) => (compiled && compiled.revision >= revision ? compiled : load())
  return { at, inForce: async () => at(await db.read(revisionOf)) }
}

/** The documents as they were applied, for `export`. */
export function documentsInForce(db: Db): Promise<readonly DocumentInForce[]> {
  return db.read(inForce)
}

async function revisionOf(knex: Knex): Promise<number> {
  const row: { revision: number } | undefined = await knex('policy_revision').first('revision')
  if (!row) throw new Error('the policy_revision row is missing')
  return row.revision
}

async function inForce(knex: Queries): Promise<readonly DocumentInForce[]> {
  const newest = knex('policy_documents').select('kind', 'name').max('version as version').groupBy('kind', 'name').as('newest')
  const rows: DocumentRow[] = await knex('policy_documents as d')
    .join(newest, (on) => on.on('newest.kind', 'd.kind').andOn('newest.name', 'd.name').andOn('newest.version', 'd.version'))
    .whereNotNull('d.document')
    .orderBy(['d.kind', 'd.name'])
    .select('d.kind', 'd.name', 'd.version', 'd.source_id', 'd.document')
  return rows.map((row) => ({
    document: fromJson<PolicyDocument>(row.document),
    version: row.version,
    ...(row.source_id ? { source: row.source_id } : {}),
  }))
}

/** One version of a document. */
export interface DocumentVersion {
  readonly kind: DocumentKind
  readonly name: string
  readonly version: number
  readonly at: Date
  /** Null: kept by a release that did not note it. */
  readonly author: string | null
  /** Null: this version took it out of force. */
  readonly document: PolicyDocument | null
}

/** Newest first. */
export async function documentVersions(
  db: Db,
  { kind, name, limit }: { kind?: string | undefined; name?: string | undefined; limit: number },
): Promise<readonly DocumentVersion[]> {
  const rows: (DocumentRow & { created_at: unknown; actor_kind: string | null; actor_name: string | null })[] = await db.read((knex) => {
    const query = knex('policy_documents').orderBy('created_at', 'desc').orderBy('version', 'desc').orderBy(['kind', 'name']).limit(limit)
    if (kind !== undefined) query.where({ kind })
    if (name !== undefined) query.where({ name })
    return query
  })
  return rows.map((row) => ({
    kind: row.kind,
    name: row.name,
    version: row.version,
    at: toDate(row.created_at),
    author: row.actor_kind === null ? null : `${row.actor_kind} ${row.actor_name}`,
    document: row.document ? fromJson<PolicyDocument>(row.document) : null,
  }))
}

async function nextVersion(tx: Tx, kind: DocumentKind, name: string): Promise<number> {
  const row = await inside(tx)('policy_documents').where({ kind, name }).max('version as version').first()
  return Number(row?.version ?? 0) + 1
}

/** One that comes back under its old name is the same source: its links still hold. */
async function sourceNamed(tx: Tx, { name, spec }: PolicyDocument, fresh: SourceId): Promise<SourceId> {
  const kind = 'kind' in spec ? spec.kind : 'saml'
  await inside(tx)('sources').insert({ id: fresh, kind, name }).onConflict('name').ignore()
  const row = await inside(tx)('sources').where({ name }).first('id')
  return row.id
}

async function raiseRevision(tx: Tx): Promise<void> {
  await inside(tx)('policy_revision').increment('revision', 1)
}
