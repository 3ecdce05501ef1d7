// Decides what a source's word does to somebody's access: whether a sign-in lets them in, what an import opens or ends, what
// follows when a source does not name them any more. Ending access never waits for a value that cannot be used.

import type { DecisionPolicy, Known } from './deciding.ts'
import { nothingLeft } from './entitlements.ts'
import { admit, type Following, follow, type LifecycleState, type Transition, type WantedState } from './lifecycle.ts'
import { readAlone } from './mapping.ts'
import type { ExternalId, RecordOnFile, SourceRecord, User } from './model.ts'
import { remember } from './records.ts'
import { isRefusal, type Refusal, refuse } from './refusals.ts'
import { foldKey } from './schema.ts'
import type { Change } from './settle.ts'
import type { SourcePolicy } from './source-policy.ts'

export interface Access extends Following {
  readonly born: LifecycleState
}

/** Whether a sign-in lets somebody in; or what an import does to somebody's access. */
export function accessOf(
  said: SourceRecord,
  {
    source,
    policy,
    user,
    records,
  }: { source: SourcePolicy; policy: DecisionPolicy; user: User | undefined; records: readonly RecordOnFile[] },
): Access | Refusal {
  const carrier = user && carrierOf(policy, source, records)
  const { imports } = source
  if (!imports) {
    const transition = user && admit(user.state, user.id, { name: source.name, revival: source.jit }, carrier)
    return isRefusal(transition) ? transition : { born: 'active', ...(transition ? { transition } : {}) }
  }
  const wanted = wantedState(said, source)
  if (isRefusal(wanted)) return wanted
  if (!user) {
    if (wanted.state === 'deprovisioned') return refuse('lifecycle.left-before', `${wanted.because}, and nobody here is linked to them`)
    return { born: wanted.state === 'suspended' ? 'suspended' : imports.lifecycle.newcomers }
  }
  const { name } = source
  const ask = {
    source: name,
    rules: imports.lifecycle,
    carrier,
    because: wanted.because,
    now: said.observedAt,
    atOnce: wanted.state === 'suspended',
  }
  // Without a word about it, and nobody missed, whoever is shut out stays so.
  return { born: 'active', ...(imports.state || imports.lifecycle.leavers !== 'nothing' ? follow(stateOf(user), wanted.state, ask) : {}) }
}

/** What a source that is imported says of somebody's access. */
function wantedState(said: SourceRecord, source: SourcePolicy): { readonly state: WantedState; readonly because: string } | Refusal {
  const { name, imports } = source
  const state = imports?.state
  if (!state) return { state: 'active', because: `${name} names them` }
  // Nothing of earlier words plays a part.
  const found = readAlone(remember(undefined, said, { key: '', value: '' }), source, state.row)
  if (isRefusal(found)) return found
  const [value = ''] = found
  const meant = state.words.get(foldKey(value)) ?? state.otherwise
  const because = `${name} says ${state.row.from} is ${value === '' ? 'empty' : `«${value}»`}`
  return meant ? { state: meant, because } : refuse('lifecycle.unknown', `${because}, and lifecycle.state has no such word`)
}

/** The best-ranked source of this person that carries lifecycle. */
export function carrierOf(
  { mastery, sources }: DecisionPolicy,
  source: SourcePolicy,
  records: readonly RecordOnFile[],
): string | undefined {
  for (const id of mastery.rank) {
    const one = sources.get(id)
    if (one?.carriesLifecycle && (id === source.id || records.some((record) => record.source === id))) return one.name
  }
  return undefined
}

/** What follows when a source does not name somebody any more; undefined: nothing that has not followed already. */
export function leave(
  { linked: user, records }: Known & { readonly linked: User },
  externalId: ExternalId,
  { source, policy, now, atOnce = false }: { source: SourcePolicy; policy: DecisionPolicy; now: Date; atOnce?: boolean },
): { readonly change: Change; readonly why: string } | undefined {
  const onFile = records.find((record) => record.source === source.id && record.externalId.key === externalId.key)
  const { imports, name } = source
  const leavers = imports?.lifecycle.leavers ?? 'nothing'
  const because = `${name} does not name them any more`
  const carrier = carrierOf(policy, source, records)
  const following: Following =
    leavers === 'nothing' || !imports
      ? { why: `${because}, and ${name} has lifecycle.leavers: nothing` }
      : follow(stateOf(user), leavers === 'suspend' ? 'suspended' : 'deprovisioned', {
          source: name,
          rules: imports.lifecycle,
          carrier,
          because,
          now,
          atOnce,
        })
  const missed = onFile?.missingSince !== undefined
  if (missed && !following.transition) return undefined
  const record = onFile && !missed ? { ...onFile, missingSince: now } : undefined
  return { change: shutOut(user, following, record), why: following.why ?? because }
}

/** As they are, but for the state and what goes with it. */
export function shutOut(user: User, { transition, leaving }: Following, record?: RecordOnFile): Change {
  const ended = transition?.to === 'deprovisioned'
  const entitled = ended ? nothingLeft(user.grants) : { grants: user.grants, gained: [], lost: [], waiting: user.waiting, seats: {} }
  // Entitlements of somebody who comes back follow from the policy: revision 0 says that it is due.
  const after = transition ? { ...user, state: transition.to, grants: entitled.grants, waiting: entitled.waiting, revision: 0 } : user
  return {
    kind: transition || leaving ? 'update' : 'unchanged',
    user: after,
    attributes: [],
    entitled,
    ...(record ? { record } : {}),
    ...(transition ? { transition } : {}),
    ...(leaving ? { leaving } : {}),
    userMoved: transition !== undefined,
    revisionMoved: false,
    recordMoved: record !== undefined,
  }
}

/** Ends access, and never waits for anything else. */
export function isEnd(transition: Transition | undefined): transition is Transition {
  return transition !== undefined && transition.to !== 'active'
}

function stateOf({ state, stateBy }: User) {
  return { state, stateBy }
}
