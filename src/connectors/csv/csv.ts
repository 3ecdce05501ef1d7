// Reads people from a CSV file (RFC 4180, and what spreadsheets make of it), as it comes: never the whole file at once. A line
// that cannot be read is told with its number and the others stand; a file that ends in the middle, or is something else, is not
// a feed.

import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { bare } from '../../domain/bare.ts'
import type { CsvSettings } from '../../domain/documents/source.ts'
import {
  type Connector,
  type Feed,
  type FeedBatch,
  type FeedEnd,
  FeedFailure,
  type FeedFault,
  type FeedLimits,
  type FeedRow,
} from '../../flows/feed-ports.ts'
import { discoverIn } from '../discovery.ts'
import { decoded, type Encoding, encodingOf } from './decoding.ts'
import { type CsvRecord, type Found, Records } from './records.ts'

export interface CsvAsk {
  readonly settings: CsvSettings
  /** The file's path on this machine. */
  readonly file: string
  readonly limits: FeedLimits
}

export function csvConnector({ settings, file, limits }: CsvAsk): Connector {
  const read = (signal: AbortSignal) => readCsv({ settings, file, limits }, signal)
  return {
    kind: 'csv',
    changesShowLeavers: false,
    async test(signal) {
      const { columns = [], batches } = await read(signal)
      await batches.return({})
      return `${file} begins with ${columns.length} columns: ${columns.slice(0, 20).join(', ')}${columns.length > 20 ? ', …' : ''}`
    },
    readFull: read,
    discover: async (signal) => discoverIn(await read(signal)),
  }
}

const CHUNK_BYTES = 128 * 1024

async function readCsv({ settings, file, limits }: CsvAsk, signal: AbortSignal): Promise<Feed> {
  const before = await stat(file).catch((error: NodeJS.ErrnoException) => {
    throw new FeedFailure('unreachable', error.code === 'ENOENT' ? `there is no file ${file}` : `${file} cannot be read: ${error.message}`)
  })
  if (!before.isFile()) throw new FeedFailure('misconfigured', `${file} is not a file`)
  const stream = createReadStream(file, { highWaterMark: CHUNK_BYTES, signal })
  const chunks = stream[Symbol.asyncIterator]() as AsyncIterator<Buffer>
  const lines = new Lines(settings, limits)
  const unchanged = async () => {
    const after = await stat(file).catch(() => undefined)
    if (after?.ino !== before.ino || after.size !== before.size || after.mtimeMs !== before.mtimeMs) {
      const why = 'was written to or replaced while it was read; import it again, and put files in place whole, by moving them there'
      throw new FeedFailure('changed', `${file} ${why}`)
    }
  }
  const failed = async (error: unknown): Promise<never> => {
    if (signal.aborted) throw new FeedFailure('cancelled', 'the run was stopped', { cause: error })
    // A file that is being copied ends in the middle, too.
    await unchanged()
    if (error instanceof FeedFailure) throw error
    throw new FeedFailure('unreachable', `${file} cannot be read: ${(error as Error).message}`, { cause: error })
  }
  try {
    const first = await chunks.next()
    const head = first.done ? Buffer.alloc(0) : first.value
    const encoding = encodingOf(head, settings.encoding)
    await lines.begin(decoded(head, chunks, encoding), encoding)
  } catch (error) {
    stream.destroy()
    return failed(error)
  }
  const batches = batchesOf(lines, { bytes: () => stream.bytesRead, of: before.size }, unchanged, () => stream.destroy(), failed)
  const leave = batches.return.bind(batches)
  return {
    columns: lines.columns,
    batches: Object.assign(batches, {
      // A generator that was never begun would close nothing by itself.
      return: (end: FeedEnd) => {
        stream.destroy()
        return leave(end)
      },
    }),
  }
}

async function* batchesOf(
  lines: Lines,
  { bytes, of }: { bytes: () => number; of: number },
  unchanged: () => Promise<void>,
  close: () => void,
  failed: (error: unknown) => Promise<never>,
): AsyncGenerator<FeedBatch, FeedEnd, void> {
  try {
    for (;;) {
      const some = await lines.next().catch(failed)
      if (!some) break
      if (some.rows.length || some.faults.length) yield { ...some, done: Math.min(bytes(), of), total: of }
    }
    await unchanged()
    return {}
  } finally {
    close()
  }
}

/** The lines of one file: the heading, then rows and faults. */
class Lines {
  columns: readonly string[] = []
  private readonly settings: CsvSettings
  private readonly limits: FeedLimits
  private records!: Records
  private text!: AsyncIterator<string>
  private found: readonly Found[] = []
  private ended = false
  /** What was found before it is handed over first. */
  private failure: unknown
  private heading: readonly string[] = []
  private lists: readonly (string | undefined)[] = []

  constructor(settings: CsvSettings, limits: FeedLimits) {
    this.settings = settings
    this.limits = limits
  }

  /** Up to the heading. */
  async begin(text: AsyncIterator<string>, encoding: Encoding): Promise<void> {
    const { settings, limits } = this
    const { columns, rowBytes } = limits
    this.text = text
    const first = await text.next()
    const { delimiter, rest } = delimiterOf(first.done ? '' : first.value, settings)
    this.records = new Records({ delimiter, quote: settings.quote, bytes: rowBytes })
    this.take(rest, first.done === true)
    this.heading = (settings.header ?? (await this.firstRow())).map((cell) => cell.trim())
    if (this.heading.length > columns)
      throw new FeedFailure('too-large', `there are ${this.heading.length} columns; feed.columns allows ${columns}`)
    this.columns = named(this.heading, settings.columns, encoding)
    this.lists = this.columns.map((column) => (Object.hasOwn(settings.lists, column) ? settings.lists[column] : undefined))
  }

  /** The first that says anything. */
  private async firstRow(): Promise<readonly string[]> {
    for (;;) {
      for (const [i, one] of this.found.entries()) {
        if ('why' in one) throw new FeedFailure('malformed', `the heading cannot be read (${one.place}): ${one.why}`)
        if (one.cells.every((cell) => cell.trim() === '')) continue
        this.found = this.found.slice(i + 1)
        return one.cells
      }
      this.found = []
      if (this.failure !== undefined) throw this.failure
      if (this.ended) return []
      await this.more()
    }
  }

  /** The next rows; undefined: there are no more. */
  async next(): Promise<Pick<FeedBatch, 'rows' | 'faults'> | undefined> {
    if (!this.found.length && this.failure === undefined) {
      if (this.ended) return undefined
      await this.more()
    }
    const rows: FeedRow[] = []
    const faults: FeedFault[] = []
    for (const one of this.found) {
      if ('why' in one) faults.push(one)
      else {
        const cut = this.row(one, rows, faults)
        if (cut) this.failure ??= cut
      }
    }
    this.found = []
    if (this.failure !== undefined && !rows.length && !faults.length) throw this.failure
    return { rows, faults }
  }

  private async more(): Promise<void> {
    const { done, value } = await this.text.next()
    this.take(done ? '' : value, done === true)
  }

  private take(text: string, last: boolean): void {
    this.ended = last
    const found: Found[] = []
    try {
      for (const one of this.records.read(text, last)) found.push(one)
    } catch (error) {
      this.failure = error
    }
    this.found = found
  }

  /** @returns why the file ends with it */
  private row({ line, cells, open }: CsvRecord, rows: FeedRow[], faults: FeedFault[]): FeedFailure | undefined {
    const { columns, heading } = this
    // A line of nothing but delimiters is what spreadsheets leave behind.
    if (cells.every((cell) => cell === '')) return undefined
    const place = `line ${line}`
    if (cells.length !== columns.length) {
      if (open && cells.length < columns.length) {
        const why = `the file ends in the middle of line ${line}: it has ${cells.length} of ${columns.length} columns`
        return new FeedFailure('cut-off', why)
      }
      faults.push({ place, why: `it has ${cells.length} columns, and the heading ${columns.length}` })
      return undefined
    }
    if (cells.every((cell, i) => cell.trim() === heading[i])) {
      faults.push({ place, why: 'it is the heading again, as where two files were put together' })
      return undefined
    }
    const attributes = bare<readonly string[]>()
    for (let i = 0; i < columns.length; i++) {
      const cell = cells[i] as string
      const between = this.lists[i]
      attributes[columns[i] as string] = cell === '' ? NOTHING : between === undefined ? [cell] : splitCell(cell, between)
    }
    rows.push({ place, attributes })
    return undefined
  }
}

const NOTHING: readonly string[] = []

function splitCell(cell: string, between: string): readonly string[] {
  return cell
    .split(between)
    .map((one) => one.trim())
    .filter(Boolean)
}

/** As the mapping calls them. */
function named(heading: readonly string[], renamed: CsvSettings['columns'], encoding: Encoding): readonly string[] {
  const seen = new Set<string>()
  return heading.map((cell, index) => {
    // Spreadsheets break headings over lines.
    const name = cell.replace(/[\r\n]+/g, ' ')
    if (name.length > LONGEST_NAME)
      throw new FeedFailure('malformed', `column ${index + 1} has a name of ${name.length} characters: this is not a heading`)
    if (/\p{Cc}/u.test(name))
      throw new FeedFailure('malformed', `the heading holds control characters: this is not a CSV file, or its encoding is not ${encoding}`)
    const called = (Object.hasOwn(renamed, name) ? renamed[name] : undefined) ?? (name === '' ? `column ${index + 1}` : name)
    if (seen.has(called))
      throw new FeedFailure('misconfigured', `two columns are called «${called}»: one needs another name, in the file or by csv.columns`)
    seen.add(called)
    return called
  })
}

const LONGEST_NAME = 1_000

const CANDIDATES = [',', ';', '\t', '|'] as const

/** What occurs most often in the first row outside of quotes; or what Excel says in a line of its own (`sep=;`). */
function delimiterOf(head: string, { delimiter, quote }: CsvSettings): { delimiter: string; rest: string } {
  const said = /^sep=(.)(?=[\r\n]|$)/.exec(head)
  // Its line break stays, so that lines are counted as people count them.
  const rest = said ? head.slice(said[0].length) : head
  if (delimiter !== 'auto') return { delimiter, rest }
  if (said) return { delimiter: said[1] as string, rest }
  const counts = new Map<string, number>(CANDIDATES.map((one) => [one, 0]))
  let quoted = false
  for (const character of head.replace(/^[\r\n]+/, '').slice(0, LONGEST_LOOK)) {
    if (character === quote) quoted = !quoted
    else if (quoted) continue
    else if (character === '\n' || character === '\r') break
    else if (counts.has(character)) counts.set(character, (counts.get(character) ?? 0) + 1)
  }
  const [best] = [...counts].sort((a, b) => b[1] - a[1])
  return { delimiter: best?.[0] ?? ',', rest }
}

const LONGEST_LOOK = 64 * 1024
