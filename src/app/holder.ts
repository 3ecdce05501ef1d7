// Names this process as the one who works on something, and tells whether another one that did is certainly gone.

import { hash, randomBytes } from 'node:crypto'
import { readFileSync, readlinkSync } from 'node:fs'
import { hostname } from 'node:os'
import type { Holder } from '../flows/import-ports.ts'

/** Where a process number means one process: machines may have one name, and so may containers, each with numbers of its own. */
const place = `${hostname()}/${hash('sha256', [bootId(), numbering()].join(' '), 'base64url').slice(0, 12)}`

/** One for each process: after a restart, the same number is another one. */
export const holder: Holder = `${place} ${process.pid} ${randomBytes(6).toString('base64url')}`

/** Only in the same place can that be told; elsewhere the lease tells it. */
export function isGone(other: Holder): boolean {
  const [where, pid] = other.split(' ')
  if (where !== place || other === holder) return false
  if (Number(pid) === process.pid) return true
  try {
    process.kill(Number(pid), 0)
    return false
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH'
  }
}

function bootId(): string {
  return onLinux(() => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim())
}

function numbering(): string {
  return onLinux(() => readlinkSync('/proc/self/ns/pid'))
}

function onLinux(read: () => string): string {
  try {
    return read()
  } catch {
    return ''
  }
}
