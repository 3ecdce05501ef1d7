// Deletes what has run out, so that tables do not grow for ever: requests nobody answered, tickets, claims that can no
// longer be replayed, sessions past their end, and sign-in records older than they are kept.

import type { Leftovers, Transactions } from './ports.ts'

export async function sweepExpired(
  ports: Transactions & { leftovers: Leftovers },
  {
    now,
    keepSignInsDays,
    keepResponsesDays,
    keepPlansDays,
  }: { now: Date; keepSignInsDays: number; keepResponsesDays: number; keepPlansDays: number },
): Promise<number> {
  const daysAgo = (days: number) => new Date(now.getTime() - days * 86_400_000)
  const before = {
    signIns: daysAgo(keepSignInsDays),
    responses: daysAgo(Math.min(keepResponsesDays, keepSignInsDays)),
    plans: daysAgo(keepPlansDays),
  }
  return ports.inTransaction((tx) => ports.leftovers.sweep(tx, now, before))
}
