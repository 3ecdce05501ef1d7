// Enveloped XML signatures, as SAML uses them (SAML core 2.0, section 5.4): where they may stand, what they may consist of,
// and whether they verify. What a caller gets are the canonical bytes that the signature covered, never the document.
// XML Signature 1.1; the library sees a signature only after its shape and its algorithms have been accepted.

import { createHash, type KeyObject, verify as verifyBytes, X509Certificate } from 'node:crypto'
import { SignedXml } from 'xml-crypto'
import { isRefusal, type Refusal, refuse } from '../../domain/refusals.ts'
import { decodeBase64 } from './base64.ts'
import { canonical, inclusivePrefixes } from './canonical.ts'
import { fingerprintOf } from './fingerprint.ts'
import { type Message, readId, readText } from './message.ts'
import {
  type Algorithms,
  type Allowances,
  algorithm,
  DSIG,
  digestMethods,
  ENVELOPED,
  EXCLUSIVE_C14N,
  signatureMethods,
  smallestRsaBits,
} from './names.ts'
import { attributeOf, childrenNamed, elementsOf, isNamed, quote, textOf, type XmlElement } from './xml.ts'
import { standalone } from './xml-writing.ts'

/** Whose signatures count: keys come from the connection's certificates and from nowhere else. */
export interface Trust {
  /** Base64 of the DER, without armour. */
  readonly certificates: readonly string[]
  readonly allow: Allowances
}

export interface SignedBytes {
  /** Canonical, without the signature. */
  readonly xml: string
  /** SHA-256 of the certificate whose key it was. */
  readonly fingerprint: string
}

export function signatureOf(element: XmlElement): XmlElement | undefined {
  return childrenNamed(element, DSIG, 'Signature')[0]
}

/** The refusal of a signature whose shape or algorithms are not accepted; undefined when it may be tried. */
export function signatureFault(signature: XmlElement, signed: XmlElement, allow: Allowances): Refusal | undefined {
  const [info, value, keys, ...more] = elementsOf(signature)
  const odd = more.length || (keys && !isNamed(keys, DSIG, 'KeyInfo'))
  if (!info || !value || odd || !isNamed(info, DSIG, 'SignedInfo') || !isNamed(value, DSIG, 'SignatureValue')) {
    return refuse('signature.invalid', 'a signature that is not SignedInfo, SignatureValue and KeyInfo')
  }
  if (!isBase64(value)) return refuse('signature.invalid', 'a SignatureValue that is not base64')
  const [canonicalization, method, reference, ...extra] = elementsOf(info)
  const three = canonicalization && method && reference && !extra.length
  if (
    !three ||
    !isNamed(canonicalization, DSIG, 'CanonicalizationMethod') ||
    !isNamed(method, DSIG, 'SignatureMethod') ||
    !isNamed(reference, DSIG, 'Reference')
  ) {
    return refuse('signature.invalid', 'a SignedInfo that is not one CanonicalizationMethod, one SignatureMethod and one Reference')
  }
  const id = attributeOf(signed, 'ID')
  const uri = attributeOf(reference, 'URI')
  if (!id || uri !== `#${id}`) {
    const compared = { expected: quote(id && `#${id}`), came: quote(uri) }
    return refuse('signature.invalid', 'a reference that is not to the signed element itself', compared)
  }
  return algorithmFault(canonicalization, method, reference, allow)
}

function algorithmFault(canonicalization: XmlElement, method: XmlElement, reference: XmlElement, allow: Allowances): Refusal | undefined {
  const not = (what: string, value: string | undefined, expected: string) =>
    refuse('signature.algorithm', `${what} ${quote(value)} is not accepted`, { expected, came: quote(value) })
  const named = (element: XmlElement) => attributeOf(element, 'Algorithm')
  const known = (table: Algorithms) => Object.values(table).join(', ')
  if (named(canonicalization) !== EXCLUSIVE_C14N) return not('canonicalization', named(canonicalization), 'exclusive, without comments')
  const methods = signatureMethods(allow)
  if (!algorithm(methods, named(method)) || elementsOf(method).length) {
    return not('signature method', named(method), `RSA with ${known(methods)}`)
  }
  const [transforms, digest, value, ...more] = elementsOf(reference)
  if (
    !transforms ||
    !digest ||
    !value ||
    more.length ||
    !isNamed(transforms, DSIG, 'Transforms') ||
    !isNamed(digest, DSIG, 'DigestMethod') ||
    !isNamed(value, DSIG, 'DigestValue') ||
    !isBase64(value)
  ) {
    return refuse('signature.invalid', 'a reference that is not Transforms, DigestMethod and DigestValue')
  }
  const digests = digestMethods(allow)
  if (!algorithm(digests, named(digest))) return not('digest method', named(digest), known(digests))
  const all = elementsOf(transforms)
  const steps = all.map((one) => (isNamed(one, DSIG, 'Transform') ? (named(one) ?? '') : one.local))
  if (steps.length !== 2 || steps[0] !== ENVELOPED || steps[1] !== EXCLUSIVE_C14N) {
    return not('the list of transforms', steps.join(', '), 'enveloped signature, then exclusive canonicalization')
  }
  // Nothing may stand in a transform but the list of prefixes that OpenSAML writes (Exclusive XML Canonicalization, section 3).
  const inner = [canonicalization, ...all].flatMap(elementsOf)
  const strange = inner.find((one) => !isNamed(one, EXCLUSIVE_C14N, 'InclusiveNamespaces') || elementsOf(one).length)
  if (strange) return not('an element in a transform', strange.local, 'none but InclusiveNamespaces')
  // Every prefix is looked at for every element, before anything is known to be signed.
  const long = [canonicalization, ...all].find((one) => elementsOf(one).length > 1 || inclusivePrefixes(one).length > MOST_PREFIXES)
  return long ? not('a list of prefixes', 'of that length', `one list of at most ${MOST_PREFIXES}`) : undefined
}

/** OpenSAML writes one or two. */
const MOST_PREFIXES = 16

function isBase64(element: XmlElement): boolean {
  return decodeBase64(textOf(element) ?? '') !== undefined
}

/**
 * Verifies the signature of one element, whose fault has been asked for before. First by our own linear reader and
 * canonicaliser, and then by the library, which must see the very same bytes (unless it has seen them already). Two readers that disagree about a document
 * are how signatures are got round; and the library, which takes quadratic time over a hostile document, only ever gets
 * one that a trusted key has signed.
 * @param text what `element` was read from, with line feeds
 * @param judged the library has already verified a signature around all this, and has seen the same bytes in it as we
 */
export function verifySignature(text: string, element: XmlElement, trust: Trust, judged = false): SignedBytes | Refusal {
  const signature = signatureOf(element)
  const parts = signature && partsOf(signature)
  if (!signature || !parts) return refuse('signature.missing', 'there is no signature')
  const { allow } = trust
  const digestHash = algorithm(digestMethods(allow), parts.digestMethod)
  const hash = algorithm(signatureMethods(allow), parts.signatureMethod)
  if (!digestHash || !hash) return refuse('signature.algorithm', 'an algorithm that is not accepted')

  const xml = canonical({ ...element, children: element.children.filter((child) => child !== signature) }, parts.prefixes)
  const digest = createHash(digestHash).update(xml, 'utf8').digest('base64')
  if (digest !== parts.digestValue) {
    const compared = { expected: `the digest ${digest}`, came: `the digest ${parts.digestValue}` }
    return refuse('signature.invalid', 'the content has been changed since it was signed', compared)
  }
  const signedInfo = Buffer.from(canonical(parts.info, parts.infoPrefixes), 'utf8')
  const value = Buffer.from(parts.value, 'base64')
  const faults: string[] = []
  for (const certificate of trust.certificates) {
    const key = verificationKey(certificate, allow)
    if (typeof key === 'string') faults.push(key)
    else if (verifyBytes(hash, signedInfo, key.key, value)) {
      return judged ? { xml, fingerprint: key.fingerprint } : agreed(xml, { text, element, signature }, key, allow)
    }
  }
  if (faults.length === trust.certificates.length) {
    return refuse('signature.algorithm', `no key of the connection can be used: ${faults.join('; ') || 'it has none'}`)
  }
  return refuse('signature.invalid', 'no key of the connection verifies it', {
    expected: `a signature by ${trust.certificates.map(fingerprintOf).join(', ')}`,
    came: 'a signature by another key',
  })
}

/** The element as its signature covers it: the signed bytes, read once more. */
export function readSigned({ text, root }: Message, trust: Trust, judged = false): { root: XmlElement; fingerprint: string } | Refusal {
  if (!readId(root)) return refuse('signature.invalid', 'the signed element has no ID that is an xs:ID')
  const signed = verifySignature(text, root, trust, judged)
  if (isRefusal(signed)) return signed
  const again = readText(signed.xml)
  if (isRefusal(again)) return again
  // Canonicalisation changes neither name nor ID; if it did, what was read is not what was signed.
  const same = isNamed(again.root, root.namespace, root.local) && readId(again.root) === readId(root)
  return same ? { root: again.root, fingerprint: signed.fingerprint } : refuse('signature.invalid', 'the signed bytes are another element')
}

/** The library's own judgement, on the element alone and with its namespaces, so that it can meet nothing else. */
function agreed(
  ours: string,
  { text, element, signature }: { text: string; element: XmlElement; signature: XmlElement },
  { key, fingerprint }: VerificationKey,
  allow: Allowances,
): SignedBytes | Refusal {
  const theirs = signedBytes(standalone(text, element), standalone(text, signature), key, allow)
  if (theirs === ours) return { xml: ours, fingerprint }
  return refuse('signature.invalid', theirs === undefined ? 'the library does not verify it' : 'the library sees other bytes than we do')
}

interface SignatureParts {
  readonly info: XmlElement
  readonly infoPrefixes: readonly string[]
  readonly signatureMethod: string | undefined
  readonly value: string
  readonly prefixes: readonly string[]
  readonly digestMethod: string | undefined
  readonly digestValue: string
}

/** Of a signature whose shape has been accepted. */
export function partsOf(signature: XmlElement): SignatureParts | undefined {
  const [info, value] = elementsOf(signature)
  const [canonicalization, method, reference] = info ? elementsOf(info) : []
  const [transforms, digest, digestValue] = reference ? elementsOf(reference) : []
  if (!info || !value || !canonicalization || !method || !transforms || !digest || !digestValue) return undefined
  return {
    info,
    infoPrefixes: inclusivePrefixes(canonicalization),
    signatureMethod: attributeOf(method, 'Algorithm'),
    value: base64Of(value),
    prefixes: inclusivePrefixes(elementsOf(transforms)[1]),
    digestMethod: attributeOf(digest, 'Algorithm'),
    digestValue: base64Of(digestValue),
  }
}

function base64Of(element: XmlElement): string {
  return textOf(element)?.replace(/\s+/g, '') ?? ''
}

function signedBytes(document: string, signature: string, key: KeyObject, allow: Allowances): string | undefined {
  const library = new SignedXml({ publicCert: key })
  // The one that SAML has; each further one costs a search of the whole document.
  library.idAttributes = ['ID']
  // It gets our list of algorithms instead of its own.
  library.SignatureAlgorithms = Object.fromEntries(
    Object.entries(signatureMethods(allow)).map(([name, hash]) => [name, signatureAlgorithm(name, hash)]),
  )
  library.HashAlgorithms = Object.fromEntries(
    Object.entries(digestMethods(allow)).map(([name, hash]) => [name, digestAlgorithm(name, hash)]),
  )
  for (const name of Object.keys(library.CanonicalizationAlgorithms)) {
    if (name !== ENVELOPED && name !== EXCLUSIVE_C14N) delete (library.CanonicalizationAlgorithms as Record<string, unknown>)[name]
  }
  try {
    library.loadSignature(signature)
    if (!library.checkSignature(document)) return undefined
  } catch {
    // An error in canonicalising is as good as a signature that does not verify.
    return undefined
  }
  const [xml, ...more] = library.getSignedReferences()
  return more.length ? undefined : xml
}

function signatureAlgorithm(name: string, hash: string) {
  return class {
    getAlgorithmName = () => name
    getSignature(): never {
      throw new Error('this one only verifies')
    }
    verifySignature(material: string, key: unknown, value: string): boolean {
      return verifyBytes(hash, Buffer.from(material), key as KeyObject, Buffer.from(value, 'base64'))
    }
  } as unknown as SignedXml['SignatureAlgorithms'][keyof SignedXml['SignatureAlgorithms']]
}

function digestAlgorithm(name: string, hash: string) {
  return class {
    getAlgorithmName = () => name
    getHash = (xml: string) => createHash(hash).update(xml, 'utf8').digest('base64')
  }
}

// --- keys --------------------------------------------------------------------------------------------------------------

interface VerificationKey {
  readonly key: KeyObject
  readonly fingerprint: string
}

/** Reading a certificate costs as much as using it. Bounded: what is asked for is what the policy in force holds. */
const keysRead = new Map<string, VerificationKey>()
const MOST_KEYS = 500

/** The key of a certificate, or why it cannot be used. */
export function verificationKey(certificate: string, allow: Allowances): VerificationKey | string {
  let read = keysRead.get(certificate)
  if (!read) {
    try {
      const { publicKey, fingerprint256 } = new X509Certificate(Buffer.from(certificate, 'base64'))
      read = { key: publicKey, fingerprint: fingerprint256 }
    } catch {
      return 'one of its certificates cannot be read'
    }
    if (keysRead.size >= MOST_KEYS) keysRead.clear()
    keysRead.set(certificate, read)
  }
  return keyFault(read.key, allow) ?? read
}

/** Why a key's signatures are not accepted, in plain words. */
export function keyFault(key: KeyObject, allow: Allowances): string | undefined {
  if (key.asymmetricKeyType !== 'rsa') return `its key is ${key.asymmetricKeyType}; only RSA is accepted`
  const bits = key.asymmetricKeyDetails?.modulusLength ?? 0
  const least = smallestRsaBits(allow)
  return bits < least ? `its RSA key has ${bits} bits; at least ${least} are needed` : undefined
}
