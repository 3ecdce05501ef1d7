// Keeps users, their keys, links, source records, seats, and the audit events of their changes. `commit` is the only way a
// user changes. Records are encrypted; profiles are not, because the gate reads them with every request.

import type { Known, Question } from '../domain/deciding.ts'
import type { UserId } from '../domain/ids.ts'
import { type KeyKind, keysOf } from '../domain/keys.ts'
import type { User } from '../domain/model.ts'
import type { KeyClash, Tx, Users } from '../flows/ports.ts'
import type { Db } from './db.ts'
import { toProfile } from './profile-format.ts'
import { inside } from './transactions.ts'
import { answerAllFrom, answerFrom, asking, usersOf } from './user-answers.ts'
import { commit, commitAll, ready } from './user-commits.ts'

export const users = (db: Pick<Db, 'dialect' | 'sealer'>): Users => ({
  answer: (tx: Tx, question: Question) => answerFrom(asking(tx), question),
  answerAll: (tx: Tx, questions: readonly Question[]) => answerAllFrom(asking(tx), questions),
  async signedIn(tx, source, { key }, now) {
    await inside(tx)('links').where({ source_id: source, external_key: key }).update({ signed_in_at: now })
  },
  take,
  commit,
  commitAll,
  ready: (changes, context) => ready(db, changes, context),
  rekey,
})

async function take(tx: Tx, id: UserId): Promise<(Known & { readonly linked: User }) | undefined> {
  const [found] = await usersOf(asking(tx), [id])
  return found?.linked ? { ...found, linked: found.linked } : undefined
}

const BATCH = 500

async function rekey(tx: Tx, kinds: readonly KeyKind[]): Promise<readonly KeyClash[]> {
  const db = inside(tx)
  await db('user_keys').delete()
  for (let after = ''; ; ) {
    const rows: { id: UserId; profile: unknown }[] = await db('users')
      .where('id', '>', after)
      .whereNot({ state: 'erased' })
      .orderBy('id')
      .limit(BATCH)
      .select('id', 'profile')
    const last = rows.at(-1)
    if (!last) break
    after = last.id
    const keys = rows.flatMap(({ id, profile }) =>
      // Unique only once it is known that they are.
      keysOf(toProfile(profile), kinds).map(({ name, value }) => ({ name, value, user_id: id, is_unique: false })),
    )
    for (let i = 0; i < keys.length; i += BATCH) await db('user_keys').insert(keys.slice(i, i + BATCH))
  }
  const clashes: KeyClash[] = []
  for (const { name, unique } of kinds) {
    if (!unique) continue
    const shared: { value: string }[] = await db('user_keys')
      .where({ name })
      .groupBy('value')
      .havingRaw('count(*) > 1')
      .orderBy('value')
      .limit(20)
      .select('value')
    for (const { value } of shared) {
      const who: { user_id: UserId }[] = await db('user_keys').where({ name, value }).orderBy('user_id').limit(5).select('user_id')
      clashes.push({ name, value, users: who.map((one) => one.user_id) })
    }
    if (!clashes.length) await db('user_keys').where({ name }).update({ is_unique: true })
  }
  return clashes
}
