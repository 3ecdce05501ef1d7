// How commands speak: tables and sentences for people, one JSON value for programs (--json), faults on standard error.

import { getHeapSpaceStatistics, setFlagsFromString } from 'node:v8'
import { InvalidArgumentError } from 'commander'
import { HIDDEN } from '../../domain/sensitive.ts'

/** What a command ends with. */
export const EXIT = {
  done: 0,
  /** It could not be done: not found, database away, a check that failed. */
  failed: 1,
  /** A plan is made, and some or all of it waits for a person’s yes. */
  waiting: 3,
  /** It waits for a person: a safeguard or a check holds it. */
  held: 4,
  /** The command line, the configuration or the file is wrong; nothing was tried. */
  wrong: 2,
} as const

export function print(line: string): void {
  process.stdout.write(`${line}\n`)
}

export function printJson(value: unknown): void {
  print(JSON.stringify(value, null, 2))
}

export function complain(line: string): void {
  process.stderr.write(`${line}\n`)
}

/** A failure that has been put into words already. */
export class CommandFailure extends Error {
  override readonly name = 'CommandFailure'
  readonly exit: number
  constructor(message: string, exit: number = EXIT.failed) {
    super(message)
    this.exit = exit
  }
}

export function printTable(headings: readonly string[], rows: readonly (readonly string[])[]): void {
  const all = [headings, ...rows]
  const widths = headings.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)))
  for (const row of all)
    print(
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
}

/** To the second, UTC. */
export function time(date: Date): string {
  return `${date.toISOString().slice(0, 19).replace('T', ' ')}Z`
}

/** Strings from outside may not move the cursor or colour the terminal of whoever reads them. */
export function plain(text: string): string {
  return text.replace(/\p{Cc}/gu, '·')
}

/** Long work, on standard error: one line that changes on a terminal, a line now and then elsewhere. */
export function progress(what: string, total: number): { readonly at: (done: number) => void; readonly end: () => void } {
  const terminal = process.stderr.isTTY === true
  let told = 0
  const began = performance.now()
  const line = (done: number) => {
    const share = total ? Math.min(1, done / total) : 1
    const bar = '#'.repeat(Math.round(share * 24)).padEnd(24, '.')
    const seconds = (performance.now() - began) / 1000
    return `${what}  [${bar}]  ${done} of ${total}  ${Math.round(done / Math.max(seconds, 0.001))}/s`
  }
  return {
    at(done) {
      if (terminal) process.stderr.write(`\r${line(done)}`)
      else if (done - told >= Math.max(total / 10, 1_000)) {
        told = done
        complain(line(done))
      }
    },
    end() {
      if (terminal) process.stderr.write('\n')
    },
  }
}

/** A read whose end is known in one unit and whose progress is told in another: `rows` come, and the bar is about bytes. */
export function feedProgress(what: string): {
  readonly at: (share: number | undefined, rows: number) => void
  readonly end: () => void
} {
  const terminal = process.stderr.isTTY === true
  let told = 0
  let open = false
  const began = performance.now()
  return {
    at(share, rows) {
      const seconds = Math.max((performance.now() - began) / 1000, 0.001)
      const bar =
        share === undefined
          ? ''
          : `  [${'#'.repeat(Math.round(Math.min(1, share) * 24)).padEnd(24, '.')}]  ${Math.round(Math.min(1, share) * 100)} %`
      const line = `${what}${bar}  ${rows} rows  ${Math.round(rows / seconds)}/s`
      if (terminal) {
        open = true
        process.stderr.write(`\r${line}\u001b[K`)
      } else if (rows - told >= 50_000) {
        told = rows
        complain(line)
      }
    },
    end() {
      if (open) process.stderr.write('\n')
      open = false
    },
  }
}

/** `old -> new`, with words for nothing. */
export function changeInWords({
  before,
  after,
  sensitive,
}: {
  before: readonly string[]
  after: readonly string[]
  sensitive?: true
}): string {
  const say = (values: readonly string[]) => (values.length ? (sensitive ? HIDDEN : plain(values.join('; '))) : '(nothing)')
  return `${say(before)} -> ${say(after)}`
}

/** An option that takes a whole number. */
export function atMost(most: number) {
  return (text: string): number => {
    const value = Number(text)
    if (!Number.isInteger(value) || value < 1 || value > most) throw new InvalidArgumentError(`Write a whole number from 1 to ${most}.`)
    return value
  }
}

/**
 * Everybody goes by, and nobody is kept: a nursery that does not grow, and a heap that is swept before it has grown by more
 * than as much again, take half the memory and about as long. V8 reads both whenever it would let the heap grow. Where hundreds of
 * rows are at work together, they do not fit into the small nursery, which stops growing once they do.
 */
export function inLittleMemory({ nursery = 'small' }: { nursery?: 'small' | 'middle' } = {}): void {
  setFlagsFromString('--heap-growing-percent=100')
  const stay = () => setFlagsFromString('--semi-space-growth-factor=1')
  if (nursery === 'small') {
    stay()
    return
  }
  const looking = setInterval(() => {
    const size = getHeapSpaceStatistics().find(({ space_name }) => space_name === 'new_space')?.space_size ?? 0
    if (size < MIDDLE_NURSERY) return
    stay()
    clearInterval(looking)
  }, 50)
  looking.unref()
}

const MIDDLE_NURSERY = 48 * 1024 * 1024
