// Takes a document back to one of its versions: as a new version, because history is never rewritten.

import type { DocumentKind } from '../domain/documents.ts'
import type { Actor } from '../domain/events.ts'
import type { DocumentFault } from '../domain/policy.ts'
import { type Applied, bringIntoForce, orUndone, same, Undone } from './bring-into-force.ts'
import type { Mint, PolicyDocuments, Transactions, Users } from './ports.ts'

export interface RollBackPolicy {
  readonly kind: DocumentKind
  readonly name: string
  readonly version: number
  /** Gatehouse's own host, which no app may take. */
  readonly ownHost: string
  readonly actor: Actor
  readonly now: Date
}

export type RolledBack =
  | { readonly applied: readonly Applied[] }
  | { readonly faults: readonly DocumentFault[] }
  /** There is no such version, or the document was out of force with it. */
  | { readonly outcome: 'unknown' }

export async function rollBackPolicy(
  ports: Transactions & { documents: PolicyDocuments; users: Users; mint: Mint },
  { kind, name, version, ownHost, actor, now }: RollBackPolicy,
): Promise<RolledBack> {
  return orUndone(() =>
    ports.inTransaction(async (tx): Promise<RolledBack> => {
      const inForce = await ports.documents.takeAll(tx)
      const found = await ports.documents.version(tx, { kind, name, version })
      if (!found) return { outcome: 'unknown' }
      if (found.kind === 'app' && found.spec.host === ownHost)
        return { faults: [{ kind, name, segments: ['host'], message: `${ownHost} is Gatehouse’s own host now` }] }
      const before = inForce.find(({ document }) => same(document, { kind, name }))?.document
      // What an identity provider's metadata says now is no part of what an administrator had written then.
      const isUrl =
        before?.kind === 'connection' && before.spec.metadata && 'url' in before.spec.metadata ? before.spec.metadata.url : undefined
      const wasUrl =
        found.kind === 'connection' && found.spec.metadata && 'url' in found.spec.metadata ? found.spec.metadata.url : undefined
      const idp = before?.kind === 'connection' && isUrl !== undefined && isUrl === wasUrl ? before.idp : undefined
      const document = found.kind === 'connection' && idp ? { ...found, idp } : found
      const { applied, faults } = await bringIntoForce(ports, tx, { documents: [document], remove: [], inForce, actor, now })
      if (faults.length) throw new Undone<RolledBack>({ faults })
      return { applied }
    }),
  )
}
