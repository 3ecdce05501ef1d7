// What a verified SAML assertion says, in plain values. Only the verifier in http/saml makes one (the architecture test
// looks), so whoever holds a VerifiedAssertion holds words that a trusted key has signed for this connection.

import type { AttributeValues, NameId } from './model.ts'

declare const verified: unique symbol

export interface NameQualifiers {
  readonly nameQualifier?: string
  readonly spNameQualifier?: string
}

export interface AssertionContent {
  readonly id: string
  readonly issuer: string
  readonly nameId?: NameId
  /** To be repeated when the person is to be signed out there (SAML core 2.0, section 2.2.2). */
  readonly nameQualifiers?: NameQualifiers
  readonly attributes: AttributeValues
  readonly aliases: Readonly<Record<string, string>>
  /** From the signed subject confirmation; undefined when nobody asked. */
  readonly inResponseTo?: string
  readonly sessionIndex?: string
  /** When the person signed in there, and how. */
  readonly authnInstant: Date
  readonly authnContext?: string
  /** When the identity provider wants the session over (SAML core 2.0, section 2.7.2). */
  readonly sessionNotOnOrAfter?: Date
  /** Until when, with the clock skew added, the same assertion could be posted again. */
  readonly replayableUntil: Date
}

export type VerifiedAssertion = AssertionContent & { readonly [verified]: true }
