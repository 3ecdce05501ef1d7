// What deprovisioning needs of the world beside the people: jobs that tell other systems, tasks for what only a person can do,
// and mail. All of it is rows first, written with the change that asks for it; what goes over a network goes later.

import type { CoverageStage } from '../domain/coverage.ts'
import type { Actor } from '../domain/events.ts'
import type { JobId, RunId, TaskId, UserId } from '../domain/ids.ts'
import type { LifecycleState } from '../domain/lifecycle.ts'
import type { Holder } from './import-ports.ts'
import type { Tx } from './ports.ts'

/** One thing that a system is to be told. Its id is what makes telling it twice harmless. */
export interface Job {
  readonly id: JobId
  readonly target: string
  readonly kind: 'access' | 'mail'
  readonly user?: UserId
  readonly payload: AccessWord | MailWord
  readonly state: 'queued' | 'done' | 'dead'
  readonly attempts: number
  readonly createdAt: Date
  readonly nextAt: Date
  readonly lastError?: string
  readonly endedAt?: Date
  readonly run?: RunId
}

/** What somebody's access is from now on. */
export interface AccessWord {
  readonly state: Exclude<LifecycleState, 'staged'>
  readonly userName: string
  readonly reason: string
}

export interface MailWord {
  readonly to: string
  readonly subject: string
  readonly text: string
}

export interface Jobs {
  add(tx: Tx, jobs: readonly Job[]): Promise<void>
  /**
   * The next jobs that are due, leased to this holder: of one person at one target only the oldest that is not done, so that a
   * later word never arrives before an earlier one.
   */
  lease(tx: Tx, by: { readonly holder: Holder; readonly now: Date; readonly until: Date; readonly most: number }): Promise<readonly Job[]>
  /** Of a lease that still holds; false: somebody else has it by now. */
  end(tx: Tx, id: JobId, by: { readonly holder: Holder; readonly now: Date }, how: JobEnd): Promise<boolean>
  /** Dead ones are tried again. How many. */
  revive(tx: Tx, which: { readonly ids?: readonly JobId[]; readonly target?: string }, now: Date): Promise<number>
}

export type JobEnd =
  | { readonly how: 'done' }
  | { readonly how: 'again'; readonly at: Date; readonly error: string }
  | { readonly how: 'dead'; readonly error: string }

/** Something that a person has to do where no program can. */
export interface Task {
  readonly id: TaskId
  readonly target: string
  /** take-away, give-back: of an account; look: whether somebody is still there. */
  readonly kind: 'take-away' | 'give-back' | 'look'
  readonly user: UserId
  readonly title: string
  /** How it is done there. */
  readonly instructions?: string
  readonly assignee?: string
  readonly openedAt: Date
  readonly dueAt: Date
  readonly run?: RunId
}

export interface DoneTask extends Task {
  readonly doneAt?: Date
  readonly doneBy?: string
  readonly note?: string
}

export interface Tasks {
  open(tx: Tx, tasks: readonly Task[]): Promise<void>
  /** Of those that are open. */
  finish(
    tx: Tx,
    which: { readonly ids?: readonly TaskId[]; readonly target?: string; readonly user?: UserId; readonly kind?: Task['kind'] },
    by: { readonly actor: Actor; readonly now: Date; readonly note?: string },
  ): Promise<readonly Task[]>
  assign(tx: Tx, ids: readonly TaskId[], assignee: string): Promise<number>
  /** Targets where the last that was to be done for somebody was to take their access away. */
  takenAway(tx: Tx, user: UserId): Promise<ReadonlySet<string>>
  /** Open ones of which nobody has been told, or which are overdue and nobody was reminded of; marked as told. */
  takeUntold(
    tx: Tx,
    ask: { readonly now: Date; readonly most: number; readonly unassigned: boolean },
  ): Promise<readonly (Task & { readonly overdue: boolean })[]>
}

/** Throws when it could not be done; `temporary: false` on the error says that trying again is no use. */
export interface Deliverer {
  deliver(job: Job, signal: AbortSignal): Promise<void>
}

/** Known by signing in alone. */
export interface Uncovered {
  readonly user: UserId
  readonly userName: string
  readonly state: string
  /** Undefined: never; then it counts from `since`. */
  readonly lastSignIn?: Date
  readonly since: Date
  readonly stage?: CoverageStage
  /** When that was done. */
  readonly stageAt?: Date
}

export interface Coverage {
  /** Those without a feed who have been quiet since before then, by id. */
  quiet(before: Date, after: UserId | undefined, most: number): Promise<readonly Uncovered[]>
  keepStage(tx: Tx, user: UserId, stage: CoverageStage, now: Date): Promise<void>
  /** Of whoever has signed in since; how many. */
  forget(tx: Tx): Promise<number>
}
