// The one decision. Source record in; a change or a refusal out, with its explanation. Every way in comes through here, so
// that no two doors can disagree about who somebody is. Pure: where it needs to know something it asks, and the caller
// answers: from the database in a sign-in, from memory in a test, a thousand at a time in an import.
//
//   identify -> (subject?) -> map -> (holders of the same values?) -> match -> master -> (anybody else's unique value?)
//   -> lifecycle -> entitle -> (seats taken?) -> a change, or a refusal
//
// Writing nothing, it is also what explains and simulates: the same code that a commit follows.

import { nameIn } from './attribute-names.ts'
import { bare } from './bare.ts'
import { type Entitled, type Entitlements, entitle, fitting, licencesWanted, type SeatsTaken } from './entitlements.ts'
import { type Memberships, memberships } from './groups.ts'
import type { SourceId, UserId } from './ids.ts'
import { type Key, type KeyKind, keysOf } from './keys.ts'
import { admit, type Transition } from './lifecycle.ts'
import { type Mapped, type MappingStep, map } from './mapping.ts'
import {
  type AttributeChange,
  deriveProfile,
  type Heard,
  type Mastery,
  type MasteryNotes,
  type SourcePolicies,
  type Verdict,
} from './mastery.ts'
import { type Candidate, type Holder, identify, linkedMatch, type Match, match, matchingKeys } from './matching.ts'
import type { ExternalId, Profile, RecordOnFile, SourceRecord, User } from './model.ts'
import { remember, sameRecord, withGroups } from './records.ts'
import { isRefusal, type Refusal, refuse } from './refusals.ts'
import type { Schema } from './schema.ts'
import { LOCAL, type SourcePolicy } from './source-policy.ts'

/** What of the policy in force bears on people. */
export interface DecisionPolicy {
  readonly revision: number
  readonly schema: Schema
  readonly sources: SourcePolicies
  readonly mastery: Mastery
  readonly entitlements: Entitlements
  readonly keys: readonly KeyKind[]
  /** The attributes that these are made of. */
  readonly keyed: ReadonlySet<string>
  /** Nobody is let in, or created, without a value of these. */
  readonly required: readonly string[]
}

// --- questions -----------------------------------------------------------------------------------------------------------

/** What is known of somebody: all records on file, of every source. */
export interface Known {
  readonly linked?: User
  readonly records: readonly RecordOnFile[]
  /** A person has settled that this subject is nobody who is here. */
  readonly settledAsNew?: boolean
}

export type Question =
  /** Whom does the source's external id lead to? Answered by Known. */
  | { readonly about: 'subject'; readonly source: SourceId; readonly externalId: ExternalId }
  /** The same for a user. Answered by Known. */
  | { readonly about: 'user'; readonly user: UserId }
  /** Who has one of these keys? Answered by Holder[]; a few of each key are enough. */
  | { readonly about: 'holders'; readonly source: SourceId; readonly keys: readonly Key[] }
  /** How many seats of these licences are taken? Answered by SeatsTaken. */
  | { readonly about: 'seats'; readonly licences: readonly string[] }

/** Asks with `yield`; `conclude` or its like in the flows hands the answers in. */
export type Deciding<Result> = Generator<Question, Result, unknown>

/** Answers from memory. */
export function conclude<Result>(deciding: Deciding<Result>, answer: (question: Question) => unknown): Result {
  let step = deciding.next()
  while (!step.done) step = deciding.next(answer(step.value))
  return step.value
}

// --- answers -------------------------------------------------------------------------------------------------------------

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
}

export interface Decision {
  readonly outcome: Change | Refusal
  readonly explanation: Explanation
}

export interface Hearing {
  readonly source: SourcePolicy
  readonly policy: DecisionPolicy
  /** The id that a new user would get. */
  readonly fresh: UserId
  /** Collect what became of every row and value, which takes longer than deciding. */
  readonly explain?: boolean
}

type Noted = { -readonly [Field in keyof Explanation]: Explanation[Field] }

/** What follows from somebody signing in. */
export function* decide(spoken: SourceRecord, { source, policy, fresh, explain = false }: Hearing): Deciding<Decision> {
  const said = withoutRedacted(spoken, source)
  const steps: MappingStep[] = []
  const notes: MasteryNotes | undefined = explain ? { verdicts: [], steps: new Map() } : undefined
  const noted: Noted = { mapping: steps, verdicts: notes?.verdicts ?? [] }
  const answer = (outcome: Change | Refusal): Decision => ({ outcome, explanation: noted })

  const externalId = identify(said, source)
  if (isRefusal(externalId)) return answer(externalId)
  noted.externalId = externalId

  const known = (yield { about: 'subject', source: source.id, externalId }) as Known
  const identified = known.linked
    ? ({ match: linkedMatch(source, externalId, known.linked), user: known.linked, records: known.records } as const)
    : yield* find(said, externalId, { source, policy, known, steps: explain ? steps : undefined, noted })
  if (isRefusal(identified)) return answer(identified)
  const { match: found, user, records } = identified
  noted.match = { situation: found.situation, why: found.why, candidates: 'candidates' in found ? found.candidates : [] }
  if (user) noted.user = user.id
  if (found.situation === 'gone') return answer(refuse('user.erased', found.why))
  if (!user && !source.jit.create) return answer(refuse('jit.create-off', `${found.why}, and ${source.name} may not create anybody`))

  const transition = user && admit(user.state, user.id, { name: source.name, revival: source.jit }, carrierOf(policy, source, records))
  if (isRefusal(transition)) return answer(transition)

  const renamedFrom = found.situation === 'unlinked' ? found.renamedFrom : undefined
  const wasKey = renamedFrom?.key ?? externalId.key
  const onFile = records.find((record) => record.source === said.source && record.externalId.key === wasKey)
  const linking = known.linked ? undefined : { why: found.why, ...(renamedFrom ? { replaces: renamedFrom } : {}) }
  // A source that may not change anybody leaves its own word as it was, too: what follows from the records stays the same.
  const heard: Heard | Refusal =
    onFile && user && !source.jit.update && !linking ? { record: onFile } : hear(onFile, said, externalId, source)
  if (isRefusal(heard)) return answer(heard)
  const { record } = heard
  if (heard.groups) noted.groups = heard.groups
  const mapped = 'mapped' in identified ? identified.mapped : undefined
  const settled = yield* settle({
    user,
    fresh,
    record,
    records: [record, ...records.filter((one) => one !== onFile)],
    recordMoved: !onFile || Boolean(linking) || !sameRecord(onFile, record),
    linking,
    transition,
    policy,
    required: source.jit.required,
    source,
    heard: {
      record,
      groups: heard.groups,
      ...(mapped && !onFile ? { mapped } : {}),
      prior: user?.revision === policy.revision ? onFile : undefined,
    },
    now: said.observedAt,
    notes,
    noted,
  })
  if (notes) noted.mapping = notes.steps.get(source.id) ?? steps
  return answer(settled)
}

/** What is not to be kept is not heard either. */
export function withoutRedacted(said: SourceRecord, { redact }: SourcePolicy): SourceRecord {
  if (!redact.size) return said
  const gone = new Set([...redact].flatMap((name) => nameIn(said, name) ?? []))
  const attributes = bare<readonly string[]>()
  for (const name in said.attributes) {
    if (!gone.has(name)) attributes[name] = said.attributes[name] as readonly string[]
  }
  return { ...said, attributes }
}

/** What the source has now said, with the groups that it has given so far. */
function hear(onFile: RecordOnFile | undefined, said: SourceRecord, externalId: ExternalId, source: SourcePolicy): Heard | Refusal {
  const record = remember(onFile, said, externalId)
  if (!source.groups || source.groups.mode === 'none') return { record }
  const groups = memberships(record, source.groups)
  if (isRefusal(groups)) return { ...groups, detail: `${source.name} (version ${source.version}): ${groups.detail}` }
  return { record: withGroups(record, groups.names), groups }
}

interface Found {
  /** Of what was just said alone. */
  readonly mapped?: Mapped
  readonly match: Match
  readonly user: User | undefined
  readonly records: readonly RecordOnFile[]
}

/** Nobody is linked: by the rules, then. */
function* find(
  said: SourceRecord,
  externalId: ExternalId,
  {
    source,
    policy,
    known,
    steps,
    noted,
  }: { source: SourcePolicy; policy: DecisionPolicy; known: Known; steps: MappingStep[] | undefined; noted: Noted },
): Deciding<Found | Refusal> {
  const mapped = map(remember(undefined, said, externalId), source, steps)
  if (mapped.refusal) return mapped.refusal
  const keys = known.settledAsNew ? [] : matchingKeys(source, mapped)
  const holders = keys.length ? ((yield { about: 'holders', source: source.id, keys }) as readonly Holder[]) : []
  const found = match(source, externalId, holders, policy.entitlements.administrators)
  const note = (renamedFrom?: ExternalId) => {
    const candidates = 'candidates' in found ? found.candidates : []
    noted.match = { situation: found.situation, why: found.why, candidates, ...(renamedFrom ? { renamedFrom } : {}) }
  }
  switch (found.situation) {
    case 'disputed':
      note()
      return refuse('match.disputed', found.why)
    case 'unlinked': {
      note(found.renamedFrom)
      if (found.verdict === 'ask' || found.verdict === 'never')
        return refuse(found.renamedFrom ? 'match.renamed' : 'match.unlinked', found.why)
      const { records } = (yield { about: 'user', user: found.user.id }) as Known
      return { match: found, user: found.user, records }
    }
    default:
      return { match: found, user: undefined, records: [], mapped }
  }
}

/** The best-ranked source of this person that carries lifecycle. */
function carrierOf({ mastery, sources }: DecisionPolicy, source: SourcePolicy, records: readonly RecordOnFile[]): string | undefined {
  for (const id of mastery.rank) {
    const one = sources.get(id)
    if (one?.carriesLifecycle && (id === source.id || records.some((record) => record.source === id))) return one.name
  }
  return undefined
}

/** What follows from an administrator's edit: the values of their own source, set or taken back. */
export function* decideEdit(
  known: Known & { readonly linked: User },
  edits: Readonly<Record<string, readonly string[] | null>>,
  { policy, now }: { policy: DecisionPolicy; now: Date },
): Deciding<Change | Refusal> {
  const user = known.linked
  const onFile = known.records.find((record) => record.source === LOCAL)
  const attributes = bare<readonly string[]>()
  for (const [name, { values, state }] of Object.entries(onFile?.attributes ?? {})) if (state === 'present') attributes[name] = values
  for (const [name, values] of Object.entries(edits)) {
    if (values === null) delete attributes[name]
    else attributes[name] = values
  }
  const source = policy.sources.get(LOCAL)
  if (!source) throw new Error('administrators’ own source is not in the policy')
  const record = remember(onFile, { source: LOCAL, attributes, aliases: {}, observedAt: now }, { key: user.id, value: user.id })
  const records = [record, ...known.records.filter((one) => one !== onFile)]
  const recordMoved = !onFile || !sameRecord(onFile, record)
  const linking = onFile ? undefined : { why: 'an administrator has set something by hand' }
  const outcome = yield* settle({
    user,
    fresh: user.id,
    record,
    records,
    recordMoved,
    linking,
    transition: undefined,
    policy,
    required: [],
    source,
    now,
  })
  if (isRefusal(outcome)) return outcome
  // Written where it would not show, an edit would be a surprise kept for later.
  for (const [name, values] of Object.entries(edits)) {
    const stands = outcome.user.profile[name]
    if (values === null || name === 'groups' || stands?.source === LOCAL) continue
    const master = stands && policy.sources.get(stands.source)
    const who = master ? `${master.name} (${stands.from})` : 'its own list of sources, which local is not first of,'
    return refuse('attribute.mastered', `${name} is read-only here: ${who} masters it`)
  }
  return outcome
}

/** What follows for somebody from the policy alone: nobody has spoken. */
export function* decideAgain(known: Known & { readonly linked: User }, policy: DecisionPolicy, now: Date): Deciding<Change | Refusal> {
  const user = known.linked
  return yield* settle({
    user,
    fresh: user.id,
    records: known.records,
    recordMoved: false,
    linking: undefined,
    transition: undefined,
    policy,
    required: [],
    now,
  })
}

interface Settling {
  readonly user: User | undefined
  readonly fresh: UserId
  readonly record?: RecordOnFile
  /** All of the user's, with the one that was just heard. */
  readonly records: readonly RecordOnFile[]
  readonly recordMoved: boolean
  readonly linking: { readonly replaces?: ExternalId; readonly why: string } | undefined
  readonly transition: Transition | undefined
  readonly policy: DecisionPolicy
  readonly required: readonly string[]
  /** Who speaks; undefined: nobody. */
  readonly source?: SourcePolicy
  readonly heard?: Heard
  readonly now: Date
  readonly notes?: MasteryNotes | undefined
  readonly noted?: Noted
}

const NOTHING_GAINED = { gained: [], lost: [], waiting: [], seats: {} } as const

/** From records to a user: mastery, uniqueness, entitlements. The same whoever asked. */
function* settle(settling: Settling): Deciding<Change | Refusal> {
  const { user, record, records, recordMoved, linking, transition, policy, now, notes, noted } = settling
  const about = { ...(record ? { record } : {}), ...(linking ? { link: linking } : {}), ...(transition ? { transition } : {}), recordMoved }
  const state = transition?.to ?? user?.state ?? 'active'
  const stale = user?.revision !== policy.revision
  if (user && !recordMoved && !stale && !user.waiting.length && !notes && !transition) {
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
  const after: User = { id, state, profile, grants: entitled.grants, waiting: entitled.waiting, revision: policy.revision }
  const moved = attributes.length + entitled.gained.length + entitled.lost.length > 0 || Boolean(transition)
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
