// People of whom a plan asks whether they are now called something else: under their old name they look like leavers. Whoever says yes
// to a plan as a whole has not said who they are, and so has not said that they have left.

import type { RunId, UserId } from '../domain/ids.ts'
import type { ImportReads } from './import-ports.ts'

const SIZE = 500

export async function askedAbout({ importReads }: { readonly importReads: ImportReads }, run: RunId): Promise<ReadonlySet<UserId>> {
  const users = new Set<UserId>()
  for (let after = 0; ; ) {
    const rows = await importReads.rows(run, { after, size: SIZE, status: 'waiting', decision: 'disputed' })
    const last = rows.at(-1)
    if (!last) return users
    after = last.seq
    for (const { planned } of rows) if (planned.code === 'match.renamed') for (const { user } of planned.candidates) users.add(user)
  }
}
