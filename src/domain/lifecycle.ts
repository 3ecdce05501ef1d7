// Decides which states a user may pass between, and whether a sign-in may let somebody in. A state that is not "active"
// lets nobody in, whatever the identity provider says: signing in brings somebody back only where that is allowed in so many words.
// And decides what follows for somebody's access from what a source that is imported says of them, or no longer says.

import { type Refusal, refuse } from './refusals.ts'

/**
 * staged: known ahead of time, not in yet. suspended: shut out for a while, keeps what they have. deprovisioned: access
 * ended, entitlements gone. erased: only a tombstone is left, so that nobody comes back by accident.
 */
export const lifecycleStates = ['staged', 'active', 'suspended', 'deprovisioned', 'erased'] as const
export type LifecycleState = (typeof lifecycleStates)[number]

const transitions: Readonly<Record<LifecycleState, readonly LifecycleState[]>> = {
  staged: ['active', 'deprovisioned', 'erased'],
  active: ['suspended', 'deprovisioned'],
  suspended: ['active', 'deprovisioned'],
  // Suspend before erase, and deprovision before erase: each step can be taken back but the last.
  deprovisioned: ['active', 'erased'],
  erased: [],
}

declare const lawful: unique symbol
/** A change of state that is allowed. Only `transition` makes one, so no other can be written. */
export interface Transition {
  readonly from: LifecycleState
  readonly to: LifecycleState
  readonly reason: string
  readonly [lawful]: true
}

/** Undefined: this state does not lead to that one. */
export function transition(from: LifecycleState, to: LifecycleState, reason: string): Transition | undefined {
  return transitions[from].includes(to) ? ({ from, to, reason } as Transition) : undefined
}

/** What a sign-in may do for somebody who is not active. */
export interface Revival {
  readonly staged: 'refuse' | 'activate'
  readonly suspended: 'refuse' | 'revive'
  readonly deprovisioned: 'refuse' | 'revive'
}

/**
 * Undefined: come in as you are. A transition: come in by that.
 * @param carrier the best-ranked source of this user that carries lifecycle; where it is another one, it alone brings back
 */
export function admit(
  state: LifecycleState,
  who: string,
  source: { readonly name: string; readonly revival: Revival },
  carrier: string | undefined,
): Transition | Refusal | undefined {
  if (state === 'active') return undefined
  if (state === 'erased') return refuse('user.erased', `${who} was erased; a sign-in does not bring anybody back from that`)
  const code = `user.${state}` as const
  const allowed = source.revival[state] !== 'refuse'
  if (!allowed) return refuse(code, `${who} is ${state}, and ${source.name} has jit.${state}: refuse`)
  // Whoever was made ahead of time is let in where that is allowed; no source has said that they are to stay out.
  if (state !== 'staged' && carrier !== undefined && carrier !== source.name) {
    return refuse(code, `${who} is ${state}, and ${carrier}, which ranks above ${source.name}, carries the lifecycle of this person`)
  }
  return transition(state, 'active', `signed in through ${source.name}, which has jit.${state}: ${source.revival[state]}`)
}

/** What a source that is imported may do to people's access. */
export interface LifecycleRules {
  /** What somebody is who is seen for the first time. */
  readonly newcomers: 'active' | 'staged'
  readonly leavers: 'nothing' | 'suspend' | 'deprovision'
  /** Between somebody's leaving and what follows from it. */
  readonly graceDays: number
  /** What becomes of somebody whose access this source has ended, and whom it names again. */
  readonly returns: 'revive' | 'ask' | 'nothing'
}

/** What a source says that somebody's access is to be. */
export type WantedState = 'active' | 'suspended' | 'deprovisioned'

export interface Following {
  readonly transition?: Transition
  /** What is to follow, once the grace period is over. */
  readonly leaving?: Leaving
  /** For whoever asks. */
  readonly why?: string
}

/** Somebody has left, and keeps what they have until then. */
export interface Leaving {
  readonly to: 'suspended' | 'deprovisioned'
  readonly since: Date
  readonly due: Date
  readonly reason: string
}

export interface Leaver {
  readonly state: LifecycleState
  readonly stateBy: string | undefined
}

const DAY_MS = 86_400_000

/**
 * What a source's word does to somebody's access.
 * @param carrier the best-ranked source of this person that carries lifecycle; where it is another one, this word does nothing
 * @param because `hr says status T`, for the reason
 * @param atOnce the grace period is over, or there is none to be kept
 */
export function follow(
  { state, stateBy }: Leaver,
  wanted: WantedState,
  {
    source,
    rules,
    carrier,
    because,
    now,
    atOnce = false,
  }: { source: string; rules: LifecycleRules; carrier: string | undefined; because: string; now: Date; atOnce?: boolean },
): Following {
  if (carrier !== undefined && carrier !== source)
    return wanted === 'active' && state === 'active' ? {} : { why: `${because}, but ${carrier} carries the lifecycle of this person` }
  if (wanted === 'active') {
    if (state !== 'suspended' && state !== 'deprovisioned') return {}
    if (stateBy !== `source ${source}`) return { why: `${because}, but it was ${stateBy ?? 'somebody else'} who made them ${state}` }
    if (rules.returns === 'nothing') return { why: `${because}, and ${source} has lifecycle.returns: nothing` }
    const back = transition(state, 'active', `${because} again`)
    return back ? { transition: back } : {}
  }
  // Whoever was never let in has nothing that a suspension would take.
  if (state === wanted || state === 'deprovisioned' || state === 'erased' || (state === 'staged' && wanted === 'suspended')) return {}
  if (rules.graceDays && !atOnce) {
    const due = new Date(now.getTime() + rules.graceDays * DAY_MS)
    return { leaving: { to: wanted, since: now, due, reason: because }, why: `${because}; what follows waits until ${due.toISOString()}` }
  }
  const out = transition(state, wanted, because)
  return out ? { transition: out } : {}
}
