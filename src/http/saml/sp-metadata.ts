// Our own SAML metadata for one connection: who we are there, where answers and logouts go, which keys we sign with and
// can open, which attributes we ask for (SAML metadata 2.0, sections 2.3 and 2.4.4). True from the moment a connection is
// drafted: nothing in it depends on the identity provider.

import type { ServiceSpec } from '../../domain/documents/settings.ts'
import type { DraftConnection } from '../../domain/policy.ts'
import { OFFERED_CONTENT, OFFERED_KEY_TRANSPORT } from './encryption.ts'
import { DSIG, HTTP_ARTIFACT, HTTP_POST, HTTP_REDIRECT, METADATA, PROTOCOL } from './names.ts'
import { escapeXml } from './xml-writing.ts'

export interface SpMetadata {
  readonly connection: DraftConnection
  readonly service: ServiceSpec
  readonly entityId: string
  readonly acs: string
  readonly slo: string
  /** The one in use first. */
  readonly certificates: readonly string[]
  readonly signsRequests: boolean
  readonly validUntil: Date
}

export function spMetadataXml(about: SpMetadata): string {
  const { connection, service, entityId, acs, slo, certificates, signsRequests, validUntil } = about
  const keys = certificates.flatMap((pem) => [keyDescriptor('signing', pem), keyDescriptor('encryption', pem)])
  const logout = connection.singleLogout
    ? [HTTP_REDIRECT, HTTP_POST].map((binding) => element('SingleLogoutService', { Binding: binding, Location: slo }))
    : []
  const format = connection.requests.nameIdFormat
  const wantsAssertions = connection.signed !== 'response'
  const role = element(
    'SPSSODescriptor',
    {
      protocolSupportEnumeration: PROTOCOL,
      AuthnRequestsSigned: String(signsRequests),
      WantAssertionsSigned: String(wantsAssertions),
    },
    [
      ...keys,
      ...logout,
      ...(format ? [element('NameIDFormat', {}, [escapeXml(format)])] : []),
      element('AssertionConsumerService', { Binding: HTTP_POST, Location: acs, index: '0', isDefault: 'true' }),
      element('AssertionConsumerService', { Binding: HTTP_ARTIFACT, Location: acs, index: '1' }),
      ...requestedAttributes(connection, service),
    ].join(''),
  )
  const attributes = {
    xmlns: METADATA,
    ID: `_${connection.id}`,
    entityID: entityId,
    validUntil: validUntil.toISOString(),
    cacheDuration: 'PT24H',
  }
  return element('EntityDescriptor', attributes, `${role}${organization(service)}${contacts(service)}`)
}

function keyDescriptor(use: 'signing' | 'encryption', pem: string): string {
  const certificate = pem.replace(/-----.*?-----|\s/g, '')
  const info = `<ds:KeyInfo xmlns:ds="${DSIG}"><ds:X509Data><ds:X509Certificate>${certificate}</ds:X509Certificate></ds:X509Data></ds:KeyInfo>`
  const methods =
    use === 'signing' ? [] : [...OFFERED_CONTENT, OFFERED_KEY_TRANSPORT].map((one) => element('EncryptionMethod', { Algorithm: one }))
  return element('KeyDescriptor', { use }, `${info}${methods.join('')}`)
}

function requestedAttributes({ wanted }: DraftConnection, { organization: owner }: ServiceSpec): string[] {
  if (!wanted.length) return []
  const rows = wanted.map(({ name, required }) => {
    const format = `urn:oasis:names:tc:SAML:2.0:attrname-format:${/^[a-z][a-z0-9+.-]*:/i.test(name) ? 'uri' : 'basic'}`
    return element('RequestedAttribute', { Name: name, NameFormat: format, isRequired: String(required) })
  })
  const title = element('ServiceName', { 'xml:lang': 'en' }, escapeXml(owner?.displayName ?? owner?.name ?? 'Gatehouse'))
  return [element('AttributeConsumingService', { index: '0', isDefault: 'true' }, `${title}${rows.join('')}`)]
}

function organization({ organization: owner }: ServiceSpec): string {
  if (!owner) return ''
  const language = { 'xml:lang': 'en' }
  return element('Organization', {}, [
    element('OrganizationName', language, escapeXml(owner.name)),
    element('OrganizationDisplayName', language, escapeXml(owner.displayName ?? owner.name)),
    element('OrganizationURL', language, escapeXml(owner.url)),
  ])
}

function contacts({ contacts: people }: ServiceSpec): string {
  return people
    .map(({ type, name, email }) =>
      element('ContactPerson', { contactType: type }, [
        ...(name ? [element('GivenName', {}, escapeXml(name))] : []),
        element('EmailAddress', {}, escapeXml(`mailto:${email}`)),
      ]),
    )
    .join('')
}

function element(name: string, attributes: Readonly<Record<string, string>>, content: string | readonly string[] = ''): string {
  const written = Object.entries(attributes).map(([key, value]) => ` ${key}="${escapeXml(value)}"`)
  const inner = typeof content === 'string' ? content : content.join('')
  return inner ? `<${name}${written.join('')}>${inner}</${name}>` : `<${name}${written.join('')}/>`
}
