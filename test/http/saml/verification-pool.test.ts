// Verification off the event loop: in order, bounded, and a clear word to come back for whoever finds the queue full.

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { isRefusal } from '../../../src/domain/refusals.ts'
import { VerifierBusy, verificationPool } from '../../../src/http/saml/verification-pool.ts'
import { corpus, expectationsOf } from '../../support/corpus.ts'
import { startHouse } from '../../support/house.ts'
import { Walker } from '../../support/walker.ts'

describe('the verification pool', () => {
  const good = corpus('good').find(({ name }) => name === 'good/both-signed')
  assert.ok(good)

  it('answers in the order of asking, and refuses what does not fit into its queue', async () => {
    const pool = verificationPool({ threads: 1, queue: 3 })
    try {
      const answered: number[] = []
      const asked = [0, 1, 2, 3, 4, 5].map(async (number) => {
        const { outcome } = await pool.response(good.field, expectationsOf(good))
        assert.ok(!isRefusal(outcome))
        answered.push(number)
      })
      const settled = await Promise.allSettled(asked)
      assert.deepEqual(answered, [0, 1, 2, 3])
      assert.deepEqual(
        settled.map((one) => one.status === 'rejected' && one.reason instanceof VerifierBusy),
        [false, false, false, false, true, true],
      )
      assert.ok(!isRefusal((await pool.response(good.field, expectationsOf(good))).outcome), 'there is room again')
    } finally {
      await pool.close()
    }
  })

  it('does not hold up the event loop', async () => {
    const pool = verificationPool({ threads: 1 })
    try {
      await pool.response(good.field, expectationsOf(good))
      let turns = 0
      let done = false
      const count = () => {
        turns++
        if (!done) setImmediate(count)
      }
      setImmediate(count)
      await Promise.all(Array.from({ length: 20 }, () => pool.response(good.field, expectationsOf(good))))
      done = true
      assert.ok(turns > 40, `${turns} turns`)
    } finally {
      await pool.close()
    }
  })

  it('makes the door say 503 and when to come back, and the same answer is taken then', async () => {
    const house = await startHouse({ verifier: verificationPool({ threads: 1, queue: 1 }) })
    try {
      const people = await Promise.all(
        Array.from({ length: 8 }, async () => {
          const walker = new Walker()
          const { id, relayState } = await house.begin(walker)
          return { walker, relayState, answer: house.answer({ inResponseTo: id }) }
        }),
      )
      const post = ({ walker, answer, relayState }: (typeof people)[number]) => house.post(walker, answer, relayState)
      const pages = await Promise.all(people.map(post))
      const busy = pages.filter(({ status }) => status === 503)
      assert.ok(busy.length >= 1 && busy.length < 8, pages.map(({ status }) => status).join())
      for (const page of busy) assert.match(String(page.headers['retry-after']), /^\d+$/)
      for (const [i, page] of pages.entries()) {
        if (page.status === 503) assert.equal((await post(people[i] as (typeof people)[number])).status, 200)
      }
    } finally {
      await house.close()
    }
  })
})
