// Deletes what has run out, so that tables do not grow for ever: requests nobody answered, tickets, claims that can no
// longer be replayed, sessions past their end, and sign-in records older than they are kept.

import type { Leftovers, Transactions } from './ports.ts'

export async function sweepExpired(
  ports: Transactions & { leftovers: Leftovers },
  { now, keepSignInsDays }: { now: Date; keepSignInsDays: number },
): Promise<number> {
  const signInsBefore = new Date(now.getTime() - keepSignInsDays * 86_400_000)
  return ports.inTransaction((tx) => ports.leftovers.sweep(tx, now, signInsBefore))
}
