// The one decision. Source record in; a change or a refusal out, with its explanation. Every way in comes through here,
// so that no two doors can disagree about who somebody is. Pure: the caller gathers, calls, and commits.
//
//   prepare: whom does the source mean, what is to be looked up   (before the store is asked)
//   decide:  map -> match -> master -> lifecycle                   (once it has answered)

import type { UserId } from './ids.ts'
import { admit } from './lifecycle.ts'
import { type Mapped, type MappingStep, map } from './mapping.ts'
import { type AttributeChange, deriveProfile, diffProfiles, type SourcePolicies, sameProfile } from './mastery.ts'
import { type Found, identify, type Match, match, uniqueKeys } from './matching.ts'
import type { ExternalId, Profile, RecordOnFile, SourceRecord, User } from './model.ts'
import { remember, sameRecord } from './records.ts'
import { isRefusal, type Refusal, refuse } from './refusals.ts'
import type { SourcePolicy } from './source-policy.ts'

export interface Prepared {
  readonly said: SourceRecord
  readonly externalId: ExternalId
  readonly policy: SourcePolicy
  /** Of what was just said, before anything on file is added to it. */
  readonly mapped: Mapped
  /** Values that must be nobody else's. */
  readonly unique: readonly { attribute: string; key: string }[]
}

/** What the store knows that bears on the record. */
export interface Known extends Found {
  /** All records on file of the linked user, this source's among them. */
  readonly records: readonly RecordOnFile[]
}

export interface Change {
  readonly kind: 'create' | 'update' | 'unchanged'
  readonly user: User
  /** Attributes that got another value. */
  readonly attributes: readonly AttributeChange[]
  readonly record: RecordOnFile
  /** True when (source, external id) is tied to the user by this change. */
  readonly link: boolean
  /** False when nothing of the user's own row has moved. */
  readonly profileMoved: boolean
  /** False when the source has only said again what is on file. */
  readonly recordMoved: boolean
}

export interface Explanation {
  readonly mapping: readonly MappingStep[]
  readonly match?: { readonly situation: Match['situation']; readonly why: string }
  readonly attributes: readonly AttributeChange[]
}

export interface Decision {
  readonly outcome: Change | Refusal
  readonly explanation: Explanation
}

export function prepare(said: SourceRecord, policy: SourcePolicy): Prepared | Refusal {
  const externalId = identify(said, policy.externalId)
  if (isRefusal(externalId)) return externalId
  const mapped = map(remember(undefined, said, externalId), policy.mapping)
  if (mapped.refusal) return mapped.refusal
  return { said, externalId, policy, mapped, unique: uniqueKeys(mapped) }
}

/**
 * @param policies every source in force, because a user's profile may rest on several
 * @param fresh the id that a new user would get
 */
export function decide(prepared: Prepared, known: Known, policies: SourcePolicies, fresh: UserId): Decision {
  const { said, externalId, policy } = prepared
  // Where a sign-in may not change a linked profile, a value that somebody else holds can do no harm.
  const owners = known.linked && !policy.jit.update ? [] : known.owners
  const found = match(said.source, externalId, { ...known, owners })
  const explain = (outcome: Change | Refusal, attributes: readonly AttributeChange[] = []): Decision => ({
    outcome,
    explanation: { mapping: prepared.mapped.steps, match: { situation: found.situation, why: found.why }, attributes },
  })

  switch (found.situation) {
    case 'unlinked':
    case 'disputed':
      return explain(refuse('match.unlinked', found.why))
    case 'unmatched': {
      if (!policy.jit.create) return explain(refuse('jit.create-off', `${found.why}, and ${policy.name} may not create anybody`))
      const record = remember(undefined, said, externalId)
      const profile = deriveProfile([record], policies)
      if (isRefusal(profile)) return explain(profile)
      const missing = missingFrom(profile, policy)
      if (missing) return explain(missing)
      const attributes = diffProfiles({}, profile)
      const user: User = { id: fresh, state: 'active', profile }
      return explain({ kind: 'create', user, attributes, record, link: true, profileMoved: true, recordMoved: true }, attributes)
    }
    case 'linked': {
      const { user } = found
      const denied = admit(user.state, user.id)
      if (denied) return explain(denied)
      const onFile = known.records.find((record) => record.source === said.source && record.externalId.key === externalId.key)
      const record = remember(onFile, said, externalId)
      const others = known.records.filter((other) => other !== onFile)
      const profile = policy.jit.update ? deriveProfile([record, ...others], policies) : user.profile
      if (isRefusal(profile)) return explain(profile)
      const missing = missingFrom(profile, policy)
      if (missing) return explain(missing)
      const attributes = diffProfiles(user.profile, profile)
      const profileMoved = !sameProfile(user.profile, profile)
      const kind = attributes.length ? 'update' : 'unchanged'
      return explain(
        {
          kind,
          user: { ...user, profile },
          attributes,
          record,
          link: false,
          profileMoved,
          recordMoved: !onFile || !sameRecord(onFile, record),
        },
        attributes,
      )
    }
  }
}

/** Required means: nobody comes in without it in their profile. A value still on file counts, because absent keeps. */
function missingFrom(profile: Profile, policy: SourcePolicy): Refusal | undefined {
  const wanted = ['userName', ...policy.jit.required].filter((attribute) => !profile[attribute])
  if (!wanted.length) return undefined
  const rows = wanted.map((attribute) => {
    const from = policy.mapping.filter((row) => row.to === attribute).map((row) => row.from)
    return `${attribute} (${from.length ? `from ${from.join(' or ')}` : 'no mapping row leads to it'})`
  })
  return refuse('attribute.missing', `missing: ${rows.join(', ')}`)
}
