// From one page of a REST service to the next. Where it ends: with no next page where the service says what comes next, and
// with an empty page where we count. A short page is no end: services give fewer than they are asked for, because they allow no
// more or because they filter a page after they have cut it.

import type { RestSettings } from '../../domain/documents/source.ts'
import { at, textOf } from '../flattening.ts'
import { type JsonAnswer, type JsonClient, withQuery } from '../http-client.ts'

export interface Paging {
  readonly first: URL
  /** Undefined: that was the last. @param rows how many there were on it */
  after(answer: JsonAnswer, rows: number): URL | undefined
}

type Style<Name> = Extract<RestSettings['paging'], { style: Name }>

export function pagingOf(settings: RestSettings['paging'], url: URL, client: JsonClient): Paging {
  switch (settings.style) {
    case 'none':
      return { first: url, after: () => undefined }
    case 'page':
      return counted(url, settings, settings.first, (page) => page + 1)
    case 'offset':
      return counted(url, settings, 0, (offset, rows) => offset + rows)
    case 'cursor':
      return byCursor(url, settings, client)
    case 'link':
      return byLink(url, settings, client)
  }
}

function counted(
  url: URL,
  { parameter, sizeParameter, size }: Style<'page'> | Style<'offset'>,
  from: number,
  next: (at: number, rows: number) => number,
): Paging {
  const page = (at: number) =>
    withQuery(url, { [parameter]: String(at), ...(sizeParameter === undefined ? {} : { [sizeParameter]: String(size) }) })
  let here = from
  return {
    first: page(from),
    after: (_answer, rows) => {
      if (!rows) return undefined
      here = next(here, rows)
      return page(here)
    },
  }
}

function byCursor(url: URL, { parameter, next }: Style<'cursor'>, client: JsonClient): Paging {
  const once = eachOnce(client)
  return {
    first: url,
    after: (answer) => {
      const cursor = saidAt(answer, next, client)
      return cursor === undefined ? undefined : once(withQuery(url, { [parameter]: cursor }), answer)
    },
  }
}

function byLink(url: URL, { next }: Style<'link'>, client: JsonClient): Paging {
  const once = eachOnce(client)
  return {
    first: url,
    after: (answer) => {
      const address = next === undefined ? nextLink(answer.headers.link ?? '') : saidAt(answer, next, client)
      if (address === undefined) return undefined
      if (!URL.canParse(address, answer.url.href))
        throw client.failure(
          'misconfigured',
          `the next page of ${client.quoted(answer.url)} is said to be at ${client.quoted(address)}, which is no address`,
        )
      const target = new URL(address, answer.url)
      // Our credentials go along.
      if (target.origin !== url.origin)
        throw client.failure(
          'misconfigured',
          `the next page of ${client.quoted(answer.url)} is said to be at ${client.quoted(target)}, which is another service: our credentials are not sent there`,
        )
      return once(target, answer)
    },
  }
}

function eachOnce(client: JsonClient): (next: URL, answer: JsonAnswer) => URL {
  const seen = new Set<string>()
  return (next, answer) => {
    if (answer.url.href === next.href || seen.size === seen.add(next.href).size)
      throw client.failure('endless', `after ${client.quoted(answer.url)} comes ${client.quoted(next)}, which has been read already`)
    return next
  }
}

/** Nothing, null, false and an empty text all say that there is no next page. */
function saidAt({ body, url }: JsonAnswer, pointer: string, client: JsonClient): string | undefined {
  const said = at(body ?? null, pointer)
  if (said === undefined || said === null || said === false || said === '') return undefined
  const text = textOf(said)
  if (text === undefined || said === true)
    throw client.failure(
      'misconfigured',
      `at ${pointer || 'the top'} of the answer of ${client.quoted(url)} is no text that says what comes next`,
    )
  return text
}

/** RFC 8288, 3: the target of the first link that is `next`; a link whose context is elsewhere (3.2) is none of ours. */
export function nextLink(header: string): string | undefined {
  for (const [, target = '', parameters = ''] of header.matchAll(/<([^>]*)>((?:[^,"<]|"(?:[^"\\]|\\.)*")*)/g)) {
    const said = new Map<string, string>()
    for (const [, name = '', quoted, token] of parameters.matchAll(/;\s*([^\s=;]+)\s*(?:=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;]*)))?/g)) {
      // Only the first of a name counts (3.3).
      if (!said.has(name.toLowerCase())) said.set(name.toLowerCase(), quoted?.replace(/\\(.)/g, '$1') ?? token ?? '')
    }
    const relations = (said.get('rel') ?? '').toLowerCase().split(/\s+/)
    if (relations.includes('next') && !said.has('anchor')) return target
  }
  return undefined
}
