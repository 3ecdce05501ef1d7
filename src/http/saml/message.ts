// What every SAML message has in common, whichever way it came: bytes that are strict XML, a version, an ID, an issuer, a
// destination, a status. Everything learned here may be unverified; it may refuse, but no word of it reaches a decision
// unless the element it was read from came out of a signature.

import { type Refusal, type RefusalCode, refuse } from '../../domain/refusals.ts'
import { decodeBase64 } from './base64.ts'
import { ASSERTION, ENTITY_FORMAT, PROTOCOL, STATUS } from './names.ts'
import { attributeOf, childrenNamed, MESSAGE_LIMITS, quote, readXml, textOf, withLineFeeds, type XmlElement, XmlFault } from './xml.ts'

export interface Message {
  /** With line feeds: what the offsets of its elements count in. */
  readonly text: string
  readonly root: XmlElement
}

/** The field of a form. */
export function decodeField(field: string): Buffer | Refusal {
  return decodeBase64(field) ?? refuse('response.not-base64', 'the message is not base64', { expected: 'base64 (RFC 4648, section 4)' })
}

export function readMessage(bytes: Uint8Array): Message | Refusal {
  try {
    return readText(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes))
  } catch {
    return refuse('response.not-xml', 'the bytes are not UTF-8')
  }
}

/** For what has been decrypted or canonicalised: the same reader, the same limits. */
export function readText(source: string): Message | Refusal {
  try {
    const text = withLineFeeds(source)
    return { text, root: readXml(text, MESSAGE_LIMITS) }
  } catch (error) {
    if (error instanceof XmlFault) return refuse('response.not-xml', error.message)
    throw error
  }
}

/** xs:ID is an NCName; the library puts it into an XPath expression, so nothing else is let through. */
export function readId(element: XmlElement): string | undefined {
  const id = attributeOf(element, 'ID')
  return id !== undefined && /^[A-Za-z_][\w.-]{0,255}$/.test(id) ? id : undefined
}

/** xs:dateTime with a time zone (SAML core 2.0, section 1.3.3); anything a lenient parser would guess at is undefined. */
export function readDate(text: string | undefined): Date | undefined {
  const fields = /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)$/.exec(text ?? '')
  if (!text || !fields) return undefined
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = fields.slice(1, 7).map(Number)
  // JavaScript turns the 30th of February into a day in March.
  const written = new Date(Date.UTC(year, month - 1, day, hour, minute, second))
  if (written.getUTCMonth() !== month - 1 || written.getUTCDate() !== day || hour > 23 || minute > 59 || second > 59) return undefined
  const date = new Date(text)
  return Number.isNaN(date.getTime()) ? undefined : date
}

/** xs:duration, without months and years, which have no fixed length. */
export function durationSeconds(text: string | undefined): number | undefined {
  const found = /^P(?:(\d{1,5})D)?(?:T(?:(\d{1,5})H)?(?:(\d{1,6})M)?(?:(\d{1,8})(?:\.\d+)?S)?)?$/.exec(text ?? '')
  if (!found) return undefined
  const [days = 0, hours = 0, minutes = 0, seconds = 0] = found.slice(1).map((one) => Number(one ?? 0))
  return days * 86_400 + hours * 3_600 + minutes * 60 + seconds
}

/** Compares with the clock skew that is granted in both directions. */
export class Clock {
  private readonly now: number
  private readonly skew: number
  constructor({ now, skewSeconds }: { now: Date; skewSeconds: number }) {
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

/** A message is delivered right after it was made; an older one was kept by somebody. */
export const OLDEST_MINUTES = 10

export function issuedTooLongAgo(issued: Date, clock: Clock): boolean {
  return clock.isPast(new Date(issued.getTime() + OLDEST_MINUTES * 60_000))
}

/** SAML core 2.0, section 2.2.5: an entityID, exactly. Undefined means that the element has none. */
export function issuerFault(
  element: XmlElement,
  expected: string,
  code: 'assertion.issuer' | 'logout.issuer',
  whose: string,
): Refusal | undefined {
  const [issuer, another] = childrenNamed(element, ASSERTION, 'Issuer')
  const said = issuer && textOf(issuer)
  const format = issuer && attributeOf(issuer, 'Format')
  if (!another && said === expected && (format === undefined || format === ENTITY_FORMAT)) return undefined
  return refuse(code, `${whose} Issuer is ${quote(said)}, expected ${expected}`, { expected, came: quote(said) })
}

/** The top status code, in the specification's short form, with what the other side said beside it. */
export function readStatus(element: XmlElement): { code: string; second: string; said: string } | undefined {
  const [status, another] = childrenNamed(element, PROTOCOL, 'Status')
  const [top, two] = status ? childrenNamed(status, PROTOCOL, 'StatusCode') : []
  const code = top && attributeOf(top, 'Value')
  if (!status || another || !top || two || !code) return undefined
  const [nested] = childrenNamed(top, PROTOCOL, 'StatusCode')
  const [message] = childrenNamed(status, PROTOCOL, 'StatusMessage')
  return { code, second: (nested && attributeOf(nested, 'Value')) ?? '', said: (message && textOf(message)) ?? '' }
}

/** The identity provider's own "no", in our words; its message goes on the record. */
export function statusFault(element: XmlElement): Refusal | undefined {
  const status = readStatus(element)
  if (!status) return refuse('response.not-saml', 'the response has no single Status with a StatusCode')
  const { code, second, said } = status
  if (code === `${STATUS}Success`) return undefined
  const came = [code, second].filter(Boolean).map(quote).join(' ')
  return refuse(statusRefusal(second), `status ${came}${said ? `, message ${quote(said)}` : ''}`, {
    expected: `${STATUS}Success`,
    came: `${came}${said ? ` ${quote(said)}` : ''}`,
  })
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
    case 'NoAuthnContext':
      return 'idp.no-authn-context'
    case 'InvalidNameIDPolicy':
      return 'idp.no-name-id'
    default:
      return 'idp.other'
  }
}
