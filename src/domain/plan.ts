// Sorts what the decision says of a row of an import: what it would do, whether it may go ahead by itself, and what harm it
// would do. A plan is made of these, and does exactly what they say.

import type { Decision } from './decide.ts'
import type { UserId } from './ids.ts'
import type { Candidate } from './matching.ts'
import { firstValue } from './model.ts'
import type { AttributeChange } from './profile-change.ts'
import { sameValues } from './records.ts'
import { isRefusal, type RefusalCode } from './refusals.ts'
import type { Harm } from './safeguard.ts'
import { GROUPS } from './schema.ts'
import type { Change } from './settle.ts'
import type { ImportRules } from './source-policy.ts'

/**
 * create: somebody new. link: somebody who is here is tied to the row. update: values, groups, entitlements. return: access that
 * this source had ended is opened again. leaver: access ends, or will. disputed: a person has to say who it is. refused: the row
 * cannot be used. unchanged: nothing follows for the person. passed: the row is not meant (`only`, `approve.new: never`).
 */
export const planDecisions = ['create', 'link', 'update', 'return', 'leaver', 'disputed', 'refused', 'unchanged', 'passed'] as const
export type PlanDecision = (typeof planDecisions)[number]

/** What becomes of a planned row. waiting: for a person. moved: the user was changed since, so it was not applied. */
export const rowStatuses = ['approved', 'waiting', 'applied', 'moved', 'ignored', 'refused', 'passed', 'superseded', 'undone'] as const
export type RowStatus = (typeof rowStatuses)[number]

export interface Planned {
  readonly decision: PlanDecision
  readonly status: Extract<RowStatus, 'approved' | 'waiting' | 'refused' | 'passed'>
  readonly user?: UserId
  /** The version of the user that it was decided about. */
  readonly basis?: number
  /** What people call them. */
  readonly label?: string
  /** For whoever asks. */
  readonly why: string
  readonly code?: RefusalCode
  readonly attributes: readonly AttributeChange[]
  readonly gained: readonly string[]
  readonly lost: readonly string[]
  readonly to?: string
  readonly candidates: readonly Candidate[]
  readonly harms: readonly Harm[]
  /** Whether applying it writes anything. */
  readonly writes: boolean
}

const DISPUTES: ReadonlySet<RefusalCode> = new Set(['match.unlinked', 'match.disputed', 'match.renamed'])
const PASSES: ReadonlySet<RefusalCode> = new Set(['lifecycle.left-before', 'jit.create-off'])

/** What a row has that nothing follows from. */
export const WITHOUT_EFFECT = { attributes: [], gained: [], lost: [], candidates: [], harms: [], writes: false } as const

export function planned({ outcome, explanation }: Decision, { approve, lifecycle }: ImportRules): Planned {
  const who = explanation.user === undefined ? {} : { user: explanation.user }
  if (isRefusal(outcome)) {
    const { code, detail } = outcome
    if (PASSES.has(code)) return { ...WITHOUT_EFFECT, ...who, decision: 'passed', status: 'passed', why: detail, code }
    if (!DISPUTES.has(code)) return { ...WITHOUT_EFFECT, ...who, decision: 'refused', status: 'refused', why: detail, code }
    const candidates = explanation.match?.candidates ?? []
    return { ...WITHOUT_EFFECT, decision: 'disputed', status: 'waiting', why: detail, code, candidates }
  }
  const decision = decisionOf(outcome)
  const { user, attributes, entitled, transition, leaving, link } = outcome
  // Whom a source does not name any more may keep all they have.
  const isNoted = decision === 'leaver' && !transition && !leaving
  const label = firstValue(user.profile, 'userName')
  // By assignment: this is made twice for every row.
  const made: { -readonly [Field in keyof Planned]: Planned[Field] } = {
    decision,
    status: isNoted || approval(decision, approve, lifecycle.returns) === 'auto' ? 'approved' : 'waiting',
    user: user.id,
    basis: user.version,
    why: whyOf(decision, explanation),
    attributes,
    gained: entitled.gained,
    lost: entitled.lost,
    candidates: explanation.match?.candidates ?? [],
    harms: outcome.kind === 'create' || isNoted ? [] : harmsOf(outcome, decision),
    writes: outcome.kind !== 'unchanged' || outcome.recordMoved || outcome.revisionMoved || link !== undefined,
  }
  if (label !== undefined) made.label = label
  if (transition) made.to = transition.to
  return made
}

function whyOf(decision: PlanDecision, { lifecycle, match }: Decision['explanation']): string {
  const why = lifecycle ?? match?.why ?? 'the source says something else than before'
  return decision === 'link' && lifecycle !== undefined && match ? `${match.why}; ${lifecycle}` : why
}

function decisionOf({ kind, link, transition, leaving, record, recordMoved }: Change): PlanDecision {
  if (kind === 'create') return 'create'
  if (leaving || (transition && transition.to !== 'active')) return 'leaver'
  if (record?.missingSince && recordMoved) return 'leaver'
  if (link) return 'link'
  if (transition) return 'return'
  return kind === 'update' ? 'update' : 'unchanged'
}

function approval(decision: PlanDecision, approve: ImportRules['approve'], returns: ImportRules['lifecycle']['returns']): 'auto' | 'ask' {
  switch (decision) {
    case 'create':
      return approve.new === 'auto' ? 'auto' : 'ask'
    case 'link':
      return approve.exact
    case 'update':
      return approve.update
    case 'leaver':
      return approve.leaver
    case 'return':
      return returns === 'revive' ? 'auto' : 'ask'
    default:
      return 'auto'
  }
}

function harmsOf({ attributes, link }: Change, decision: PlanDecision): readonly Harm[] {
  const harms: Harm[] = []
  if (decision === 'leaver') harms.push('leavers')
  if (attributes.some(({ attribute, before, after }) => attribute !== GROUPS && before.length > 0 && after.length === 0))
    harms.push('blanked')
  if (attributes.some(({ attribute, before, after }) => attribute === GROUPS && before.some((one) => !after.includes(one))))
    harms.push('memberships')
  if (link?.replaces) harms.push('moved')
  return harms
}

/** Two that say the same would do the same: what was planned is what would be applied now. */
export function sameEffect(a: Planned, b: Planned): boolean {
  if (a.decision !== b.decision || a.user !== b.user || a.to !== b.to) return false
  if (!sameValues(a.gained, b.gained) || !sameValues(a.lost, b.lost)) return false
  // Of somebody new, all follows from the row, which is kept.
  return a.decision === 'create' || valuesOf(a) === valuesOf(b)
}

function valuesOf({ attributes }: Planned): string {
  return JSON.stringify(attributes.map(({ attribute, before, after }) => [attribute, before, after]))
}
