// Decides about many rows of a source at once: for the plan, and again when it is applied, with the same questions and by the
// same decision. Writes nothing.

import { leave } from '../domain/access.ts'
import { type Decision, decide } from '../domain/decide.ts'
import type { Deciding, Known, Question } from '../domain/deciding.ts'
import type { SeatsTaken } from '../domain/entitlements.ts'
import type { RunId, UserId } from '../domain/ids.ts'
import type { AttributeValues, ExternalId, RecordOnFile, User } from '../domain/model.ts'
import type { Policy } from '../domain/policy.ts'
import { isRefusal } from '../domain/refusals.ts'
import type { Explanation } from '../domain/settle.ts'
import type { SourcePolicy } from '../domain/source-policy.ts'
import { type AskAll, answeredTogether } from './answering.ts'

export interface RowToDecide {
  readonly externalId: ExternalId
  /** Left out: the source does not name them any more. */
  readonly said: AttributeValues | undefined
  /** The id that a new user gets. */
  readonly fresh: UserId
  /** Whom a person has said that this is; `new`: nobody who is here. */
  readonly chosen?: UserId | 'new'
  /** The end of a grace period: what follows is not put off again. */
  readonly atOnce?: boolean
}

export interface Decided {
  readonly decision: Decision
  /** What was on file of the subject before. */
  readonly before: RecordOnFile | undefined
}

export interface DecideRows {
  readonly source: SourcePolicy
  readonly policy: Policy
  readonly run: RunId
  readonly now: Date
  readonly askAll: AskAll
  /** Taken by rows that were decided before and are not written yet; the rows of this call add theirs. */
  readonly seats?: SeatsMeant
}

/** Licence -> seats that rows would take. What others would give back is free once they have. */
export type SeatsMeant = Map<string, number>

/** In the order of the rows; undefined: nothing follows that has not followed already. */
export async function decideRows(
  rows: readonly RowToDecide[],
  { source, policy, run, now, askAll, seats = new Map() }: DecideRows,
): Promise<readonly (Decided | undefined)[]> {
  const before: (RecordOnFile | undefined)[] = new Array(rows.length)
  const decisions = await answeredTogether(
    rows.map(({ externalId, said, fresh, atOnce = false }) =>
      said
        ? inTurn(decide(spoken(said, { source, run, now }), { source, policy, fresh }), seats)
        : missed(externalId, { source, policy, now, atOnce }),
    ),
    rows.some(({ chosen }) => chosen !== undefined) ? withChoices(rows, askAll) : askAll,
    (place, { about }, answer) => {
      if (about !== 'subject' && about !== 'user') return
      const { key } = (rows[place] as RowToDecide).externalId
      const { records, given } = answer as Known
      const ofSource = records.filter((record) => record.source === source.id)
      // Somebody whom the source calls something else from now on was known to it by the old name.
      before[place] = ofSource.find(({ externalId }) => externalId.key === key) ?? (about === 'user' || given ? ofSource[0] : undefined)
    },
  )
  return decisions.map((decision, place) => decision && { decision, before: before[place] })
}

/** What a person has chosen answers whom a row means. */
function withChoices(rows: readonly RowToDecide[], askAll: AskAll): AskAll {
  return async (questions, places) => {
    const answers = [...(await askAll(questions, places))]
    const meant = questions.flatMap(({ about }, at) => {
      const { chosen } = rows[places[at] as number] as RowToDecide
      return about === 'subject' && chosen !== undefined && !(answers[at] as Known).linked ? [{ at, chosen }] : []
    })
    const users = meant.flatMap(({ chosen }): Question[] => (chosen === 'new' ? [] : [{ about: 'user', user: chosen }]))
    const found = (await askAll(users, [])).values()
    for (const { at, chosen } of meant) {
      if (chosen === 'new') answers[at] = { records: [], settledAsNew: true }
      else {
        const { linked, records } = found.next().value as Known
        if (linked) answers[at] = { records, given: linked }
      }
    }
    return answers
  }
}

/** As if those who came before had taken their seats already. */
function* inTurn(deciding: Deciding<Decision>, seats: SeatsMeant): Deciding<Decision> {
  let step = deciding.next()
  while (!step.done) {
    const answer = yield step.value
    step = deciding.next(step.value.about === 'seats' && seats.size ? added(answer as SeatsTaken, seats) : answer)
  }
  const { outcome } = step.value
  if (!isRefusal(outcome))
    for (const [name, by] of Object.entries(outcome.entitled.seats)) if (by > 0) seats.set(name, (seats.get(name) ?? 0) + by)
  return step.value
}

function added(taken: SeatsTaken, more: SeatsMeant): SeatsTaken {
  const all = new Map(taken)
  for (const [name, count] of more) all.set(name, (all.get(name) ?? 0) + count)
  return all
}

function spoken(attributes: AttributeValues, { source, run, now }: { source: SourcePolicy; run: RunId; now: Date }) {
  return { source: source.id, attributes, aliases: {}, observedAt: now, via: run }
}

function* missed(
  externalId: ExternalId,
  { source, policy, now, atOnce }: { source: SourcePolicy; policy: Policy; now: Date; atOnce: boolean },
): Generator<Question, Decision | undefined, unknown> {
  const known = (yield { about: 'subject', source: source.id, externalId }) as Known
  if (!known.linked || known.linked.state === 'erased') return undefined
  const left = leave(known as Known & { readonly linked: User }, externalId, { source, policy, now, atOnce })
  if (!left) return undefined
  const explanation: Explanation = { user: known.linked.id, externalId, mapping: [], verdicts: [], lifecycle: left.why }
  return { outcome: left.change, explanation }
}
