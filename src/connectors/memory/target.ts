// A system in memory that is told of people's access: for trying a policy, and for tests. It forgets all with the process.

import type { AccessWord, Deliverer } from '../../flows/work-ports.ts'

export interface MemoryAccounts {
  /** By user id, what was said last, and with which job. */
  readonly accounts: Map<string, AccessWord & { readonly job: string }>
}

export function memoryTarget(): MemoryAccounts & Deliverer {
  const accounts: MemoryAccounts['accounts'] = new Map()
  return {
    accounts,
    async deliver({ id, user, payload }) {
      if (user && 'state' in payload) accounts.set(user, { ...payload, job: id })
    },
  }
}
