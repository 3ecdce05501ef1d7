// Takes an attribute out of all that is kept of a source's words, and encrypts what is kept anew when the key has changed.

import type { Actor } from '../domain/events.ts'
import type { SourceId } from '../domain/ids.ts'
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
