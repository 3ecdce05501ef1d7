// Lets the decision ask the database: hands each question to the store and each answer back, within one transaction.

import type { Deciding } from '../domain/deciding.ts'
import type { Tx, Users } from './ports.ts'

export async function answering<Result>(users: Users, tx: Tx, deciding: Deciding<Result>): Promise<Result> {
  let step = deciding.next()
  while (!step.done) step = deciding.next(await users.answer(tx, step.value))
  return step.value
}
