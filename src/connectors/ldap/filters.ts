// Reads the filters of a source's document (RFC 4515), and puts ours beside them.

import { AndFilter, type Filter, FilterParser } from 'ldapts'
import { FeedFailure } from '../../flows/feed-ports.ts'
import { line } from './failures.ts'

const decoder = new TextDecoder('utf-8', { fatal: true })

/** @param where the setting it stands in */
export function filterOf(text: string, where: string): Filter {
  try {
    // The library forgives a bracket that is not closed. Within a value they are escaped.
    if (text.split('(').length !== text.split(')').length) throw new Error('as many brackets have to be closed as are opened')
    return FilterParser.parseString(oneLine(text).replace(/(?:\\[89a-f][0-9a-f])+/gi, plainly))
  } catch (error) {
    throw new FeedFailure('misconfigured', `${where} is not a filter: ${line((error as Error).message)}`, { cause: error })
  }
}

/** People write long filters on several lines. */
function oneLine(text: string): string {
  return text.trim().replace(/(?<=[()&|!])\s+(?=[()&|!])/g, '')
}

/** The library takes each escaped byte for a character; those of UTF-8 may as well stand there as they are (RFC 4515 section 3). */
function plainly(escaped: string): string {
  return decoder.decode(Buffer.from(escaped.replaceAll('\\', ''), 'hex'))
}

export function both(one: Filter, other: Filter): Filter {
  return new AndFilter({ filters: [one, other] })
}
