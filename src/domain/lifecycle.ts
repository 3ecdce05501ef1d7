// Decides which states a user may pass between, and whether a sign-in may let somebody in. A state that is not "active"
// lets nobody in, whatever the identity provider says: signing in brings somebody back only where that is allowed in so many words.

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
  if (carrier !== undefined && carrier !== source.name) {
    return refuse(code, `${who} is ${state}, and ${carrier}, which ranks above ${source.name}, carries the lifecycle of this person`)
  }
  return transition(state, 'active', `signed in through ${source.name}, which has jit.${state}: ${source.revival[state]}`)
}
