// What is left of a link to somebody who was erased: a digest of what the source called them, by which they are known again and
// which tells nobody what it was. Its secret is made with the first one and kept encrypted; a change of the data key leaves it
// as it is.

import { createHmac, randomBytes } from 'node:crypto'
import type { SourceId } from '../domain/ids.ts'
import type { Sealer } from './sealing.ts'
import type { TxQueries } from './transactions.ts'

const NAME = 'tombstones'
export const secretPlace = (name: string) => `secret ${name}`

interface SecretRow {
  sealed: Uint8Array
}

type Asking = Pick<TxQueries, 'sealer'> & ((table: string) => ReturnType<TxQueries>)

/** It never changes once it is there. */
const known = new WeakMap<Sealer, string>()

async function secretOf(db: Asking): Promise<string | undefined> {
  const kept = known.get(db.sealer)
  if (kept !== undefined) return kept
  const row: SecretRow | undefined = await db('kept_secrets').where({ name: NAME }).first('sealed')
  if (!row) return undefined
  const secret = db.sealer.open(row.sealed, secretPlace(NAME))
  known.set(db.sealer, secret)
  return secret
}

/** Undefined while nobody has been erased. */
export async function tombstoneOf(db: Asking, source: SourceId, key: string): Promise<string | undefined> {
  const secret = await secretOf(db)
  return secret === undefined ? undefined : digest(secret, source, key)
}

export async function makeTombstone(db: TxQueries, source: SourceId, key: string): Promise<string> {
  if ((await secretOf(db)) === undefined) {
    const sealed = db.sealer.seal(randomBytes(32).toString('base64url'), secretPlace(NAME))
    // Whoever comes second takes the first one's.
    await db('kept_secrets').insert({ name: NAME, sealed }).onConflict('name').ignore()
  }
  return digest((await secretOf(db)) as string, source, key)
}

function digest(secret: string, source: SourceId, key: string): string {
  return `erased ${createHmac('sha256', secret).update(`${source} ${key}`).digest('base64url')}`
}
