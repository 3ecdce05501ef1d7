// Decides whether a feed is to be believed before anything is done because of it. An empty, halved, cut-off or doubled feed looks
// like a hundred leavers and a hundred newcomers; each way of being wrong has a name.

import { couldBeSame } from './attribute-names.ts'

/** What was counted while it was read. */
export interface FeedCounts {
  readonly rows: number
  /** Rows that `only` or the subjects left. */
  readonly meant: number
  /** Lines that could not be read. */
  readonly faults: number
  /** Attribute -> rows that had a value of it. */
  readonly attributes: Readonly<Record<string, number>>
}

export interface Feed {
  readonly mode: 'full' | 'incremental'
  readonly counts: FeedCounts
  /** The names that its rows may have, where that is known; undefined: it is not. */
  readonly columns: readonly string[] | undefined
  /** Keys that came more than once, and where. */
  readonly doubled: readonly { readonly key: string; readonly places: readonly string[] }[]
  /** The feed ended in the middle; what is known of it. */
  readonly cutOff?: string
  /** Of the last full feed that was believed. */
  readonly usual: FeedCounts | undefined
}

export interface Health {
  readonly code:
    | 'feed.empty'
    | 'feed.shrunk'
    | 'feed.column-missing'
    | 'feed.duplicate-keys'
    | 'feed.cut-off'
    | 'feed.filtered'
    | 'feed.faults'
  readonly why: string
}

const MOST_TOLD = 5
/** A column that so many of the rows had is not empty by chance. */
const OFTEN = 0.1

/** Nothing: it may be believed. */
export function healthOf(
  feed: Feed,
  { needed, smallest, filter }: { needed: readonly string[]; smallest: number; filter?: string },
): readonly Health[] {
  const { counts, usual, doubled, cutOff, mode } = feed
  const held: Health[] = []
  const hold = (code: Health['code'], why: string) => held.push({ code, why })
  if (cutOff !== undefined) hold('feed.cut-off', cutOff)
  if (mode === 'full' && !counts.rows)
    hold('feed.empty', usual ? `the feed is empty, and the last one had ${usual.rows} rows` : 'the feed is empty')
  else if (mode === 'full' && !counts.meant)
    hold(
      'feed.filtered',
      `none of the ${counts.rows} rows ${filter === undefined ? 'has a key that can be used' : `passes ${filter}`}${usual?.meant ? `, and the last time ${usual.meant} did` : ''}`,
    )
  else if (mode === 'full' && usual && counts.meant < usual.meant * smallest)
    hold(
      'feed.shrunk',
      `${counts.meant} rows came, and the last time it was ${usual.meant}; below ${Math.round(smallest * 100)} % of that it is held`,
    )
  const missing = missingColumns(feed, needed)
  if (missing.length) hold('feed.column-missing', missing.join('; '))
  if (doubled.length) {
    const told = doubled.slice(0, MOST_TOLD).map(({ key, places }) => `«${key}» (${some(places, MOST_TOLD)})`)
    const more = doubled.length > MOST_TOLD ? ` and ${doubled.length - MOST_TOLD} more` : ''
    hold(
      'feed.duplicate-keys',
      `${doubled.length === 1 ? 'one key comes' : `${doubled.length} keys come`} more than once: ${told.join('; ')}${more}`,
    )
  }
  // A few bad lines are told; when they are many, it is the file that is bad.
  if (counts.faults > 10 && counts.faults > (counts.rows + counts.faults) * 0.1)
    hold('feed.faults', `${counts.faults} of ${counts.rows + counts.faults} rows cannot be read`)
  return held
}

function missingColumns({ columns, counts, usual, mode }: Feed, needed: readonly string[]): readonly string[] {
  if (columns) {
    const missing = needed.filter((name) => !columns.some((column) => couldBeSame(column, name)))
    if (!missing.length) return []
    const names = missing.map((name) => `«${name}»`).join(', ')
    return [`there is no column ${names}, which the mapping reads; there are ${columns.length ? some(columns, 30) : 'none'}`]
  }
  if (mode !== 'full' || !usual || !counts.rows) return []
  return needed.flatMap((name) => {
    const had = Object.entries(usual.attributes).find(([attribute]) => couldBeSame(attribute, name))
    const has = Object.keys(counts.attributes).some((attribute) => couldBeSame(attribute, name))
    if (!had || has || had[1] < usual.meant * OFTEN) return []
    return [`nobody has «${name}» any more, which the mapping reads; the last time ${had[1]} had it`]
  })
}

function some(all: readonly string[], most: number): string {
  const told = all.slice(0, most).map((one) => (one.length > LONGEST_TOLD ? `${one.slice(0, LONGEST_TOLD)}…` : one))
  return `${told.join(', ')}${all.length > most ? ', …' : ''}`
}

const LONGEST_TOLD = 100
