// Looks at a posted response before any key has been tried: is it one SAML response with one assertion and well-placed
// signatures of allowed kinds, meant for this address, and a success? Everything learned here is unverified; it may
// refuse, and it may tell the verifier what to demand, but no word of it reaches the decision.

import { type Refusal, type RefusalCode, refuse } from '../../domain/refusals.ts'
import { ASSERTION, DIGEST_METHODS, DSIG, ENVELOPED, EXCLUSIVE_C14N, PROTOCOL, SIGNATURE_METHODS, STATUS } from './names.ts'
import {
  attributeOf,
  childrenNamed,
  descendants,
  elementsOf,
  isNamed,
  MESSAGE_LIMITS,
  readXml,
  textOf,
  type XmlElement,
  XmlFault,
} from './xml.ts'

export interface UnverifiedResponse {
  readonly base64: string
  /** Each signature that is there must verify, and at least one is. */
  readonly signed: { readonly response: boolean; readonly assertion: boolean }
  readonly inResponseTo: string | undefined
}

export function openResponse(field: unknown, expected: { acs: string; issuer: string }): UnverifiedResponse | Refusal {
  if (typeof field !== 'string' || field === '') return refuse('response.missing', 'the form has no single field SAMLResponse')
  // As one line or wrapped; what would decode to the same bytes in another spelling is not let through.
  const base64 = /\s/.test(field) ? field.replace(/[ \t\r\n]+/g, '') : field
  const bytes = Buffer.from(base64, 'base64')
  if (bytes.toString('base64') !== base64) return refuse('response.not-base64', 'SAMLResponse is not base64')
  let root: XmlElement
  try {
    root = readXml(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes), MESSAGE_LIMITS)
  } catch (error) {
    if (error instanceof XmlFault) return refuse('response.not-xml', error.message)
    if (error instanceof TypeError) return refuse('response.not-xml', 'the bytes are not UTF-8')
    throw error
  }
  return inspect(root, base64, expected)
}

function inspect(root: XmlElement, base64: string, { acs, issuer }: { acs: string; issuer: string }): UnverifiedResponse | Refusal {
  if (!isNamed(root, PROTOCOL, 'Response'))
    return refuse('response.not-saml', `the root element is ${quote(root.local)}, not a SAML 2.0 Response`)
  if (attributeOf(root, 'Version') !== '2.0') return refuse('response.not-saml', 'Version is not 2.0')

  const status = readStatus(root)
  if (status) return status

  const destination = attributeOf(root, 'Destination')
  if (destination !== undefined && destination !== acs)
    return refuse('assertion.destination', `Destination is ${quote(destination)}, expected ${acs}`)
  const issuers = childrenNamed(root, ASSERTION, 'Issuer')
  if (issuers.length > 1) return refuse('response.not-saml', 'the response has several issuers')
  const from = issuers[0] && textOf(issuers[0])
  if (issuers[0] && from !== issuer) return refuse('assertion.issuer', `the response’s Issuer is ${quote(from)}, expected ${issuer}`)

  if (childrenNamed(root, ASSERTION, 'EncryptedAssertion').length)
    return refuse('response.not-saml', 'the assertion is encrypted; turn encryption off at the identity provider')
  const assertions = [...descendants(root)].filter((element) => isNamed(element, ASSERTION, 'Assertion'))
  const [assertion] = assertions
  if (assertions.length !== 1 || !assertion || !root.children.includes(assertion)) {
    return refuse('response.not-saml', `expected exactly one assertion directly in the response, found ${assertions.length}`)
  }

  const fault = signatureFault(root, assertion)
  if (fault) return fault
  const signed = { response: hasSignature(root), assertion: hasSignature(assertion) }
  if (!signed.response && !signed.assertion) return refuse('signature.missing', 'neither the response nor the assertion is signed')
  // SAML bindings 2.0, section 3.5.5.2: a signed message names its destination.
  if (signed.response && destination === undefined) return refuse('assertion.destination', 'a signed response without a Destination')
  return { base64, signed, inResponseTo: attributeOf(root, 'InResponseTo') }
}

/** The identity provider's own "no", in our words; its message goes on the record. */
function readStatus(root: XmlElement): Refusal | undefined {
  const [status, another] = childrenNamed(root, PROTOCOL, 'Status')
  const [top] = status ? childrenNamed(status, PROTOCOL, 'StatusCode') : []
  const code = top && attributeOf(top, 'Value')
  if (!status || another || !top || !code) return refuse('response.not-saml', 'the response has no single Status with a StatusCode')
  if (code === `${STATUS}Success`) return undefined
  const [second] = childrenNamed(top, PROTOCOL, 'StatusCode')
  const detail = (second && attributeOf(second, 'Value')) ?? ''
  const [message] = childrenNamed(status, PROTOCOL, 'StatusMessage')
  const said = message && textOf(message)
  return refuse(statusRefusal(detail), `status ${quote(code)} ${detail ? quote(detail) : ''}${said ? `, message ${quote(said)}` : ''}`)
}

/** SAML core 2.0, section 3.2.2.2. */
function statusRefusal(second: string): RefusalCode {
  switch (second.replace(STATUS, '')) {
    case 'AuthnFailed':
    case 'UnknownPrincipal':
      return 'idp.authentication-failed'
    case 'RequestDenied':
      return 'idp.denied'
    case 'NoPassive':
      return 'idp.no-passive'
    default:
      return 'idp.other'
  }
}

function hasSignature(element: XmlElement): boolean {
  return childrenNamed(element, DSIG, 'Signature').length > 0
}

/** One signature at most in each of the two places where SAML puts one, none anywhere else, each of the one allowed shape. */
function signatureFault(root: XmlElement, assertion: XmlElement): Refusal | undefined {
  const signatures = [...descendants(root)].filter((element) => element.local === 'Signature')
  for (const signature of signatures) {
    const parent = [root, assertion].find((element) => element.children.includes(signature))
    if (!parent || signature.namespace !== DSIG) return refuse('signature.invalid', 'a signature in a place where none belongs')
    const fault = shapeFault(signature, attributeOf(parent, 'ID'))
    if (fault) return fault
  }
  if (
    new Set(signatures.map((signature) => [root, assertion].find((element) => element.children.includes(signature)))).size !==
    signatures.length
  ) {
    return refuse('signature.invalid', 'two signatures on one element')
  }
  return undefined
}

function shapeFault(signature: XmlElement, id: string | undefined): Refusal | undefined {
  const [info, value, keys, ...more] = elementsOf(signature)
  const odd = more.length || (keys && !isNamed(keys, DSIG, 'KeyInfo'))
  if (!info || !value || odd || !isNamed(info, DSIG, 'SignedInfo') || !isNamed(value, DSIG, 'SignatureValue')) {
    return refuse('signature.invalid', 'a signature that is not SignedInfo, SignatureValue and KeyInfo')
  }
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
  if (!id || attributeOf(reference, 'URI') !== `#${id}`)
    return refuse('signature.invalid', 'a reference that is not to the signed element itself')
  return algorithmFault(canonicalization, method, reference)
}

function algorithmFault(canonicalization: XmlElement, method: XmlElement, reference: XmlElement): Refusal | undefined {
  const not = (what: string, value: string | undefined) => refuse('signature.algorithm', `${what} ${quote(value)} is not accepted`)
  const algorithm = (element: XmlElement) => attributeOf(element, 'Algorithm')
  if (algorithm(canonicalization) !== EXCLUSIVE_C14N) return not('canonicalization', algorithm(canonicalization))
  if (!SIGNATURE_METHODS.includes(algorithm(method) ?? '')) return not('signature method', algorithm(method))
  const [transforms, digest, value, ...more] = elementsOf(reference)
  if (
    !transforms ||
    !digest ||
    !value ||
    more.length ||
    !isNamed(transforms, DSIG, 'Transforms') ||
    !isNamed(digest, DSIG, 'DigestMethod')
  ) {
    return refuse('signature.invalid', 'a reference that is not Transforms, DigestMethod and DigestValue')
  }
  if (!DIGEST_METHODS.includes(algorithm(digest) ?? '')) return not('digest method', algorithm(digest))
  const steps = childrenNamed(transforms, DSIG, 'Transform').map(algorithm)
  if (steps.length !== 2 || steps[0] !== ENVELOPED || steps[1] !== EXCLUSIVE_C14N) return not('the list of transforms', steps.join(', '))
  return undefined
}

/** What came, for the record: bounded, on one line. */
export function quote(value: string | undefined): string {
  if (value === undefined) return '(nothing)'
  const line = value.replace(/\s+/g, ' ').trim()
  return `«${line.length > 200 ? `${line.slice(0, 200)}…` : line}»`
}
