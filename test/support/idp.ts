// An identity provider for tests, that can be told to misbehave: every good answer has its bad twin one edit away.

import { deflateRawSync, inflateRawSync } from 'node:zlib'
import { generate } from 'selfsigned'
import { SignedXml } from 'xml-crypto'

export interface KeyPair {
  readonly key: string
  readonly certificate: string
}

export async function keyPair(commonName = 'test', keySize: 1024 | 2048 = 2048): Promise<KeyPair> {
  const pair = await generate([{ name: 'commonName', value: commonName }], { keySize, algorithm: 'sha256' })
  return { key: pair.private, certificate: pair.cert }
}

export interface Answer {
  readonly acs: string
  readonly audience: string
  readonly issuer: string
  readonly now: Date
  readonly id?: string
  readonly inResponseTo?: string | undefined
  readonly nameId?: string
  readonly nameIdFormat?: string
  readonly attributes?: Readonly<Record<string, string | readonly string[]>>
  readonly destination?: string
  readonly recipient?: string
  readonly status?: string
  readonly sign?: 'assertion' | 'response' | 'both' | 'nothing'
  readonly sessionNotOnOrAfter?: Date
  /** Changes the XML before it is signed. */
  readonly beforeSigning?: (xml: string) => string
  /** Changes the XML after it was signed. */
  readonly afterSigning?: (xml: string) => string
}

const MINUTE = 60_000
let count = 0

/** The XML of a Response. */
export function answerXml(pair: KeyPair, answer: Answer): string {
  const { acs, audience, issuer, now, inResponseTo, sign = 'assertion' } = answer
  const id = answer.id ?? `_a${process.pid}x${Date.now()}x${++count}`
  const at = (minutes: number) => new Date(now.getTime() + minutes * MINUTE).toISOString()
  const replyTo = inResponseTo === undefined ? '' : ` InResponseTo="${inResponseTo}"`
  const sessionEnd = answer.sessionNotOnOrAfter ? ` SessionNotOnOrAfter="${answer.sessionNotOnOrAfter.toISOString()}"` : ''
  const attributes = Object.entries(answer.attributes ?? { email: 'ada@corp.example' })
    .map(([name, values]) => {
      const all = typeof values === 'string' ? [values] : values
      return `<saml:Attribute Name="${escapeXml(name)}">${all.map((value) => `<saml:AttributeValue>${escapeXml(value)}</saml:AttributeValue>`).join('')}</saml:Attribute>`
    })
    .join('')
  const format = answer.nameIdFormat ?? 'urn:oasis:names:tc:SAML:2.0:nameid-format:persistent'
  const status = answer.status ?? '<samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/>'
  let xml = `<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="${id}r" Version="2.0" IssueInstant="${at(0)}" Destination="${answer.destination ?? acs}"${replyTo}><saml:Issuer>${issuer}</saml:Issuer><samlp:Status>${status}</samlp:Status><saml:Assertion ID="${id}" Version="2.0" IssueInstant="${at(0)}"><saml:Issuer>${issuer}</saml:Issuer><saml:Subject><saml:NameID Format="${format}">${escapeXml(answer.nameId ?? 'ada')}</saml:NameID><saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer"><saml:SubjectConfirmationData NotOnOrAfter="${at(5)}" Recipient="${answer.recipient ?? acs}"${replyTo}/></saml:SubjectConfirmation></saml:Subject><saml:Conditions NotBefore="${at(-1)}" NotOnOrAfter="${at(5)}"><saml:AudienceRestriction><saml:Audience>${audience}</saml:Audience></saml:AudienceRestriction></saml:Conditions><saml:AuthnStatement AuthnInstant="${at(0)}" SessionIndex="${id}s"${sessionEnd}><saml:AuthnContext><saml:AuthnContextClassRef>urn:oasis:names:tc:SAML:2.0:ac:classes:Password</saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement>${attributes ? `<saml:AttributeStatement>${attributes}</saml:AttributeStatement>` : ''}</saml:Assertion></samlp:Response>`
  if (answer.beforeSigning) xml = answer.beforeSigning(xml)
  if (sign === 'assertion' || sign === 'both') xml = signElement(xml, pair, 'Assertion')
  if (sign === 'response' || sign === 'both') xml = signElement(xml, pair, 'Response')
  return answer.afterSigning ? answer.afterSigning(xml) : xml
}

/** The form that the browser would post. */
export function answerForm(pair: KeyPair, answer: Answer, relayState?: string): Record<string, string> {
  return { SAMLResponse: Buffer.from(answerXml(pair, answer)).toString('base64'), ...(relayState ? { RelayState: relayState } : {}) }
}

export function signElement(xml: string, pair: KeyPair, local: 'Assertion' | 'Response'): string {
  const signer = new SignedXml({
    privateKey: pair.key,
    publicCert: pair.certificate,
    signatureAlgorithm: 'http://www.w3.org/2001/04/xmldsig-more#rsa-sha256',
    canonicalizationAlgorithm: 'http://www.w3.org/2001/10/xml-exc-c14n#',
  })
  const element = `//*[local-name(.)='${local}']`
  signer.addReference({
    xpath: element,
    digestAlgorithm: 'http://www.w3.org/2001/04/xmlenc#sha256',
    transforms: ['http://www.w3.org/2000/09/xmldsig#enveloped-signature', 'http://www.w3.org/2001/10/xml-exc-c14n#'],
  })
  signer.computeSignature(xml, { location: { reference: `${element}/*[local-name(.)='Issuer']`, action: 'after' }, prefix: 'ds' })
  return signer.getSignedXml()
}

/** `more`: further services of the role, as XML. */
export function metadataXml(entityId: string, sso: string, certificates: readonly string[], more = ''): string {
  const keys = certificates
    .map(
      (pem) =>
        `<md:KeyDescriptor use="signing"><ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:X509Data><ds:X509Certificate>${pem.replace(/-----.*?-----|\s/g, '')}</ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor>`,
    )
    .join('')
  return `<?xml version="1.0"?><!-- made by hand --><md:EntityDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata" entityID="${entityId}"><md:IDPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">${keys}${more}<md:SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" Location="${sso}"/></md:IDPSSODescriptor></md:EntityDescriptor>`
}

/** What an AuthnRequest over HTTP-Redirect says. */
export function readRequest(location: string): { xml: string; id: string; relayState: string | undefined } {
  const query = new URL(location).searchParams
  const xml = inflateRawSync(Buffer.from(query.get('SAMLRequest') ?? '', 'base64')).toString('utf8')
  return { xml, id: /\bID="([^"]+)"/.exec(xml)?.[1] ?? '', relayState: query.get('RelayState') ?? undefined }
}

export function deflate(xml: string): string {
  return deflateRawSync(xml).toString('base64')
}

export function escapeXml(text: string): string {
  return text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;').replace(/"/g, '&quot;')
}
