// A source in memory, for tests and for trying a policy: rows that are given, and changes since a count.

import type { Connector, Feed, FeedBatch, FeedEnd, FeedGroup, FeedRow } from '../../flows/feed-ports.ts'
import { FeedFailure } from '../../flows/feed-ports.ts'
import { discoverIn } from '../discovery.ts'

export interface MemoryPeople {
  /** Each with the count at which it was last changed. */
  readonly rows: readonly (FeedRow & { readonly changed: number })[]
  readonly groups?: readonly FeedGroup[]
}

const BATCH = 100

export function memoryConnector(people: () => MemoryPeople): Connector {
  const read = async (signal: AbortSignal, since: number): Promise<Feed> => ({
    columns: undefined,
    batches: batches(people(), since, signal),
  })
  return {
    kind: 'memory',
    changesShowLeavers: true,
    test: async () => `there are ${people().rows.length} people in memory`,
    readFull: (signal) => read(signal, Number.NEGATIVE_INFINITY),
    readChanges: (cursor, signal) => read(signal, Number(cursor)),
    discover: async (signal) => discoverIn(await read(signal, Number.NEGATIVE_INFINITY)),
    async *readGroups() {
      yield people().groups ?? []
    },
  }
}

async function* batches({ rows }: MemoryPeople, since: number, signal: AbortSignal): AsyncGenerator<FeedBatch, FeedEnd, void> {
  const full = since === Number.NEGATIVE_INFINITY
  const meant = rows.filter((row) => row.changed > since && !(full && row.gone))
  for (let i = 0; i < meant.length; i += BATCH) {
    if (signal.aborted) throw new FeedFailure('cancelled', 'the run was stopped')
    const some = meant.slice(i, i + BATCH).map(({ place, attributes, gone }) => ({ place, attributes, ...(gone ? { gone } : {}) }))
    yield { rows: some, faults: [], done: i + some.length, total: meant.length }
  }
  return { cursor: String(Math.max(0, ...rows.map(({ changed }) => changed))) }
}
