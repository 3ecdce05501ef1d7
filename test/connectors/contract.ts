// What every connector promises, asked of each in turn: it reads everybody, the same way each time; it gives up at once when it
// is told to; it fails by name, in plain words, without its secrets; and where it can do more, that holds, too.

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { type Connector, type Feed, FeedFailure, type FeedFailureCode, type FeedFault, type FeedRow } from '../../src/flows/feed-ports.ts'

export interface ContractSubject {
  readonly connector: Connector
  /** The attribute that tells people apart. */
  readonly key: string
  /** Keys of all who are there, in any order; at least 25. */
  readonly people: readonly string[]
  /** An attribute that everybody has, with more than one value among them. */
  readonly attribute: string
  /** Where it reads changes: changes one person (and returns their key), removes one. */
  readonly change?: () => Promise<string>
  readonly remove?: () => Promise<string>
  /** Where it reads groups: their names. */
  readonly groups?: readonly string[]
  /** Ways in which the other side may go wrong, each with a connector that meets it. */
  readonly misbehaving: readonly Misbehaviour[]
  /** Must not be in any message. */
  readonly secret?: string
  close(): Promise<void>
}

export interface Misbehaviour {
  readonly name: string
  readonly connector: () => Connector | Promise<Connector>
  /** One of these; none: it is got over, and everybody is read. */
  readonly fails: readonly FeedFailureCode[]
}

export interface Collected {
  readonly rows: readonly FeedRow[]
  readonly faults: readonly FeedFault[]
  readonly cursor: string | undefined
  /** How far it said it was, batch by batch. */
  readonly done: readonly number[]
}

export async function collect({ batches }: Feed): Promise<Collected> {
  const rows: FeedRow[] = []
  const faults: FeedFault[] = []
  const done: number[] = []
  for (;;) {
    const step = await batches.next()
    if (step.done) return { rows, faults, cursor: step.value.cursor, done }
    rows.push(...step.value.rows)
    faults.push(...step.value.faults)
    done.push(step.value.done)
  }
}

const never = () => new AbortController().signal

/** @param skip why this machine cannot ask, or false */
export function connectorContract(name: string, open: () => Promise<ContractSubject>, { skip = false as string | false } = {}): void {
  describe(`the contract of a connector: ${name}`, { skip }, () => {
    let subject: ContractSubject
    const keysOf = (rows: readonly FeedRow[]) => rows.map(({ attributes }) => attributes[subject.key]?.[0] ?? '(none)').sort()
    before(async () => {
      subject = await open()
    })
    after(() => subject?.close())

    it('says what it has found when it is tried', async () => {
      assert.match(await subject.connector.test(never()), /\S/)
    })

    it('reads everybody, each once, and says how far it is', async () => {
      const { rows, faults, done } = await collect(await subject.connector.readFull(never()))
      assert.deepEqual(faults, [])
      assert.deepEqual(keysOf(rows), [...subject.people].sort())
      assert.equal(new Set(rows.map(({ place }) => place)).size, rows.length, 'each row has a place of its own')
      assert.deepEqual(
        [...done].sort((a, b) => a - b),
        done,
        'what is done only grows',
      )
      const values = new Set(rows.map(({ attributes }) => attributes[subject.attribute]?.join()))
      assert.ok(values.size > 1, `${subject.attribute} differs from person to person`)
      for (const { attributes, gone } of rows) {
        assert.equal(gone, undefined)
        for (const [attribute, all] of Object.entries(attributes)) {
          assert.ok(Array.isArray(all) && all.every((value) => typeof value === 'string'), `${attribute} is a list of texts`)
        }
      }
    })

    it('says the same in the same order when nothing has changed', async () => {
      const said = async () => {
        const { rows } = await collect(await subject.connector.readFull(never()))
        return new Map(rows.map(({ attributes }) => [attributes[subject.key]?.[0], JSON.stringify(attributes)]))
      }
      assert.deepEqual(await said(), await said())
    })

    it('can be left in the middle, and read again', async () => {
      const { batches } = await subject.connector.readFull(never())
      await batches.next()
      await batches.return({})
      assert.equal((await batches.next()).done, true)
      const { rows } = await collect(await subject.connector.readFull(never()))
      assert.equal(rows.length, subject.people.length)
    })

    it('gives up when it is told to', async () => {
      const stop = new AbortController()
      stop.abort()
      await assert.rejects(async () => collect(await subject.connector.readFull(stop.signal)), failsAs(['cancelled'], subject.secret))
    })

    it('shows what attributes there are, with examples', async (t) => {
      if (!subject.connector.discover) return t.skip('it does not say that it can')
      const found = await subject.connector.discover(never())
      for (const wanted of [subject.key, subject.attribute]) {
        const one = found.find((attribute) => attribute.name === wanted)
        assert.ok(one && one.count > 0 && one.examples.length > 0, `${wanted} is found`)
      }
    })

    it('reads what has changed since the last time, and no more', async (t) => {
      const { readChanges } = subject.connector
      if (!readChanges || !subject.change) return t.skip('it does not say that it can')
      const { cursor } = await collect(await subject.connector.readFull(never()))
      assert.ok(cursor !== undefined, 'a full feed ends with a cursor')
      const quiet = await collect(await readChanges(cursor, never()))
      assert.ok(quiet.rows.length < subject.people.length / 2, `${quiet.rows.length} rows although nothing has changed`)
      const changed = await subject.change()
      const busy = await collect(await readChanges(cursor, never()))
      assert.ok(keysOf(busy.rows).includes(changed))
      assert.ok(busy.rows.length < subject.people.length / 2, `${busy.rows.length} rows for one change`)
      assert.ok(busy.cursor !== undefined)
    })

    it('shows who has left among the changes, where it says so', async (t) => {
      const { readChanges, changesShowLeavers } = subject.connector
      if (!readChanges || !changesShowLeavers || !subject.remove) return t.skip('it does not say that it can')
      const { cursor = '' } = await collect(await subject.connector.readFull(never()))
      const removed = await subject.remove()
      const { rows } = await collect(await readChanges(cursor, never()))
      assert.ok(keysOf(rows.filter(({ gone }) => gone)).includes(removed))
    })

    it('reads the groups', async (t) => {
      if (!subject.connector.readGroups || !subject.groups) return t.skip('it does not say that it can')
      const names: string[] = []
      for await (const some of subject.connector.readGroups(never())) names.push(...some.map((group) => group.name))
      assert.deepEqual(names.sort(), [...subject.groups].sort())
    })

    it('fails by name, in plain words and without its secrets, whatever the other side does', async (t) => {
      for (const { name: what, connector, fails } of subject.misbehaving) {
        await t.test(what, async () => {
          const asked = await connector()
          const read = async () => collect(await asked.readFull(never()))
          if (fails.length) await assert.rejects(read, failsAs(fails, subject.secret))
          else assert.equal((await read()).rows.length, subject.people.length)
        })
      }
    })
  })
}

export function failsAs(codes: readonly FeedFailureCode[], secret?: string) {
  return (error: unknown): boolean => {
    assert.ok(error instanceof FeedFailure, `not a FeedFailure: ${(error as Error)?.stack}`)
    assert.ok(codes.includes(error.code), `${error.code} (${error.message}), not ${codes.join(' or ')}`)
    assert.ok(error.message.length > 10, 'it says what is wrong')
    if (secret !== undefined) assert.ok(!error.message.includes(secret), 'the message holds a secret')
    return true
  }
}
