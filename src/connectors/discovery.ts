// Looks at the first rows of a feed, for somebody who is about to write a mapping.

import type { Feed, FoundAttribute } from '../flows/feed-ports.ts'

const ROWS = 200
const EXAMPLES = 3
const LONGEST_EXAMPLE = 80

export async function discoverIn({ columns = [], batches }: Feed): Promise<readonly FoundAttribute[]> {
  const found = new Map<string, { count: number; examples: string[] }>(columns.map((name) => [name, { count: 0, examples: [] }]))
  let rows = 0
  // Leaving the loop closes the feed.
  for await (const batch of batches) {
    for (const { attributes } of batch.rows) {
      for (const [name, values] of Object.entries(attributes)) {
        const one = found.get(name) ?? { count: 0, examples: [] }
        found.set(name, one)
        if (values.length) one.count++
        for (const value of values) {
          const example = value.slice(0, LONGEST_EXAMPLE)
          if (one.examples.length < EXAMPLES && !one.examples.includes(example)) one.examples.push(example)
        }
      }
      rows++
    }
    if (rows >= ROWS) break
  }
  return [...found].map(([name, one]) => ({ name, ...one }))
}
