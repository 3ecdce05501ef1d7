// Splits text into records, as RFC 4180 says: cells between delimiters, in quotes where one holds a delimiter, a quote or a line
// break. Strict, because a quote that is out of place swallows other people's lines: such a line is told, and the next one stands.
// Takes no more time than the text is long, whatever is in it, and holds no more than one record of it.

import { FeedFailure, type FeedFault } from '../../flows/feed-ports.ts'

export interface CsvRecord {
  /** Of its first line, from 1. */
  readonly line: number
  readonly cells: readonly string[]
  /** The text ends here, without a line break. */
  readonly open: boolean
}

export type Found = CsvRecord | FeedFault

export interface Splitting {
  readonly delimiter: string
  /** One character. */
  readonly quote: string
  /** Of one record at most. */
  readonly bytes: number
}

const NEWLINE = 0x0a
const RETURN = 0x0d

const STRAY = 'a quote stands in the middle of a cell that is not quoted'
const AFTER = 'after a closing quote comes neither the next column nor the next line'

export class Records {
  private readonly by: Splitting
  private text = ''
  private last = false
  /** Of the record that begins at the front of the text. */
  private line = 1

  constructor(by: Splitting) {
    this.by = by
  }

  /** What is complete; the rest is kept until more comes. Throws FeedFailure after all that was complete before it. */
  *read(more: string, last: boolean): Generator<Found, void, void> {
    const nul = more.indexOf('\0')
    this.text += nul < 0 ? more : more.slice(0, nul)
    this.last = last
    let at = 0
    while (at < this.text.length) {
      const next = this.next(at)
      if (!next) break
      if (this.tooLarge(at, next.end)) throw this.largeness()
      if (next.found) yield next.found
      this.line += this.breaks(at, next.end)
      at = next.end
    }
    this.text = this.text.slice(at)
    if (nul >= 0) {
      const why = `there is a NUL character in line ${this.line + this.breaks(0, this.text.length)}: this is not a text file, or its encoding is another one (utf-16le?)`
      throw new FeedFailure('malformed', why)
    }
    if (this.tooLarge(0, this.text.length)) throw this.largeness()
    if (last && this.text) {
      const why = `the file ends within a quoted cell of the row at line ${this.line}: it is cut off, or a quote is not closed`
      throw new FeedFailure('cut-off', why)
    }
  }

  /** The record that begins here, and where it ends; undefined: that is still to come. */
  private next(start: number): Ended | undefined {
    const { text, last, line } = this
    const { delimiter, quote } = this.by
    const quoted = quote.charCodeAt(0)
    const between = delimiter.charCodeAt(0)
    const cells: string[] = []
    for (let at = start; ; at += delimiter.length) {
      if (text.charCodeAt(at) === quoted) {
        const close = this.closing(at)
        if (close === undefined) return undefined
        const cell = text.slice(at + 1, close)
        cells.push(cell.includes(quote) ? cell.replaceAll(quote + quote, quote) : cell)
        at = close + 1
      } else {
        const from = at
        for (; at < text.length; at++) {
          const code = text.charCodeAt(at)
          if (code === NEWLINE || code === RETURN || (code === between && text.startsWith(delimiter, at))) break
          if (code === quoted) return this.fault(start, at, STRAY)
        }
        cells.push(text.slice(from, at))
      }
      if (at === text.length) return last ? { end: at, found: { line, cells, open: true } } : undefined
      if (text.startsWith(delimiter, at)) continue
      const end = this.afterBreak(at)
      if (end === at) return this.fault(start, at, AFTER)
      if (end === undefined) return undefined
      // An empty line says nothing.
      return at === start ? { end } : { end, found: { line, cells, open: false } }
    }
  }

  /** The quote that closes the cell which begins here. Two of them are one within the cell. */
  private closing(open: number): number | undefined {
    const { text, last } = this
    const { quote } = this.by
    let at = text.indexOf(quote, open + 1)
    while (at >= 0 && text.startsWith(quote, at + 1)) at = text.indexOf(quote, at + 2)
    return at < 0 || (at === text.length - 1 && !last) ? undefined : at
  }

  /** The same place where there is no line break; undefined: the second half of one may follow. */
  private afterBreak(at: number): number | undefined {
    const { text, last } = this
    const code = text.charCodeAt(at)
    if (code === NEWLINE) return at + 1
    if (code !== RETURN) return at
    if (at + 1 === text.length) return last ? at + 1 : undefined
    return text.charCodeAt(at + 1) === NEWLINE ? at + 2 : at + 1
  }

  /** The rest of the line is passed over: what its quotes mean cannot be told any more. */
  private fault(start: number, at: number, why: string): Ended | undefined {
    const { text, last, line } = this
    let stop = at
    while (stop < text.length && text.charCodeAt(stop) !== NEWLINE && text.charCodeAt(stop) !== RETURN) stop++
    const end = stop === text.length ? (last ? stop : undefined) : this.afterBreak(stop)
    if (end === undefined) return undefined
    const more = this.breaks(start, stop)
    return { end, found: { place: more ? `lines ${line} to ${line + more}` : `line ${line}`, why } }
  }

  private breaks(start: number, end: number): number {
    const { text } = this
    let count = 0
    for (let at = start; at < end; at++) {
      const code = text.charCodeAt(at)
      if (code === NEWLINE || (code === RETURN && text.charCodeAt(at + 1) !== NEWLINE)) count++
    }
    return count
  }

  private tooLarge(start: number, end: number): boolean {
    const { bytes } = this.by
    // No half of a character is more than three bytes.
    return (end - start) * 3 > bytes && Buffer.byteLength(this.text.slice(start, end)) > bytes
  }

  private largeness(): FeedFailure {
    const why = `the row at line ${this.line} is larger than ${this.by.bytes} bytes; a quote that is opened there may not be closed`
    return new FeedFailure('too-large', why)
  }
}

interface Ended {
  readonly end: number
  /** Nothing where the line is empty. */
  readonly found?: Found
}
