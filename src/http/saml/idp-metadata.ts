// Reads an identity provider's metadata: who it is, where it signs people in, which keys it signs with.
// SAML metadata 2.0, sections 2.3, 2.4.1 and 2.4.3. The result is what an administrator trusts by applying it.

import { X509Certificate } from 'node:crypto'
import type { IdentityProvider } from '../../domain/policy.ts'
import { DSIG, HTTP_POST, HTTP_REDIRECT, METADATA } from './names.ts'
import { readDate } from './signed-assertion.ts'
import { attributeOf, childrenNamed, descendants, isNamed, METADATA_LIMITS, readXml, textOf, type XmlElement, XmlFault } from './xml.ts'

const SMALLEST_RSA_BITS = 2048

/** @returns the string says in plain words why it cannot be used */
export function readIdpMetadata(xml: string, now: Date): IdentityProvider | string {
  let root: XmlElement
  try {
    root = readXml(xml.replace(/^\uFEFF/, ''), METADATA_LIMITS)
  } catch (error) {
    if (error instanceof XmlFault) return `the metadata is not XML that can be read: ${error.message}`
    throw error
  }
  if (isNamed(root, METADATA, 'EntitiesDescriptor'))
    return 'this is a federation of many entities; give the metadata of the one identity provider'
  const entityId = attributeOf(root, 'entityID')
  if (!isNamed(root, METADATA, 'EntityDescriptor') || !entityId)
    return `the root element is ${root.local}, not an EntityDescriptor with an entityID`
  const [role, another] = childrenNamed(root, METADATA, 'IDPSSODescriptor')
  if (!role || another)
    return `${entityId} has ${role ? 'several identity provider roles' : 'no identity provider role (IDPSSODescriptor)'}`
  for (const element of [root, role]) {
    const until = attributeOf(element, 'validUntil')
    if (until !== undefined && !(Number(readDate(until)) > now.getTime())) return `the metadata was valid until ${until} only`
  }
  const redirect = locationOf(role, HTTP_REDIRECT)
  const post = locationOf(role, HTTP_POST)
  if (!redirect) return `${entityId} offers no single sign-on over HTTP-Redirect with an http or https address`
  const certificates = signingCertificates(role)
  if (typeof certificates === 'string') return certificates
  return {
    entityId,
    singleSignOn: { redirect, ...(post ? { post } : {}) },
    certificates,
    wantsSignedRequests: /^(true|1)$/.test(attributeOf(role, 'WantAuthnRequestsSigned') ?? ''),
  }
}

function locationOf(role: XmlElement, binding: string): string | undefined {
  const service = childrenNamed(role, METADATA, 'SingleSignOnService').find((one) => attributeOf(one, 'Binding') === binding)
  const location = service && attributeOf(service, 'Location')
  return location && URL.canParse(location) && /^https?:$/.test(new URL(location).protocol) ? location : undefined
}

/** Section 2.4.1.1: a KeyDescriptor without `use` serves both purposes. */
function signingCertificates(role: XmlElement): readonly string[] | string {
  const found = new Set<string>()
  for (const descriptor of childrenNamed(role, METADATA, 'KeyDescriptor')) {
    if ((attributeOf(descriptor, 'use') ?? 'signing') !== 'signing') continue
    for (const element of descendants(descriptor)) {
      if (!isNamed(element, DSIG, 'X509Certificate')) continue
      const base64 = textOf(element)?.replace(/\s+/g, '') ?? ''
      const fault = certificateFault(base64)
      if (fault) return fault
      found.add(base64)
    }
  }
  return found.size ? [...found] : 'the metadata has no signing certificate'
}

function certificateFault(base64: string): string | undefined {
  try {
    const { publicKey, subject } = new X509Certificate(Buffer.from(base64, 'base64'))
    const bits = publicKey.asymmetricKeyDetails?.modulusLength ?? 0
    if (publicKey.asymmetricKeyType !== 'rsa')
      return `the signing key of ${subject} is ${publicKey.asymmetricKeyType}; only RSA can be verified`
    return bits < SMALLEST_RSA_BITS ? `the signing key of ${subject} has ${bits} bits; at least ${SMALLEST_RSA_BITS} are needed` : undefined
  } catch {
    return 'a signing certificate in the metadata cannot be read'
  }
}
