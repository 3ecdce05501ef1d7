// Erases whom a source has deprovisioned as long ago as it says, only if it is still because of that that they are out.

import type { Actor } from '../domain/events.ts'
import type { UserId } from '../domain/ids.ts'
import type { Policy } from '../domain/policy.ts'
import { changeState } from './change-state.ts'
import type { EndAccessPorts } from './end-access.ts'
import type { Leavings } from './import-ports.ts'
import type { Transactions, Users } from './ports.ts'

export interface EraseDue {
  readonly policy: Policy
  /** People whom this actor has deprovisioned before then, a few at a time. */
  readonly deprovisionedBy: (actor: string, before: Date, most: number) => Promise<readonly UserId[]>
  readonly now: Date
}

const DAY_MS = 86_400_000
const BATCH = 100

/** @returns how many were erased */
export async function eraseDue(
  ports: Transactions & EndAccessPorts & { users: Users; leavings: Leavings },
  { policy, deprovisionedBy, now }: EraseDue,
): Promise<number> {
  let erased = 0
  for (const { id, name, imports } of policy.sources.values()) {
    if (imports?.eraseDays === undefined) continue
    const actor: Actor = { kind: 'source', id, name }
    const before = new Date(now.getTime() - imports.eraseDays * DAY_MS)
    for (;;) {
      // Whoever was restored, or deprovisioned again by somebody else, is not among them.
      const due = await deprovisionedBy(`source ${name}`, before, BATCH)
      const reason = `${name} has deprovisioned them ${imports.eraseDays} days ago`
      for (const user of due)
        if ((await changeState(ports, { user, to: 'erased', reason, policy, actor, now })).outcome === 'changed') erased++
      if (due.length < BATCH) break
    }
  }
  return erased
}
