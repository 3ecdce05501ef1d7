// Decides from what an entry says whether its account may be used: active, disabled, or locked. Each directory has its own words
// for it. Somebody who is disabled for good is not merely locked.

import { type Entry, firstValue } from './values.ts'

export type AccountState = 'active' | 'disabled' | 'locked'

/** What it has to see, and has to be asked for by name: most of it is computed or operational. */
export const STATE_OF_ACTIVE_DIRECTORY = ['userAccountControl', 'msDS-User-Account-Control-Computed', 'lockoutTime', 'accountExpires']
export const STATE_OF_OTHERS = ['pwdAccountLockedTime', 'pwdAccountTmpLockoutEnd', 'pwdStartTime', 'pwdEndTime', 'nsAccountLock']

export function accountStateOf(entry: Entry, now: Date): AccountState {
  if (firstValue(entry, 'userAccountControl') !== undefined) return ofActiveDirectory(entry, now)
  if (/^true$/i.test(firstValue(entry, 'nsAccountLock') ?? '')) return 'disabled'
  return byPasswordPolicy(entry, now)
}

/** [MS-ADTS] section 2.2.16. */
const ACCOUNT_DISABLE = 0x2
const LOCKOUT = 0x10

function ofActiveDirectory(entry: Entry, now: Date): AccountState {
  if (bits(entry, 'userAccountControl') & ACCOUNT_DISABLE) return 'disabled'
  const expires = fileTime(firstValue(entry, 'accountExpires'))
  if (expires !== undefined && expires <= now.getTime()) return 'disabled'
  // A lockout may have run out while its time still stands there; the computed attribute knows ([MS-ADTS] section 3.1.1.4.5.17).
  const locked =
    firstValue(entry, 'msDS-User-Account-Control-Computed') === undefined
      ? fileTime(firstValue(entry, 'lockoutTime')) !== undefined
      : bits(entry, 'msDS-User-Account-Control-Computed') & LOCKOUT
  return locked ? 'locked' : 'active'
}

function bits(entry: Entry, name: string): number {
  return Number(firstValue(entry, name)) | 0
}

const NEVER = 0x7fff_ffff_ffff_ffffn
const UNIX_EPOCH = 116_444_736_000_000_000n

/** Milliseconds; of 100-nanosecond steps since 1601 ([MS-DTYP] section 2.3.3). Undefined: never ([MS-ADA1], accountExpires). */
function fileTime(value: string | undefined): number | undefined {
  if (value === undefined || !/^\d+$/.test(value)) return undefined
  const steps = BigInt(value)
  return steps === 0n || steps >= NEVER ? undefined : Number((steps - UNIX_EPOCH) / 10_000n)
}

/**
 * Draft-behera-ldap-password-policy-10, sections 5.3 and 7.1. How long a lock lasts is said by the policy and not by the entry, so
 * an account counts as locked until the server takes the time away, which it does when the person signs in again.
 */
function byPasswordPolicy(entry: Entry, now: Date): AccountState {
  const begins = generalizedTime(firstValue(entry, 'pwdStartTime'))
  const ends = generalizedTime(firstValue(entry, 'pwdEndTime'))
  if ((begins !== undefined && begins > now.getTime()) || (ends !== undefined && ends <= now.getTime())) return 'disabled'
  // A time, or 000001010000Z: until somebody unlocks it.
  if (firstValue(entry, 'pwdAccountLockedTime') !== undefined) return 'locked'
  const until = generalizedTime(firstValue(entry, 'pwdAccountTmpLockoutEnd'))
  return until !== undefined && until > now.getTime() ? 'locked' : 'active'
}

/** Milliseconds (RFC 4517 section 3.3.13). */
export function generalizedTime(value: string | undefined): number | undefined {
  const found = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)?(\d\d)?(?:[.,]\d+)?(?:Z|([+-])(\d\d)(\d\d)?)$/.exec(value ?? '')
  if (!found) return undefined
  const [, year, month, day, hour, minute = '00', second = '00', sign, hours = '00', minutes = '00'] = found
  const utc = Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`)
  const ahead = (Number(hours) * 60 + Number(minutes)) * 60_000
  return Number.isNaN(utc) ? undefined : sign === '-' ? utc + ahead : utc - ahead
}

/** In whole seconds, the way back. */
export function asGeneralizedTime(milliseconds: number): string {
  return `${new Date(milliseconds).toISOString().replace(/[-:T]|\.\d+Z$/g, '')}Z`
}
