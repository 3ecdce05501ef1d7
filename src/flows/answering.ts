// Lets the decision ask the database: hands each question over and each answer back. Many decisions can ask together: what they
// want to know at the same point goes out as one question.

import { setImmediate } from 'node:timers/promises'
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

/** @param places of whoever asks, by the place of the question */
export type AskAll = (questions: readonly Question[], places: readonly number[]) => Promise<readonly unknown[]>

/** Asks only what is not known already. @param known by whom it is asked; undefined: it has to be asked */
export function sparing(askAll: AskAll, known: (question: Question, place: number) => unknown): AskAll {
  return async (questions, places) => {
    const answers = questions.map((question, at) => known(question, places[at] as number))
    const open = questions.flatMap((question, at) => (answers[at] === undefined ? [{ question, at }] : []))
    if (!open.length) return answers
    const found = await askAll(
      open.map(({ question }) => question),
      open.map(({ at }) => places[at] as number),
    )
    for (const [i, { at }] of open.entries()) answers[at] = found[i]
    return answers
  }
}

/**
 * Results in the order of what decides. None sees what another one would change.
 * @param onAnswer is told each answer, by the place of whoever asked
 */
export async function answeredTogether<Result>(
  deciding: readonly Deciding<Result>[],
  askAll: AskAll,
  onAnswer?: (place: number, question: Question, answer: unknown) => void,
): Promise<readonly Result[]> {
  const results: Result[] = new Array(deciding.length)
  let open = deciding.map((one, place) => ({ place, one }))
  let answers: readonly unknown[] = []
  let questions: readonly Question[] = []
  while (open.length) {
    const asking: typeof open = []
    const next: Question[] = []
    for (const [at, waiting] of open.entries()) {
      // What the database has done meanwhile, and whoever else waits for a turn, is not to wait for a thousand decisions.
      if (at % AT_A_TIME === AT_A_TIME - 1) await setImmediate()
      if (questions.length) onAnswer?.(waiting.place, questions[at] as Question, answers[at])
      const step = waiting.one.next(answers[at])
      if (step.done) results[waiting.place] = step.value
      else {
        asking.push(waiting)
        next.push(step.value)
      }
    }
    questions = next
    answers = next.length
      ? await askAll(
          next,
          asking.map(({ place }) => place),
        )
      : []
    open = asking
  }
  return results
}

const AT_A_TIME = 20
