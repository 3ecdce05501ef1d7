// Decides which states a user may pass between, and whether a sign-in may let somebody in. A state that is not
// "active" lets nobody in, whatever the identity provider says: signing in never brings anybody back.

import { type Refusal, refuse } from './refusals.ts'

export type LifecycleState = 'active' | 'deprovisioned'

const transitions: Readonly<Record<LifecycleState, readonly LifecycleState[]>> = {
  active: ['deprovisioned'],
  deprovisioned: [],
}

export function mayBecome(from: LifecycleState, to: LifecycleState): boolean {
  return transitions[from].includes(to)
}

/** Undefined: come in. */
export function admit(state: LifecycleState, userId: string): Refusal | undefined {
  switch (state) {
    case 'active':
      return undefined
    case 'deprovisioned':
      return refuse('user.deprovisioned', `${userId} is deprovisioned; a sign-in does not revive anybody`)
  }
}
