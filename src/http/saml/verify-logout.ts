// The messages of single logout: bytes in, what the identity provider has signed out, or a refusal. Pure, with `now` as a
// parameter. Everything is checked here, because the library accepts unsigned ones and looks for parameters by pattern:
// signature (in the address over the raw query, or in the message), issuer, destination, age, and what the message says.
// SAML core 2.0, section 3.7; SAML bindings 2.0, sections 3.4.4.1 and 3.5.4.

import { verify as verifyBytes } from 'node:crypto'
import { inflateRawSync } from 'node:zlib'
import type { NameId } from '../../domain/model.ts'
import { isRefusal, type Refusal, refuse } from '../../domain/refusals.ts'
import { type Step, Trace } from '../../domain/steps.ts'
import { decodeBase64 } from './base64.ts'
import {
  Clock,
  decodeField,
  issuedTooLongAgo,
  issuerFault,
  type Message,
  OLDEST_MINUTES,
  readDate,
  readId,
  readMessage,
  readStatus,
} from './message.ts'
import { algorithm, PROTOCOL, STATUS, signatureMethods } from './names.ts'
import { readSigned, signatureFault, signatureOf, type Trust, verificationKey } from './signature.ts'
import { readName } from './signed-assertion.ts'
import { attributeOf, childrenNamed, descendants, isNamed, quote, textOf, type XmlElement } from './xml.ts'

export interface LogoutExpectations extends Trust {
  readonly issuer: string
  /** Our single logout address at this connection. */
  readonly slo: string
  readonly decryptionKeys: readonly string[]
  readonly skewSeconds: number
  readonly now: Date
}

/** As it came: the raw query of a GET, or the fields of a posted form. */
export type LogoutDelivery = { readonly query: string } | { readonly form: Readonly<Record<string, unknown>> }

export type LogoutContent =
  | {
      readonly kind: 'request'
      readonly id: string
      readonly nameId: NameId
      /** Empty: all of the person's sessions. */
      readonly sessionIndexes: readonly string[]
      readonly relayState?: string
      /** Until when, with the clock skew added, it could be sent again. */
      readonly replayableUntil: Date
    }
  | {
      readonly kind: 'response'
      readonly id: string
      readonly inResponseTo: string
      readonly outcome: 'success' | 'partial' | 'failed'
      /** The other side's status, for the record. */
      readonly said: string
    }

export interface VerifiedLogout {
  readonly outcome: LogoutContent | Refusal
  readonly steps: readonly Step[]
  /** None of the keys that we know verifies it; there may be a new one. */
  readonly unknownKey: boolean
}

export function verifyLogout(delivery: LogoutDelivery, expected: LogoutExpectations): VerifiedLogout {
  const trace = new Trace()
  const outcome = 'query' in delivery ? byAddress(delivery.query, expected, trace) : byForm(delivery.form, expected, trace)
  const unknownKey = isRefusal(outcome) && outcome.code === 'signature.invalid'
  return { outcome: isRefusal(outcome) ? asLogout(outcome) : outcome, steps: trace.steps, unknownKey }
}

/** Checks that sign-ins share name their refusals for a sign-in. */
function asLogout(refusal: Refusal): Refusal {
  if (refusal.code.startsWith('logout.')) return refusal
  return { ...refusal, code: refusal.code.startsWith('signature.') ? 'logout.signature' : 'logout.malformed' }
}

const LARGEST_INFLATED = 128 * 1024

/** Literal names, once each, in the order in which they are signed; nothing else. */
const SIGNED_QUERY = /^(SAMLRequest|SAMLResponse)=([^&]*)(?:&RelayState=([^&]*))?&SigAlg=([^&]*)&Signature=([^&]*)$/

function byAddress(query: string, expected: LogoutExpectations, trace: Trace): LogoutContent | Refusal {
  const signed = trace.note('redirect-signature', verifyQuery(query, expected), ({ fingerprint }) => `signed with ${fingerprint}`)
  if (isRefusal(signed)) return signed
  const message = trace.note('message', inflated(signed.message))
  if (isRefusal(message)) return message
  if (signatureOf(message.root)) {
    // Bindings, section 3.4.4.1: it is removed before the message is put into an address.
    return trace.fail('message-signature', refuse('logout.malformed', 'a signature in the message as well as in the address'))
  }
  return readContent(message.root, signed.relayState, expected, trace)
}

function verifyQuery(
  query: string,
  { certificates, allow }: Trust,
): { message: string; relayState: string | undefined; fingerprint: string } | Refusal {
  const [whole, kind, message, relayState, sigAlg, signature] = SIGNED_QUERY.exec(query) ?? []
  if (!whole || !kind || !message || !sigAlg || !signature) {
    return refuse('logout.signature', 'the address is not a message, RelayState, SigAlg and Signature, in this order, once each', {
      expected: 'SAMLRequest or SAMLResponse, RelayState, SigAlg, Signature',
      came: quote(query.replace(/=[^&]*/g, '=…')),
    })
  }
  const name = decoded(sigAlg)
  const hash = algorithm(signatureMethods(allow), name)
  if (!hash) return refuse('logout.signature', `the signature method ${quote(name)} is not accepted`, { came: quote(name) })
  const bytes = decodeBase64(decoded(signature) ?? '')
  if (!bytes) return refuse('logout.signature', 'the Signature is not base64')
  const input = Buffer.from(query.slice(0, query.indexOf('&Signature=')))
  const text = decoded(message)
  if (text === undefined || (relayState !== undefined && decoded(relayState) === undefined)) {
    return refuse('logout.malformed', 'the address cannot be decoded')
  }
  for (const certificate of certificates) {
    const key = verificationKey(certificate, allow)
    if (typeof key !== 'string' && verifyBytes(hash, input, key.key, bytes)) {
      return { message: text, relayState: decoded(relayState), fingerprint: key.fingerprint }
    }
  }
  return refuse('signature.invalid', 'no key of the connection verifies the signature in the address')
}

/** One step of URL decoding, as a form would do it. */
function decoded(raw: string | undefined): string | undefined {
  try {
    return raw === undefined ? undefined : decodeURIComponent(raw.replace(/\+/g, ' '))
  } catch {
    return undefined
  }
}

function inflated(base64: string): Message | Refusal {
  const bytes = decodeField(base64)
  if (isRefusal(bytes)) return bytes
  try {
    return readMessage(inflateRawSync(bytes, { maxOutputLength: LARGEST_INFLATED }))
  } catch {
    return refuse('logout.malformed', `the message cannot be inflated, or not within ${LARGEST_INFLATED} bytes`)
  }
}

function byForm(form: Readonly<Record<string, unknown>>, expected: LogoutExpectations, trace: Trace): LogoutContent | Refusal {
  const { SAMLRequest, SAMLResponse, RelayState } = form
  const field = SAMLRequest ?? SAMLResponse
  if (typeof field !== 'string' || (SAMLRequest !== undefined && SAMLResponse !== undefined)) {
    return trace.fail('message', refuse('logout.malformed', 'the form has no single field SAMLRequest or SAMLResponse'))
  }
  const bytes = decodeField(field)
  const message = trace.note('message', isRefusal(bytes) ? bytes : readMessage(bytes))
  if (isRefusal(message)) return message
  const signed = trace.note('message-signature', signedMessage(message, expected), ({ fingerprint }) => `signed with ${fingerprint}`)
  if (isRefusal(signed)) return signed
  const kind = signed.root.local === 'LogoutRequest' ? SAMLRequest : SAMLResponse
  if (kind === undefined) return trace.fail('message', refuse('logout.malformed', `a ${signed.root.local} in the other field`))
  return readContent(signed.root, typeof RelayState === 'string' ? RelayState : undefined, expected, trace)
}

/** The one signature is the message's own; what is read from now on are the bytes that it covers. */
function signedMessage(message: Message, trust: Trust): { root: XmlElement; fingerprint: string } | Refusal {
  const { root } = message
  const signatures = [...descendants(root)].filter(({ local }) => /^signature$/i.test(local))
  const signature = signatureOf(root)
  if (!signature) return refuse('logout.signature', 'the message is not signed')
  if (signatures.length !== 1 || !readId(root)) return refuse('logout.signature', 'not exactly one signature, of the message itself')
  const fault = signatureFault(signature, root, trust.allow)
  if (fault) return fault
  return readSigned(message, trust)
}

/** @param root from verified bytes */
function readContent(
  root: XmlElement,
  relayState: string | undefined,
  expected: LogoutExpectations,
  trace: Trace,
): LogoutContent | Refusal {
  const id = readId(root)
  const request = isNamed(root, PROTOCOL, 'LogoutRequest')
  if (!id || attributeOf(root, 'Version') !== '2.0' || !(request || isNamed(root, PROTOCOL, 'LogoutResponse'))) {
    return trace.fail('message', refuse('logout.malformed', `a ${quote(root.local)} that is not a SAML 2.0 logout message with an ID`))
  }
  const issuer = issuerFault(root, expected.issuer, 'logout.issuer', 'the message’s')
  if (issuer) return trace.fail('issuer', issuer)
  trace.pass('issuer')
  const destination = attributeOf(root, 'Destination')
  if (destination !== expected.slo) {
    const compared = { expected: expected.slo, came: quote(destination) }
    return trace.fail('destination', refuse('logout.destination', `Destination is ${compared.came}`, compared))
  }
  trace.pass('destination')
  const until = trace.note('expiry', readExpiry(root, new Clock(expected)))
  if (isRefusal(until)) return until
  return request ? readRequest(root, id, { until, relayState }, expected, trace) : readResponse(root, id, trace)
}

function readExpiry(root: XmlElement, clock: Clock): Date | Refusal {
  const issued = readDate(attributeOf(root, 'IssueInstant'))
  if (!issued) return refuse('logout.malformed', 'IssueInstant is not a date')
  if (clock.isFuture(issued) || issuedTooLongAgo(issued, clock)) {
    return refuse('logout.expired', `issued at ${issued.toISOString()}; ${clock.here}`)
  }
  const end = attributeOf(root, 'NotOnOrAfter')
  const until = readDate(end)
  if (end !== undefined && !until) return refuse('logout.malformed', `NotOnOrAfter ${quote(end)} is not a date`)
  if (until && clock.isPast(until)) return refuse('logout.expired', `valid until ${until.toISOString()}; ${clock.here}`)
  const oldest = issued.getTime() + OLDEST_MINUTES * 60_000
  return new Date(Math.min(until?.getTime() ?? oldest, oldest))
}

function readRequest(
  root: XmlElement,
  id: string,
  { until, relayState }: { until: Date; relayState: string | undefined },
  expected: LogoutExpectations,
  trace: Trace,
): LogoutContent | Refusal {
  const subject = readName(root, expected)
  if (isRefusal(subject)) return trace.fail('subject', subject)
  if (!subject.nameId) return trace.fail('subject', refuse('logout.malformed', 'the request names nobody'))
  trace.pass('subject', subject.nameId.format)
  const sessionIndexes = childrenNamed(root, PROTOCOL, 'SessionIndex').map((one) => textOf(one) ?? '')
  return {
    kind: 'request',
    id,
    nameId: subject.nameId,
    sessionIndexes,
    ...(relayState === undefined ? {} : { relayState }),
    replayableUntil: new Date(until.getTime() + expected.skewSeconds * 1000),
  }
}

function readResponse(root: XmlElement, id: string, trace: Trace): LogoutContent | Refusal {
  const inResponseTo = attributeOf(root, 'InResponseTo')
  if (inResponseTo === undefined) {
    return trace.fail('request', refuse('logout.unsolicited', 'a LogoutResponse without an InResponseTo'))
  }
  const status = readStatus(root)
  if (!status) return trace.fail('status', refuse('logout.malformed', 'no single Status with a StatusCode'))
  const { code, second, said } = status
  const partial = [code, second].includes(`${STATUS}PartialLogout`)
  const outcome = partial ? 'partial' : code === `${STATUS}Success` ? 'success' : 'failed'
  return { kind: 'response', id, inResponseTo, outcome, said: [code, second, said].filter(Boolean).map(quote).join(' ') }
}
