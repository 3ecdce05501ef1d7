// Decides which source's word stands for each attribute. Sources are ranked; an attribute follows the profile source, which
// is the best-ranked one that answers for it, or has a list of sources of its own. A pure function of the records on file
// and the policy: the order in which the records arrived plays no part.

import { bare } from './bare.ts'
import { eachOnce, type Memberships, memberships } from './groups.ts'
import type { SourceId } from './ids.ts'
import { type Mapped, type MappedValue, type MappingStep, map } from './mapping.ts'
import type { LostValue, Profile, ProfileValue, RecordOnFile } from './model.ts'
import { type AttributeChange, ProfileChange } from './profile-change.ts'
import { isRefusal, type Refusal } from './refusals.ts'
import { foldKey, GROUPS, type Schema } from './schema.ts'
import { LOCAL, type SourcePolicy } from './source-policy.ts'

export type SourcePolicies = ReadonlyMap<SourceId, SourcePolicy>

export interface Mastery {
  /** Of the document. */
  readonly version: number
  /** Every source in force, best first. */
  readonly rank: readonly SourceId[]
  /** Attributes with a list of sources of their own, best first. Sources outside of it do not count. */
  readonly attributes: ReadonlyMap<string, AttributeMastery>
  /** Where the profile source has nothing to say: whether the next one is asked. */
  readonly nextIfEmpty: boolean
}

export interface AttributeMastery {
  readonly from: readonly SourceId[] | undefined
  readonly nextIfEmpty: boolean | undefined
}

/** What became of one source's word on one attribute. */
export interface Verdict {
  readonly attribute: string
  readonly source: string
  readonly from: string
  readonly values: readonly string[]
  readonly verdict: 'stands' | 'blocked'
  /** By whom, or why. */
  readonly why: string
}

export interface Derived {
  /** Where nothing has changed, the very one that there was. */
  readonly profile: Profile
  /** Attributes whose values differ, by name. */
  readonly changes: readonly AttributeChange[]
  /** The attributes that some source answers for, whoever's word stands. */
  readonly mapped: ReadonlyMap<SourceId, Mapped>
}

interface Word {
  readonly record: RecordOnFile
  readonly policy: SourcePolicy
  readonly mapped: Mapped
}

/** Where somebody wants to know why. */
export interface MasteryNotes {
  readonly verdicts: Verdict[]
  /** By source. */
  readonly steps: Map<SourceId, MappingStep[]>
}

export interface Deriving {
  /** The profile as it was. */
  readonly before?: Profile | undefined
  readonly schema: Schema
  readonly notes?: MasteryNotes | undefined
  readonly heard?: Heard | undefined
}

const NOBODY: Profile = {}

/** What has been found out already about one of the records. */
export interface Heard {
  readonly record: RecordOnFile
  readonly groups?: Memberships | undefined
  readonly mapped?: Mapped
  /** What was on file of it before, where the profile was derived under this very policy. */
  readonly prior?: RecordOnFile | undefined
}

/** The word of a source that is no longer in force counts for nothing. One value that cannot be used refuses the whole. */
export function deriveProfile(
  records: readonly RecordOnFile[],
  sources: SourcePolicies,
  mastery: Mastery,
  { before = NOBODY, schema, notes, heard }: Deriving,
): Derived | Refusal {
  const words: Word[] = []
  const mapped = new Map<SourceId, Mapped>()
  // With another source, or a list of its own, a value in the profile need not be what this record's row has made.
  const alone = records.length === 1 && !mastery.attributes.size && !notes
  const prior = alone && heard?.prior ? { record: heard.prior, profile: before } : undefined
  for (const source of mastery.rank) {
    const policy = sources.get(source)
    if (!policy) continue
    // A person may be known to one source under two names.
    for (const record of ofSource(records, source)) {
      const steps: MappingStep[] | undefined = notes && []
      const made = (!notes && heard?.record === record && heard.mapped) || map(record, policy, steps, prior)
      if (steps) notes?.steps.set(source, [...(notes.steps.get(source) ?? []), ...steps])
      if (made.refusal) return made.refusal
      mapped.set(source, made)
      words.push({ record, policy, mapped: made })
    }
  }
  const change = new ProfileChange(before, schema)
  const [first] = words
  if (alone && first) {
    // Nobody to compare with: the common case of a sign-in.
    for (const [attribute, value] of first.mapped.values) if (value.values.length) change.stands(attribute, first, value)
  } else {
    for (const attribute of new Set(words.flatMap((word) => [...word.mapped.values.keys()]))) {
      // Added up below.
      if (attribute === GROUPS) continue
      const { winner, lost } = settle(attribute, words, mastery, notes)
      if (winner) change.stands(attribute, winner, winner.value, lost)
    }
  }
  const groups = deriveGroups(words, heard)
  if (isRefusal(groups)) return groups
  if (groups) change.put(GROUPS, groups)
  return { ...change.result(), mapped }
}

function ofSource(records: readonly RecordOnFile[], source: SourceId): readonly RecordOnFile[] {
  const [only] = records
  if (records.length === 1 && only) return only.source === source ? records : []
  const found = records.filter((one) => one.source === source)
  return found.length < 2 ? found : found.sort((a, b) => (a.externalId.key < b.externalId.key ? -1 : 1))
}

interface Claim {
  readonly record: RecordOnFile
  readonly policy: SourcePolicy
  readonly value: MappedValue
}

/** Who wins one attribute, and what is said of those who lose. */
function settle(
  attribute: string,
  words: readonly Word[],
  mastery: Mastery,
  notes: MasteryNotes | undefined,
): { readonly winner: Claim | undefined; readonly lost: readonly LostValue[] } {
  const claims: Claim[] = []
  for (const { record, policy, mapped } of words) {
    const value = mapped.values.get(attribute)
    if (value) claims.push({ record, policy, value })
  }
  const own = mastery.attributes.get(attribute)
  const nextIfEmpty = own?.nextIfEmpty ?? mastery.nextIfEmpty
  const { winner, why } = own?.from ? byList(claims, own.from, nextIfEmpty) : byRank(claims, nextIfEmpty)

  const lost: LostValue[] = []
  for (const claim of claims) {
    if (claim === winner) continue
    const { policy, value } = claim
    const reason = reasonFor(claim, winner, why, own)
    if (value.values.length) lost.push({ source: policy.id, from: value.row.from, values: value.values, why: reason })
    if (value.values.length) notes?.verdicts.push(verdictOf(attribute, claim, 'blocked', reason))
  }
  if (winner) notes?.verdicts.push(verdictOf(attribute, winner, 'stands', why))
  return { winner, lost }
}

function verdictOf(attribute: string, { policy, value }: Claim, verdict: Verdict['verdict'], why: string): Verdict {
  return { attribute, source: policy.name, from: value.row.from, values: value.values, verdict, why }
}

interface Settled {
  readonly winner: Claim | undefined
  readonly why: string
}

const has = (claim: Claim) => claim.value.values.length > 0
const strengthIs = (strength: string) => (claim: Claim) => claim.value.row.strength === strength

/** The list decides, whatever the strengths; those that only fill come after the others. */
function byList(claims: readonly Claim[], list: readonly SourceId[], nextIfEmpty: boolean): Settled {
  const listed = list.flatMap((source) => claims.filter(({ policy }) => policy.id === source))
  // What administrators set by hand answers for an attribute by being in its list.
  const localFirst = list[0] === LOCAL && !listed.some(({ policy }) => policy.id === LOCAL)
  const masters = listed.filter((claim) => claim.value.row.strength !== 'fill')
  if (!(localFirst && !nextIfEmpty)) {
    for (const claim of masters) {
      if (has(claim)) return { winner: claim, why: `${claim.policy.name} is the first of its sources that has a value` }
      if (!nextIfEmpty) break
    }
  }
  const filler = listed.find((claim) => strengthIs('fill')(claim) && has(claim))
  if (filler) return { winner: filler, why: 'nobody else has a value, and this one fills' }
  const master = localFirst ? 'local' : masters[0]?.policy.name
  return {
    winner: undefined,
    why: master === undefined ? 'none of its sources answers for it' : `${master} masters it and has no value (nextIfEmpty is off)`,
  }
}

/** enforce, then what an administrator has set by hand, then the profile source, then whoever fills. */
function byRank(claims: readonly Claim[], nextIfEmpty: boolean): Settled {
  const enforced = claims.find((claim) => strengthIs('enforce')(claim) && has(claim))
  if (enforced) return { winner: enforced, why: `${enforced.policy.name} enforces it` }
  const local = claims.find(({ policy }) => policy.id === LOCAL)
  if (local && has(local)) return { winner: local, why: 'an administrator has set it by hand' }
  const followed = claims.filter((claim) => claim.policy.id !== LOCAL && !strengthIs('fill')(claim))
  for (const claim of followed) {
    if (has(claim)) return { winner: claim, why: `${claim.policy.name} is the profile source for it` }
    if (!nextIfEmpty) break
  }
  const filler = claims.find((claim) => strengthIs('fill')(claim) && has(claim))
  if (filler) return { winner: filler, why: 'nobody else has a value, and this one fills' }
  const [master] = followed
  return {
    winner: undefined,
    why: master ? `${master.policy.name} masters it and has no value (nextIfEmpty is off)` : 'nobody has a value',
  }
}

function reasonFor({ policy }: Claim, winner: Claim | undefined, why: string, own: AttributeMastery | undefined): string {
  if (own?.from && !own.from.includes(policy.id)) return `${policy.name} is not among its sources`
  return winner ? `by ${winner.policy.name}: ${why}` : why
}

/** All that any source gives: one source never takes away what another has given. */
function deriveGroups(words: readonly Word[], heard: Heard | undefined): ProfileValue | undefined | Refusal {
  const given: { readonly word: Word; readonly names: readonly string[] }[] = []
  for (const word of words) {
    const { policy, record } = word
    if (policy.id === LOCAL) {
      const own = word.mapped.values.get(GROUPS)?.values ?? []
      if (own.length) given.push({ word, names: own })
      continue
    }
    const found = (heard?.record === record && heard.groups) || memberships(record, policy.groups)
    if (isRefusal(found)) return { ...found, detail: `${policy.name} (version ${policy.version}): ${found.detail}` }
    if (found.names.length) given.push({ word, names: found.names })
  }
  const [first] = given
  if (!first) return undefined
  const values = eachOnce(given.flatMap(({ names }) => names))
  const { policy, record } = first.word
  const by = bare<SourceId[]>()
  if (given.length > 1) {
    for (const name of values) {
      by[name] = given.filter(({ names }) => names.some((one) => foldKey(one) === foldKey(name))).map(({ word }) => word.policy.id)
    }
  }
  return {
    values,
    source: policy.id,
    policyVersion: policy.version,
    from: policy.groups?.from ?? GROUPS,
    since: record.observedAt,
    ...(record.via ? { via: record.via } : {}),
    ...(given.length > 1 ? { by } : {}),
  }
}
