// Stops a run. Whoever works on it notices with the next batch; what was applied stands, and nothing else follows from it.

import { type Actor, actorName } from '../domain/events.ts'
import type { RunId } from '../domain/ids.ts'
import type { ImportRun, Imports } from './import-ports.ts'
import type { Audit, Transactions } from './ports.ts'
import { isWholePlan } from './run-import.ts'

/** A string: why not. */
export async function cancelImport(
  ports: Transactions & { imports: Imports; audit: Audit },
  { run: id, actor, now }: { run: RunId; actor: Actor; now: Date },
): Promise<ImportRun | string> {
  return ports.inTransaction(async (tx) => {
    const run = await ports.imports.take(tx, id)
    if (!run) return `there is no run ${id}`
    if (!['running', 'held', 'planned', 'waiting'].includes(run.state)) return `the run is ${run.state} already`
    const by = actorName(actor)
    const ended: ImportRun = { ...run, state: 'cancelled', details: { ...run.details, cancelledBy: by }, finishedAt: now }
    const rests = run.kind === 'import' && run.state !== 'running'
    const cancelled = rests ? { ...ended, counts: { ...run.counts, waiting: 0 } } : ended
    await ports.imports.put(tx, cancelled, now)
    // Nobody is to be asked about what nothing follows from.
    if (rests) await ports.imports.withdraw(tx, id)
    // Whoever reads may be gone; a plan that was whole can still be looked at.
    if (run.kind === 'import' && run.state === 'running' && run.phase === 'reading' && !isWholePlan(run))
      await ports.imports.discard(tx, id)
    await ports.audit.write(tx, [
      { kind: 'run.cancelled', at: now, actor, run: id, source: run.source, details: { was: run.state, ...run.counts } },
    ])
    return cancelled
  })
}
