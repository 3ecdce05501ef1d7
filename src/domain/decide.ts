// The one decision. Source record in; a change or a refusal out, with its explanation. Every way in comes through here, so
// that no two doors can disagree about who somebody is. Pure: where it needs to know something it asks, and the caller
// answers: from the database in a sign-in, from memory in a test, a thousand at a time in an import.
//
//   identify -> (subject?) -> map -> (holders of the same values?) -> match -> master -> (anybody else's unique value?)
//   -> lifecycle -> entitle -> (seats taken?) -> a change, or a refusal
//
// Writing nothing, it is also what explains and simulates: the same code that a commit follows.

import { accessOf, isEnd, shutOut } from './access.ts'
import { namesMeant } from './attribute-names.ts'
import { bare } from './bare.ts'
import type { Deciding, DecisionPolicy, Known } from './deciding.ts'
import { memberships } from './groups.ts'
import type { UserId } from './ids.ts'
import { type Mapped, type MappingStep, map } from './mapping.ts'
import type { Heard, MasteryNotes } from './mastery.ts'
import { type Holder, identify, linkedMatch, type Match, match, matchingKeys } from './matching.ts'
import type { ExternalId, RecordOnFile, SourceRecord, User } from './model.ts'
import { remember, sameRecord, sameSession, withGroups } from './records.ts'
import { isRefusal, type Refusal, refuse } from './refusals.ts'
import { type Change, type Explanation, leftAlone, type Noted, settle } from './settle.ts'
import { LOCAL, type SourcePolicy } from './source-policy.ts'

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
    : known.given
      ? given(known.given, externalId, { source, records: known.records })
      : yield* find(said, externalId, { source, policy, known, steps: explain ? steps : undefined, noted })
  if (isRefusal(identified)) return answer(identified)
  const { match: found, user, records } = identified
  noted.match = { situation: found.situation, why: found.why, candidates: 'candidates' in found ? found.candidates : [] }
  if (user) noted.user = user.id
  if (found.situation === 'gone') return answer(refuse('user.erased', `${found.user.id} was erased; nothing brings anybody back from that`))
  if (!user && !source.jit.create) return answer(refuse('jit.create-off', `${found.why}, and ${source.name} may not create anybody`))

  const access = accessOf(said, { source, policy, user, records })
  if (isRefusal(access)) return answer(access)
  const { transition, leaving, born } = access
  if (access.why !== undefined) noted.lifecycle = access.why

  const renamedFrom = found.situation === 'unlinked' ? found.renamedFrom : undefined
  const wasKey = renamedFrom?.key ?? externalId.key
  const onFile = records.find((record) => record.source === said.source && record.externalId.key === wasKey)
  const linking = known.linked ? undefined : { why: found.why, ...(renamedFrom ? { replaces: renamedFrom } : {}) }
  const first = 'first' in identified ? identified.first : undefined
  // A source that may not change anybody leaves its own word as it was, too: what follows from the records stays the same.
  const heard: Heard | Refusal =
    user && !source.jit.update
      ? { record: unheard(onFile, said, externalId) }
      : hear(first?.record ?? remember(onFile, said, externalId), source)
  if (isRefusal(heard)) return answer(heard)
  const { record } = heard
  if (heard.groups) noted.groups = heard.groups
  const settled = yield* settle({
    user,
    fresh,
    record,
    records: [record, ...records.filter((one) => one !== onFile)],
    recordMoved: !onFile || Boolean(linking) || !sameRecord(onFile, record) || (source.reads.session && !sameSession(onFile, record)),
    linking,
    transition,
    leaving,
    born,
    policy,
    required: source.jit.required,
    source,
    heard: {
      record,
      groups: heard.groups,
      ...(first ? { mapped: first.mapped } : {}),
      prior: user?.revision === policy.revision ? onFile : undefined,
    },
    now: said.observedAt,
    notes,
    noted,
  })
  if (notes) noted.mapping = notes.steps.get(source.id) ?? steps
  if (isRefusal(settled) && user && !linking && isEnd(transition)) {
    noted.lifecycle = `${transition.reason}; the rest of what was said cannot be used (${settled.detail})`
    return answer(shutOut(user, access))
  }
  // Whether somebody is an administrator shows in what they would hold, also where they hold it only from now on.
  const power =
    linking &&
    user &&
    !known.given &&
    !isRefusal(settled) &&
    settled.user.grants.find(({ name }) => policy.entitlements.administrators.has(name))
  if (power) {
    const objection = `they would be an administrator (${power.name}), and administrators are never linked by a rule`
    noted.match = {
      ...noted.match,
      candidates: noted.match.candidates.map((one) => ({ ...one, objection })),
      ...(renamedFrom ? { renamedFrom } : {}),
    }
    return answer(refuse(renamedFrom ? 'match.renamed' : 'match.unlinked', `${found.why}, but ${objection}`))
  }
  return answer(settled)
}

/** What is not to be kept is not heard either. */
export function withoutRedacted(said: SourceRecord, { redact }: SourcePolicy): SourceRecord {
  if (!redact.size) return said
  const gone = namesMeant(said, redact)
  const attributes = bare<readonly string[]>()
  for (const name in said.attributes) {
    if (!gone.has(name)) attributes[name] = said.attributes[name] as readonly string[]
  }
  return { ...said, attributes }
}

/** That the source knows the person, and nothing of what it says of them. */
function unheard(onFile: RecordOnFile | undefined, said: SourceRecord, externalId: ExternalId): RecordOnFile {
  if (onFile) return onFile.externalId.key === externalId.key ? onFile : { ...onFile, externalId }
  return { source: said.source, externalId, attributes: bare(), aliases: bare(), observedAt: said.observedAt }
}

/** What the source has now said, with the groups that it has given so far. */
function hear(record: RecordOnFile, source: SourcePolicy): Heard | Refusal {
  if (!source.groups || source.groups.mode === 'none') return { record }
  const groups = memberships(record, source.groups)
  if (isRefusal(groups)) return { ...groups, detail: `${source.name} (version ${source.version}): ${groups.detail}` }
  return { record: withGroups(record, groups.names), groups }
}

interface Found {
  /** Of somebody new: all that there is of them. */
  readonly first?: { readonly record: RecordOnFile; readonly mapped: Mapped }
  readonly match: Match
  readonly user: User | undefined
  readonly records: readonly RecordOnFile[]
}

/** By a person's word. Whoever the source has known by another name goes by this one from now on. */
function given(user: User, externalId: ExternalId, { source, records }: { source: SourcePolicy; records: readonly RecordOnFile[] }): Found {
  const renamedFrom = records.find((one) => one.source === source.id)?.externalId
  const why = `a person has said that «${externalId.value}» of ${source.name} is ${user.id}`
  if (user.state === 'erased') return { match: { situation: 'gone', user, why }, user, records }
  const link = { situation: 'unlinked', user, candidates: [], why } as const
  return { match: renamedFrom ? { ...link, verdict: 'relink', renamedFrom } : { ...link, verdict: 'link' }, user, records }
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
  const record = remember(undefined, said, externalId)
  const mapped = map(record, source, steps)
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
      return { match: found, user: undefined, records: [], first: { record, mapped } }
  }
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

/** Whether a source that is in force has spoken of them. */
export function hasVoice({ records }: Known, { sources }: DecisionPolicy): boolean {
  return records.some(({ source }) => source !== LOCAL && sources.has(source))
}

/** What follows for somebody from the policy alone: nobody has spoken. Whoever has no voice any more stays as they are. */
export function* decideAgain(known: Known & { readonly linked: User }, policy: DecisionPolicy, now: Date): Deciding<Change | Refusal> {
  const user = known.linked
  if (!hasVoice(known, policy)) return leftAlone(user, policy)
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
