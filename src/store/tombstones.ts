// What is left of a link to somebody who was erased: a digest of what the source called them, by which they are known again and
// which tells nobody what it was. Its secret is made with the first one and kept encrypted; a change of the data key leaves it
// as it is.

import { createHmac, randomBytes } from 'node:crypto'
import type { SourceId } from '../domain/ids.ts'
import type { Sealer } from './sealing.ts'
import type { TxQueries } from './transactions.ts'

/** The secret's name; it is there once somebody was erased. */
export const TOMBSTONES = 'tombstones'
export const secretPlace = (name: string) => `secret ${name}`

interface SecretRow {
  sealed: Uint8Array
}

type Asking = Pick<TxQueries, 'sealer'> & { readonly holds?: true } & ((table: string) => ReturnType<TxQueries>)

/** They never change once they are there. */
const known = new WeakMap<Sealer, Map<string, string>>()

async function secretOf(db: Asking, name = TOMBSTONES): Promise<string | undefined> {
  const kept = known.get(db.sealer)?.get(name)
  if (kept !== undefined) return kept
  const row: SecretRow | undefined = await db('kept_secrets').where({ name }).first('sealed')
  if (!row) return undefined
  const secret = db.sealer.open(row.sealed, secretPlace(name))
  // What a transaction sees may be rolled back with it.
  if (!db.holds) known.set(db.sealer, new Map(known.get(db.sealer)).set(name, secret))
  return secret
}

/** Made with the first use. @param make 256 bits, as text */
export async function keptSecret(db: TxQueries, name: string, make: () => string): Promise<string> {
  const there = await secretOf(db, name)
  if (there !== undefined) return there
  // Whoever comes second takes the first one's.
  await db('kept_secrets')
    .insert({ name, sealed: db.sealer.seal(make(), secretPlace(name)) })
    .onConflict('name')
    .ignore()
  return (await secretOf(db, name)) as string
}

/** In their order; undefined while nobody has been erased. */
export async function tombstonesOf(
  db: Asking,
  subjects: readonly { readonly source: SourceId; readonly key: string }[],
): Promise<readonly string[] | undefined> {
  const secret = await secretOf(db)
  return secret === undefined ? undefined : subjects.map(({ source, key }) => digest(secret, source, key))
}

export async function makeTombstone(db: TxQueries, source: SourceId, key: string): Promise<string> {
  return digest(await keptSecret(db, TOMBSTONES, () => randomBytes(32).toString('base64url')), source, key)
}

function digest(secret: string, source: SourceId, key: string): string {
  return `erased ${createHmac('sha256', secret).update(`${source} ${key}`).digest('base64url')}`
}
