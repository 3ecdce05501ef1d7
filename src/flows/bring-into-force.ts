// Brings documents into force, or says what does not fit. The whole policy as it would be is compiled and judged, keys are
// made for what is to be found by from now on, and only then is anything kept. Within somebody else's transaction, which has
// to be rolled back where there are faults.

import { isDeepStrictEqual } from 'node:util'
import { currentDocument, type DocumentInForce, type DocumentKind, isOfSource, type PolicyDocument } from '../domain/documents.ts'
import type { Actor } from '../domain/events.ts'
import type { SourceId } from '../domain/ids.ts'
import type { KeyKind } from '../domain/keys.ts'
import { compilePolicy, type DocumentFault, missingSubjects } from '../domain/policy.ts'
import type { Mint, PolicyDocuments, Tx, Users } from './ports.ts'

export interface Applied {
  readonly kind: DocumentKind
  readonly name: string
  readonly outcome: 'created' | 'changed' | 'unchanged' | 'removed'
  /** Of the source that a connection is, where it was written. */
  readonly source?: SourceId
}

export interface BringIntoForce {
  readonly documents: readonly PolicyDocument[]
  readonly remove: readonly { readonly kind: DocumentKind; readonly name: string }[]
  readonly inForce: readonly DocumentInForce[]
  readonly actor: Actor
  readonly now: Date
}

export interface IntoForce {
  readonly applied: readonly Applied[]
  readonly faults: readonly DocumentFault[]
  /** Names of sources that nothing is known by yet. */
  readonly unknownSources: readonly string[]
}

type Ports = { documents: PolicyDocuments; users: Users; mint: Mint }

export async function bringIntoForce(ports: Ports, tx: Tx, ask: BringIntoForce): Promise<IntoForce> {
  const { documents, remove, inForce } = ask
  const after = policyAfter(ports.mint, ask)
  const policy = compilePolicy(0, after)
  const touchesConnections = documents.some(({ kind }) => kind === 'connection')
  const faults = [...policy.faults, ...(touchesConnections ? missingSubjects(after) : [])]
  const { unknownSources } = policy
  if (faults.length) return { applied: [], faults, unknownSources }

  const applied: Applied[] = []
  for (const [at, document] of documents.entries()) {
    const { kind, name } = document
    const before = inForce.find((one) => same(one.document, document))
    if (before && isDeepStrictEqual(currentDocument(before.document), document)) {
      applied.push({ kind, name, outcome: 'unchanged' })
      continue
    }
    const source = await ports.documents.put(tx, document, {
      actor: ask.actor,
      now: ask.now,
      source: ports.mint.id('src', inTurn(ask.now, at)),
    })
    applied.push({ kind, name, outcome: before ? 'changed' : 'created', ...(source ? { source } : {}) })
  }
  for (const { kind, name } of remove) {
    await ports.documents.remove(tx, { kind, name }, { actor: ask.actor, now: ask.now })
    applied.push({ kind, name, outcome: 'removed' })
  }
  // Before anything is decided under the new policy, everybody can be found by what it asks for.
  const rekeyed = sameKinds(compilePolicy(0, inForce).keys, policy.keys) ? [] : await ports.users.rekey(tx, policy.keys)
  const clashes = rekeyed.map(({ name, value, users }): DocumentFault => {
    const rule = after.find(({ document }) => document.kind === 'schema')
    const index = rule?.document.kind === 'schema' ? rule.document.spec.attributes.findIndex((one) => one.name === name) : -1
    const message = `${name} cannot be unique: ${users.join(' and ')} have the same value${policy.schema.get(name)?.sensitive ? '' : ` («${value.slice(0, 80)}»)`}`
    return { kind: 'schema', name: 'schema', segments: ['attributes', ...(index < 0 ? [] : [index, 'unique'])], message }
  })
  return { applied, faults: clashes, unknownSources }
}

/** All that would be in force. */
export function policyAfter(mint: Mint, { documents, remove, inForce, now }: Omit<BringIntoForce, 'actor'>): readonly DocumentInForce[] {
  const kept = inForce.filter(({ document }) => !documents.some((one) => same(one, document)) && !remove.some((one) => same(one, document)))
  const changed = documents.map((document, at): DocumentInForce => {
    const before = inForce.find((one) => same(one.document, document))
    const source = before?.source ?? (isOfSource(document.kind) ? mint.id('src', inTurn(now, at)) : undefined)
    const moved = !before || !isDeepStrictEqual(currentDocument(before.document), document)
    return { document, version: (before?.version ?? 0) + (moved ? 1 : 0), ...(source ? { source } : {}) }
  })
  return [...kept, ...changed]
}

/** Those of one file are born in its order, which is that of their rank where nothing else is said. */
function inTurn(now: Date, at: number): Date {
  return new Date(now.getTime() + at)
}

export function same(a: { kind: DocumentKind; name: string }, b: { kind: DocumentKind; name: string }): boolean {
  return a.kind === b.kind && a.name === b.name
}

function sameKinds(a: readonly KeyKind[], b: readonly KeyKind[]): boolean {
  const names = (kinds: readonly KeyKind[]) => kinds.map(({ name, unique }) => `${name} ${unique}`).sort()
  return isDeepStrictEqual(names(a), names(b))
}

/** Thrown to have a transaction rolled back with a result to tell. */
export class Undone<Result> extends Error {
  override readonly name = 'Undone'
  readonly result: Result
  constructor(result: Result) {
    super('nothing was written')
    this.result = result
  }
}

/** What `work` returned, or what it was undone with. */
export async function orUndone<Result>(work: () => Promise<Result>): Promise<Result> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof Undone) return error.result as Result
    throw error
  }
}
