// Reads one identity provider out of its metadata: who it is, where it signs people in and out, which keys it signs with.
// SAML metadata 2.0, sections 2.3, 2.4.1 and 2.4.3. The result is what an administrator trusts by applying it.

import { X509Certificate } from 'node:crypto'
import type { IdentityProvider, LogoutEndpoint, LogoutEndpoints } from '../../domain/identity-provider.ts'
import { durationSeconds, readDate } from './message.ts'
import { type Allowances, DSIG, HTTP_POST, HTTP_REDIRECT, METADATA, SOAP_BINDING } from './names.ts'
import { keyFault } from './signature.ts'
import { attributeOf, childrenNamed, descendants, isNamed, textOf, type XmlElement } from './xml.ts'

/** What an element of metadata says of how long it holds; what is said of a group holds for all within (sections 2.3.1, 2.3.2). */
export interface MetadataLimits {
  readonly validUntil: string | undefined
  readonly cacheDuration: string | undefined
}

/**
 * @param groups those around the entity
 * @returns the string says in plain words why it cannot be used
 */
export function readIdpMetadata(
  entity: XmlElement,
  { allow, now, groups }: { allow: Allowances; now: Date; groups: readonly MetadataLimits[] },
): IdentityProvider | string {
  const entityId = attributeOf(entity, 'entityID')
  if (!isNamed(entity, METADATA, 'EntityDescriptor') || !entityId) return 'an EntityDescriptor without an entityID'
  const [role, another] = childrenNamed(entity, METADATA, 'IDPSSODescriptor')
  if (!role || another)
    return `${entityId} has ${role ? 'several identity provider roles' : 'no identity provider role (IDPSSODescriptor)'}`
  const ends: string[] = []
  const spans: number[] = []
  const own = [entity, role].map((element) => ({
    validUntil: attributeOf(element, 'validUntil'),
    cacheDuration: attributeOf(element, 'cacheDuration'),
  }))
  for (const { validUntil: until, cacheDuration } of [...groups, ...own]) {
    if (until !== undefined && !(Number(readDate(until)) > now.getTime())) return `the metadata was valid until ${until} only`
    if (until !== undefined) ends.push(until)
    const span = durationSeconds(cacheDuration)
    if (span !== undefined) spans.push(span)
  }
  const redirect = endpointOf(role, 'SingleSignOnService', HTTP_REDIRECT, allow)?.location
  const post = endpointOf(role, 'SingleSignOnService', HTTP_POST, allow)?.location
  if (!redirect && !post) return `${entityId} offers no single sign-on over HTTP-Redirect or HTTP-POST with an https address`
  const certificates = signingCertificates(role, allow)
  if (typeof certificates === 'string') return certificates
  const singleLogout = logoutEndpoints(role, allow)
  const artifactResolution = artifactServices(role, allow)
  const [validUntil] = ends.sort((a, b) => Number(readDate(a)) - Number(readDate(b)))
  return {
    entityId,
    singleSignOn: { ...(redirect ? { redirect } : {}), ...(post ? { post } : {}) },
    ...(singleLogout ? { singleLogout } : {}),
    ...(artifactResolution.length ? { artifactResolution } : {}),
    certificates,
    wantsSignedRequests: /^(true|1)$/.test(attributeOf(role, 'WantAuthnRequestsSigned') ?? ''),
    ...(validUntil ? { validUntil } : {}),
    ...(spans.length ? { cacheSeconds: Math.min(...spans) } : {}),
  }
}

function logoutEndpoints(role: XmlElement, allow: Allowances): LogoutEndpoints | undefined {
  const redirect = endpointOf(role, 'SingleLogoutService', HTTP_REDIRECT, allow)
  const post = endpointOf(role, 'SingleLogoutService', HTTP_POST, allow)
  return redirect || post ? { ...(redirect ? { redirect } : {}), ...(post ? { post } : {}) } : undefined
}

function endpointOf(role: XmlElement, service: string, binding: string, allow: Allowances): LogoutEndpoint | undefined {
  const found = childrenNamed(role, METADATA, service).find((one) => attributeOf(one, 'Binding') === binding)
  const location = address(found, 'Location', allow)
  const responseLocation = address(found, 'ResponseLocation', allow)
  return location ? { location, ...(responseLocation ? { responseLocation } : {}) } : undefined
}

function artifactServices(role: XmlElement, allow: Allowances): { index: number; location: string }[] {
  return childrenNamed(role, METADATA, 'ArtifactResolutionService').flatMap((one) => {
    const location = attributeOf(one, 'Binding') === SOAP_BINDING ? address(one, 'Location', allow) : undefined
    const index = Number(attributeOf(one, 'index'))
    return location && Number.isInteger(index) && index >= 0 && index < 65_536 ? [{ index, location }] : []
  })
}

/** Over https; what runs on this machine may do without. */
function address(element: XmlElement | undefined, name: string, { http }: Allowances): string | undefined {
  const location = element && attributeOf(element, name)
  if (!location || !URL.canParse(location)) return undefined
  const { protocol, hostname } = new URL(location)
  const here = /^(localhost|.*\.localhost|127(\.\d+){3}|\[::1\])$/.test(hostname)
  return protocol === 'https:' || (protocol === 'http:' && (http || here)) ? location : undefined
}

/** Section 2.4.1.1: a KeyDescriptor without `use` serves both purposes. */
function signingCertificates(role: XmlElement, allow: Allowances): readonly string[] | string {
  const found = new Set<string>()
  const faults: string[] = []
  for (const descriptor of childrenNamed(role, METADATA, 'KeyDescriptor')) {
    if ((attributeOf(descriptor, 'use') ?? 'signing') !== 'signing') continue
    for (const element of descendants(descriptor)) {
      if (!isNamed(element, DSIG, 'X509Certificate')) continue
      const base64 = textOf(element)?.replace(/\s+/g, '') ?? ''
      const fault = certificateFault(base64, allow)
      if (fault) faults.push(fault)
      else found.add(base64)
    }
  }
  // One key that we cannot use beside one that we can is a rollover of theirs; none at all is a fault.
  return found.size ? [...found] : (faults[0] ?? 'the metadata has no signing certificate')
}

function certificateFault(base64: string, allow: Allowances): string | undefined {
  try {
    const { publicKey, subject } = new X509Certificate(Buffer.from(base64, 'base64'))
    const fault = keyFault(publicKey, allow)
    return fault && `the signing certificate of ${subject} cannot be used: ${fault}`
  } catch {
    return 'a signing certificate in the metadata cannot be read'
  }
}
