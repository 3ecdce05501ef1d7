// Reads an assertion out of the bytes that its signature covered, and checks all that the library leaves to its
// integrator: version, issuer, subject and its confirmation, conditions, audience, every time. `now` is a parameter.
// SAML core 2.0, section 2; SAML profiles 2.0, section 4.1.4.

import type { AssertionContent } from '../../domain/assertion.ts'
import { UNSPECIFIED } from '../../domain/matching.ts'
import type { NameId } from '../../domain/model.ts'
import { isRefusal, type Refusal, refuse } from '../../domain/refusals.ts'
import { ASSERTION, BEARER, ENTITY_FORMAT } from './names.ts'
import { quote } from './unverified-response.ts'
import { attributeOf, childrenNamed, elementsOf, isNamed, MESSAGE_LIMITS, readXml, textOf, type XmlElement, XmlFault } from './xml.ts'

export interface Expected {
  readonly issuer: string
  /** Our entityID at this connection. */
  readonly audience: string
  /** Our assertion consumer address at this connection. */
  readonly recipient: string
  readonly skewSeconds: number
  readonly now: Date
}

/** A response is posted right after it was made; an older one was kept by somebody. */
const OLDEST_MINUTES = 10

export function readSignedAssertion(xml: string, expected: Expected): AssertionContent | Refusal {
  let root: XmlElement
  try {
    root = readXml(xml, MESSAGE_LIMITS)
  } catch (error) {
    if (error instanceof XmlFault) return refuse('assertion.malformed', error.message)
    throw error
  }
  const clock = new Clock(expected)
  const id = attributeOf(root, 'ID')
  if (!isNamed(root, ASSERTION, 'Assertion') || attributeOf(root, 'Version') !== '2.0' || !id) {
    return refuse('assertion.malformed', 'the signed element is not a SAML 2.0 assertion with an ID')
  }
  const issuer = readIssuer(root, expected)
  if (isRefusal(issuer)) return issuer
  const issued = readDate(attributeOf(root, 'IssueInstant'))
  if (!issued) return refuse('assertion.malformed', `IssueInstant ${quote(attributeOf(root, 'IssueInstant'))} is not a date`)
  if (clock.isFuture(issued)) return refuse('assertion.not-yet-valid', `issued at ${issued.toISOString()}, ${clock.here}`)
  if (clock.isPast(new Date(issued.getTime() + OLDEST_MINUTES * 60_000))) {
    return refuse('assertion.expired', `issued at ${issued.toISOString()}, more than ${OLDEST_MINUTES} minutes ago; ${clock.here}`)
  }
  const until = readConditions(root, expected, clock)
  if (isRefusal(until)) return until
  const subject = readSubject(root, expected, clock)
  if (isRefusal(subject)) return subject
  const authentication = readAuthentication(root, clock)
  if (isRefusal(authentication)) return authentication
  const attributes = readAttributes(root)
  if (isRefusal(attributes)) return attributes

  const replayable = Math.min(until.getTime(), issued.getTime() + OLDEST_MINUTES * 60_000)
  return { id, issuer, ...subject, ...authentication, ...attributes, replayableUntil: new Date(replayable + expected.skewSeconds * 1000) }
}

/** Compares with the clock skew that is granted in both directions. */
class Clock {
  private readonly now: number
  private readonly skew: number
  constructor({ now, skewSeconds }: Expected) {
    this.now = now.getTime()
    this.skew = skewSeconds * 1000
  }
  isFuture(date: Date): boolean {
    return date.getTime() > this.now + this.skew
  }
  /** Half-open: at the very instant it is over. */
  isPast(date: Date): boolean {
    return date.getTime() + this.skew <= this.now
  }
  get here(): string {
    return `here it is ${new Date(this.now).toISOString()}, with ${this.skew / 1000} s of skew granted`
  }
}

/** xs:dateTime in UTC, as SAML core 2.0 section 1.3.3 demands; anything a lenient parser would guess at is undefined. */
export function readDate(text: string | undefined): Date | undefined {
  if (!text || !/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$/.test(text)) return undefined
  const date = new Date(text)
  return Number.isNaN(date.getTime()) ? undefined : date
}

function readIssuer(root: XmlElement, { issuer }: Expected): string | Refusal {
  const [element, another] = childrenNamed(root, ASSERTION, 'Issuer')
  const said = element && textOf(element)
  const format = element && attributeOf(element, 'Format')
  if (another || said !== issuer || (format !== undefined && format !== ENTITY_FORMAT)) {
    return refuse('assertion.issuer', `the assertion’s Issuer is ${quote(said)}, expected ${issuer}`)
  }
  return issuer
}

/** @returns until when */
function readConditions(root: XmlElement, { audience }: Expected, clock: Clock): Date | Refusal {
  const [conditions, another] = childrenNamed(root, ASSERTION, 'Conditions')
  const until = conditions && readDate(attributeOf(conditions, 'NotOnOrAfter'))
  if (!conditions || another || !until) return refuse('assertion.malformed', 'not exactly one Conditions with a NotOnOrAfter')
  const notBefore = attributeOf(conditions, 'NotBefore')
  const from = readDate(notBefore)
  if (notBefore !== undefined && !from) return refuse('assertion.malformed', `NotBefore ${quote(notBefore)} is not a date`)
  if (from && clock.isFuture(from)) return refuse('assertion.not-yet-valid', `valid from ${from.toISOString()}; ${clock.here}`)
  if (clock.isPast(until)) return refuse('assertion.expired', `valid until ${until.toISOString()}; ${clock.here}`)
  const restrictions = childrenNamed(conditions, ASSERTION, 'AudienceRestriction')
  if (!restrictions.length) return refuse('assertion.audience', `no AudienceRestriction; expected one with ${audience}`)
  // Section 2.5.1.4: every restriction must be met, by one of its audiences.
  for (const restriction of restrictions) {
    const audiences = childrenNamed(restriction, ASSERTION, 'Audience').map(textOf)
    if (!audiences.includes(audience))
      return refuse('assertion.audience', `meant for ${audiences.map(quote).join(', ')}, expected ${audience}`)
  }
  const known = ['AudienceRestriction', 'OneTimeUse', 'ProxyRestriction']
  const strange = elementsOf(conditions).find((element) => element.namespace !== ASSERTION || !known.includes(element.local))
  // Section 2.5.1.1: an assertion with a condition that is not understood is not valid.
  if (strange) return refuse('assertion.malformed', `a condition that is not understood: ${strange.local}`)
  return until
}

function readSubject(root: XmlElement, expected: Expected, clock: Clock): Pick<AssertionContent, 'nameId' | 'inResponseTo'> | Refusal {
  const [subject, another] = childrenNamed(root, ASSERTION, 'Subject')
  if (!subject || another) return refuse('assertion.malformed', 'not exactly one Subject')
  const nameId = readNameId(subject)
  if (isRefusal(nameId)) return nameId
  const bearers = childrenNamed(subject, ASSERTION, 'SubjectConfirmation').filter((one) => attributeOf(one, 'Method') === BEARER)
  if (!bearers.length) return refuse('assertion.recipient', 'no bearer SubjectConfirmation')
  // Profiles, section 4.1.4.3: one single confirmation has to satisfy everything.
  let first: Refusal | undefined
  for (const bearer of bearers) {
    const confirmed = confirm(bearer, expected, clock)
    if (!isRefusal(confirmed)) return { ...(nameId ? { nameId } : {}), ...confirmed }
    first ??= confirmed
  }
  return first as Refusal
}

function confirm(bearer: XmlElement, { recipient }: Expected, clock: Clock): Pick<AssertionContent, 'inResponseTo'> | Refusal {
  const [confirmation, another] = childrenNamed(bearer, ASSERTION, 'SubjectConfirmationData')
  if (!confirmation || another) return refuse('assertion.recipient', 'a bearer confirmation without SubjectConfirmationData')
  const to = attributeOf(confirmation, 'Recipient')
  if (to !== recipient) return refuse('assertion.recipient', `Recipient is ${quote(to)}, expected ${recipient}`)
  const until = readDate(attributeOf(confirmation, 'NotOnOrAfter'))
  if (!until) return refuse('assertion.malformed', 'a bearer confirmation without a NotOnOrAfter')
  if (clock.isPast(until)) return refuse('assertion.expired', `confirmed until ${until.toISOString()}; ${clock.here}`)
  if (attributeOf(confirmation, 'NotBefore') !== undefined) return refuse('assertion.malformed', 'a bearer confirmation with a NotBefore')
  const inResponseTo = attributeOf(confirmation, 'InResponseTo')
  return inResponseTo === undefined ? {} : { inResponseTo }
}

function readNameId(subject: XmlElement): NameId | undefined | Refusal {
  const [element, another] = childrenNamed(subject, ASSERTION, 'NameID')
  if (another) return refuse('subject.missing', 'several NameIDs')
  if (childrenNamed(subject, ASSERTION, 'EncryptedID').length)
    return refuse('subject.missing', 'the NameID is encrypted; turn that off at the identity provider')
  if (!element) return undefined
  const value = textOf(element)?.trim()
  if (!value) return refuse('subject.missing', 'the NameID is blank or is not text')
  return { value, format: attributeOf(element, 'Format') ?? UNSPECIFIED }
}

function readAuthentication(root: XmlElement, clock: Clock): Pick<AssertionContent, 'sessionIndex' | 'sessionNotOnOrAfter'> | Refusal {
  const [statement] = childrenNamed(root, ASSERTION, 'AuthnStatement')
  if (!statement) return refuse('assertion.malformed', 'no AuthnStatement: it does not say that anybody signed in')
  const sessionIndex = attributeOf(statement, 'SessionIndex')
  const end = attributeOf(statement, 'SessionNotOnOrAfter')
  const sessionNotOnOrAfter = readDate(end)
  if (end !== undefined && !sessionNotOnOrAfter) return refuse('assertion.malformed', `SessionNotOnOrAfter ${quote(end)} is not a date`)
  if (sessionNotOnOrAfter && clock.isPast(sessionNotOnOrAfter)) {
    return refuse('assertion.expired', `the identity provider’s session was over at ${sessionNotOnOrAfter.toISOString()}; ${clock.here}`)
  }
  return { ...(sessionIndex ? { sessionIndex } : {}), ...(sessionNotOnOrAfter ? { sessionNotOnOrAfter } : {}) }
}

/** Name -> list of strings. A value that is not text (an element, xsi:nil) is left out: nothing can be mapped from it. */
function readAttributes(root: XmlElement): Pick<AssertionContent, 'attributes' | 'aliases'> | Refusal {
  const attributes: Record<string, string[]> = Object.create(null)
  const aliases: Record<string, string> = Object.create(null)
  for (const statement of childrenNamed(root, ASSERTION, 'AttributeStatement')) {
    if (childrenNamed(statement, ASSERTION, 'EncryptedAttribute').length) {
      return refuse('assertion.malformed', 'an attribute is encrypted; turn that off at the identity provider')
    }
    for (const attribute of childrenNamed(statement, ASSERTION, 'Attribute')) {
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
