// Reads people from a CSV file (RFC 4180, and what spreadsheets make of it), as it comes: never the whole file at once. A line
// that cannot be read is told with its number and the others stand; a file that ends in the middle, or is something else, is not
// a feed.

import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { type CsvError, type Parser, parse } from 'csv-parse'
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
      const { columns = [] } = await read(signal)
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
  try {
    const first = await chunks.next().catch(asFailure(file, signal))
    const head = first.done ? Buffer.alloc(0) : first.value
    const encoding = encodingOf(head, settings.encoding)
    const text = decoded(head, chunks, encoding)
    await lines.begin(text, encoding)
  } catch (error) {
    stream.destroy()
    throw error
  }
  const seen = { bytes: () => stream.bytesRead, of: before.size }
  const unchanged = async () => {
    const after = await stat(file).catch(() => undefined)
    if (after?.size !== before.size || after.mtimeMs !== before.mtimeMs)
      throw new FeedFailure('changed', `${file} was written to while it was read; put it in place whole, by moving it there`)
  }
  return { columns: lines.columns, batches: batchesOf(lines, seen, unchanged, () => stream.destroy(), asFailure(file, signal)) }
}

async function* batchesOf(
  lines: Lines,
  { bytes, of }: { bytes: () => number; of: number },
  unchanged: () => Promise<void>,
  close: () => void,
  failed: (error: unknown) => never,
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

function asFailure(file: string, signal: AbortSignal) {
  return (error: unknown): never => {
    if (error instanceof FeedFailure) throw error
    if (signal.aborted) throw new FeedFailure('cancelled', 'the run was stopped', { cause: error })
    throw new FeedFailure('unreachable', `${file} cannot be read: ${(error as Error).message}`, { cause: error })
  }
}

interface Parsed {
  readonly record: readonly string[]
  readonly info: { readonly lines: number }
}

/** The lines of one file: the heading, then rows and faults. */
class Lines {
  columns: readonly string[] = []
  private readonly settings: CsvSettings
  private readonly limits: FeedLimits
  private parser!: Parser
  private text!: AsyncIterator<Buffer>
  private readonly faults: FeedFault[] = []
  private readonly ready: Parsed[] = []
  private failure: FeedFailure | undefined
  private ended = false
  private endsWithNewline = true
  private last = 0
  private readonly lists: (string | undefined)[] = []

  constructor(settings: CsvSettings, limits: FeedLimits) {
    this.settings = settings
    this.limits = limits
  }

  /** Up to the heading. */
  async begin(text: AsyncIterator<Buffer>, encoding: Encoding): Promise<void> {
    this.text = text
    const first = await text.next()
    const head: Buffer = first.done ? Buffer.alloc(0) : first.value
    const { delimiter, rest } = delimiterOf(head, this.settings)
    this.parser = parse({
      delimiter,
      quote: this.settings.quote,
      escape: this.settings.quote,
      record_delimiter: ['\r\n', '\n', '\r'],
      relax_column_count: true,
      skip_empty_lines: true,
      skip_records_with_error: true,
      max_record_size: this.limits.rowBytes,
      info: true,
    })
    this.parser.on('skip', (error?: CsvError) => error && this.skipped(error))
    this.parser.on('error', (error) => {
      this.failure ??= new FeedFailure('malformed', `line ${this.last + 1}: ${error.message}`)
    })
    this.parser.on('end', () => {
      this.ended = true
    })
    if (!first.done) await this.write(rest)
    const given = this.settings.header
    while (!given && !this.ready.length && !this.ended) await this.more()
    const heading = given ?? this.ready.shift()?.record ?? []
    if (heading.length > this.limits.columns)
      throw new FeedFailure('too-large', `there are ${heading.length} columns; feed.columns allows ${this.limits.columns}`)
    if (!given && !heading.length && this.failure) throw this.failure
    this.columns = named(heading, this.settings.columns, encoding)
    for (const column of this.columns) this.lists.push(this.settings.lists[column])
  }

  /** The next rows; undefined: there are no more. */
  async next(): Promise<Pick<FeedBatch, 'rows' | 'faults'> | undefined> {
    if (!this.ready.length && !this.faults.length) {
      if (this.ended) return undefined
      await this.more()
    }
    const rows: FeedRow[] = []
    for (const parsed of this.ready.splice(0)) {
      const row = this.row(parsed)
      if (row) rows.push(row)
    }
    return { rows, faults: this.faults.splice(0) }
  }

  private async more(): Promise<void> {
    const { done, value } = await this.text.next()
    if (!done) return this.write(value)
    const ended = new Promise<void>((resolve) => this.parser.once('close', resolve))
    this.parser.on('readable', () => this.drain())
    this.parser.end()
    this.drain()
    await ended
    this.ended = true
    if (this.failure) throw this.failure
  }

  private async write(bytes: Buffer): Promise<void> {
    if (!bytes.length) return
    const nul = bytes.indexOf(0)
    if (nul >= 0) {
      const line = this.last + 1 + newlinesIn(bytes.subarray(0, nul))
      throw new FeedFailure(
        'malformed',
        `there is a NUL character near line ${line}: this is not a text file, or its encoding is another one (utf-16le?)`,
      )
    }
    this.endsWithNewline = bytes.at(-1) === NEWLINE || bytes.at(-1) === RETURN
    const room = this.parser.write(bytes)
    this.drain()
    if (this.failure) throw this.failure
    if (!room && this.parser.writableNeedDrain) await new Promise((resolve) => this.parser.once('drain', resolve))
  }

  private drain(): void {
    for (let one: Parsed | null = this.parser.read(); one !== null; one = this.parser.read()) this.ready.push(one)
  }

  private skipped(error: CsvError): void {
    const line = this.nextLine()
    const { code } = error
    if (code === 'CSV_MAX_RECORD_SIZE') {
      this.failure ??= new FeedFailure(
        'too-large',
        `the row at line ${line} is larger than ${this.limits.rowBytes} bytes; a quote that is opened there may not be closed`,
      )
    } else if (code === 'CSV_QUOTE_NOT_CLOSED') {
      this.failure ??= new FeedFailure(
        'cut-off',
        `the file ends within a quoted cell of the row at line ${line}: it is cut off, or a quote is not closed`,
      )
    } else this.faults.push({ place: `line ${line}`, why: plainly(code) })
  }

  /** After the last row that was read. */
  private nextLine(): number {
    return (this.ready.at(-1)?.info.lines ?? this.last) + 1
  }

  private row({ record, info: { lines } }: Parsed): FeedRow | undefined {
    this.last = lines
    const { columns } = this
    if (record.length !== columns.length) {
      if (record.every((cell) => cell === '')) return undefined
      const short = record.length < columns.length
      if (short && this.ended && !this.ready.length && !this.endsWithNewline) {
        throw new FeedFailure(
          'cut-off',
          `the file ends in the middle of line ${lines}: it has ${record.length} of ${columns.length} columns`,
        )
      }
      this.faults.push({ place: `line ${lines}`, why: `it has ${record.length} columns, and the heading ${columns.length}` })
      return undefined
    }
    const attributes = bare<readonly string[]>()
    let blank = true
    for (let i = 0; i < columns.length; i++) {
      const cell = record[i] as string
      if (cell !== '') blank = false
      const between = this.lists[i]
      attributes[columns[i] as string] = cell === '' ? NOTHING : between === undefined ? [cell] : splitCell(cell, between)
    }
    return blank ? undefined : { place: `line ${lines}`, attributes }
  }
}

const NOTHING: readonly string[] = []
const NEWLINE = 0x0a
const RETURN = 0x0d

function splitCell(cell: string, between: string): readonly string[] {
  return cell
    .split(between)
    .map((one) => one.trim())
    .filter(Boolean)
}

function plainly(code: string): string {
  if (code === 'INVALID_OPENING_QUOTE') return 'a quote stands in the middle of a cell that is not quoted'
  if (code === 'CSV_INVALID_CLOSING_QUOTE') return 'after a closing quote comes neither the next column nor the next line'
  return `it cannot be read (${code})`
}

function newlinesIn(bytes: Uint8Array): number {
  let count = 0
  for (const byte of bytes) if (byte === NEWLINE) count++
  return count
}

/** As the mapping calls them. */
function named(heading: readonly string[], renamed: CsvSettings['columns'], encoding: Encoding): readonly string[] {
  const names = heading.map((cell, index) => {
    const name = cell.trim()
    return (Object.hasOwn(renamed, name) ? renamed[name] : undefined) ?? (name === '' ? `column ${index + 1}` : name)
  })
  const twice = names.find((name, index) => names.indexOf(name) !== index)
  if (twice !== undefined)
    throw new FeedFailure('misconfigured', `two columns are called «${twice}»; csv.columns gives one of them another name`)
  if (names.some((name) => /\p{Cc}/u.test(name)))
    throw new FeedFailure('malformed', `the heading holds control characters: this is not a CSV file, or its encoding is not ${encoding}`)
  return names
}

const CANDIDATES = [',', ';', '\t', '|'] as const

/** What occurs most often in the first line outside of quotes; or what Excel says in a line of its own (`sep=;`). */
function delimiterOf(head: Buffer, { delimiter, quote }: CsvSettings): { delimiter: string; rest: Buffer } {
  const line = firstLine(head)
  const said = /^sep=(.)$/.exec(line)?.[1]
  const rest = said === undefined ? head : head.subarray(Buffer.byteLength(line)).subarray(1)
  if (delimiter !== 'auto') return { delimiter, rest }
  if (said !== undefined) return { delimiter: said, rest }
  const counts = new Map<string, number>(CANDIDATES.map((one) => [one, 0]))
  let quoted = false
  for (const character of line) {
    if (character === quote) quoted = !quoted
    else if (!quoted && counts.has(character)) counts.set(character, (counts.get(character) ?? 0) + 1)
  }
  const [best] = [...counts].sort((a, b) => b[1] - a[1])
  return { delimiter: best?.[0] ?? ',', rest }
}

function firstLine(head: Buffer): string {
  const end = head.findIndex((byte) => byte === NEWLINE || byte === RETURN)
  return head.subarray(0, end < 0 ? Math.min(head.length, 64 * 1024) : end).toString('utf8')
}
