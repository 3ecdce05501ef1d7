// What the connector asks of a database, whichever one it is. Each of them opens one connection, in one transaction that can
// only read, and has two walls of its own against a query that writes: the transaction, and a look at the query as a part of
// `select * from (…)`, which is all that a single select can be, and nothing else.

/** As the database says it; null is its null. */
export type Cell = string | Uint8Array | null

export type Row = readonly Cell[]

export interface Column {
  readonly name: string
  /** What a cell of it says; undefined: nothing that is text. */
  readonly values: (cell: string | Uint8Array) => readonly string[] | undefined
}

export interface Since {
  readonly column: string
  /** As `greatest` said it. */
  readonly value: string
}

export interface Database {
  open(): Promise<void>
  /** The columns of the query, in its order. Checks it, and runs nothing of it. */
  describe(): Promise<readonly Column[]>
  /** The greatest value of a column, by the database's own order and exactly; undefined: there is none. */
  greatest(column: string): Promise<string | undefined>
  /** The query's rows in its own order, or by the column. One read at a time, after `describe`. */
  read(since?: Since): Promise<void>
  /** Some more of them; none: there are no more. */
  more(): Promise<readonly Row[]>
  /** Gives everything back, at any moment. @param busy something was asked and has not been answered: it is stopped there, too. */
  close(busy: boolean): Promise<void>
}

/** How many rows come at once at most, and about how many bytes. */
export const MOST_ROWS = 1_000
export const BATCH_BYTES = 1024 * 1024

export function sizeOf(row: Row): number {
  let bytes = 0
  for (const cell of row) if (cell !== null) bytes += typeof cell === 'string' ? Buffer.byteLength(cell) : cell.length
  return bytes
}
