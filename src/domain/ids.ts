// Names things. Ids are branded, prefixed and sortable by time of birth: `usr_01jd…`. References are what a person
// reads out on the telephone. Makes strings only; time and entropy come from the caller, so that tests can fix both.

declare const brand: unique symbol
export type Id<Prefix extends string> = string & { readonly [brand]: Prefix }

export type UserId = Id<'usr'>
export type SourceId = Id<'src'>
export type SessionId = Id<'ses'>
export type SignInId = Id<'sgn'>
export type EventId = Id<'evt'>
export type TokenId = Id<'tok'>
export type CaseId = Id<'cas'>
export type RunId = Id<'run'>
export type JobId = Id<'job'>
export type TaskId = Id<'tsk'>

/** Crockford's base 32: no I, L, O or U, so nothing is mistaken when read aloud. */
const alphabet = '0123456789abcdefghjkmnpqrstvwxyz'

/** How many bytes of entropy `mint` wants. */
export const ID_ENTROPY = 10
/** How many bytes of entropy `mintReference` wants. */
export const REFERENCE_ENTROPY = 5

/** `<prefix>_` + 10 characters of time (milliseconds, UTC) + 16 characters (80 bits) of entropy. */
export function mint<Prefix extends string>(prefix: Prefix, now: Date, entropy: Uint8Array): Id<Prefix> {
  if (entropy.length !== ID_ENTROPY) throw new RangeError(`an id wants ${ID_ENTROPY} bytes of entropy`)
  let time = now.getTime()
  let head = ''
  for (let i = 0; i < 10; i++) {
    head = alphabet[time % 32] + head
    time = Math.floor(time / 32)
  }
  return `${prefix}_${head}${base32(entropy)}` as Id<Prefix>
}

/** No id that was made at this time, or later, sorts before this one. */
export function earliestId<Prefix extends string>(prefix: Prefix, time: Date): Id<Prefix> {
  return mint(prefix, time, new Uint8Array(ID_ENTROPY))
}

/** A short reference, `K7QF-2M9X`: 40 bits, unique per sign-in by a key in the database. */
export function mintReference(entropy: Uint8Array): string {
  if (entropy.length !== REFERENCE_ENTROPY) throw new RangeError(`a reference wants ${REFERENCE_ENTROPY} bytes`)
  const letters = base32(entropy).toUpperCase()
  return `${letters.slice(0, 4)}-${letters.slice(4)}`
}

/** What somebody typed, as it would have been minted; undefined when it cannot be a reference. */
export function readReference(typed: string): string | undefined {
  const letters = typed.toUpperCase().replace(/[\s-]/g, '').replace(/O/g, '0').replace(/[IL]/g, '1')
  return /^[0-9A-HJKMNP-TV-Z]{8}$/.test(letters) ? `${letters.slice(0, 4)}-${letters.slice(4)}` : undefined
}

function base32(bytes: Uint8Array): string {
  let out = ''
  let held = 0
  let bits = 0
  for (const byte of bytes) {
    held = (held << 8) | byte
    bits += 8
    while (bits >= 5) {
      bits -= 5
      out += alphabet[(held >>> bits) & 31]
    }
    held &= (1 << bits) - 1
  }
  return out
}
