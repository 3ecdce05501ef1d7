// All resources of one kind, page by page (RFC 7644, 3.4.2.4). The count that a server gives is believed as far as it agrees
// with what comes: whoever is not read would be taken for somebody who has left. So a feed that ends before its count is cut
// off, and one that comes again and again is endless.

import type { FeedLimits } from '../../flows/feed-ports.ts'
import { isList, isObject, type Json, textOf } from '../flattening.ts'
import { type JsonAnswer, type JsonClient, withQuery } from '../http-client.ts'

export interface ListAsk {
  readonly client: JsonClient
  /** Of the endpoint: …/Users. */
  readonly url: URL
  readonly count: number
  readonly filter?: string | undefined
  readonly limits: FeedLimits
}

export interface Page {
  /** Those that have not come before. */
  readonly resources: readonly Json[]
  readonly askedAt: string
  readonly done: number
  readonly total: number | undefined
}

/** Somebody is removed while we read, and everybody after them moves up; how often that may be. */
const MOST_STEPS_BACK = 20

export async function* listed(list: ListAsk, signal: AbortSignal): AsyncGenerator<Page, void, void> {
  const { client, url, count, limits } = list
  const seen = new Set<string>()
  /** The least and the last of the counts that could be true. */
  let least: number | undefined
  let last: number | undefined
  let furthest = 0
  let stepsBack = 0
  const fresh = (resources: readonly Json[]) => resources.filter((one) => seen.size < seen.add(identityOf(one)).size)
  for (let start = 1; ; ) {
    // There may be an error where nothing is any more; RFC 7644 has it answer an empty list.
    const answer = await pageOf(list, start, count, signal, seen.size === least ? [400, 404, 416] : [])
    if (!answer) return
    const { resources, total, askedAt } = answer
    const end = start - 1 + resources.length
    // Some say how many are on the page, or left: then it contradicts where the page is.
    const believed = total !== undefined && total >= end && (start === 1 || total > 0) ? total : undefined
    if (believed !== undefined) least = Math.min(least ?? believed, believed)
    const some = fresh(resources)
    if (seen.size > limits.rows)
      throw client.failure('too-large', `${client.quoted(url)} has more than ${limits.rows} entries; feed.rows allows no more`)
    if (some.length) yield { resources: some, askedAt, done: seen.size, total: believed }
    const missed = Math.max(0, (last ?? 0) - (believed ?? Number.POSITIVE_INFINITY))
    last = believed ?? last
    if (missed) {
      if (++stepsBack > MOST_STEPS_BACK)
        throw client.failure('changed', `${client.quoted(url)} lost entries all the time while it was read`)
      furthest = Math.max(furthest, end)
      start = Math.max(1, start - missed)
      continue
    }
    if (!resources.length) break
    if (!some.length && end > furthest) {
      if (least !== undefined && seen.size >= least) return
      throw client.failure('endless', `${client.quoted(url)} gives the same entries whatever startIndex says (${start})`)
    }
    furthest = Math.max(furthest, end)
    start = end + 1
  }
  const short = least === undefined ? 0 : least - seen.size
  if (short === 1) {
    // Where they are counted from 0, the first is there; elsewhere 0 means 1.
    const first = await pageOf(list, 0, 1, signal, [400])
    const some = first ? fresh(first.resources) : []
    if (first && some.length) return yield { resources: some, askedAt: first.askedAt, done: seen.size, total: least }
  }
  if (short > 0) {
    throw client.failure('cut-off', `${client.quoted(url)} says that it has ${least} entries, and gives no more than ${seen.size}`)
  }
}

function identityOf(resource: Json): string {
  return (isObject(resource) && textOf(resource.id)) || JSON.stringify(resource)
}

interface ListResponse {
  readonly resources: readonly Json[]
  readonly total: number | undefined
  readonly askedAt: string
}

/** RFC 7644, 3.4.2. Undefined: there is no such page, as a status says that `tolerated` has. */
export async function pageOf(
  { client, url, filter }: Pick<ListAsk, 'client' | 'url' | 'filter'>,
  start: number,
  count: number,
  signal: AbortSignal,
  tolerated: readonly number[] = [],
): Promise<ListResponse | undefined> {
  const query = { startIndex: String(start), count: String(count), ...(filter === undefined ? {} : { filter }) }
  const answer = await client.get(withQuery(url, query), signal, [...tolerated, 400])
  if (answer.status > 299) {
    if (tolerated.includes(answer.status)) return undefined
    const refused = client.refused(answer)
    if (filter === undefined || !refusesFilter(answer)) throw refused
    throw client.failure('misconfigured', `${refused.message}: it does not take the filter ${filter}`)
  }
  const { body = null, askedAt } = answer
  const of = (name: string) => (isObject(body) ? (body[name] ?? body[`${name.charAt(0).toLowerCase()}${name.slice(1)}`]) : undefined)
  const said = textOf(of('totalResults'))
  const total = said !== undefined && /^\d+$/.test(said) ? Number(said) : undefined
  const resources = of('Resources')
  // Absent or null where there are none.
  if (isList(resources)) return { resources, total, askedAt }
  if (total !== undefined && (resources ?? null) === null) return { resources: [], total, askedAt }
  throw client.failure('malformed', `the answer of ${client.quoted(answer.url)} is not a list response of SCIM: it has no Resources`)
}

/** RFC 7644, 3.12; some give no scimType, and a page without a filter would not be refused. */
function refusesFilter({ body }: JsonAnswer): boolean {
  const type = isObject(body) ? textOf(body.scimType) : undefined
  return type === undefined || type === 'invalidFilter'
}
