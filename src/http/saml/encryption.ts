// Decrypts what an identity provider has encrypted for us: an assertion, a NameID, an attribute (XML Encryption 1.1).
// Encryption proves nothing: whatever comes out is read and verified by the same rules as if it had come in the clear.
// Anybody can encrypt for us, so a failure must teach nothing: each of our keys is tried, a key that does not open becomes
// a random one (as RFC 8017, section 7.1.2 warns of), and everything ends in one refusal.

import { constants, createDecipheriv, privateDecrypt, randomBytes } from 'node:crypto'
import { type Refusal, refuse } from '../../domain/refusals.ts'
import { decodeBase64 } from './base64.ts'
import { algorithm, DSIG, SHA1, XENC, XENC11 } from './names.ts'
import { attributeOf, childrenNamed, elementsOf, quote, textOf, type XmlElement } from './xml.ts'

interface ContentCipher {
  readonly cipher: string
  readonly keyBytes: number
  readonly mode: 'gcm' | 'cbc'
}

const CONTENT: Readonly<Record<string, ContentCipher>> = {
  [`${XENC11}aes128-gcm`]: { cipher: 'aes-128-gcm', keyBytes: 16, mode: 'gcm' },
  [`${XENC11}aes192-gcm`]: { cipher: 'aes-192-gcm', keyBytes: 24, mode: 'gcm' },
  [`${XENC11}aes256-gcm`]: { cipher: 'aes-256-gcm', keyBytes: 32, mode: 'gcm' },
  [`${XENC}aes128-cbc`]: { cipher: 'aes-128-cbc', keyBytes: 16, mode: 'cbc' },
  [`${XENC}aes192-cbc`]: { cipher: 'aes-192-cbc', keyBytes: 24, mode: 'cbc' },
  [`${XENC}aes256-cbc`]: { cipher: 'aes-256-cbc', keyBytes: 32, mode: 'cbc' },
}

const OAEP_HASHES: Readonly<Record<string, string>> = {
  [SHA1]: 'sha1',
  [`${XENC}sha256`]: 'sha256',
  'http://www.w3.org/2001/04/xmldsig-more#sha384': 'sha384',
  [`${XENC}sha512`]: 'sha512',
}

const MGF_HASHES: Readonly<Record<string, string>> = {
  [`${XENC11}mgf1sha1`]: 'sha1',
  [`${XENC11}mgf1sha256`]: 'sha256',
  [`${XENC11}mgf1sha384`]: 'sha384',
  [`${XENC11}mgf1sha512`]: 'sha512',
}

/** What the metadata says we can open; the first is the one to choose. */
export const OFFERED_CONTENT: readonly string[] = [`${XENC11}aes256-gcm`, `${XENC11}aes128-gcm`]
export const OFFERED_KEY_TRANSPORT = `${XENC}rsa-oaep-mgf1p`

const GCM_IV_BYTES = 12
const GCM_TAG_BYTES = 16
const CBC_BLOCK_BYTES = 16

/**
 * @param encrypted an EncryptedAssertion, EncryptedID or EncryptedAttribute
 * @param keys our private keys, PEM: the one in use and, while keys roll over, another
 * @param cbc whether AES-CBC may be used: only where the operator allows it and a signature over all this has been verified
 * @returns the text of the element within
 */
export function decrypt(encrypted: XmlElement, keys: readonly string[], { cbc }: { cbc: boolean }): string | Refusal {
  const parts = readEncrypted(encrypted)
  if (typeof parts === 'string') return refuse('encryption.failed', parts)
  const { content, oaepHash, label, wrappedKey, data } = parts
  if (content.mode === 'cbc' && !cbc) {
    return refuse('encryption.failed', 'AES-CBC is accepted only in a signed response, and with INSECURE_ALLOW_AES_CBC=true', {
      expected: 'AES-GCM',
      came: content.cipher,
    })
  }
  let opened: Buffer | undefined
  for (const key of keys) {
    const contentKey = unwrap(wrappedKey, { key, oaepHash, label }, content.keyBytes)
    opened = open(content, contentKey, data) ?? opened
  }
  try {
    if (opened) return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(opened)
  } catch {
    // As if no key had fitted.
  }
  return refuse('encryption.failed', 'none of our keys opens it: it was encrypted for another certificate, or changed on its way')
}

function unwrap(wrapped: Buffer, { key, oaepHash, label }: { key: string; oaepHash: string; label: Buffer }, bytes: number): Buffer {
  const substitute = randomBytes(bytes)
  try {
    const padding = constants.RSA_PKCS1_OAEP_PADDING
    const unwrapped = privateDecrypt({ key, padding, oaepHash, ...(label.length ? { oaepLabel: label } : {}) }, wrapped)
    return unwrapped.length === bytes ? unwrapped : substitute
  } catch {
    return substitute
  }
}

function open({ cipher, mode }: ContentCipher, key: Buffer, data: Buffer): Buffer | undefined {
  try {
    if (mode === 'cbc') {
      const decipher = createDecipheriv(cipher, key, data.subarray(0, CBC_BLOCK_BYTES)).setAutoPadding(false)
      return withoutPadding(Buffer.concat([decipher.update(data.subarray(CBC_BLOCK_BYTES)), decipher.final()]))
    }
    const decipher = createDecipheriv(cipher as 'aes-256-gcm', key, data.subarray(0, GCM_IV_BYTES), { authTagLength: GCM_TAG_BYTES })
    decipher.setAuthTag(data.subarray(-GCM_TAG_BYTES))
    return Buffer.concat([decipher.update(data.subarray(GCM_IV_BYTES, -GCM_TAG_BYTES)), decipher.final()])
  } catch {
    return undefined
  }
}

/** XML Encryption 1.1, section 5.2.1: only the last byte counts. */
function withoutPadding(plain: Buffer): Buffer | undefined {
  const padding = plain.at(-1) ?? 0
  return padding >= 1 && padding <= CBC_BLOCK_BYTES ? plain.subarray(0, plain.length - padding) : undefined
}

interface Parts {
  readonly content: ContentCipher
  readonly oaepHash: string
  readonly label: Buffer
  readonly wrappedKey: Buffer
  readonly data: Buffer
}

/** One EncryptedData and one EncryptedKey, beside it or in its KeyInfo, of accepted kinds. The string says what is wrong. */
function readEncrypted(encrypted: XmlElement): Parts | string {
  const data = childrenNamed(encrypted, XENC, 'EncryptedData')
  const beside = childrenNamed(encrypted, XENC, 'EncryptedKey')
  const [encryptedData] = data
  if (!encryptedData || data.length > 1 || elementsOf(encrypted).length !== data.length + beside.length) {
    return 'not exactly one EncryptedData, with nothing but its key beside it'
  }
  const infos = childrenNamed(encryptedData, DSIG, 'KeyInfo')
  const within = infos.flatMap((info) => childrenNamed(info, XENC, 'EncryptedKey'))
  const [encryptedKey, another] = [...beside, ...within]
  if (!encryptedKey || another || infos.length > 1) return 'not exactly one EncryptedKey'
  // It may be pointed at, and then at nothing else.
  for (const pointer of infos.flatMap((info) => childrenNamed(info, DSIG, 'RetrievalMethod'))) {
    const id = attributeOf(encryptedKey, 'Id')
    if (!id || attributeOf(pointer, 'URI') !== `#${id}` || elementsOf(pointer).length) return 'a RetrievalMethod that leads elsewhere'
  }
  const type = attributeOf(encryptedData, 'Type')
  if (type !== undefined && type !== `${XENC}Element`) return `what is encrypted is ${quote(type)}, not an element`

  const method = only(encryptedData, 'EncryptionMethod')
  const contentName = method && attributeOf(method, 'Algorithm')
  const content = contentName !== undefined && Object.hasOwn(CONTENT, contentName) ? CONTENT[contentName] : undefined
  if (!content) return `the content’s cipher ${quote(contentName)} is not accepted; AES-GCM is`
  const transport = readKeyTransport(encryptedKey)
  if (typeof transport === 'string') return transport
  const wrappedKey = cipherValue(encryptedKey)
  const bytes = cipherValue(encryptedData)
  if (!wrappedKey || !bytes || bytes.length < GCM_IV_BYTES + GCM_TAG_BYTES) return 'a CipherData without a CipherValue in base64'
  return { content, ...transport, wrappedKey, data: bytes }
}

function readKeyTransport(encryptedKey: XmlElement): { oaepHash: string; label: Buffer } | string {
  const method = only(encryptedKey, 'EncryptionMethod')
  const name = method && attributeOf(method, 'Algorithm')
  if (!method || (name !== `${XENC}rsa-oaep-mgf1p` && name !== `${XENC11}rsa-oaep`)) {
    return `the key transport ${quote(name)} is not accepted; RSA-OAEP is`
  }
  const [digest] = childrenNamed(method, DSIG, 'DigestMethod')
  const [mgf] = childrenNamed(method, XENC11, 'MGF')
  const [params] = childrenNamed(method, XENC, 'OAEPparams')
  const hash = algorithm(OAEP_HASHES, (digest && attributeOf(digest, 'Algorithm')) ?? SHA1)
  const mask = (mgf && attributeOf(mgf, 'Algorithm')) ?? `${XENC11}mgf1sha1`
  const mgfHash = name === `${XENC11}rsa-oaep` ? algorithm(MGF_HASHES, mask) : 'sha1'
  if (!hash || !mgfHash) return 'RSA-OAEP with a hash that is not accepted'
  // OpenSSL, as Node exposes it, uses one hash for both.
  if (hash !== mgfHash) return `RSA-OAEP with the hash ${hash} and a mask by ${mgfHash}; both must be the same`
  const label = Buffer.from((params && textOf(params)) ?? '', 'base64')
  return { oaepHash: hash, label }
}

function only(parent: XmlElement, local: string): XmlElement | undefined {
  const [one, another] = childrenNamed(parent, XENC, local)
  return another ? undefined : one
}

function cipherValue(parent: XmlElement): Buffer | undefined {
  const cipherData = only(parent, 'CipherData')
  const value = cipherData && elementsOf(cipherData).length === 1 ? only(cipherData, 'CipherValue') : undefined
  return decodeBase64((value && textOf(value)) ?? '')
}
