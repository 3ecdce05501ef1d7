// The messages that we send, as XML and by either front-channel binding: AuthnRequest, LogoutRequest, LogoutResponse,
// ArtifactResolve. Times come from the caller; every value is escaped; what is signed is signed with RSA and SHA-256.
// SAML core 2.0, sections 3.4, 3.5 and 3.7; SAML bindings 2.0, sections 3.4 and 3.5.

import { createSign } from 'node:crypto'
import { deflateRawSync } from 'node:zlib'
import { SignedXml } from 'xml-crypto'
import type { NameQualifiers } from '../../domain/assertion.ts'
import type { RequestSettings } from '../../domain/documents/connection.ts'
import type { NameId } from '../../domain/model.ts'
import { ASSERTION, DSIG, ENVELOPED, EXCLUSIVE_C14N, HTTP_ARTIFACT, HTTP_POST, PROTOCOL, STATUS, XENC } from './names.ts'
import { escapeXml } from './xml-writing.ts'

const RSA_SHA256 = 'http://www.w3.org/2001/04/xmldsig-more#rsa-sha256'

export interface SigningKey {
  /** PEM. */
  readonly key: string
  readonly certificate: string
}

interface Envelope {
  readonly id: string
  readonly now: Date
  readonly issuer: string
  readonly destination: string
}

export interface AuthnRequest extends Envelope {
  readonly acs: string
  readonly settings: RequestSettings
  /** The first try of a connection that asks passively. */
  readonly passive: boolean
}

export function authnRequestXml(request: AuthnRequest): string {
  const { settings, acs, passive } = request
  const attributes: [string, string][] = [
    ['AssertionConsumerServiceURL', acs],
    ['ProtocolBinding', settings.response === 'artifact' ? HTTP_ARTIFACT : HTTP_POST],
  ]
  if (settings.forceAuthn) attributes.push(['ForceAuthn', 'true'])
  if (passive) attributes.push(['IsPassive', 'true'])
  const policy = `<samlp:NameIDPolicy AllowCreate="true"${attribute('Format', settings.nameIdFormat)}/>`
  const classes = settings.authnContext.map((one) => `<saml:AuthnContextClassRef>${escapeXml(one)}</saml:AuthnContextClassRef>`).join('')
  const context = classes ? `<samlp:RequestedAuthnContext Comparison="${settings.comparison}">${classes}</samlp:RequestedAuthnContext>` : ''
  return message('AuthnRequest', request, `${policy}${context}`, attributes)
}

export interface LogoutRequest extends Envelope {
  readonly nameId: NameId
  readonly nameQualifiers?: NameQualifiers
  readonly sessionIndex?: string
}

const LOGOUT_MINUTES = 5

export function logoutRequestXml(request: LogoutRequest): string {
  const { nameId, nameQualifiers, sessionIndex, now } = request
  const qualifiers =
    attribute('NameQualifier', nameQualifiers?.nameQualifier) + attribute('SPNameQualifier', nameQualifiers?.spNameQualifier)
  const name = `<saml:NameID${attribute('Format', nameId.format)}${qualifiers}>${escapeXml(nameId.value)}</saml:NameID>`
  const index = sessionIndex === undefined ? '' : `<samlp:SessionIndex>${escapeXml(sessionIndex)}</samlp:SessionIndex>`
  return message('LogoutRequest', request, `${name}${index}`, [
    ['NotOnOrAfter', new Date(now.getTime() + LOGOUT_MINUTES * 60_000).toISOString()],
    ['Reason', 'urn:oasis:names:tc:SAML:2.0:logout:user'],
  ])
}

/** `status`: the specification's short names, top level first. */
export function logoutResponseXml(response: Envelope & { inResponseTo: string; status: readonly [string, string?] }): string {
  const [top, second] = response.status
  const nested = second ? `<samlp:StatusCode Value="${STATUS}${second}"/>` : ''
  const status = `<samlp:Status><samlp:StatusCode Value="${STATUS}${top}">${nested}</samlp:StatusCode></samlp:Status>`
  return message('LogoutResponse', response, status, [['InResponseTo', response.inResponseTo]])
}

export function artifactResolveXml(resolve: Envelope & { artifact: string }): string {
  return message('ArtifactResolve', resolve, `<samlp:Artifact>${escapeXml(resolve.artifact)}</samlp:Artifact>`, [])
}

function message(name: string, { id, now, issuer, destination }: Envelope, content: string, more: readonly (readonly [string, string])[]) {
  const attributes = [['ID', id], ['Version', '2.0'], ['IssueInstant', now.toISOString()], ['Destination', destination], ...more]
  const written = attributes.map(([key, value]) => attribute(key as string, value)).join('')
  return `<samlp:${name} xmlns:samlp="${PROTOCOL}" xmlns:saml="${ASSERTION}"${written}><saml:Issuer>${escapeXml(issuer)}</saml:Issuer>${content}</samlp:${name}>`
}

function attribute(name: string, value: string | undefined): string {
  return value === undefined ? '' : ` ${name}="${escapeXml(value)}"`
}

// --- bindings ----------------------------------------------------------------------------------------------------------

export interface Outgoing {
  readonly xml: string
  readonly kind: 'SAMLRequest' | 'SAMLResponse'
  readonly relayState?: string | undefined
}

/** What the browser is to do: go to an address, or send a form there. */
export type Dispatch = { readonly redirect: string } | { readonly post: string; readonly fields: Readonly<Record<string, string>> }

/** HTTP-Redirect, the DEFLATE encoding; the signature covers the parameters as they stand in the address (section 3.4.4.1). */
export function byRedirect(location: string, { xml, kind, relayState }: Outgoing, signing: SigningKey | undefined): Dispatch {
  const parameters = [
    `${kind}=${encodeURIComponent(deflateRawSync(xml).toString('base64'))}`,
    ...(relayState === undefined ? [] : [`RelayState=${encodeURIComponent(relayState)}`]),
  ]
  if (signing) {
    parameters.push(`SigAlg=${encodeURIComponent(RSA_SHA256)}`)
    const signature = createSign('sha256').update(parameters.join('&')).sign(signing.key, 'base64')
    parameters.push(`Signature=${encodeURIComponent(signature)}`)
  }
  const url = new URL(location)
  url.hash = ''
  return { redirect: `${url.href}${url.search ? '&' : '?'}${parameters.join('&')}` }
}

/** HTTP-POST; the signature is in the message (section 3.5.4). */
export function byPost(location: string, { xml, kind, relayState }: Outgoing, signing: SigningKey | undefined): Dispatch {
  const field = Buffer.from(signing ? signMessage(xml, signing) : xml).toString('base64')
  return { post: location, fields: { [kind]: field, ...(relayState === undefined ? {} : { RelayState: relayState }) } }
}

/** An enveloped signature right after the Issuer, where the schema wants it; without one, as the first child. */
export function signMessage(xml: string, { key, certificate }: SigningKey): string {
  const signer = new SignedXml({
    privateKey: key,
    publicCert: certificate,
    signatureAlgorithm: RSA_SHA256,
    canonicalizationAlgorithm: EXCLUSIVE_C14N,
  })
  signer.addReference({ xpath: '/*', digestAlgorithm: `${XENC}sha256`, transforms: [ENVELOPED, EXCLUSIVE_C14N] })
  const hasIssuer = /^<[^>]+><saml:Issuer>/.test(xml)
  const location = hasIssuer
    ? ({ reference: "/*/*[local-name(.)='Issuer']", action: 'after' } as const)
    : ({ reference: '/*', action: 'prepend' } as const)
  signer.computeSignature(xml, { location, prefix: 'ds', attrs: { 'xmlns:ds': DSIG } })
  return signer.getSignedXml()
}
