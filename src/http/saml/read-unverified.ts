// Reads what a SAML response or assertion claims, without asking whether it is true: for explaining what somebody has pasted,
// expired, edited or unsigned as that may be. Nothing that this returns can sign anybody in; a VerifiedAssertion it is not.

import type { AttributeValues, NameId } from '../../domain/model.ts'
import { isRefusal, type Refusal, refuse } from '../../domain/refusals.ts'
import { decodeBase64 } from './base64.ts'
import { decrypt } from './encryption.ts'
import { readDate, readText } from './message.ts'
import type { Allowances } from './names.ts'
import { ASSERTION } from './names.ts'
import { readAttributes, readName } from './signed-assertion.ts'
import { attributeOf, childrenNamed, descendants, isNamed, quote, textOf, type XmlElement } from './xml.ts'

export interface UnverifiedWords {
  readonly nameId?: NameId
  readonly attributes: AttributeValues
  readonly aliases: Readonly<Record<string, string>>
  readonly authnContext: string
  /** ISO 8601; empty where it does not say. */
  readonly authnInstant: string
  /** When it says that it was issued. */
  readonly issuedAt?: Date
}

/** XML; or that in base64, as a form posts it; or the form's whole body. */
export function pastedXml(text: string): string {
  const trimmed = text.replace(/^\ufeff/, '').trim()
  if (trimmed.startsWith('<')) return trimmed
  const field = /(?:^|&)SAMLResponse=([^&\s]+)/.exec(trimmed)?.[1]
  const encoded = (field === undefined ? trimmed : decodeURIComponent(field)).replace(/\s+/g, '')
  const bytes = decodeBase64(encoded)
  return bytes ? new TextDecoder('utf-8').decode(bytes) : trimmed
}

export function readUnverified(xml: string, settings: { decryptionKeys: readonly string[]; allow: Allowances }): UnverifiedWords | Refusal {
  const message = readText(xml)
  if (isRefusal(message)) return message
  const assertion = findAssertion(message.root, settings)
  if (isRefusal(assertion)) return assertion
  const [subject] = childrenNamed(assertion, ASSERTION, 'Subject')
  const name = subject ? readName(subject, settings) : {}
  if (isRefusal(name)) return name
  const attributes = readAttributes(assertion, settings)
  if (isRefusal(attributes)) return attributes
  const [statement] = childrenNamed(assertion, ASSERTION, 'AuthnStatement')
  const [context] = statement ? childrenNamed(statement, ASSERTION, 'AuthnContext') : []
  const [reference] = context ? childrenNamed(context, ASSERTION, 'AuthnContextClassRef') : []
  const issuedAt = readDate(attributeOf(assertion, 'IssueInstant'))
  return {
    ...(name.nameId ? { nameId: name.nameId } : {}),
    ...attributes,
    authnContext: (reference && textOf(reference)) ?? '',
    authnInstant: readDate(statement && attributeOf(statement, 'AuthnInstant'))?.toISOString() ?? '',
    ...(issuedAt ? { issuedAt } : {}),
  }
}

function findAssertion(root: XmlElement, settings: { decryptionKeys: readonly string[]; allow: Allowances }): XmlElement | Refusal {
  for (const element of descendants(root)) {
    if (isNamed(element, ASSERTION, 'Assertion')) return element
    if (!isNamed(element, ASSERTION, 'EncryptedAssertion')) continue
    const text = decrypt(element, settings.decryptionKeys, { cbc: settings.allow.cbc })
    if (isRefusal(text)) return text
    const inner = readText(text)
    if (isRefusal(inner)) return inner
    return inner.root
  }
  return refuse('response.not-saml', `there is no assertion in it; the root element is ${quote(root.local)}`)
}
