// Looks at an identity provider's metadata again, where the administrator said it is, so that its keys can change without
// an outage. New keys and addresses take effect as a new version of the connection; what failed, is unsigned although a
// signature is demanded, has another entityID or less than before leaves what works in force, and is told.

import { isDeepStrictEqual } from 'node:util'
import type { PolicyDocument } from '../domain/documents.ts'
import type { Actor } from '../domain/events.ts'
import type { IdentityProvider } from '../domain/identity-provider.ts'
import { compareMetadata, type MetadataChange, nextLook, nextTry, RESCUE_EVERY_MS } from '../domain/metadata-change.ts'
import type { Connection } from '../domain/policy.ts'
import type { Audit, MetadataReader, MetadataState, MetadataStates, Mint, PolicyDocuments, Transactions, Tx } from './ports.ts'

export type RefreshPorts = Transactions & {
  documents: PolicyDocuments
  metadata: MetadataReader
  metadataStates: MetadataStates
  audit: Audit
  mint: Mint
  /** SHA-256 of a certificate, for people. */
  fingerprint: (certificate: string) => string
}

export interface RefreshAsk {
  readonly connection: Connection
  readonly actor: Actor
  /** An administrator wants what is there now, even if it would be held. */
  readonly accept?: boolean
  readonly now: Date
}

export interface Refreshed {
  readonly connection: string
  readonly outcome: NonNullable<MetadataState['outcome']>
  /** What failed, or why it is held. */
  readonly reasons: readonly string[]
  readonly addedKeys: readonly string[]
  readonly removedKeys: readonly string[]
  readonly keys: readonly string[]
  readonly endpoints: readonly string[]
  readonly nextAt: Date
}

/** Undefined: the connection has no address to look at. */
export async function refreshMetadata(ports: RefreshPorts, ask: RefreshAsk): Promise<Refreshed | undefined> {
  const { connection, now } = ask
  const { metadata } = connection
  if (!metadata || !('url' in metadata)) return undefined
  const found = await ports.metadata.read(metadata)
  return ports.inTransaction(async (tx) => {
    const state = await ports.metadataStates.find(tx, connection.id)
    if (typeof found === 'string') return failed(ports, tx, ask, state, found)
    const inForce = (await ports.documents.takeAll(tx)).find(({ source }) => source === connection.id)?.document
    // What was read is of the address, the pinned certificate and the entity that were in force before it was fetched.
    if (inForce?.kind !== 'connection' || !inForce.idp || !isDeepStrictEqual(inForce.spec.metadata, metadata)) {
      return failed(ports, tx, ask, state, 'the connection has been changed meanwhile')
    }
    const { binding } = inForce.spec.requests ?? { binding: 'auto' }
    if (binding !== 'auto' && !found.idp.singleSignOn[binding]) {
      return failed(ports, tx, ask, state, `it has no single sign-on over ${binding}, which the connection asks by`)
    }
    const change = compareMetadata({ idp: inForce.idp, entities: state?.entities }, found)
    const outcome = !change.moved && !change.held.length ? 'unchanged' : change.held.length && !ask.accept ? 'held' : 'applied'
    const told = tell(ports, connection.name, outcome, change, found.idp, outcome === 'held' ? inForce.idp : found.idp, now)
    const { validUntil } = found.idp
    const details = {
      ...(validUntil ? { validUntil } : {}),
      reasons: told.reasons,
      addedKeys: told.addedKeys,
      removedKeys: told.removedKeys,
      endpoints: told.endpoints,
    }
    if (outcome === 'applied') {
      const document: PolicyDocument = { ...inForce, idp: found.idp }
      await ports.documents.put(tx, document, { actor: ask.actor, now, source: connection.id })
      await ports.audit.write(tx, [{ kind: 'metadata.applied', at: now, actor: ask.actor, source: connection.id, details }])
    }
    // Held for the same reasons as an hour ago is no news.
    const news = state?.outcome !== 'held' || !isDeepStrictEqual(state.details?.reasons, details.reasons)
    if (outcome === 'held' && news) {
      await ports.audit.write(tx, [{ kind: 'metadata.held', at: now, actor: ask.actor, source: connection.id, details }])
    }
    const entities = outcome === 'held' ? state?.entities : found.entities
    await ports.metadataStates.keep(tx, connection.id, {
      nextAt: told.nextAt,
      checkedAt: now,
      outcome,
      details,
      ...(entities === undefined ? {} : { entities }),
    })
    return told
  })
}

function tell(
  { fingerprint }: RefreshPorts,
  connection: string,
  outcome: Refreshed['outcome'],
  { addedKeys, removedKeys, endpoints, held }: MetadataChange,
  fetched: IdentityProvider,
  inForce: IdentityProvider,
  now: Date,
): Refreshed {
  return {
    connection,
    outcome,
    reasons: outcome === 'held' ? held : [],
    addedKeys: addedKeys.map(fingerprint),
    removedKeys: removedKeys.map(fingerprint),
    keys: inForce.certificates.map(fingerprint),
    endpoints,
    nextAt: nextLook(fetched, now),
  }
}

async function failed(ports: RefreshPorts, tx: Tx, { connection, now }: RefreshAsk, state: MetadataState | undefined, why: string) {
  const nextAt = nextTry(now)
  const entities = state?.entities === undefined ? {} : { entities: state.entities }
  await ports.metadataStates.keep(tx, connection.id, {
    nextAt,
    checkedAt: now,
    outcome: 'failed',
    details: { reasons: [why] },
    ...entities,
  })
  const keys = connection.idp.certificates.map(ports.fingerprint)
  return {
    connection: connection.name,
    outcome: 'failed',
    reasons: [why],
    addedKeys: [],
    removedKeys: [],
    keys,
    endpoints: [],
    nextAt,
  } as const
}

const SCHEDULE: Actor = { kind: 'system', name: 'metadata schedule' }
const RESCUE: Actor = { kind: 'system', name: 'metadata, after a signature by an unknown key' }
/** While one node looks, the others leave it alone for this long. */
const LEASE_MS = 5 * 60_000

/** Looks if its time has come, on one node only. Undefined: not yet, or another node does. */
export async function refreshIfDue(
  ports: RefreshPorts,
  { connection, now }: { connection: Connection; now: Date },
): Promise<Refreshed | undefined> {
  if (!connection.metadata || !('url' in connection.metadata)) return undefined
  const until = new Date(now.getTime() + LEASE_MS)
  const due = await ports.inTransaction(async (tx) => {
    if (await ports.metadataStates.find(tx, connection.id)) return ports.metadataStates.claimDue(tx, connection.id, now, until)
    // It was read when it was applied, by an earlier release.
    await ports.metadataStates.keep(tx, connection.id, { nextAt: nextLook(connection.idp, now) })
    return false
  })
  return due ? refreshMetadata(ports, { connection, actor: SCHEDULE, now }) : undefined
}

/** A signature verified under none of the known keys: there may be a new one. Looks once in a while, however often that happens. */
export async function rescueMetadata(ports: RefreshPorts, { connection, now }: { connection: Connection; now: Date }): Promise<void> {
  if (!connection.metadata || !('url' in connection.metadata)) return
  const ours = await ports.inTransaction((tx) => ports.metadataStates.claimRescue(tx, connection.id, now, RESCUE_EVERY_MS))
  if (ours) await refreshMetadata(ports, { connection, actor: RESCUE, now })
}
