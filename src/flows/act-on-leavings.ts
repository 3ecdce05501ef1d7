// Does what was put off when somebody left a source: once the grace period is over, and only if they have not come back. And erases
// whom a source has deprovisioned long enough ago, only if it is still because of that that they are out.

import { leave, shutOut } from '../domain/access.ts'
import type { Actor } from '../domain/events.ts'
import { transition } from '../domain/lifecycle.ts'
import type { Policy } from '../domain/policy.ts'
import type { SourcePolicy } from '../domain/source-policy.ts'
import { type EndAccessPorts, endAccess } from './end-access.ts'
import type { Leavings, PendingLeaving } from './import-ports.ts'
import type { Transactions, Tx, Users } from './ports.ts'

type Ports = Transactions & EndAccessPorts & { users: Users; leavings: Leavings }

const BATCH = 50

/** @returns how many people's access was ended */
export async function actOnLeavings(ports: Ports, { policy, now }: { policy: Policy; now: Date }): Promise<number> {
  let ended = 0
  for (;;) {
    const done = await ports.inTransaction(async (tx) => {
      const due = await ports.leavings.takeDue(tx, now, BATCH)
      let count = 0
      for (const leaving of due) if (await act(ports, tx, { leaving, policy, now })) count++
      return { looked: due.length, count }
    })
    ended += done.count
    if (done.looked < BATCH) return ended
  }
}

async function act(
  ports: Ports,
  tx: Tx,
  { leaving, policy, now }: { leaving: PendingLeaving; policy: Policy; now: Date },
): Promise<boolean> {
  await ports.leavings.cancel(tx, leaving.source, [leaving.user])
  const source = policy.sources.get(leaving.source)
  const known = await ports.users.take(tx, leaving.user)
  if (!known || !source?.imports) return false
  const change = changeOf(known, { leaving, source, policy, now })
  if (!change?.transition) return false
  const actor: Actor = { kind: 'source', id: source.id, name: source.name }
  const run = leaving.run ? { run: leaving.run } : {}
  await ports.users.commit(tx, change, { actor, now, ...run })
  await endAccess(ports, tx, { user: change.user, transition: change.transition, policy, actor, now, ...run })
  return true
}

function changeOf(
  known: NonNullable<Awaited<ReturnType<Users['take']>>>,
  { leaving, source, policy, now }: { leaving: PendingLeaving; source: SourcePolicy; policy: Policy; now: Date },
) {
  const onFile = known.records.find((record) => record.source === source.id && record.externalId.key === leaving.externalKey)
  // Missing: the source's setting of today decides. Said in so many words: what was said then.
  if (onFile?.missingSince) return leave(known, onFile.externalId, { source, policy, now, atOnce: true })?.change
  const out = transition(known.linked.state, leaving.to, leaving.reason)
  return out && shutOut(known.linked, { transition: out })
}
