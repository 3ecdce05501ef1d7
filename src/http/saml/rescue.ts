// A signature that none of a connection's keys verifies may be by a new key. Has it looked for, and tells what is in force then.

import type { Connection, Policy } from '../../domain/policy.ts'

export interface RescueDeps {
  readonly policy: () => Promise<Policy>
  /** Looks for new keys, once in a while. */
  readonly rescue: (connection: Connection, now: Date) => Promise<void>
}

/** Undefined: nothing has changed, so trying again would end the same. Another node may have found the new key as well. */
export async function renewed(
  deps: RescueDeps,
  connection: Connection,
  now: Date,
): Promise<{ readonly policy: Policy; readonly connection: Connection } | undefined> {
  await deps.rescue(connection, now)
  const policy = await deps.policy()
  const again = policy.connections.get(connection.name)
  return again && again.version !== connection.version ? { policy, connection: again } : undefined
}
