// People in memory: the connector that tests and trials use keeps the same promises as the others.

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { type MemoryPeople, memoryConnector } from '../../src/connectors/memory/memory.ts'
import { collect, connectorContract, failsAs } from './contract.ts'

const never = () => new AbortController().signal

/** A source that a test changes. */
class Source {
  private changed = 0
  private readonly rows = new Map<string, MemoryPeople['rows'][number]>()

  constructor(count: number) {
    for (let i = 1; i <= count; i++) this.put(`p${i}`, `Department ${i % 4}`)
  }

  put(id: string, department: string): string {
    this.rows.set(id, { place: `row of ${id}`, attributes: { id: [id], department: [department], note: [] }, changed: ++this.changed })
    return id
  }

  drop(id: string): string {
    this.rows.set(id, { place: `row of ${id}`, attributes: { id: [id] }, gone: true, changed: ++this.changed })
    return id
  }

  get connector() {
    return memoryConnector(() => ({ rows: [...this.rows.values()], groups: [{ id: 'g1', name: 'Staff', members: this.rows.size }] }))
  }
}

connectorContract('memory', async () => {
  const source = new Source(30)
  return {
    connector: source.connector,
    key: 'id',
    people: Array.from({ length: 30 }, (_, i) => `p${i + 1}`),
    attribute: 'department',
    change: async () => source.put('p7', 'Law'),
    remove: async () => source.drop('p8'),
    groups: ['Staff'],
    misbehaving: [],
    close: async () => {},
  }
})

describe('people in memory', () => {
  it('come some at a time, and it is said how far', async () => {
    const { batches } = await new Source(250).connector.readFull(never())
    const seen: unknown[] = []
    for await (const { rows, done, total } of batches) seen.push([rows.length, done, total])
    assert.deepEqual(seen, [
      [100, 100, 250],
      [100, 200, 250],
      [50, 250, 250],
    ])
  })

  it('may be nobody', async () => {
    const { connector } = new Source(0)
    const { rows, cursor = '' } = await collect(await connector.readFull(never()))
    assert.deepEqual([rows, cursor], [[], '0'])
    assert.deepEqual((await collect((await connector.readChanges?.(cursor, never())) ?? assert.fail())).rows, [])
  })

  it('are those who were there when the reading began', async () => {
    const source = new Source(150)
    const feed = await source.connector.readFull(never())
    const first = await feed.batches.next()
    source.drop('p149')
    source.put('p151', 'Law')
    const others = await collect(feed)
    assert.equal((first.done ? 0 : first.value.rows.length) + others.rows.length, 150)
    assert.equal(others.cursor, '150')
    const changes = await collect((await source.connector.readChanges?.('150', never())) ?? assert.fail())
    assert.deepEqual(
      changes.rows.map(({ place, gone = false }) => [place, gone]),
      [
        ['row of p149', true],
        ['row of p151', false],
      ],
    )
  })

  it('do not include those who are gone, but among the changes', async () => {
    const source = new Source(3)
    source.drop('p2')
    const { rows } = await collect(await source.connector.readFull(never()))
    assert.deepEqual(
      rows.map(({ place }) => place),
      ['row of p1', 'row of p3'],
    )
  })

  it('are left in the middle when the run is stopped', async () => {
    const stop = new AbortController()
    const { batches } = await new Source(250).connector.readFull(stop.signal)
    assert.equal((await batches.next()).done, false)
    stop.abort()
    await assert.rejects(batches.next(), failsAs(['cancelled']))
  })
})
