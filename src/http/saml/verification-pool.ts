// Verifies off the event loop, so that nobody's request through the gate waits for somebody's signature. A few threads, a
// bounded queue; who comes when it is full is told to come back, because a longer queue would only make everybody wait.

import { availableParallelism } from 'node:os'
import { Piscina } from 'piscina'
import { type Refusal, refuse } from '../../domain/refusals.ts'
import type { Step } from '../../domain/steps.ts'
import type { ArtifactExpectations } from './artifact.ts'
import type { Task } from './verification-thread.ts'
import type { LogoutDelivery, LogoutExpectations, VerifiedLogout } from './verify-logout.ts'
import type { ResponseExpectations, VerifiedResponse } from './verify-response.ts'

/** The queue is full. Nothing was looked at; the same message may be sent again. */
export class VerifierBusy extends Error {
  override readonly name = 'VerifierBusy'
}

export interface Verifier {
  /** @throws VerifierBusy */
  response(field: string | Uint8Array, expected: ResponseExpectations, before?: readonly Step[]): Promise<VerifiedResponse>
  /** @throws VerifierBusy */
  logout(delivery: LogoutDelivery, expected: LogoutExpectations): Promise<VerifiedLogout>
  /** @throws VerifierBusy */
  artifact(soap: string, expected: ArtifactExpectations): Promise<Uint8Array | Refusal>
  close(): Promise<void>
}

/** One core is left to the event loop. */
const THREADS = Math.max(1, availableParallelism() - 1)
/** A verification takes a few milliseconds, so the last in the queue waits for about a second. */
const QUEUE = 128
/** The limits of the reader keep everything far below; a thread that exceeds it is ended, and the message is refused. */
const PATIENCE_MS = 10_000
const THREAD_MEMORY_MB = 256

export function verificationPool({ threads = THREADS, queue = QUEUE }: { threads?: number; queue?: number } = {}): Verifier {
  const pool = new Piscina({
    filename: new URL('./verification-thread.ts', import.meta.url).href,
    minThreads: 1,
    maxThreads: threads,
    idleTimeout: 60_000,
    resourceLimits: { maxOldGenerationSizeMb: THREAD_MEMORY_MB },
    // What a thread sees of the environment is nothing: it needs none of our secrets.
    env: {},
  })
  // The pool's own queue may let a later task overtake an earlier one for as long as new ones come; this one is in order.
  const waiting: (() => void)[] = []
  let running = 0

  const run = async <Result>(task: Task): Promise<Result> => {
    if (running >= threads) {
      if (waiting.length >= queue) throw new VerifierBusy('the verification queue is full')
      await new Promise<void>((resolve) => waiting.push(resolve))
    } else running++
    const patience = new AbortController()
    const timer = setTimeout(() => patience.abort(), PATIENCE_MS)
    try {
      return await pool.run(task, { signal: patience.signal })
    } finally {
      clearTimeout(timer)
      // Whoever waits longest takes the place over; it is never free in between.
      const next = waiting.shift()
      if (next) next()
      else running--
    }
  }
  /** A thread that was ended, by us or by its own limits, has judged: the message is not to be had. */
  const orRefused = async <Result>(task: Task, refused: (detail: string) => Result): Promise<Result> => {
    try {
      return await run<Result>(task)
    } catch (error) {
      if (error instanceof VerifierBusy || (error as { code?: string }).code === 'ERR_WORKER_NOT_RUNNING') throw error
      return refused(`verifying it failed: ${(error as Error).message}`)
    }
  }
  const failed = (refusal: Refusal, before: readonly Step[] = []) => ({
    outcome: refusal,
    steps: [...before, { step: 'message', passed: false, came: refusal.detail } as const],
    unknownKey: false,
  })
  return {
    response: (field, expected, before = []) =>
      orRefused<VerifiedResponse>({ kind: 'response', field, expected, before }, (detail) =>
        failed(refuse('response.not-saml', detail), before),
      ),
    logout: (delivery, expected) =>
      orRefused<VerifiedLogout>({ kind: 'logout', delivery, expected }, (detail) => failed(refuse('logout.malformed', detail))),
    artifact: (soap, expected) =>
      orRefused<Uint8Array | Refusal>({ kind: 'artifact', soap, expected }, (detail) => refuse('artifact.unresolved', detail)),
    close: () => pool.destroy(),
  }
}
