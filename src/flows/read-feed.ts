// Reads a feed within its limits: so many rows, so long altogether, so long without a word. Whatever goes wrong ends it by name,
// and a connector that does not give up when it is told to is left behind.

import { setImmediate as turn } from 'node:timers/promises'
import { type Connector, type Feed, type FeedBatch, type FeedColumns, type FeedEnd, FeedFailure } from './feed-ports.ts'

export interface ReadFeed {
  readonly connector: Connector
  /** Undefined: everybody. */
  readonly since: string | undefined
  readonly most: { readonly rows: number; readonly ms: number; readonly patienceMs: number }
  /** Rows that are handed over together, at least. */
  readonly size: number
  /** Somebody has stopped the run. */
  readonly stop: AbortSignal
}

export interface ReadingFeed {
  readonly columns: FeedColumns
  readonly batches: AsyncGenerator<FeedBatch, FeedEnd, void>
}

export async function readFeed({ connector, since, most, size, stop }: ReadFeed): Promise<ReadingFeed> {
  const whole = AbortSignal.timeout(Math.ceil(most.ms))
  const impatient = new AbortController()
  const signal = AbortSignal.any([stop, whole, impatient.signal])
  const failure = (error: unknown): FeedFailure => {
    if (stop.aborted) return new FeedFailure('cancelled', 'the run was stopped', { cause: error })
    if (impatient.signal.aborted)
      return new FeedFailure('too-slow', `nothing came for ${most.patienceMs / 1000} seconds (feed.patience)`, { cause: error })
    if (whole.aborted)
      return new FeedFailure('too-slow', `it was not read to its end within ${most.ms / 60_000} minutes (feed.minutes)`, { cause: error })
    if (error instanceof FeedFailure) return error
    // Libraries throw what they like.
    throw error instanceof Error ? error : new Error(String(error))
  }
  /** Whoever does not answer in time has not answered, whether it notices or not. */
  const inTime = async <Answer>(ask: () => Promise<Answer>): Promise<Answer> => {
    // Whoever has been told to give up and goes on is not asked again.
    if (signal.aborted) throw failure(signal.reason)
    const patience = setTimeout(() => impatient.abort(), most.patienceMs)
    let lastChance: NodeJS.Timeout | undefined
    let no = () => {}
    const gaveUp = new Promise<never>((_, reject) => {
      no = () => {
        lastChance = setTimeout(() => reject(new Error('it does not give up')), LAST_CHANCE_MS)
      }
      signal.addEventListener('abort', no, { once: true })
    })
    try {
      const answer = ask()
      answer.catch(() => {})
      return await Promise.race([answer, gaveUp])
    } catch (error) {
      throw failure(error)
    } finally {
      clearTimeout(patience)
      clearTimeout(lastChance)
      signal.removeEventListener('abort', no)
    }
  }
  const { readChanges } = connector
  const feed = await inTime(
    (): Promise<Feed> => (since !== undefined && readChanges ? readChanges(since, signal) : connector.readFull(signal)),
  )
  return { columns: feed.columns, batches: within(feed, { most: most.rows, size, inTime }) }
}

/** For whoever is told to give up, to do so by themselves. */
const LAST_CHANCE_MS = 2_000

async function* within(
  { batches }: Feed,
  { most, size, inTime }: { most: number; size: number; inTime: <Answer>(ask: () => Promise<Answer>) => Promise<Answer> },
): AsyncGenerator<FeedBatch, FeedEnd, void> {
  let count = 0
  let held: FeedBatch | undefined
  try {
    for (;;) {
      const step = await inTime(() => batches.next())
      if (step.done) {
        if (held) yield held
        return step.value
      }
      const more = step.value.rows.length + step.value.faults.length
      // One that says nothing again and again, without waiting for anything, would let no clock run.
      if (!more) await turn()
      count += more
      if (count > most) throw new FeedFailure('too-large', `there are more than ${most} rows (feed.rows)`)
      held = held ? joined(held, step.value) : step.value
      if (held.rows.length + held.faults.length < size) continue
      const full = held
      held = undefined
      yield full
    }
  } catch (error) {
    if (held) yield held
    throw error
  } finally {
    // It may hang there, too.
    batches.return({}).catch(() => {})
  }
}

function joined(a: FeedBatch, b: FeedBatch): FeedBatch {
  return { ...b, rows: [...a.rows, ...b.rows], faults: [...a.faults, ...b.faults] }
}
