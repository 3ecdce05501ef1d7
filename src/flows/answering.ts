// Lets the decision ask the database: hands each question over and each answer back. Many decisions can ask together: what they
// want to know at the same point goes out as one question.

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

/**
 * Results in the order of what decides. None sees what another one would change.
 * @param onAnswer is told each answer, by the place of whoever asked
 */
export async function answeredTogether<Result>(
  deciding: readonly Deciding<Result>[],
  askAll: (questions: readonly Question[]) => Promise<readonly unknown[]>,
  onAnswer?: (place: number, question: Question, answer: unknown) => void,
): Promise<readonly Result[]> {
  const results: Result[] = new Array(deciding.length)
  let open = deciding.map((one, place) => ({ place, one, step: one.next() }))
  for (;;) {
    const asking = open.filter(({ place, step }) => {
      if (step.done) results[place] = step.value
      return !step.done
    })
    if (!asking.length) return results
    const questions = asking.map(({ step }) => step.value as Question)
    const answers = await askAll(questions)
    for (const [at, waiting] of asking.entries()) {
      onAnswer?.(waiting.place, questions[at] as Question, answers[at])
      waiting.step = waiting.one.next(answers[at])
    }
    open = asking
  }
}
