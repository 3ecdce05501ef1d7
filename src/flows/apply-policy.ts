// Makes what a file says the policy in force: creates and changes what it names, leaves the rest (or removes it, when
// asked to). Everything is read and checked before the transaction; one fault, and nothing changes.

import { isDeepStrictEqual } from 'node:util'
import type { Actor } from '../domain/events.ts'
import { nextLook } from '../domain/metadata-change.ts'
import {
  type DocumentInForce,
  type DocumentKind,
  type Fault,
  fault,
  type PolicyDocument,
  type PolicyFile,
  SERVICE,
} from '../domain/policy.ts'
import type { MetadataReader, MetadataStates, Mint, PolicyDocuments, Transactions, Tx } from './ports.ts'

export interface Applied {
  readonly kind: DocumentKind
  readonly name: string
  readonly outcome: 'created' | 'changed' | 'unchanged' | 'removed'
}

export interface ApplyPolicy {
  readonly file: PolicyFile
  /** Gatehouse's own host, which no app may take. */
  readonly ownHost: string
  readonly actor: Actor
  readonly now: Date
  /** Remove what the file does not name. */
  readonly prune: boolean
  /** Say what would happen and write nothing. */
  readonly dryRun: boolean
}

type Ports = Transactions & { documents: PolicyDocuments; metadata: MetadataReader; metadataStates: MetadataStates; mint: Mint }

export async function applyPolicy(ports: Ports, ask: ApplyPolicy): Promise<{ applied: readonly Applied[] } | { faults: readonly Fault[] }> {
  const { documents, faults, entities } = await resolve(ports.metadata, ask)
  if (faults.length) return { faults }

  return ports.inTransaction(async (tx) => {
    const inForce = await ports.documents.takeAll(tx)
    const collisions = hostCollisions(ask, inForce)
    const renamed = renamedProviders(ask, documents, inForce)
    if (collisions.length + renamed.length) return { faults: [...collisions, ...renamed] }

    const applied: Applied[] = []
    for (const document of documents) applied.push(await put(ports, tx, ask, { document, inForce, entities }))
    if (ask.prune) applied.push(...(await removeUnnamed(ports, tx, ask, documents, inForce)))
    return { applied }
  })
}

/** Files and networks, before any transaction. */
async function resolve(reader: MetadataReader, { file, ownHost }: ApplyPolicy) {
  const faults: Fault[] = []
  const documents: PolicyDocument[] = []
  /** How many each connection's metadata file held. */
  const entities = new Map<string, number>()
  for (const [index, spec] of file.connections.entries()) {
    if (!spec.metadata) {
      documents.push({ kind: 'connection', name: spec.name, spec })
      continue
    }
    const found = await reader.read(spec.metadata)
    if (typeof found === 'string') {
      faults.push(fault(['connections', index, 'metadata'], found))
      continue
    }
    const { binding } = spec.requests
    if (binding !== 'auto' && !found.idp.singleSignOn[binding]) {
      faults.push(fault(['connections', index, 'requests', 'binding'], `${found.idp.entityId} has no single sign-on over ${binding}`))
      continue
    }
    // A file's content is kept with the document, so that what is in force does not depend on this machine's disk: the one
    // entity, whose signature (which may have been that of a whole federation) has been verified just now.
    entities.set(spec.name, found.entities)
    const { entityId } = spec.metadata
    const metadata = 'url' in spec.metadata ? spec.metadata : { xml: found.xml, ...(entityId ? { entityId } : {}) }
    documents.push({ kind: 'connection', name: spec.name, spec: { ...spec, metadata }, idp: found.idp })
  }
  for (const [index, spec] of file.apps.entries()) {
    if (spec.host === ownHost) faults.push(fault(['apps', index, 'host'], `${spec.host} is Gatehouse’s own host; give the app another`))
    documents.push({ kind: 'app', name: spec.name, spec })
  }
  if (file.service) documents.push({ kind: 'service', name: SERVICE, spec: file.service })
  return { documents, faults, entities }
}

/** A host in the file that an app outside the file already has. */
function hostCollisions({ file, prune }: ApplyPolicy, inForce: readonly DocumentInForce[]): readonly Fault[] {
  if (prune) return []
  const named = new Set(file.apps.map((app) => app.name))
  const taken = new Map<string, string>()
  for (const { document } of inForce) {
    if (document.kind === 'app' && !named.has(document.name)) taken.set(document.spec.host, document.name)
  }
  return file.apps.flatMap((app, index) => {
    const other = taken.get(app.host)
    return other === undefined ? [] : [fault(['apps', index, 'host'], `${app.host} belongs to the app ${other}`)]
  })
}

/** An identity provider under another name is another identity provider: only a file that says the new name means it. */
function renamedProviders(
  { file }: ApplyPolicy,
  documents: readonly PolicyDocument[],
  inForce: readonly DocumentInForce[],
): readonly Fault[] {
  return file.connections.flatMap((spec, index) => {
    const idpOf = (found: PolicyDocument | undefined) => (found?.kind === 'connection' ? found.idp : undefined)
    const named = (one: PolicyDocument) => one.kind === 'connection' && one.name === spec.name
    const before = idpOf(inForce.find(({ document }) => named(document))?.document)
    const after = idpOf(documents.find(named))
    if (!before || !after || before.entityId === after.entityId || spec.metadata?.entityId === after.entityId) return []
    const message = `the metadata is now of ${after.entityId}, and ${spec.name} is connected with ${before.entityId}; if that is meant, write metadata.entityId: ${after.entityId}`
    return [fault(['connections', index, 'metadata'], message)]
  })
}

async function put(
  ports: Ports,
  tx: Tx,
  ask: ApplyPolicy,
  { document, inForce, entities }: { document: PolicyDocument; inForce: readonly DocumentInForce[]; entities: ReadonlyMap<string, number> },
): Promise<Applied> {
  const { kind, name } = document
  const before = inForce.find((one) => one.document.kind === kind && one.document.name === name)
  if (before && isDeepStrictEqual(before.document, document)) return { kind, name, outcome: 'unchanged' }
  if (!ask.dryRun) {
    const source = await ports.documents.put(tx, document, { actor: ask.actor, now: ask.now, source: ports.mint.id('src', ask.now) })
    if (source && document.kind === 'connection' && document.idp) {
      const held = entities.get(name)
      await ports.metadataStates.keep(tx, source, {
        nextAt: nextLook(document.idp, ask.now),
        checkedAt: ask.now,
        outcome: 'applied',
        ...(held === undefined ? {} : { entities: held }),
      })
    }
  }
  return { kind, name, outcome: before ? 'changed' : 'created' }
}

async function removeUnnamed(
  ports: Ports,
  tx: Tx,
  ask: ApplyPolicy,
  documents: readonly PolicyDocument[],
  inForce: readonly DocumentInForce[],
): Promise<readonly Applied[]> {
  const removed: Applied[] = []
  for (const { document } of inForce) {
    const { kind, name } = document
    if (documents.some((one) => one.kind === kind && one.name === name)) continue
    if (!ask.dryRun) await ports.documents.remove(tx, { kind, name }, { actor: ask.actor, now: ask.now })
    removed.push({ kind, name, outcome: 'removed' })
  }
  return removed
}
