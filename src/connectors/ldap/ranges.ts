// Fetches the values that Active Directory holds back when a list is long ([MS-ADTS] section 3.1.1.3.1.3.3). Whoever took the first
// part for all of it would put most members out of a large group.

import { FeedFailure } from '../../flows/feed-ports.ts'
import type { Connection } from './connection.ts'
import { readEntry } from './search.ts'
import { type Remainder, rangeOf, textsOf } from './values.ts'

/** From that value on, part by part; never more than so many. */
export async function* remainder(
  connection: Connection,
  dn: string,
  { name, from }: Remainder,
  most: number,
): AsyncGenerator<readonly string[], void, void> {
  const doing = `read all values of ${name} in ${dn}`
  for (let next: number | undefined = from; next !== undefined; ) {
    const asked: number = next
    if (asked > most) throw new FeedFailure('too-large', `${doing}: there are more than ${most}; feed.rows does not allow it`)
    const entry = await readEntry(connection, { base: dn, attributes: [`${name};range=${asked}-*`], doing })
    if (!entry) throw new FeedFailure('changed', `${dn} went away, or got another name, while it was read; read again`)
    const part = entry.attributes.find((one) => rangeOf(one.description).name.toLowerCase() === name.toLowerCase() && one.values.length)
    // Meanwhile the list has become shorter.
    if (!part) return
    const { next: following }: { next: number | undefined } = rangeOf(part.description)
    if (following !== undefined && following <= asked)
      throw new FeedFailure('endless', `${doing}: the server sends the same values again and again`)
    yield textsOf(name, part) ?? []
    next = following
  }
}
