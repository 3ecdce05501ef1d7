// Lets the decision ask the database: hands each question over and each answer back.

import type { Deciding, Question } from '../domain/deciding.ts'
import type { Tx, Users } from './ports.ts'

/** By the store, within one transaction. */
export function answering<Result>(users: Users, tx: Tx, deciding: Deciding<Result>): Promise<Result> {
  return answered(deciding, (question) => users.answer(tx, question))
}

export async function answered<Result>(deciding: Deciding<Result>, ask: (question: Question) => Promise<unknown>): Promise<Result> {
  let step = deciding.next()
  while (!step.done) step = deciding.next(await ask(step.value))
  return step.value
}
