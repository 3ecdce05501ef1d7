// What an import needs of a connector: rows, as they come, from a file, a directory, a database or another service. A
// connector reads and does nothing else. It says what it can do; what it cannot do, it leaves out.

import type { AttributeValues } from '../domain/model.ts'

/** One thing that a source says about one subject. */
export interface FeedRow {
  /** Where it stands, for people: `line 17`, a distinguished name, an id. */
  readonly place: string
  /** By the name the source uses, in an order that is the same each time. An empty list is "present but empty". */
  readonly attributes: AttributeValues
  /** The source says that this subject is no more; only a feed of changes does, and a directory that keeps its deleted objects. */
  readonly gone?: true
}

/** A row that could not be read. The others stand. */
export interface FeedFault {
  readonly place: string
  readonly why: string
}

export interface FeedBatch {
  readonly rows: readonly FeedRow[]
  readonly faults: readonly FeedFault[]
  /** How much has been read so far, and of how much, where that is known; in the connector's own unit. */
  readonly done: number
  readonly total?: number
}

export interface FeedEnd {
  /** What to ask from the next time; undefined where the source has no such thing. */
  readonly cursor?: string
}

/** The names that rows may have, as far as they are known before the first row; undefined: they are not. */
export type FeedColumns = readonly string[] | undefined

export interface Feed {
  readonly columns: FeedColumns
  /** Ends with what to ask from the next time; throws FeedFailure. Whoever stops early calls `return`. */
  readonly batches: AsyncGenerator<FeedBatch, FeedEnd, void>
}

export interface FoundAttribute {
  readonly name: string
  /** How many of the rows that were looked at have it. */
  readonly count: number
  /** A few values, for somebody who writes a mapping. */
  readonly examples: readonly string[]
}

export interface FeedGroup {
  readonly id: string
  readonly name: string
  /** How many members it has itself; those of groups within it are not counted. */
  readonly members: number
}

/** A connector, set up for one source. Every method gives up at once when `signal` says so. */
export interface Connector {
  readonly kind: string
  /** Whether a feed of changes says who is gone, too. A full one always shows it, by leaving them out. */
  readonly changesShowLeavers: boolean
  /** What it found, in plain words; throws FeedFailure. */
  test(signal: AbortSignal): Promise<string>
  /** Everybody. */
  readFull(signal: AbortSignal): Promise<Feed>
  /** Whoever changed since the cursor that the last feed ended with. */
  readChanges?(cursor: string, signal: AbortSignal): Promise<Feed>
  /** From the first rows. */
  discover?(signal: AbortSignal): Promise<readonly FoundAttribute[]>
  readGroups?(signal: AbortSignal): AsyncGenerator<readonly FeedGroup[], void, void>
}

/** What a run may take at most, whichever connector it is. */
export interface FeedLimits {
  readonly rows: number
  readonly columns: number
  /** Bytes of one row. */
  readonly rowBytes: number
  /** Until the source says anything at all, or anything more. */
  readonly patienceMs: number
}

/**
 * unreachable: no connection, or it broke off. denied: credentials, or rights. malformed: it cannot be read. cut-off: it ends
 * in the middle. too-large: a row, a page or the whole is beyond its limit. too-slow: nothing came for too long. endless: the
 * same comes again and again. changed: it is not what it was when the run began. misconfigured: the source's document does
 * not fit what is there. cancelled: somebody stopped the run.
 */
export const feedFailures = [
  'unreachable',
  'denied',
  'malformed',
  'cut-off',
  'too-large',
  'too-slow',
  'endless',
  'changed',
  'misconfigured',
  'cancelled',
] as const
export type FeedFailureCode = (typeof feedFailures)[number]

/** The feed ends here, and nobody is changed because of it. The message is for the administrator: plain words, no secrets. */
export class FeedFailure extends Error {
  override readonly name = 'FeedFailure'
  readonly code: FeedFailureCode
  constructor(code: FeedFailureCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}

// --- asking other services ------------------------------------------------------------------------------------------------

export interface WebRequest {
  readonly url: string
  readonly method?: 'GET' | 'POST'
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
  readonly signal: AbortSignal
}

export interface WebAnswer {
  readonly status: number
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string>>
  /** Read it to its end, or leave it: then the connection is closed. */
  readonly body: AsyncIterable<Uint8Array>
}

/** Asks no internal address that the operator has not allowed; follows no redirect. Throws where there is no answer at all. */
export type AskWeb = (request: WebRequest) => Promise<WebAnswer>
