// Takes out of what is kept of sources' words what is not to be kept, or not any longer; encrypts it anew when the key has changed.

import type { Actor } from '../domain/events.ts'
import type { SourceId } from '../domain/ids.ts'
import type { Policy } from '../domain/policy.ts'
import { isRead } from '../domain/source-policy.ts'
import type { Audit, Kept, Transactions } from './ports.ts'

type Ports = Transactions & { kept: Kept; audit: Audit }

export async function redactAttribute(
  ports: Ports,
  { source, attribute, actor, now }: { source: SourceId; attribute: string; actor: Actor; now: Date },
): Promise<{ readonly records: number; readonly responses: number }> {
  return ports.inTransaction(async (tx) => {
    const gone = await ports.kept.redact(tx, source, attribute)
    await ports.audit.write(tx, [{ kind: 'records.redacted', at: now, actor, source, details: { attribute, ...gone } }])
    return gone
  })
}

const BATCH = 500

/**
 * What nobody reads is kept for a while only: it is there so that an administrator can see it and map it. What the policy reads
 * stays with the person, because their profile follows from it.
 */
export async function trimRecords(
  ports: Transactions & { kept: Kept },
  { policy, keepDays, now }: { policy: Policy; keepDays: number; now: Date },
): Promise<number> {
  if (!keepDays) return 0
  const before = new Date(now.getTime() - keepDays * 86_400_000)
  let done = 0
  for (;;) {
    const some = await ports.inTransaction((tx) =>
      ports.kept.trim(tx, {
        before,
        most: BATCH,
        read: (record, attribute) => isRead(policy.sources.get(record.source), record, attribute),
      }),
    )
    done += some
    if (some < BATCH) return done
  }
}

/** In batches: whoever stops in the middle goes on later. */
export async function resealRecords(
  ports: Ports,
  { actor, now, onProgress }: { actor: Actor; now: Date; onProgress?: (done: number) => void },
): Promise<number> {
  let done = 0
  for (;;) {
    const some = await ports.inTransaction((tx) => ports.kept.reseal(tx, BATCH))
    if (!some) break
    done += some
    onProgress?.(done)
  }
  if (done) await ports.inTransaction((tx) => ports.audit.write(tx, [{ kind: 'records.sealed', at: now, actor, details: { count: done } }]))
  return done
}
