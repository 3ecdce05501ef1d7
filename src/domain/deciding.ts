// How a decision asks what it needs to know. It yields a question and goes on with the answer: from the database in a sign-in, from
// memory in a test, from everybody as they go by in a simulation.

import type { Entitlements } from './entitlements.ts'
import type { SourceId, UserId } from './ids.ts'
import type { Key, KeyKind } from './keys.ts'
import type { Mastery, SourcePolicies } from './mastery.ts'
import type { ExternalId, RecordOnFile, User } from './model.ts'
import type { Schema } from './schema.ts'

/** What of the policy in force bears on people. */
export interface DecisionPolicy {
  readonly revision: number
  readonly schema: Schema
  readonly sources: SourcePolicies
  readonly mastery: Mastery
  readonly entitlements: Entitlements
  readonly keys: readonly KeyKind[]
  /** The attributes that these are made of. */
  readonly keyed: ReadonlySet<string>
  /** Nobody is let in, or created, without a value of these. */
  readonly required: readonly string[]
}

/** What is known of somebody: all records on file, of every source. */
export interface Known {
  readonly linked?: User
  readonly records: readonly RecordOnFile[]
  /** A person has settled that this subject is nobody who is here. */
  readonly settledAsNew?: boolean
  /** A person has settled that this subject is them. The records are theirs. */
  readonly given?: User
}

/** Of somebody to whom nobody is linked. */
export const NOBODY: Known = { records: [] }

export type Question =
  /** Whom does the source's external id lead to? Answered by Known. */
  | { readonly about: 'subject'; readonly source: SourceId; readonly externalId: ExternalId }
  /** The same for a user. Answered by Known. */
  | { readonly about: 'user'; readonly user: UserId }
  /** Who has one of these keys? Answered by Holder[]; a few of each key are enough. */
  | { readonly about: 'holders'; readonly source: SourceId; readonly keys: readonly Key[] }
  /** How many seats of these licences are taken? Answered by SeatsTaken. */
  | { readonly about: 'seats'; readonly licences: readonly string[] }

/** Asks with `yield`; `conclude` or its like in the flows hands the answers in. */
export type Deciding<Result> = Generator<Question, Result, unknown>

/** Answers from memory. */
export function conclude<Result>(deciding: Deciding<Result>, answer: (question: Question) => unknown): Result {
  let step = deciding.next()
  while (!step.done) step = deciding.next(answer(step.value))
  return step.value
}
