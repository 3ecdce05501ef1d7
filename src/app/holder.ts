// Names this process as the one who works on something, and tells whether another one that did is certainly gone.

import { randomBytes } from 'node:crypto'
import { hostname } from 'node:os'
import type { Holder } from '../flows/import-ports.ts'

const host = hostname()

/** One for each process: after a restart, the same number is another one. */
export const holder: Holder = `${host} ${process.pid} ${randomBytes(6).toString('base64url')}`

/** Only of this machine can that be told; of others the lease tells it. */
export function isGone(other: Holder): boolean {
  const [where, pid] = other.split(' ')
  if (where !== host || other === holder) return false
  if (Number(pid) === process.pid) return true
  try {
    process.kill(Number(pid), 0)
    return false
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH'
  }
}
