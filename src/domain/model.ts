// The nouns that every way in shares: what a source says, what we keep of it, and the user that follows from it.

import type { SourceId, UserId } from './ids.ts'
import type { LifecycleState } from './lifecycle.ts'

/** SAML core 2.0, section 2.2.3. The value is text exactly as signed. */
export interface NameId {
  readonly value: string
  readonly format: string
}

export type AttributeValues = Readonly<Record<string, readonly string[]>>

/** "Source S says this about subject X now": one sign-in, one row, one PATCH. */
export interface SourceRecord {
  readonly source: SourceId
  readonly nameId?: NameId
  /** By the name the source uses. An empty list is "present but empty"; an absent name is "absent". */
  readonly attributes: AttributeValues
  /** A source's second names for its attributes (SAML's FriendlyName), friendly -> name. */
  readonly aliases: Readonly<Record<string, string>>
  readonly observedAt: Date
}

/** Whom the source means. `key` is what is compared; `value` is what was said. */
export interface ExternalId {
  readonly key: string
  readonly value: string
}

export interface AttributeOnFile {
  readonly values: readonly string[]
  /** Since when the source has said exactly this. */
  readonly since: Date
  /** False when the source's latest word left this attribute out. */
  readonly present: boolean
}

/** The latest word of one source on one subject, attribute by attribute. What a user's profile is derived from. */
export interface RecordOnFile {
  readonly source: SourceId
  readonly externalId: ExternalId
  readonly nameId?: NameId & { readonly since: Date }
  readonly attributes: Readonly<Record<string, AttributeOnFile>>
  readonly aliases: Readonly<Record<string, string>>
  /** When the source last said something new. */
  readonly observedAt: Date
}

/** One value of a profile and who said it, when, under which version of which source's policy. */
export interface ProfileValue {
  readonly values: readonly string[]
  readonly source: SourceId
  readonly policyVersion: number
  /** The mapping row's `from`. */
  readonly from: string
  readonly since: Date
}

/** The mastered result. An attribute without a value has no entry. */
export type Profile = Readonly<Record<string, ProfileValue>>

export interface User {
  readonly id: UserId
  readonly state: LifecycleState
  readonly profile: Profile
}

/** The first value of a profile's attribute, if it has one. */
export function firstValue(profile: Profile, attribute: string): string | undefined {
  return profile[attribute]?.values[0]
}
