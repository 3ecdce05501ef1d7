// The door itself: the bytes of a SAML response in, what a trusted key has signed for this connection out, or a refusal.
// Pure, with `now` as a parameter, so that it can run in a thread and be judged against a corpus. Order matters:
//
//   strict XML -> what it claims to be -> where signatures stand and what they are -> each of them verified ->
//   decrypted where it is encrypted, by the same rules -> as much signed as demanded -> the signed bytes, read once more
//
// From a verified signature on, only elements that were read from its canonical bytes are looked at.

import type { AssertionContent } from '../../domain/assertion.ts'
import type { RequestSettings } from '../../domain/documents/connection.ts'
import { isRefusal, type Refusal, refuse } from '../../domain/refusals.ts'
import { type Step, Trace } from '../../domain/steps.ts'
import { decrypt } from './encryption.ts'
import { decodeField, issuerFault, type Message, readId, readMessage, readText, statusFault } from './message.ts'
import { ASSERTION, DSIG, PROTOCOL } from './names.ts'
import { readSigned, signatureFault, signatureOf, type Trust } from './signature.ts'
import { readSignedAssertion } from './signed-assertion.ts'
import { attributeOf, childrenNamed, descendants, isNamed, quote, type XmlElement } from './xml.ts'

/** What has to be signed. There is no "neither". */
export type SignedMinimum = 'either' | 'response' | 'assertion' | 'both'

export interface ResponseExpectations extends Trust {
  /** The identity provider's entityID. */
  readonly issuer: string
  readonly signed: SignedMinimum
  /** Our entityID at this connection. */
  readonly audience: string
  /** Our assertion consumer address at this connection. */
  readonly acs: string
  /** PEM. */
  readonly decryptionKeys: readonly string[]
  /** The ways of signing in that we have asked for; it must be one of them where the comparison is exact. */
  readonly authnContexts: readonly string[]
  readonly comparison: RequestSettings['comparison']
  readonly skewSeconds: number
  readonly now: Date
}

export interface VerifiedResponse {
  readonly outcome: AssertionContent | Refusal
  readonly steps: readonly Step[]
  /** Of a response that says why there is no assertion: the request it claims to answer. Unverified. */
  readonly claimsRequest?: string
}

/** @param field the form's SAMLResponse as it came, or the bytes behind an artifact */
export function verifyResponse(field: string | Uint8Array, expected: ResponseExpectations, before: readonly Step[] = []): VerifiedResponse {
  const trace = new Trace(before)
  const bytes = typeof field === 'string' ? decodeField(field) : field
  const message = trace.note('message', isRefusal(bytes) ? bytes : openResponse(bytes))
  if (isRefusal(message)) return { outcome: message, steps: trace.steps }
  const outcome = verify(message, expected, trace)
  const claimsRequest = attributeOf(message.root, 'InResponseTo')
  return { outcome, steps: trace.steps, ...(isRefusal(outcome) && claimsRequest ? { claimsRequest } : {}) }
}

function openResponse(bytes: Uint8Array): Message | Refusal {
  const message = readMessage(bytes)
  if (isRefusal(message)) return message
  const { root } = message
  if (!isNamed(root, PROTOCOL, 'Response')) {
    return refuse('response.not-saml', `the root element is ${quote(root.local)}, not a SAML 2.0 Response`)
  }
  if (attributeOf(root, 'Version') !== '2.0') return refuse('response.not-saml', 'Version is not 2.0')
  return readId(root) ? message : refuse('response.not-saml', 'the response has no ID that is an xs:ID')
}

function verify(message: Message, expected: ResponseExpectations, trace: Trace): AssertionContent | Refusal {
  const unverified = checkEnvelope(message.root, expected, trace)
  if (isRefusal(unverified)) return unverified
  const responseSigned = signatureOf(message.root) !== undefined

  let root = message.root
  if (responseSigned) {
    const signed = trace.note('response-signature', readSigned(message, expected), ({ fingerprint }) => `signed with ${fingerprint}`)
    if (isRefusal(signed)) return signed
    root = signed.root
    // What was checked before the signature is checked once more on what it covers.
    const again = checkEnvelope(root, expected, new Trace())
    if (isRefusal(again)) return again
  }

  const [encrypted] = childrenNamed(root, ASSERTION, 'EncryptedAssertion')
  const holder = encrypted
    ? openEncrypted(encrypted, root, expected, responseSigned, trace)
    : { text: message.text, root: unverified.assertion }
  if (isRefusal(holder)) return holder
  const assertionSigned = signatureOf(holder.root) !== undefined
  let assertion: XmlElement
  if (assertionSigned) {
    const signed = trace.note(
      'assertion-signature',
      readSigned(holder, expected, responseSigned && !encrypted),
      ({ fingerprint }) => `signed with ${fingerprint}`,
    )
    if (isRefusal(signed)) return signed
    assertion = signed.root
  } else {
    const inSigned = encrypted ? holder.root : childrenNamed(root, ASSERTION, 'Assertion')[0]
    if (!responseSigned || !inSigned) {
      const compared = { expected: 'a signature', came: 'neither the response nor the assertion is signed' }
      return trace.fail('signatures-demanded', refuse('signature.missing', compared.came, compared))
    }
    assertion = inSigned
  }

  const demanded = trace.note('signatures-demanded', enoughSigned({ responseSigned, assertionSigned }, expected.signed), (came) => came)
  if (isRefusal(demanded)) return demanded
  const content = readSignedAssertion(assertion, expected, trace)
  if (isRefusal(content)) return content
  // The response repeats it, often unsigned; two different answers are no answer.
  const claimed = attributeOf(root, 'InResponseTo')
  if (claimed !== undefined && claimed !== content.inResponseTo) {
    const refusal = refuse(
      'assertion.malformed',
      `InResponseTo is ${quote(claimed)} on the response, ${quote(content.inResponseTo)} in the signed assertion`,
      { expected: quote(claimed), came: quote(content.inResponseTo) },
    )
    return trace.fail('response-request', refusal)
  }
  return content
}

/** Status, issuer, destination, and that there is one assertion, with signatures of accepted kinds in their two places. */
function checkEnvelope(
  root: XmlElement,
  { issuer, acs, allow }: ResponseExpectations,
  trace: Trace,
): { readonly assertion: XmlElement } | Refusal {
  const status = statusFault(root)
  if (status) return trace.fail('status', status)
  trace.pass('status')

  const wrongIssuer = childrenNamed(root, ASSERTION, 'Issuer').length
    ? issuerFault(root, issuer, 'assertion.issuer', 'the response’s')
    : undefined
  if (wrongIssuer) return trace.fail('response-issuer', wrongIssuer)
  trace.pass('response-issuer')

  const destination = attributeOf(root, 'Destination')
  const signed = signatureOf(root) !== undefined
  // SAML bindings 2.0, section 3.5.5.2: a signed message names its destination.
  if (destination === undefined ? signed : destination !== acs) {
    const detail = destination === undefined ? 'a signed response without a Destination' : `Destination is ${quote(destination)}`
    return trace.fail('destination', refuse('assertion.destination', detail, { expected: acs, came: quote(destination) }))
  }
  trace.pass('destination')

  const assertion = trace.note('places', findAssertion(root))
  if (isRefusal(assertion)) return assertion
  for (const place of [root, assertion]) {
    const signature = signatureOf(place)
    const fault = signature && signatureFault(signature, place, allow)
    if (fault) return trace.fail('algorithms', fault)
  }
  trace.pass('algorithms')
  return { assertion }
}

/** The one assertion, in the clear or encrypted, directly in the response; and no signature but in its place and in ours. */
function findAssertion(root: XmlElement): XmlElement | Refusal {
  const signatures: XmlElement[] = []
  const assertions: XmlElement[] = []
  // By local name: what has only the looks of one is as suspicious as a second one.
  for (const element of descendants(root)) {
    if (element === root) continue
    if (/^signature$/i.test(element.local)) signatures.push(element)
    if (/^(encrypted)?assertion$/i.test(element.local)) assertions.push(element)
  }
  const [assertion, another] = assertions
  const right = assertion && (isNamed(assertion, ASSERTION, 'Assertion') || isNamed(assertion, ASSERTION, 'EncryptedAssertion')) && !another
  if (!right || !root.children.includes(assertion)) {
    return refuse('response.not-saml', `expected exactly one assertion directly in the response, found ${assertions.length}`, {
      expected: 'one assertion directly in the response',
      came: `${assertions.length}${assertions.length === 1 ? ', elsewhere' : ''}`,
    })
  }
  const places = isNamed(assertion, ASSERTION, 'Assertion') ? [root, assertion] : [root]
  const misplaced = misplacedSignature(signatures, places)
  return misplaced ?? assertion
}

function misplacedSignature(signatures: readonly XmlElement[], places: readonly XmlElement[]): Refusal | undefined {
  const used = new Set<XmlElement>()
  for (const signature of signatures) {
    const place = places.find((one) => one.children.includes(signature))
    if (!place || signature.namespace !== DSIG || signature.local !== 'Signature') {
      return refuse('signature.invalid', 'a signature in a place where none belongs')
    }
    if (used.has(place)) return refuse('signature.invalid', 'two signatures on one element')
    used.add(place)
  }
  return undefined
}

/** The assertion within, by the same rules as one in the clear. */
function openEncrypted(
  encrypted: XmlElement,
  root: XmlElement,
  expected: ResponseExpectations,
  responseSigned: boolean,
  trace: Trace,
): Message | Refusal {
  const ids = new Set([...descendants(root)].flatMap((one) => attributeOf(one, 'ID') ?? []))
  const { allow, decryptionKeys } = expected
  const text = decrypt(encrypted, decryptionKeys, { cbc: allow.cbc && responseSigned })
  const inner = isRefusal(text) ? text : innerAssertion(text, ids, expected)
  return trace.note('decryption', inner)
}

function innerAssertion(text: string, outerIds: ReadonlySet<string>, { allow }: ResponseExpectations): Message | Refusal {
  const message = readText(text)
  const no = (detail: string) => refuse('encryption.failed', `what came out of the encryption is not one assertion: ${detail}`)
  if (isRefusal(message)) return no(message.detail)
  const { root } = message
  if (!isNamed(root, ASSERTION, 'Assertion') || !readId(root)) return no(`its root element is ${quote(root.local)}`)
  const inner = [...descendants(root)].slice(1)
  if ([root, ...inner].some((one) => outerIds.has(attributeOf(one, 'ID') ?? ''))) return no('its ID is another’s')
  if (inner.some(({ local }) => /^(encrypted)?assertion$/i.test(local))) return no('it holds another')
  const misplaced = misplacedSignature(
    inner.filter(({ local }) => /^signature$/i.test(local)),
    [root],
  )
  const signature = signatureOf(root)
  return misplaced ?? (signature && signatureFault(signature, root, allow)) ?? message
}

function enoughSigned(came: { responseSigned: boolean; assertionSigned: boolean }, minimum: SignedMinimum): string | Refusal {
  const { responseSigned, assertionSigned } = came
  const said =
    [responseSigned ? 'response' : '', assertionSigned ? 'assertion' : ''].filter(Boolean).join(' and ') || 'neither response nor assertion'
  const enough = {
    either: responseSigned || assertionSigned,
    response: responseSigned,
    assertion: assertionSigned,
    both: responseSigned && assertionSigned,
  }[minimum]
  if (enough) return said
  return refuse('signature.minimum', `signed: ${said}; the connection demands ${minimum}`, { expected: minimum, came: said })
}
