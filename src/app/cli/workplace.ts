// What a command works with: configuration, an open database at the newest schema, and somebody to name as the actor.

import { userInfo } from 'node:os'
import type { Actor } from '../../domain/events.ts'
import { findUser, type UserPage } from '../../store/console-reads.ts'
import { type Db, openDatabase } from '../../store/db.ts'
import { migrateUp, pendingMigrations } from '../../store/migrations.ts'
import { type Config, readConfig } from '../config.ts'
import { dataKeys } from '../keys.ts'
import { CommandFailure, plain } from './output.ts'

export interface Workplace {
  readonly config: Config
  readonly db: Db
  readonly actor: Actor
  readonly now: Date
}

/** Opens, works, closes, whatever happens. */
export async function atWork<Result>(work: (place: Workplace) => Promise<Result>): Promise<Result> {
  const config = readConfig(process.env)
  const db = openDatabase(config.database, dataKeys(config))
  try {
    await atNewestSchema(db)
    return await work({ config, db, actor: { kind: 'operator', name: operatorName() }, now: new Date() })
  } finally {
    await db.close()
  }
}

/** The embedded database is ours alone and follows by itself; a PostgreSQL may be shared, so somebody decides. */
export async function atNewestSchema(db: Db): Promise<void> {
  const pending = await pendingMigrations(db)
  if (!pending.length) return
  if (db.dialect === 'postgres') {
    throw new CommandFailure(
      `The database is behind by ${pending.length} migration${pending.length > 1 ? 's' : ''}. Run «gatehouse migrate» first.`,
    )
  }
  await migrateUp(db)
}

/** By user name or id. */
export async function personNamed(db: Db, who: string): Promise<UserPage> {
  const user = await findUser(db, who)
  if (!user) throw new CommandFailure(`Nobody here is called «${plain(who)}».`)
  return user
}

function operatorName(): string {
  try {
    return userInfo().username
  } catch {
    return `uid ${process.getuid?.() ?? 'unknown'}`
  }
}
