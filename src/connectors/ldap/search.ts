// Searches a directory page by page (RFC 2696), so that neither the server's limits nor our memory decide who is read. Every page
// has to come whole, and to be another one than those before; an answer that is cut short is an error, never an end.

import { createHash } from 'node:crypto'
import { type Control, type Filter, PagedResultsControl, PresenceFilter, SearchRequest } from 'ldapts'
import { FeedFailure } from '../../flows/feed-ports.ts'
import type { Connection } from './connection.ts'
import { NO_SUCH_OBJECT, refusal, wrongAnswer } from './failures.ts'
import { cookieIn, type EntryMessage, type ResultMessage, SEARCH_DONE } from './messages.ts'

export interface Search {
  readonly base: string
  readonly scope: 'sub' | 'one' | 'base'
  readonly filter: Filter
  readonly attributes: readonly string[]
  readonly pageSize: number
  readonly controls?: readonly Control[]
  /** For people: what it is about. */
  readonly doing: string
}

export interface Page<Kept> {
  readonly kept: readonly Kept[]
  /** References to other servers, which are not followed (RFC 4511 section 4.5.3). */
  readonly references: number
  /** There is another page. */
  readonly more: boolean
}

/** A server may take its time over a page without finding anything, but not for ever. */
const EMPTY_PAGES = 100
const REFERENCES = 10_000

/** @param keep is asked of every entry as it comes, before the page is whole */
export async function* pages<Kept>(
  connection: Connection,
  search: Search,
  keep: (entry: EntryMessage) => Kept,
): AsyncGenerator<Page<Kept>, void, void> {
  const { doing, pageSize } = search
  const seen = new Set<string>()
  let cookie: Buffer = Buffer.alloc(0)
  let empty = 0
  for (;;) {
    const paged = new PagedResultsControl({ critical: true, value: { size: pageSize, cookie } })
    const id = connection.send((messageId) => requestOf(messageId, search, [paged, ...(search.controls ?? [])]))
    const kept: Kept[] = []
    const names = createHash('sha256')
    let references = 0
    let result: ResultMessage | undefined
    while (!result) {
      const message = await connection.receive(id)
      if (message.kind === 'entry') {
        if (kept.length === pageSize)
          throw new FeedFailure(
            'misconfigured',
            `${doing}: the server has no paged results (RFC 2696): it sends more than one page at once`,
          )
        names.update(`${message.dn}\0`)
        kept.push(keep(message))
      } else if (message.kind === 'reference') {
        if (++references > REFERENCES) throw new FeedFailure('endless', `${doing}: the server refers to other servers without end`)
      } else if (message.operation === SEARCH_DONE) result = message
      else throw wrongAnswer(doing)
    }
    const refused = refusal(result, doing)
    if (refused) throw refused
    const control = result.controls.get(PagedResultsControl.type)
    cookie = control ? cookieIn(control) : Buffer.alloc(0)
    const more = cookie.length > 0
    if (kept.length) {
      const digest = names.digest('base64')
      if (seen.has(digest)) throw new FeedFailure('endless', `${doing}: the server sends the same page again and again`)
      seen.add(digest)
      empty = 0
    } else if (++empty > EMPTY_PAGES) {
      throw new FeedFailure('endless', `${doing}: the server says that there is more, and sends nothing, again and again`)
    }
    yield { kept, references, more }
    if (!more) return
  }
}

/** One entry by its name; undefined where there is none. */
export async function readEntry(
  connection: Connection,
  search: Pick<Search, 'base' | 'attributes' | 'doing'>,
): Promise<EntryMessage | undefined> {
  const filter = new PresenceFilter({ attribute: 'objectClass' })
  const id = connection.send((messageId) => requestOf(messageId, { ...search, filter, scope: 'base' }, []))
  let entry: EntryMessage | undefined
  for (;;) {
    const message = await connection.receive(id)
    if (message.kind === 'result' && message.operation === SEARCH_DONE) {
      const refused = refusal(message, search.doing)
      if (refused && refused.result !== NO_SUCH_OBJECT) throw refused
      return refused ? undefined : entry
    }
    // One entry was asked for.
    if (message.kind !== 'entry' || entry) throw wrongAnswer(search.doing)
    entry = message
  }
}

function requestOf(messageId: number, search: Omit<Search, 'pageSize' | 'doing'>, controls: readonly Control[]): SearchRequest {
  return new SearchRequest({
    messageId,
    baseDN: search.base,
    scope: search.scope,
    filter: search.filter,
    attributes: [...search.attributes],
    // Neither limit is ours to set; the library would say ten seconds.
    sizeLimit: 0,
    timeLimit: 0,
    derefAliases: 'never',
    controls: [...controls],
  })
}
