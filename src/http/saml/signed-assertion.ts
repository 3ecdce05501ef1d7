// Reads an assertion out of the bytes that a signature covered, and checks all that the library leaves to its integrator:
// version, issuer, subject and its confirmation, conditions, audience, every time. `now` is a parameter. What is
// encrypted within is decrypted here, because only here is it known to be what the identity provider sent.
// SAML core 2.0, section 2; SAML profiles 2.0, section 4.1.4.

import type { AssertionContent } from '../../domain/assertion.ts'
import { UNSPECIFIED } from '../../domain/matching.ts'
import { isRefusal, type Refusal, refuse } from '../../domain/refusals.ts'
import type { Trace } from '../../domain/steps.ts'
import { decrypt } from './encryption.ts'
import { Clock, issuedTooLongAgo, issuerFault, OLDEST_MINUTES, readDate, readId, readText } from './message.ts'
import { ASSERTION, BEARER } from './names.ts'
import type { ResponseExpectations } from './verify-response.ts'
import { attributeOf, childrenNamed, elementsOf, isNamed, quote, textOf, type XmlElement } from './xml.ts'

/** @param root from verified bytes */
export function readSignedAssertion(root: XmlElement, expected: ResponseExpectations, trace: Trace): AssertionContent | Refusal {
  const clock = new Clock(expected)
  const id = readId(root)
  if (!isNamed(root, ASSERTION, 'Assertion') || attributeOf(root, 'Version') !== '2.0' || !id) {
    const refusal = refuse('assertion.malformed', 'the signed element is not a SAML 2.0 assertion with an ID')
    return trace.fail('issuer', refusal)
  }
  const issuer = issuerFault(root, expected.issuer, 'assertion.issuer', 'the assertion’s')
  if (issuer) return trace.fail('issuer', issuer)
  trace.pass('issuer', expected.issuer)

  const times = trace.note('times', readTimes(root, clock), ({ until }) => `valid until ${until.toISOString()}`)
  if (isRefusal(times)) return times
  const meant = checkConditions(root, expected)
  if (meant) return trace.fail('audience', meant)
  trace.pass('audience', expected.audience)
  const subject = trace.note('subject', readSubject(root, expected, clock), (read) => read.nameId?.format)
  if (isRefusal(subject)) return subject
  const authentication = trace.note('authentication', readAuthentication(root, expected, clock), (read) => {
    const { authnContexts, comparison } = expected
    if (!authnContexts.length || comparison === 'exact') return read.authnContext
    return `${read.authnContext ?? '(nothing)'}; asked for was ${comparison} ${authnContexts.join(' or ')}, which only the identity provider can compare`
  })
  if (isRefusal(authentication)) return authentication
  const attributes = trace.note('attributes', readAttributes(root, expected), (read) => Object.keys(read.attributes).join(', '))
  if (isRefusal(attributes)) return attributes

  const { issued, until } = times
  const replayable = Math.min(until.getTime(), issued.getTime() + OLDEST_MINUTES * 60_000)
  const replayableUntil = new Date(replayable + expected.skewSeconds * 1000)
  return { id, issuer: expected.issuer, ...subject, ...authentication, ...attributes, replayableUntil }
}

function readTimes(root: XmlElement, clock: Clock): { issued: Date; until: Date } | Refusal {
  const issued = readDate(attributeOf(root, 'IssueInstant'))
  if (!issued) return refuse('assertion.malformed', `IssueInstant ${quote(attributeOf(root, 'IssueInstant'))} is not a date`)
  const over = (code: 'assertion.expired' | 'assertion.not-yet-valid', detail: string) =>
    refuse(code, `${detail}; ${clock.here}`, { expected: clock.here, came: detail })
  if (clock.isFuture(issued)) return over('assertion.not-yet-valid', `issued at ${issued.toISOString()}`)
  if (issuedTooLongAgo(issued, clock)) {
    return over('assertion.expired', `issued at ${issued.toISOString()}, more than ${OLDEST_MINUTES} minutes ago`)
  }
  const [conditions, another] = childrenNamed(root, ASSERTION, 'Conditions')
  const until = conditions && readDate(attributeOf(conditions, 'NotOnOrAfter'))
  if (!conditions || another || !until) return refuse('assertion.malformed', 'not exactly one Conditions with a NotOnOrAfter')
  const notBefore = attributeOf(conditions, 'NotBefore')
  const from = readDate(notBefore)
  if (notBefore !== undefined && !from) return refuse('assertion.malformed', `NotBefore ${quote(notBefore)} is not a date`)
  if (from && clock.isFuture(from)) return over('assertion.not-yet-valid', `valid from ${from.toISOString()}`)
  if (clock.isPast(until)) return over('assertion.expired', `valid until ${until.toISOString()}`)
  return { issued, until }
}

/** Section 2.5.1. OneTimeUse is what every assertion gets here; ProxyRestriction limits what we do not do. */
const CONDITIONS = ['AudienceRestriction', 'OneTimeUse', 'ProxyRestriction']

function checkConditions(root: XmlElement, { audience }: ResponseExpectations): Refusal | undefined {
  const [conditions] = childrenNamed(root, ASSERTION, 'Conditions')
  const restrictions = conditions ? childrenNamed(conditions, ASSERTION, 'AudienceRestriction') : []
  if (!conditions || !restrictions.length) {
    return refuse('assertion.audience', `no AudienceRestriction; expected one with ${audience}`, { expected: audience, came: '(nothing)' })
  }
  // Section 2.5.1.4: every restriction must be met, by one of its audiences.
  for (const restriction of restrictions) {
    const audiences = childrenNamed(restriction, ASSERTION, 'Audience').map(textOf)
    const came = audiences.map(quote).join(', ')
    if (!audiences.includes(audience))
      return refuse('assertion.audience', `meant for ${came}, expected ${audience}`, { expected: audience, came })
  }
  const strange = elementsOf(conditions).find((element) => element.namespace !== ASSERTION || !CONDITIONS.includes(element.local))
  // Section 2.5.1.1: an assertion with a condition that is not understood is not valid.
  return strange && refuse('assertion.malformed', `a condition that is not understood: ${quote(strange.local)}`)
}

type Subject = Pick<AssertionContent, 'nameId' | 'nameQualifiers' | 'inResponseTo'>

function readSubject(root: XmlElement, expected: ResponseExpectations, clock: Clock): Subject | Refusal {
  const [subject, another] = childrenNamed(root, ASSERTION, 'Subject')
  if (!subject || another) return refuse('assertion.malformed', 'not exactly one Subject')
  const name = readName(subject, expected)
  if (isRefusal(name)) return name
  const bearers = childrenNamed(subject, ASSERTION, 'SubjectConfirmation').filter((one) => attributeOf(one, 'Method') === BEARER)
  if (!bearers.length) return refuse('assertion.recipient', 'no bearer SubjectConfirmation')
  // Profiles, section 4.1.4.3: one single confirmation has to satisfy everything.
  let first: Refusal | undefined
  for (const bearer of bearers) {
    const confirmed = confirm(bearer, expected, clock)
    if (!isRefusal(confirmed)) return { ...name, ...confirmed }
    first ??= confirmed
  }
  return first as Refusal
}

function confirm(bearer: XmlElement, { acs }: ResponseExpectations, clock: Clock): Pick<AssertionContent, 'inResponseTo'> | Refusal {
  const [confirmation, another] = childrenNamed(bearer, ASSERTION, 'SubjectConfirmationData')
  if (!confirmation || another) return refuse('assertion.recipient', 'a bearer confirmation without SubjectConfirmationData')
  const to = attributeOf(confirmation, 'Recipient')
  if (to !== acs) {
    return refuse('assertion.recipient', `Recipient is ${quote(to)}, expected ${acs}`, { expected: acs, came: quote(to) })
  }
  const until = readDate(attributeOf(confirmation, 'NotOnOrAfter'))
  if (!until) return refuse('assertion.malformed', 'a bearer confirmation without a NotOnOrAfter')
  if (clock.isPast(until)) return refuse('assertion.expired', `confirmed until ${until.toISOString()}; ${clock.here}`)
  if (attributeOf(confirmation, 'NotBefore') !== undefined) return refuse('assertion.malformed', 'a bearer confirmation with a NotBefore')
  const inResponseTo = attributeOf(confirmation, 'InResponseTo')
  return inResponseTo === undefined ? {} : { inResponseTo }
}

/** The NameID, in the clear or encrypted; nothing where the subject is only confirmed. */
export function readName(subject: XmlElement, expected: DecryptionSettings): Pick<AssertionContent, 'nameId' | 'nameQualifiers'> | Refusal {
  const [clear, ...more] = elementsOf(subject).filter(({ namespace, local }) => namespace === ASSERTION && NAMES.includes(local))
  if (more.length) return refuse('subject.missing', 'several NameIDs')
  if (!clear) return {}
  if (clear.local === 'BaseID') return refuse('subject.missing', 'a BaseID, which names nobody here')
  const element = clear.local === 'EncryptedID' ? openElement(clear, 'NameID', expected) : clear
  if (isRefusal(element)) return element
  const value = textOf(element)
  // White space around a name would make it another name that looks the same.
  if (!value || value.trim() !== value) return refuse('subject.missing', 'the NameID is blank, not text, or has white space around it')
  const [nameQualifier, spNameQualifier] = ['NameQualifier', 'SPNameQualifier'].map((name) => attributeOf(element, name))
  return {
    nameId: { value, format: attributeOf(element, 'Format') ?? UNSPECIFIED },
    ...(nameQualifier === undefined && spNameQualifier === undefined
      ? {}
      : {
          nameQualifiers: {
            ...(nameQualifier === undefined ? {} : { nameQualifier }),
            ...(spNameQualifier === undefined ? {} : { spNameQualifier }),
          },
        }),
  }
}

type DecryptionSettings = Pick<ResponseExpectations, 'decryptionKeys' | 'allow'>

const NAMES = ['NameID', 'EncryptedID', 'BaseID']

/** What is within an EncryptedID or an EncryptedAttribute. A signature covers it, so AES-CBC tells an attacker nothing. */
function openElement(encrypted: XmlElement, local: 'NameID' | 'Attribute', { decryptionKeys, allow }: DecryptionSettings) {
  const text = decrypt(encrypted, decryptionKeys, { cbc: allow.cbc })
  if (isRefusal(text)) return text
  const inner = readText(text)
  if (isRefusal(inner)) return refuse('encryption.failed', `what came out of the encryption: ${inner.detail}`)
  return isNamed(inner.root, ASSERTION, local) ? inner.root : refuse('encryption.failed', `what came out of the encryption is no ${local}`)
}

type Authentication = Pick<AssertionContent, 'sessionIndex' | 'sessionNotOnOrAfter' | 'authnInstant' | 'authnContext'>

function readAuthentication(root: XmlElement, { authnContexts, comparison }: ResponseExpectations, clock: Clock): Authentication | Refusal {
  const [statement, another] = childrenNamed(root, ASSERTION, 'AuthnStatement')
  if (another) return refuse('assertion.malformed', 'several AuthnStatements: it does not say which sign-in is meant')
  if (!statement) return refuse('assertion.malformed', 'no AuthnStatement: it does not say that anybody signed in')
  const instant = attributeOf(statement, 'AuthnInstant')
  const authnInstant = readDate(instant)
  if (!authnInstant) return refuse('assertion.malformed', `AuthnInstant ${quote(instant)} is not a date`)
  if (clock.isFuture(authnInstant)) {
    return refuse('assertion.not-yet-valid', `signed in at ${authnInstant.toISOString()}; ${clock.here}`)
  }
  const sessionIndex = attributeOf(statement, 'SessionIndex')
  const end = attributeOf(statement, 'SessionNotOnOrAfter')
  const sessionNotOnOrAfter = readDate(end)
  if (end !== undefined && !sessionNotOnOrAfter) return refuse('assertion.malformed', `SessionNotOnOrAfter ${quote(end)} is not a date`)
  if (sessionNotOnOrAfter && clock.isPast(sessionNotOnOrAfter)) {
    return refuse('assertion.expired', `the identity provider’s session was over at ${sessionNotOnOrAfter.toISOString()}; ${clock.here}`)
  }
  const [context] = childrenNamed(statement, ASSERTION, 'AuthnContext')
  const [reference] = context ? childrenNamed(context, ASSERTION, 'AuthnContextClassRef') : []
  const authnContext = reference && textOf(reference)
  if (comparison === 'exact' && authnContexts.length && !(authnContext && authnContexts.includes(authnContext))) {
    const compared = { expected: authnContexts.join(' or '), came: quote(authnContext) }
    return refuse('assertion.authn-context', `signed in by ${compared.came}, asked for was ${compared.expected}`, compared)
  }
  return {
    authnInstant,
    ...(authnContext ? { authnContext } : {}),
    ...(sessionIndex ? { sessionIndex } : {}),
    ...(sessionNotOnOrAfter ? { sessionNotOnOrAfter } : {}),
  }
}

/** Name -> list of strings. A value that is not text (an element, xsi:nil) is left out: nothing can be mapped from it. */
export function readAttributes(root: XmlElement, expected: DecryptionSettings): Pick<AssertionContent, 'attributes' | 'aliases'> | Refusal {
  const attributes: Record<string, string[]> = Object.create(null)
  const aliases: Record<string, string> = Object.create(null)
  for (const statement of childrenNamed(root, ASSERTION, 'AttributeStatement')) {
    for (const element of elementsOf(statement)) {
      const encrypted = isNamed(element, ASSERTION, 'EncryptedAttribute')
      const attribute = encrypted ? openElement(element, 'Attribute', expected) : element
      if (isRefusal(attribute)) return attribute
      if (!isNamed(attribute, ASSERTION, 'Attribute'))
        return refuse('assertion.malformed', 'an AttributeStatement that holds something else')
      const name = attributeOf(attribute, 'Name')?.trim()
      if (!name) return refuse('assertion.malformed', 'an attribute without a Name')
      const friendly = attributeOf(attribute, 'FriendlyName')?.trim()
      if (friendly) aliases[friendly] ??= name
      attributes[name] ??= []
      for (const value of childrenNamed(attribute, ASSERTION, 'AttributeValue')) {
        const nil = value.attributes.some((one) => one.local === 'nil' && (one.value === 'true' || one.value === '1'))
        const text = textOf(value)
        if (text !== undefined && !nil) attributes[name].push(text)
      }
    }
  }
  return { attributes, aliases }
}
