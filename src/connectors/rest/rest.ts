// Reads people from a service that answers with JSON, page by page, as its document says: where the rows are, and how to come
// to the next page. A page that is not what it should be ends the feed with a failure, never as if there were no more people.

import { createHash } from 'node:crypto'
import type { RestSettings } from '../../domain/documents/source.ts'
import type { AskWeb, Connector, Feed, FeedBatch, FeedEnd, FeedFault, FeedLimits, FeedRow } from '../../flows/feed-ports.ts'
import { discoverIn } from '../discovery.ts'
import { at, attributesOf, flatten, type Gathered, isList, isObject, type Json } from '../flattening.ts'
import { httpClient, type JsonAnswer, type JsonClient, withQuery } from '../http-client.ts'
import { pagingOf } from './paging.ts'

export interface RestAsk {
  readonly settings: RestSettings
  /** By the name that the document gives it. */
  readonly secrets: (name: string) => string
  readonly limits: FeedLimits
  readonly ask: AskWeb
}

export function restConnector({ settings, secrets, limits, ask }: RestAsk): Connector {
  const { auth, headers, changedSince } = settings
  const client = httpClient({ auth, accept: 'application/json', headers, secrets, patienceMs: limits.patienceMs, ask })
  const read = async (signal: AbortSignal, since?: string): Promise<Feed> => ({
    columns: undefined,
    batches: people({ settings, client, limits }, since, signal),
  })
  return {
    kind: 'rest',
    changesShowLeavers: false,
    test: (signal) => tried({ settings, client, limits }, signal),
    readFull: (signal) => read(signal),
    ...(changedSince === undefined ? {} : { readChanges: (cursor, signal) => read(signal, cursor) }),
    discover: async (signal) => discoverIn(await read(signal)),
  }
}

interface Rest {
  readonly settings: RestSettings
  readonly client: JsonClient
  readonly limits: FeedLimits
}

/**
 * A service that says what comes next may give pages without a row. Every other page has one that counts against `limits.rows`,
 * so both together bound the number of pages.
 */
const MOST_EMPTY_PAGES = 1_000

async function* people(
  { settings, client, limits }: Rest,
  since: string | undefined,
  signal: AbortSignal,
): AsyncGenerator<FeedBatch, FeedEnd, void> {
  const { changedSince } = settings
  const whole = new URL(settings.url)
  const paging = pagingOf(
    settings.paging,
    since === undefined || changedSince === undefined ? whole : withQuery(whole, { [changedSince]: since }),
    client,
  )
  const digests = new Set<string>()
  let began: string | undefined
  let done = 0
  let empty = 0
  for (let url: URL | undefined = paging.first; url; ) {
    const answer: JsonAnswer = await client.get(url, signal)
    began ??= answer.askedAt
    const elements = rowsOf(answer, settings.rows, client)
    if (done + elements.length > limits.rows)
      throw client.failure('too-large', `${client.quoted(whole)} has more than ${limits.rows} rows; feed.rows allows no more`)
    if (!elements.length && ++empty > MOST_EMPTY_PAGES)
      throw client.failure('endless', `${client.quoted(whole)} goes on and on with empty pages`)
    if (elements.length && digests.size === digests.add(digestOf(elements)).size)
      throw client.failure(
        'endless',
        `${client.quoted(url)} has the same rows as a page before it: paging may not be what its document says`,
      )
    const rows: FeedRow[] = []
    const faults: FeedFault[] = []
    for (const element of elements) {
      const place = `row ${++done}`
      if (!isObject(element)) faults.push({ place, why: 'it is not an object' })
      else rows.push({ place, attributes: attributesOf(gathered(element), place, limits) })
    }
    if (elements.length) yield { rows, faults, done }
    url = paging.after(answer, elements.length)
  }
  return changedSince === undefined || began === undefined ? {} : { cursor: began }
}

function gathered(element: Json): Gathered {
  const into: Gathered = new Map()
  flatten(into, '', element)
  return into
}

function digestOf(elements: readonly Json[]): string {
  return createHash('sha256').update(JSON.stringify(elements)).digest('base64')
}

/** None where there is null, or nothing at all with the status that says so; but what is not there is not an empty list. */
function rowsOf({ status, body, url }: JsonAnswer, pointer: string, client: JsonClient): readonly Json[] {
  if (status === 204) return []
  if (body === undefined) throw client.failure('malformed', `${client.quoted(url)} answered with nothing`)
  const found = at(body, pointer)
  if (isList(found)) return found
  if (found === null) return []
  const where = pointer === '' ? `the answer of ${client.quoted(url)}` : `what is at ${pointer} in the answer of ${client.quoted(url)}`
  throw client.failure(
    'misconfigured',
    found === undefined ? `there is nothing at ${pointer} in the answer of ${client.quoted(url)}` : `${where} is not a list of rows`,
  )
}

async function tried({ settings, client }: Rest, signal: AbortSignal): Promise<string> {
  const { first, after } = pagingOf(settings.paging, new URL(settings.url), client)
  const answer = await client.get(first, signal)
  const rows = rowsOf(answer, settings.rows, client)
  const more = after(answer, rows.length) !== undefined
  const [row] = rows
  const names = isObject(row) ? [...gathered(row).keys()] : []
  const has = names.length ? `; the first has ${names.slice(0, 20).join(', ')}${names.length > 20 ? ', …' : ''}` : ''
  return `the first page of ${client.quoted(first)} has ${rows.length} rows, ${more ? 'and another page may follow' : 'and is the only one'}${has}`
}
