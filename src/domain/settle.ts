// From records to a user: mastery, uniqueness, entitlements. The same whoever asked, and the last step of every decision.

import type { Deciding, DecisionPolicy } from './deciding.ts'
import { type Entitled, entitle, fitting, licencesWanted, type SeatsTaken } from './entitlements.ts'
import type { Memberships } from './groups.ts'
import type { SourceId, UserId } from './ids.ts'
import { type Key, keysOf } from './keys.ts'
import type { Leaving, LifecycleState, Transition } from './lifecycle.ts'
import type { MappingStep } from './mapping.ts'
import { deriveProfile, type Heard, type MasteryNotes, type Verdict } from './mastery.ts'
import type { Candidate, Holder, Match } from './matching.ts'
import type { ExternalId, Profile, RecordOnFile, User } from './model.ts'
import type { AttributeChange } from './profile-change.ts'
import { isRefusal, type Refusal, refuse } from './refusals.ts'
import { LOCAL, type SourcePolicy } from './source-policy.ts'

export interface Change {
  readonly kind: 'create' | 'update' | 'unchanged'
  readonly user: User
  /** Attributes that got another value. */
  readonly attributes: readonly AttributeChange[]
  /** The source's latest word; undefined where no source has spoken. */
  readonly record?: RecordOnFile
  /** (source, external id) is tied to the user by this change, instead of another external id where there was one. */
  readonly link?: { readonly replaces?: ExternalId; readonly why: string }
  readonly transition?: Transition
  /** They have left, and what follows waits. */
  readonly leaving?: Leaving
  readonly entitled: Entitled
  /** The keys that the user is to be found by from now on; undefined: as before. */
  readonly keys?: readonly Key[]
  /** False when nothing of the user's own row has moved. */
  readonly userMoved: boolean
  /** The user was last derived under another revision of the policy. */
  readonly revisionMoved: boolean
  /** False when the source has only said again what is on file. */
  readonly recordMoved: boolean
}

export interface Explanation {
  /** Whom it is about, where that is somebody who is here. */
  readonly user?: UserId
  readonly externalId?: ExternalId
  readonly match?: {
    readonly situation: Match['situation']
    readonly why: string
    readonly candidates: readonly Candidate[]
    readonly renamedFrom?: ExternalId
  }
  /** What became of each row of the source that speaks. */
  readonly mapping: readonly MappingStep[]
  /** Whose word stands, and who is blocked by whom. */
  readonly verdicts: readonly Verdict[]
  readonly groups?: Memberships
  readonly entitled?: Entitled
  /** What the source's word does, or does not do, to their access. */
  readonly lifecycle?: string
}

/** An explanation while it is being found out. */
export type Noted = { -readonly [Field in keyof Explanation]: Explanation[Field] }

export interface Settling {
  readonly user: User | undefined
  readonly fresh: UserId
  readonly record?: RecordOnFile
  /** All of the user's, with the one that was just heard. */
  readonly records: readonly RecordOnFile[]
  readonly recordMoved: boolean
  readonly linking: { readonly replaces?: ExternalId; readonly why: string } | undefined
  readonly transition: Transition | undefined
  readonly leaving?: Leaving | undefined
  /** What somebody new is. */
  readonly born?: LifecycleState
  readonly policy: DecisionPolicy
  readonly required: readonly string[]
  /** Who speaks; undefined: nobody. */
  readonly source?: SourcePolicy
  readonly heard?: Heard
  readonly now: Date
  readonly notes?: MasteryNotes | undefined
  readonly noted?: Noted
}

/** As they are, under this policy too. */
export function leftAlone(user: User, { revision }: DecisionPolicy): Change {
  const entitled = { grants: user.grants, ...NOTHING_GAINED, waiting: user.waiting }
  const revisionMoved = user.revision !== revision
  return { kind: 'unchanged', user: { ...user, revision }, attributes: [], entitled, userMoved: false, revisionMoved, recordMoved: false }
}

const NOTHING_GAINED = { gained: [], lost: [], waiting: [], seats: {} } as const

export function* settle(settling: Settling): Deciding<Change | Refusal> {
  const { user, record, records, recordMoved, linking, transition, policy, now, notes, noted } = settling
  const about = {
    ...(record ? { record } : {}),
    ...(linking ? { link: linking } : {}),
    ...(transition ? { transition } : {}),
    ...(settling.leaving ? { leaving: settling.leaving } : {}),
    recordMoved,
  }
  const state = transition?.to ?? user?.state ?? settling.born ?? 'active'
  const stale = user?.revision !== policy.revision
  const lacks = (attribute: string) => !user?.profile[attribute]
  if (
    user &&
    !recordMoved &&
    !settling.leaving &&
    !stale &&
    !user.waiting.length &&
    !notes &&
    !transition &&
    !settling.required.some(lacks)
  ) {
    return {
      kind: 'unchanged',
      user,
      attributes: [],
      ...about,
      entitled: { grants: user.grants, ...NOTHING_GAINED },
      userMoved: false,
      revisionMoved: false,
    }
  }

  const { schema } = policy
  const derived = deriveProfile(records, policy.sources, policy.mastery, { before: user?.profile, schema, notes, heard: settling.heard })
  if (isRefusal(derived)) return derived
  const { profile, changes: attributes } = derived
  const missing = missingFrom(profile, settling, derived.mapped)
  if (missing) return missing

  const keys = attributes.some(({ attribute }) => policy.keyed.has(attribute)) ? keysOf(profile, policy.keys) : undefined
  const clash = keys && (yield* uniqueClash(keys, settling))
  if (clash) return clash

  const fits = state === 'active' || state === 'suspended' ? fitting(profile, policy.entitlements, policy.schema) : []
  if (isRefusal(fits)) return fits
  const held = user?.grants ?? []
  const wanted = licencesWanted(fits, held, policy.entitlements)
  const taken = wanted.length ? ((yield { about: 'seats', licences: wanted }) as SeatsTaken) : new Map<string, number>()
  const entitled = entitle(fits, held, policy.entitlements, taken, now)
  if (noted) noted.entitled = entitled

  const id = user?.id ?? settling.fresh
  const grantsMoved = entitled.gained.length + entitled.lost.length > 0 || !user || user.waiting.join() !== entitled.waiting.join()
  const profileMoved = user?.profile !== profile
  const after: User = {
    id,
    state,
    profile,
    grants: entitled.grants,
    waiting: entitled.waiting,
    revision: policy.revision,
    version: user?.version ?? 0,
    ...(user?.stateBy === undefined ? {} : { stateBy: user.stateBy }),
  }
  const moved = attributes.length + entitled.gained.length + entitled.lost.length > 0 || Boolean(transition ?? settling.leaving)
  return {
    kind: !user ? 'create' : moved ? 'update' : 'unchanged',
    user: after,
    attributes,
    ...about,
    entitled,
    ...(keys ? { keys } : {}),
    userMoved: profileMoved || grantsMoved || Boolean(transition),
    revisionMoved: stale,
  }
}

/** Somebody else has a value that must be one person's. Both are named. */
function* uniqueClash(keys: readonly Key[], { user, policy, source, noted }: Settling): Deciding<Refusal | undefined> {
  const before = user ? keysOf(user.profile, policy.keys) : []
  const claimed = keys.filter((key) => key.unique && !before.some((one) => one.name === key.name && one.value === key.value))
  if (!claimed.length) return undefined
  const holders = (yield { about: 'holders', source: source?.id ?? LOCAL, keys: claimed }) as readonly Holder[]
  const others = holders.filter((holder) => holder.user.id !== user?.id)
  const [one] = others
  if (!one) return undefined
  const ids = [...new Set(others.map((holder) => holder.user.id))]
  const candidates = others.map((holder): Candidate => ({ user: holder.user.id, by: holder.key.name, certainty: 'exact' }))
  if (user) return refuse('attribute.taken', `${one.key.name} of ${user.id} would be the same as that of ${ids.join(' and ')}`)
  const situation = ids.length > 1 ? 'disputed' : 'unlinked'
  const why =
    ids.length > 1 ? `${ids.join(' and ')} hold its unique values` : `${one.user.id} holds the same ${one.key.name} but is not linked`
  if (noted) noted.match = { situation, why, candidates }
  return refuse(ids.length > 1 ? 'match.disputed' : 'match.unlinked', why)
}

/** Required means: nobody comes in without it in their profile. A value still on file counts, because absent keeps. */
function missingFrom(
  profile: Profile,
  { policy, required, source, user }: Settling,
  mapped: ReadonlyMap<SourceId, { readonly values: ReadonlyMap<string, { readonly values: readonly string[] }> }>,
): Refusal | undefined {
  const lacks = (attribute: string) => !profile[attribute]
  if (!policy.required.some(lacks) && !required.some(lacks)) return undefined
  const missing = [...new Set([...policy.required, ...required])].filter(lacks)
  const rows = missing.map((attribute) => {
    const from = source?.mapping.filter((row) => row.to.name === attribute).map((row) => row.from) ?? []
    const blocked = [...mapped].find(([, { values }]) => values.get(attribute)?.values.length)
    const name = blocked && policy.sources.get(blocked[0])?.name
    const reason = name
      ? `${name} has a value, but is not its master`
      : from.length
        ? `from ${from.join(' or ')}`
        : 'no mapping row leads to it'
    return `${attribute} (${reason})`
  })
  return refuse('attribute.missing', `missing${user ? ` from ${user.id}` : ''}: ${rows.join(', ')}`)
}
