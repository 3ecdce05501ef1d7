// Turns a file's bytes into text, whatever they are, and refuses what is not what it says it is: a name that was read in the
// wrong encoding would be written into somebody's profile.

import { isUtf8 } from 'node:buffer'
import type { CsvSettings } from '../../domain/documents/source.ts'
import { FeedFailure } from '../../flows/feed-ports.ts'

export type Encoding = Exclude<CsvSettings['encoding'], 'auto'>

/** By the byte order mark where there is one (Unicode 15, section 23.8); UTF-8 otherwise, and never a guess. */
export function encodingOf(head: Uint8Array, wanted: CsvSettings['encoding']): Encoding {
  const [a, b, c, d] = head
  if (a === 0x1f && b === 0x8b) throw new FeedFailure('malformed', 'the file is compressed (gzip); unpack it first')
  if (a === 0x50 && b === 0x4b && c === 0x03 && d === 0x04)
    throw new FeedFailure('malformed', 'the file is an archive or an Excel workbook; save it as CSV')
  const marked =
    a === 0xff && b === 0xfe
      ? 'utf-16le'
      : a === 0xfe && b === 0xff
        ? 'utf-16be'
        : a === 0xef && b === 0xbb && c === 0xbf
          ? 'utf-8'
          : undefined
  if (wanted === 'auto') return marked ?? 'utf-8'
  if (marked !== undefined && marked !== wanted)
    throw new FeedFailure('misconfigured', `the file begins with the mark of ${marked}, and csv.encoding says ${wanted}`)
  return wanted
}

/** Without the mark, some of it at a time. */
export async function* decoded(head: Buffer, more: AsyncIterator<Buffer>, encoding: Encoding): AsyncGenerator<string, void, void> {
  const turn = encoding === 'utf-8' ? utf8() : other(encoding)
  for (let chunk: Buffer | undefined = head; chunk !== undefined; ) {
    const next: IteratorResult<Buffer> = chunk.length ? await more.next() : { done: true, value: undefined }
    const turned = turn(chunk, next.done === true)
    if (turned.length) yield turned
    chunk = next.done ? undefined : next.value
  }
}

type Turn = (chunk: Buffer, last: boolean) => string

/** By itself, and not by a decoder that throws: it tells the line. */
function utf8(): Turn {
  let rest: Buffer = Buffer.alloc(0)
  let begun = false
  let line = 1
  return (chunk, last) => {
    let bytes = rest.length ? Buffer.concat([rest, chunk]) : chunk
    if (!begun) {
      begun = true
      if (bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf) bytes = bytes.subarray(3)
    }
    const whole = last ? bytes.length : wholeCharacters(bytes)
    const text = bytes.subarray(0, whole)
    if (!isUtf8(text)) throw new FeedFailure('malformed', notUtf8(text, line))
    rest = bytes.subarray(whole)
    for (let at = text.indexOf(0x0a); at >= 0; at = text.indexOf(0x0a, at + 1)) line++
    return text.toString('utf8')
  }
}

/** How many bytes end with a whole character (RFC 3629). */
function wholeCharacters(bytes: Buffer): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back] as number
    if (byte < 0x80) break
    if (byte >= 0xc0) {
      const needs = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2
      return needs > back ? bytes.length - back : bytes.length
    }
  }
  return bytes.length
}

function notUtf8(bytes: Buffer, firstLine: number): string {
  let line = firstLine
  let start = 0
  for (;;) {
    const end = bytes.indexOf(0x0a, start)
    if (!isUtf8(bytes.subarray(start, end < 0 ? bytes.length : end)) || end < 0) break
    line++
    start = end + 1
  }
  return `line ${line} is not UTF-8; if the whole file is in another encoding, say so with csv.encoding (windows-1252 is usual), and if only this line is, two files were put together`
}

function other(encoding: Encoding): Turn {
  const decoder = new TextDecoder(encoding, { fatal: true })
  return (chunk, last) => {
    try {
      return decoder.decode(chunk, { stream: !last })
    } catch (error) {
      throw new FeedFailure('malformed', `the file is not ${encoding}, as csv.encoding or its first bytes say`, { cause: error })
    }
  }
}
