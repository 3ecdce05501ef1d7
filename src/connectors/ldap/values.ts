// Turns what an entry holds into text. Values come in an order that a server may change from one answer to the next (RFC 4512
// section 2.2), so they are sorted. What is not text is left out, but for the identifiers that Active Directory keeps as bytes.
// What holds a password never becomes a value here, whatever the server sends.

import type { EntryMessage, RawAttribute } from './messages.ts'

export interface Attribute {
  /** As the schema spells it, with its options. */
  readonly name: string
  readonly values: readonly string[]
}

export interface Entry {
  readonly dn: string
  /** By the name in lower case. */
  readonly attributes: ReadonlyMap<string, Attribute>
  /** Bytes of all values. */
  readonly size: number
  /** Of these it has more values than it said, from that number on. */
  readonly more: readonly Remainder[]
}

export interface Remainder {
  readonly name: string
  readonly from: number
}

const NONE: readonly string[] = []

export function valuesOf({ attributes }: Entry, name: string): readonly string[] {
  return attributes.get(name.toLowerCase())?.values ?? NONE
}

export function firstValue(entry: Entry, name: string): string | undefined {
  return valuesOf(entry, name)[0]
}

export function entryOf(message: EntryMessage): Entry {
  const attributes = new Map<string, Attribute>()
  const more: Remainder[] = []
  let size = 0
  for (const raw of message.attributes) {
    const { name, next } = rangeOf(raw.description)
    if (next !== undefined) more.push({ name, from: next })
    const values = textsOf(name, raw)
    // An empty `member` comes beside `member;range=0-1499`.
    if (!values || (attributes.has(name.toLowerCase()) && !values.length)) continue
    for (const value of raw.values) size += value.length
    attributes.set(name.toLowerCase(), { name: SPELT.get(name.toLowerCase()) ?? name, values: sorted(values) })
  }
  return { dn: message.dn, attributes, size, more }
}

/** With values that came later. */
export function withMore(entry: Entry, name: string, further: readonly string[]): Entry {
  const key = name.toLowerCase()
  const before = entry.attributes.get(key)
  const values = sorted([...(before?.values ?? []), ...further])
  const size = further.reduce((sum, value) => sum + Buffer.byteLength(value), entry.size)
  return { ...entry, attributes: new Map(entry.attributes).set(key, { name: before?.name ?? name, values }), size }
}

export interface Range {
  readonly name: string
  /** The first value that is missing; undefined: none is. */
  readonly next: number | undefined
}

/** Active Directory gives long lists in parts: `member;range=0-1499` ([MS-ADTS] section 3.1.1.3.1.3.3). */
export function rangeOf(description: string): Range {
  const found = /^(.+);range=(\d+)-(\d+|\*)$/i.exec(description)
  if (!found) return { name: description, next: undefined }
  const [, name = '', , high = '*'] = found
  return { name, next: high === '*' ? undefined : Number(high) + 1 }
}

/** Undefined: it is not text, or not for us. */
export function textsOf(name: string, { values }: RawAttribute): readonly string[] | undefined {
  if (isLeftOut(name)) return undefined
  const base = (name.split(';')[0] as string).toLowerCase()
  const texts: string[] = []
  const turn = GUIDS.has(base) ? guidText : SIDS.has(base) ? sidText : plainText
  for (const value of values) {
    const text = turn(value)
    if (text === undefined) return undefined
    texts.push(text)
  }
  return texts
}

/** Whether nobody gets to see its values. */
export function isLeftOut(name: string): 'a secret' | 'not text' | undefined {
  const [base = '', ...options] = name.toLowerCase().split(';')
  if (SECRETS.has(base)) return 'a secret'
  return BINARY.has(base) || options.includes('binary') ? 'not text' : undefined
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function plainText(value: Buffer): string | undefined {
  if (value.includes(0)) return undefined
  try {
    return decoder.decode(value)
  } catch {
    return undefined
  }
}

/** The first three fields are little-endian ([MS-DTYP] section 2.3.4.2). */
export function guidText(value: Buffer): string | undefined {
  if (value.length !== 16) return undefined
  const swapped = Buffer.from(value)
  swapped.subarray(0, 4).reverse()
  swapped.subarray(4, 6).reverse()
  swapped.subarray(6, 8).reverse()
  return swapped.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
}

/** [MS-DTYP] sections 2.4.2.1 and 2.4.2.2: the authority is big-endian, and in hexadecimal from 2^32 on; what follows is not. */
export function sidText(value: Buffer): string | undefined {
  if (value.length < 8) return undefined
  const count = value.readUInt8(1)
  if (value.length !== 8 + 4 * count) return undefined
  const authority = value.readUIntBE(2, 6)
  const parts = Array.from({ length: count }, (_, i) => value.readUInt32LE(8 + 4 * i))
  const first = authority < 2 ** 32 ? String(authority) : `0x${authority.toString(16).padStart(12, '0')}`
  return ['S', value.readUInt8(0), first, ...parts].join('-')
}

function sorted(values: readonly string[]): readonly string[] {
  return values.length > 1 ? [...values].sort(inOrder) : values
}

/** The same on every machine. */
export function inOrder(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

/** Some servers repeat the spelling of the question. */
const SPELT = byLowerCase(['objectGUID', 'objectSid', 'entryUUID', 'nsUniqueId', 'memberOf', 'sAMAccountName'])

const GUIDS = lowerCase(['objectGUID', 'mS-DS-ConsistencyGuid', 'msExchMailboxGuid', 'msExchArchiveGUID'])
const SIDS = lowerCase(['objectSid', 'sIDHistory'])

/** Bytes that might pass for text now and then. */
const BINARY = lowerCase([
  'audio',
  'cACertificate',
  'jpegPhoto',
  'logonHours',
  'msExchSafeSendersHash',
  'nTSecurityDescriptor',
  'photo',
  'thumbnailLogo',
  'thumbnailPhoto',
  'userCertificate',
  'userParameters',
  'userPKCS12',
  'userSMIMECertificate',
])

/** Passwords, what they are derived to, and keys: of RFC 4519 and RFC 3112, [MS-ADA1] to [MS-ADA3], LAPS, Samba, Kerberos, FreeIPA, OpenLDAP. */
const SECRETS = lowerCase([
  'authPassword',
  'clearTextPassword',
  'currentValue',
  'dBCSPwd',
  'initialAuthIncoming',
  'initialAuthOutgoing',
  'ipaNTHash',
  'ipatokenOTPkey',
  'krb5Key',
  'krbPrincipalKey',
  'krbPwdHistory',
  'lmPwdHistory',
  'ms-Mcs-AdmPwd',
  'msDS-ManagedPassword',
  'msFVE-KeyPackage',
  'msFVE-RecoveryPassword',
  'msLAPS-EncryptedDSRMPassword',
  'msLAPS-EncryptedDSRMPasswordHistory',
  'msLAPS-EncryptedPassword',
  'msLAPS-EncryptedPasswordHistory',
  'msLAPS-Password',
  'nsRoleCredentials',
  'ntPwdHistory',
  'oathSecret',
  'passwordHistory',
  'priorValue',
  'pwdHistory',
  'sambaClearTextPassword',
  'sambaLMPassword',
  'sambaNTPassword',
  'sambaPasswordHistory',
  'supplementalCredentials',
  'trustAuthIncoming',
  'trustAuthOutgoing',
  'unicodePwd',
  'unixUserPassword',
  'userPassword',
])

function lowerCase(names: readonly string[]): ReadonlySet<string> {
  return new Set(names.map((name) => name.toLowerCase()))
}

function byLowerCase(names: readonly string[]): ReadonlyMap<string, string> {
  return new Map(names.map((name) => [name.toLowerCase(), name]))
}
