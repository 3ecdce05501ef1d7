// What the flows of an import need of the world: runs, their plans, and what is on file of a source's subjects.

import type { Known, Question } from '../domain/deciding.ts'
import type { Actor } from '../domain/events.ts'
import type { FeedCounts, Health } from '../domain/feed-health.ts'
import type { RunId, SourceId, UserId } from '../domain/ids.ts'
import type { Key } from '../domain/keys.ts'
import type { Leaving, LifecycleState } from '../domain/lifecycle.ts'
import type { AttributeValues, ExternalId, RecordOnFile, User } from '../domain/model.ts'
import type { PlanDecision, Planned, RowStatus } from '../domain/plan.ts'
import type { Harm } from '../domain/safeguard.ts'
import type { Tx } from './ports.ts'

/**
 * running: somebody reads or applies. held: a check or a safeguard waits for a person. waiting: all that goes ahead by itself
 * has been applied, and the rest waits. planned: nothing was to be applied yet. superseded: a newer run has taken its place.
 */
export type ImportState = 'running' | 'held' | 'planned' | 'waiting' | 'done' | 'failed' | 'cancelled' | 'superseded' | 'undone'

export interface ImportRun {
  readonly id: RunId
  readonly kind: 'import' | 'undo'
  readonly source: SourceId
  readonly mode: 'full' | 'incremental'
  readonly state: ImportState
  readonly phase: 'reading' | 'applying'
  /** Of the policy that it was planned under. */
  readonly revision: number
  /** The last row that was applied. */
  readonly cursor: number
  readonly counts: ImportCounts
  readonly details: ImportDetails
  readonly startedAt: Date
  readonly finishedAt?: Date
  /** As actors are named. */
  readonly actor: string
}

/** Rows by what they would do; how many wait, were applied, or were left out because somebody had moved. */
export type ImportCounts = Readonly<Partial<Record<PlanDecision | Counted, number>>>
type Counted = 'rows' | 'waiting' | 'applied' | 'moved' | 'faults' | 'ignored' | 'undone'

export interface ImportDetails {
  /** What holds it. */
  readonly causes?: readonly (Health | { readonly code: 'safeguard'; readonly why: string })[]
  /** Why it failed. */
  readonly failure?: { readonly code: string; readonly why: string }
  /** The file's name, as it was given. */
  readonly file?: string
  /** How far the reading was when it was last told, in the connector's unit. */
  readonly read?: { readonly done: number; readonly total?: number }
  /** People whom the source knew before. */
  readonly people?: number
  readonly harmed?: Readonly<Record<Harm, number>>
  readonly feed?: FeedCounts
  /** What the next run asks from. */
  readonly cursorAfter?: string
  /** The run that this one takes back, or was taken back by. */
  readonly undoes?: RunId
  readonly undoneBy?: RunId
  readonly approvedBy?: string
  /** ISO 8601, UTC. */
  readonly approvedAt?: string
  readonly cancelledBy?: string
  /** Apply nothing by itself. */
  readonly planOnly?: boolean
  /** An incremental run to which the source says who has left, too. */
  readonly seesLeavers?: boolean
  /** Why nobody can be said to have left. */
  readonly leaversUnknown?: string
}

/** A row of a plan. */
export interface PlanRow {
  readonly seq: number
  readonly externalId: ExternalId
  readonly place: string
  readonly planned: Omit<Planned, 'status'>
  readonly status: RowStatus
  /** What the source said; left out where it could not be read, or somebody is missing. */
  readonly said?: AttributeValues
  /** The source does not name them (any more). */
  readonly gone?: true
  readonly digest?: string
  /** What was on file before, for taking it back. */
  readonly before?: RecordOnFile
  /** Whoever decides it by hand says whom it means. */
  readonly chosen?: UserId | 'new'
}

export interface KnownSubject {
  /** Of the link: by it, a run marks whom it has seen. */
  readonly number: number
  /** The same row as the last time, of somebody for whom nothing is due. */
  readonly same: boolean
}

export interface SubjectOnFile {
  readonly number: number
  readonly externalId: ExternalId
  readonly user: UserId
  readonly missing: boolean
}

/** Looks at what is committed, outside of any transaction. */
export interface ImportReads {
  /** By the row's place in what was asked; nothing where the source knows no such subject. */
  known(
    source: SourceId,
    rows: readonly { readonly key: string; readonly digest: string }[],
    revision: number,
  ): Promise<ReadonlyMap<number, KnownSubject>>
  answerAll(questions: readonly Question[]): Promise<readonly unknown[]>
  people(ids: readonly UserId[]): Promise<readonly Known[]>
  /** How many subjects a source has: all that were ever named, and those that are not missing. */
  countSubjects(source: SourceId): Promise<{ readonly all: number; readonly present: number }>
  /** A source's subjects of people who are not erased, by number. */
  subjects(source: SourceId, after: number, size: number): Promise<readonly SubjectOnFile[]>
  run(id: RunId): Promise<ImportRun | undefined>
  /** Rows of a plan, in order. */
  rows(
    run: RunId,
    which: {
      readonly after: number
      readonly size: number
      readonly status?: RowStatus
      readonly decision?: PlanDecision
    },
  ): Promise<readonly PlanRow[]>
  count(run: RunId, status: RowStatus): Promise<number>
  /** Those that were applied. */
  applied(run: RunId, after: number, size: number): Promise<readonly PlanRow[]>
  /** Within a transaction that is about to unmake them. */
  hasSignedIn(tx: Tx, user: UserId): Promise<boolean>
  /** What somebody was before a run changed that; undefined where it did not. */
  stateBefore(tx: Tx, user: UserId, run: RunId): Promise<LifecycleState | undefined>
  /** Which of these subjects a person has said to leave alone. */
  ignored(source: SourceId, keys: readonly string[]): Promise<ReadonlySet<string>>
  /** Whether anything could be known of a subject that is linked to nobody: that they were erased, are new, or are nobody's business. */
  remembersStrangers(source: SourceId): Promise<boolean>
  rowsAt(run: RunId, seqs: readonly number[]): Promise<readonly PlanRow[]>
  /** Rows that wait in earlier runs of a source, and whose subjects this run does not name. */
  waiting(source: SourceId, run: RunId): AsyncIterable<readonly PlanRow[]>
  usual(source: SourceId): Promise<SourceState>
  /** A keyed digest of a row: it shows that two are the same, and nothing else. */
  digester(): Promise<(text: string) => string>
}

export interface SourceState {
  readonly cursor?: string
  readonly usual?: FeedCounts
  readonly nextFullAt?: Date
  readonly nextIncrementalAt?: Date
}

/** Who works on a run, so that others can tell whether it goes on: `place pid token`. */
export type Holder = string

export interface Running {
  readonly run: ImportRun
  readonly holder: Holder | undefined
  readonly heldUntil: Date | undefined
}

export interface Imports {
  /** The run of this source that is being worked on. Of those who ask at once, one sees what the other one has begun. */
  running(tx: Tx, source: SourceId): Promise<Running | undefined>
  take(tx: Tx, id: RunId): Promise<ImportRun | undefined>
  /** A new run, held by this holder. */
  begin(tx: Tx, run: ImportRun, by: { readonly actor: Actor; readonly holder: Holder; readonly until: Date }): Promise<void>
  /** Writes how far it is. False: it is not this holder's any more, or was stopped. */
  keep(tx: Tx, run: ImportRun, by: { readonly holder: Holder; readonly now: Date; readonly until: Date }): Promise<boolean>
  /** Says that it goes on, and nothing of how far it is. False: as with `keep`. */
  beat(tx: Tx, id: RunId, by: { readonly holder: Holder; readonly until: Date }): Promise<boolean>
  /** Whoever takes up a run that was left. */
  hold(tx: Tx, id: RunId, by: { readonly holder: Holder; readonly until: Date }): Promise<void>
  /** Put down by whoever works on it: held, waiting, ended. False, and nothing is written: as with `keep`. */
  release(tx: Tx, run: ImportRun, by: { readonly holder: Holder; readonly now: Date }): Promise<boolean>
  /** The same, whoever works on it. */
  put(tx: Tx, run: ImportRun, now: Date): Promise<void>
  addRows(tx: Tx, run: RunId, rows: readonly PlanRow[]): Promise<void>
  /** Numbers of what must be there once, by row. */
  addClaims(tx: Tx, run: RunId, claims: readonly (readonly [claim: number, seq: number])[]): Promise<void>
  /**
   * Rows that claim the same as another one, in groups; the claims are gone afterwards.
   * @param among no other claims can be contested; undefined: any can
   */
  takeContested(
    tx: Tx,
    run: RunId,
    among: readonly number[] | undefined,
  ): Promise<readonly { readonly claim: number; readonly seqs: readonly number[] }[]>
  /** All that an interrupted reading has left. */
  discard(tx: Tx, run: RunId): Promise<void>
  rewrite(tx: Tx, run: RunId, rows: readonly PlanRow[]): Promise<void>
  /** Many were written: the database is told, because it looks for them by how many it thinks there are. In a transaction of its own. */
  grew(tx: Tx, what: 'plan' | 'people'): Promise<void>
  /**
   * All that waits goes ahead, but for rows that nobody can decide by a yes.
   * @param which decision: only rows of this class; what would change somebody and is of another one waits from now on.
   * stay: people who are not to be taken for leavers
   */
  approveAll(
    tx: Tx,
    run: RunId,
    which: { readonly decision?: PlanDecision | undefined; readonly stay: ReadonlySet<UserId> },
  ): Promise<number>
  setStatus(tx: Tx, run: RunId, seqs: readonly number[], status: RowStatus): Promise<void>
  /** Nothing of it waits for anybody any more. */
  withdraw(tx: Tx, run: RunId): Promise<void>
  /** Rows of earlier runs of the source that wait and are meant by this one as well, or all of them. How many. */
  supersede(tx: Tx, run: ImportRun, now: Date): Promise<number>
  /**
   * Whether nobody is linked to any of these and nobody has any of these keys. False also where that is not plain: somebody was
   * erased once, or a person has said of a subject that it is somebody new.
   */
  areNobody(tx: Tx, source: SourceId, subjects: readonly ExternalId[], keys: readonly Key[]): Promise<boolean>
  /** Versions of these users as they are now; held until the end. */
  versions(tx: Tx, users: readonly UserId[]): Promise<ReadonlyMap<UserId, number>>
  keepState(tx: Tx, source: SourceId, state: SourceState): Promise<void>
  /** Claims the next slot of a schedule for one node. */
  claimSlot(tx: Tx, source: SourceId, mode: ImportRun['mode'], now: Date, next: Date): Promise<boolean>
  /** Takes what was applied back: the record as it was, or gone; the user gone where the import had made them. */
  restore(tx: Tx, back: readonly Restoration[], by: { readonly actor: Actor; readonly now: Date; readonly run: RunId }): Promise<void>
}

export type Restoration =
  | { readonly how: 'unmake'; readonly user: User; readonly externalId: ExternalId; readonly source: SourceId }
  | {
      readonly how: 'unlink'
      readonly user: User
      readonly externalId: ExternalId
      readonly source: SourceId
      /** What the source had called them until then, and said of them. */
      readonly replaced?: RecordOnFile
    }
  | { readonly how: 'record'; readonly user: User; readonly record: RecordOnFile }

/** Somebody who has left and keeps what they have for a while. */
export interface PendingLeaving extends Leaving {
  readonly user: UserId
  readonly source: SourceId
  readonly externalKey: string
  readonly run?: RunId
}

export interface Leavings {
  keep(tx: Tx, leaving: PendingLeaving): Promise<void>
  cancel(tx: Tx, source: SourceId, users: readonly UserId[]): Promise<void>
  /** Of this person, whichever source they have left. */
  cancelAll(tx: Tx, user: UserId): Promise<void>
  /** Those whose time has come; held until the end. */
  takeDue(tx: Tx, now: Date, most: number): Promise<readonly PendingLeaving[]>
}
