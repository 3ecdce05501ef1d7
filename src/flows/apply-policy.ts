// Makes what a file says the policy in force: creates and changes what it names, leaves the rest (or removes it, when
// asked to). Files and networks are read before the transaction; one fault, and nothing changes.

import {
  type DocumentInForce,
  type Fault,
  fault,
  listedDocuments,
  type PolicyDocument,
  type PolicyFile,
  singlesOf,
} from '../domain/documents.ts'
import type { Actor } from '../domain/events.ts'
import { nextLook } from '../domain/metadata-change.ts'
import type { DocumentFault } from '../domain/policy.ts'
import { type Applied, bringIntoForce, orUndone, policyAfter, same, Undone } from './bring-into-force.ts'
import type { MetadataReader, MetadataStates, Mint, PolicyDocuments, Transactions, Tx, Users } from './ports.ts'

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

export type PolicyApplied =
  | { readonly applied: readonly Applied[]; readonly unknownSources: readonly string[] }
  | { readonly faults: readonly Fault[] }

type Ports = Transactions & {
  documents: PolicyDocuments
  metadata: MetadataReader
  metadataStates: MetadataStates
  users: Users
  mint: Mint
}

export async function applyPolicy(ports: Ports, ask: ApplyPolicy): Promise<PolicyApplied> {
  const { documents, faults, entities } = await resolve(ports.metadata, ask)
  if (faults.length) return { faults }

  return orUndone(() =>
    ports.inTransaction(async (tx): Promise<PolicyApplied> => {
      const inForce = await ports.documents.takeAll(tx)
      const collisions = [...hostCollisions(ask, inForce), ...renamedProviders(ask, documents, inForce)]
      if (collisions.length) return { faults: collisions }
      const { actor, now } = ask
      const remove = unnamed(ask, documents, inForce)
      const result = await bringIntoForce(ports, tx, { documents, remove, inForce, actor, now })
      if (result.faults.length) throw new Undone({ faults: result.faults.map((one) => placed(one, ask.file)) })
      await scheduleLooks(ports, tx, ask, { applied: result.applied, documents, entities })
      const { applied, unknownSources } = result
      if (ask.dryRun) throw new Undone({ applied, unknownSources })
      return { applied, unknownSources }
    }),
  )
}

/** The whole policy as a draft would have it, in force nowhere. */
export async function draftPolicy(
  ports: { metadata: MetadataReader; mint: Mint },
  ask: Pick<ApplyPolicy, 'file' | 'ownHost' | 'now' | 'prune'> & { readonly inForce: readonly DocumentInForce[] },
): Promise<{ readonly documents: readonly DocumentInForce[] } | { readonly faults: readonly Fault[] }> {
  const { documents, faults } = await resolve(ports.metadata, ask)
  if (faults.length) return { faults }
  const { inForce, now } = ask
  return { documents: policyAfter(ports.mint, { documents, remove: unnamed(ask, documents, inForce), inForce, now }) }
}

/** Files and networks, before any transaction. */
async function resolve(reader: MetadataReader, { file, ownHost }: Pick<ApplyPolicy, 'file' | 'ownHost'>) {
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
  for (const spec of file.sources) documents.push({ kind: 'source', name: spec.name, spec })
  for (const spec of file.targets) documents.push({ kind: 'target', name: spec.name, spec })
  return { documents: [...singlesOf(file), ...documents], faults, entities }
}

/** In the file where it names the document; otherwise by the document's own name. */
export function placed({ kind, name, segments, message }: DocumentFault, file: PolicyFile): Fault {
  const plural = kind in listedDocuments ? listedDocuments[kind as keyof typeof listedDocuments] : undefined
  if (!plural)
    return kind in file ? fault([kind, ...segments], message) : fault([kind, ...segments], `${message} (in force, not in this file)`)
  const index = file[plural].findIndex((one) => one.name === name)
  return index < 0
    ? fault([plural], `${name} (in force, not in this file): ${[...segments].join('.')} ${message}`)
    : fault([plural, index, ...segments], message)
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

async function scheduleLooks(
  ports: Ports,
  tx: Tx,
  { now }: ApplyPolicy,
  {
    applied,
    documents,
    entities,
  }: { applied: readonly Applied[]; documents: readonly PolicyDocument[]; entities: ReadonlyMap<string, number> },
): Promise<void> {
  for (const { kind, name, source } of applied) {
    const document = documents.find((one) => same(one, { kind, name }))
    if (!source || document?.kind !== 'connection' || !document.idp) continue
    const held = entities.get(name)
    const nextAt = nextLook(document.idp, now)
    await ports.metadataStates.keep(tx, source, {
      nextAt,
      checkedAt: now,
      outcome: 'applied',
      ...(held === undefined ? {} : { entities: held }),
    })
  }
}

function unnamed({ prune }: Pick<ApplyPolicy, 'prune'>, documents: readonly PolicyDocument[], inForce: readonly DocumentInForce[]) {
  if (!prune) return []
  return inForce
    .filter(({ document }) => !documents.some((one) => same(one, document)))
    .map(({ document: { kind, name } }) => ({ kind, name }))
}
