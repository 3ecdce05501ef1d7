// The nouns that every way in shares: what a source says, what we keep of it, and the user that follows from it.

import type { RunId, SignInId, SourceId, UserId } from './ids.ts'
import type { LifecycleState } from './lifecycle.ts'

/** SAML core 2.0, section 2.2.3. The value is text exactly as signed. */
export interface NameId {
  readonly value: string
  readonly format: string
}

export type AttributeValues = Readonly<Record<string, readonly string[]>>

/** How the person signed in there; only a sign-in has one. */
export interface SessionWord {
  readonly authnContext: string
  /** ISO 8601, UTC. */
  readonly authnInstant: string
}

/** "Source S says this about subject X now": one sign-in, one row, one PATCH. */
export interface SourceRecord {
  readonly source: SourceId
  readonly nameId?: NameId
  /** By the name the source uses. An empty list is "present but empty"; an absent name is "absent". */
  readonly attributes: AttributeValues
  /** A source's second names for its attributes (SAML's FriendlyName), friendly -> name. */
  readonly aliases: Readonly<Record<string, string>>
  readonly session?: SessionWord
  readonly observedAt: Date
  readonly via?: Via
}

/** Whom the source means. `key` is what is compared; `value` is what was said. */
export interface ExternalId {
  readonly key: string
  readonly value: string
}

export interface Said {
  readonly values: readonly string[]
  /** Since when the source has said exactly this. */
  readonly since: Date
  /** With which it began. */
  readonly via?: Via
}

export interface AttributeOnFile extends Said {
  /** The source's latest word: it said these values, said that there are none, or left the attribute out. */
  readonly state: 'present' | 'empty' | 'absent'
  /** What it said when it first knew the person. Left out where that is what it still says; null: nothing. */
  readonly first?: Said | null
}

/** The latest word of one source on one subject, attribute by attribute. What a user's profile is derived from. */
export interface RecordOnFile {
  readonly source: SourceId
  readonly externalId: ExternalId
  readonly nameId?: NameId & { readonly since: Date }
  readonly attributes: Readonly<Record<string, AttributeOnFile>>
  readonly aliases: Readonly<Record<string, string>>
  readonly session?: SessionWord
  /** Memberships that this source has given and not taken back. */
  readonly groups?: readonly string[]
  /** When the source last said something new. */
  readonly observedAt: Date
  readonly via?: Via
  /** The source has not named the subject since then. */
  readonly missingSince?: Date
}

/** A value that another source had for the same attribute, and why it does not stand. */
export interface LostValue {
  readonly source: SourceId
  readonly from: string
  readonly values: readonly string[]
  readonly why: string
}

/** One value of a profile and who said it, when, under which version of which source's policy. */
export interface ProfileValue {
  readonly values: readonly string[]
  readonly source: SourceId
  readonly policyVersion: number
  /** The mapping row's `from`. */
  readonly from: string
  readonly since: Date
  readonly via?: Via
  readonly lost?: readonly LostValue[]
  /** Of groups, where several sources give any: group -> who gives it. */
  readonly by?: Readonly<Record<string, readonly SourceId[]>>
}

/** The mastered result. An attribute without a value has no entry. */
export type Profile = Readonly<Record<string, ProfileValue>>

/** A role or licence that a user holds, and the version of the rule that gives it. */
export interface Grant {
  readonly name: string
  readonly policyVersion: number
  readonly since: Date
  /** It takes a seat of a licence. */
  readonly seat?: true
}

export interface User {
  readonly id: UserId
  readonly state: LifecycleState
  readonly profile: Profile
  readonly grants: readonly Grant[]
  /** Licences that fit and have no free seat. */
  readonly waiting: readonly string[]
  /** Of the policy that the profile was last derived under. */
  readonly revision: number
  /** How often they were written: whoever has seen this number can tell that nobody has moved them since. */
  readonly version: number
  /** Who made the state what it is, as actors are named: `source hr`. */
  readonly stateBy?: string
}

/** What brought a word: the sign-in, or the run of an import. */
export type Via = SignInId | RunId

/** The first value of a profile's attribute, if it has one. */
export function firstValue(profile: Profile, attribute: string): string | undefined {
  return profile[attribute]?.values[0]
}
