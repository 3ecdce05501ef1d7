// Encrypts what is kept of a source's word: AES-256-GCM, each piece with a nonce of its own and bound to its place, so that
// it opens nowhere else. The key is configured and can be changed: what an older one has sealed still opens while that is given.

import { createCipheriv, createDecipheriv, createHash, createSecretKey, hkdfSync, type KeyObject } from 'node:crypto'
import { entropy } from './entropy.ts'

export interface DataKeys {
  /** Text of at least 32 characters; what is used is derived from it. */
  readonly current: string
  /** The one before, while there is still something that it has sealed. */
  readonly other?: string | undefined
}

export interface Sealer {
  /** @param place what it belongs to; the same has to be said to open it */
  seal(text: string, place: string): Buffer
  /** Throws where no key that is given fits, or where something was changed. */
  open(sealed: Uint8Array, place: string): string
  /** What everything begins with that the current key has sealed. */
  readonly prefix: Uint8Array
}

const FORMAT = 1
const ID_BYTES = 4
const NONCE_BYTES = 12
const TAG_BYTES = 16
const NONCE_AT = 1 + ID_BYTES
const TAG_AT = NONCE_AT + NONCE_BYTES
const TEXT_AT = TAG_AT + TAG_BYTES

interface Key {
  readonly id: Buffer
  readonly cipher: KeyObject
}

export function sealer({ current, other }: DataKeys): Sealer {
  const now = derive(current)
  const keys = other === undefined ? [now] : [now, derive(other)]
  return {
    seal(text, place) {
      const nonce = entropy(NONCE_BYTES)
      const cipher = createCipheriv('aes-256-gcm', now.cipher, nonce).setAAD(Buffer.from(place))
      // In counter mode the last piece is empty (NIST SP 800-38D).
      const body = cipher.update(text, 'utf8')
      cipher.final()
      const sealed = Buffer.allocUnsafe(TEXT_AT + body.length)
      sealed[0] = FORMAT
      sealed.set(now.id, 1)
      sealed.set(nonce, NONCE_AT)
      sealed.set(cipher.getAuthTag(), TAG_AT)
      sealed.set(body, TEXT_AT)
      return sealed
    },
    open(bytes, place) {
      const sealed = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
      const id = sealed.subarray(1, NONCE_AT)
      const key = sealed[0] === FORMAT ? keys.find((one) => one.id.equals(id)) : undefined
      if (!key) {
        throw new Error(
          `it was encrypted with another key (${id.toString('hex')}); give that one as GATEHOUSE_DATA_OTHER_KEY (or, where it was GATEHOUSE_SECRET_KEY, that)`,
        )
      }
      const decipher = createDecipheriv('aes-256-gcm', key.cipher, sealed.subarray(NONCE_AT, TAG_AT))
      decipher.setAAD(Buffer.from(place)).setAuthTag(sealed.subarray(TAG_AT, TEXT_AT))
      return decipher.update(sealed.subarray(TEXT_AT), undefined, 'utf8') + decipher.final('utf8')
    },
    prefix: Buffer.concat([Buffer.of(FORMAT), now.id]),
  }
}

/** One secret, two uses, two keys (RFC 5869). */
function derive(secret: string): Key {
  const piece = (use: string) => Buffer.from(hkdfSync('sha256', secret, 'gatehouse data key', use, 32))
  return {
    id: createHash('sha256').update(piece('id')).digest().subarray(0, ID_BYTES),
    cipher: createSecretKey(piece('aes-256-gcm')),
  }
}
