// Settles who somebody is: one of the people who are here, somebody new, or nobody to care about. Takes effect with the
// person's next sign-in; somebody who was renamed is tied to their new name at once, with all that was known under the old one.

import type { Actor } from '../domain/events.ts'
import type { CaseId, SourceId, UserId } from '../domain/ids.ts'
import type { ExternalId } from '../domain/model.ts'
import type { Audit, Cases, Transactions, Tx, Users } from './ports.ts'

export type Settlement =
  | { readonly verdict: 'linked'; readonly user: UserId }
  | { readonly verdict: 'new' }
  | { readonly verdict: 'ignored' }

export type CaseSettled =
  | { readonly outcome: 'settled'; readonly user?: UserId }
  | { readonly outcome: 'unknown' }
  | { readonly outcome: 'refused'; readonly why: string }

export async function settleCase(
  ports: Transactions & { cases: Cases; users: Users; audit: Audit },
  { id, settlement, actor, now }: { id: CaseId; settlement: Settlement; actor: Actor; now: Date },
): Promise<CaseSettled> {
  return ports.inTransaction(async (tx) => {
    const found = await ports.cases.take(tx, id)
    if (!found) return { outcome: 'unknown' }
    const { source, externalId, renamedFrom, why } = found
    const already = (await ports.users.answer(tx, { about: 'subject', source, externalId })) as { linked?: { id: UserId } }
    if (already.linked) return { outcome: 'refused', why: `«${externalId.value}» is linked to ${already.linked.id} already` }
    if (settlement.verdict === 'linked') {
      const known = await ports.users.take(tx, settlement.user)
      if (!known || known.linked.state === 'erased') return { outcome: 'refused', why: `${settlement.user} is not here` }
      const returns = renamedFrom !== undefined && found.candidates.some(({ user }) => user === settlement.user)
      // Two who claim to be the same person under a new name are not both right.
      if (returns && !(await stillLinked(ports, tx, known.linked.id, { source, renamedFrom })))
        return { outcome: 'refused', why: `${settlement.user} is not «${renamedFrom.value}» any more: they were re-linked meanwhile` }
      const replaces = returns ? { replaces: renamedFrom } : {}
      const evidence = { kind: 'relink', user: known.linked, source, externalId, ...replaces, why } as const
      await ports.users.commit(tx, evidence, { actor, now })
    }
    await ports.cases.settle(tx, id, settlement.verdict, { actor, now })
    const user = settlement.verdict === 'linked' ? { user: settlement.user } : {}
    const details = { case: id, verdict: settlement.verdict, externalId: externalId.value }
    await ports.audit.write(tx, [{ kind: 'match.settled', at: now, actor, source, ...user, details }])
    return { outcome: 'settled', ...user }
  })
}

/** The person may have been given back their old name meanwhile, or have been unlinked. */
async function stillLinked(
  ports: { users: Users },
  tx: Tx,
  user: UserId,
  { source, renamedFrom }: { readonly source: SourceId; readonly renamedFrom: ExternalId },
): Promise<boolean> {
  const owner = (await ports.users.answer(tx, { about: 'subject', source, externalId: renamedFrom })) as { linked?: { id: UserId } }
  return owner.linked?.id === user
}
