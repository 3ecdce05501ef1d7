// Waits for a database, but not for ever: until the run is stopped, or it has said nothing for too long. Knows whether it still
// owes an answer, for then something runs there that nobody waits for any more.

import { FeedFailure } from '../../flows/feed-ports.ts'
import { failureOf } from './failures.ts'

export interface Patience {
  /** @param late what it means that no answer came; otherwise, that it is too slow */
  ask<Answer>(question: () => Promise<Answer>, late?: FeedFailure): Promise<Answer>
  /** The last question has not been answered. */
  readonly owed: boolean
}

interface Ask {
  readonly signal: AbortSignal
  readonly patienceMs: number
  readonly hide: (text: string) => string
}

export function patience({ signal, patienceMs, hide }: Ask): Patience {
  let owed = false
  const cancelled = () => new FeedFailure('cancelled', 'the run was stopped')
  const tooSlow = new FeedFailure(
    'too-slow',
    `the database said nothing for ${patienceMs / 1_000} seconds; feed.patience says how long it may`,
  )
  return {
    get owed() {
      return owed
    },
    async ask(question, late = tooSlow) {
      if (signal.aborted) throw cancelled()
      owed = true
      const answer = question().finally(() => {
        owed = false
      })
      const enough = Promise.withResolvers<never>()
      const timer = setTimeout(() => enough.reject(late), patienceMs)
      const stop = () => enough.reject(cancelled())
      signal.addEventListener('abort', stop, { once: true })
      try {
        return await Promise.race([answer, enough.promise])
      } catch (error) {
        throw failureOf(error, hide)
      } finally {
        clearTimeout(timer)
        signal.removeEventListener('abort', stop)
      }
    },
  }
}
