// Tries a draft of the policy on what has happened: on everybody from what is on file, and on the last sign-ins from what
// was sent with them. Writes nothing.

import { type Decision, decide } from '../domain/decide.ts'
import type { SourceId, UserId } from '../domain/ids.ts'
import type { SourceRecord } from '../domain/model.ts'
import type { Policy } from '../domain/policy.ts'
import { isRefusal } from '../domain/refusals.ts'
import { answered } from './answering.ts'
import type { Mint, PastSignIn, Users } from './ports.ts'
import { type Survey, type SurveyAsk, surveyPeople } from './survey-people.ts'

/** Somebody who would fare otherwise with the draft than with the policy in force, signing in now as they did then. */
export interface SignInProspect {
  readonly reference: string
  readonly connection: string
  readonly user?: UserId
  readonly inForce: string
  readonly draft: string
  readonly why: string
}

export interface SignInSurvey {
  readonly tried: number
  readonly sameOutcome: number
  readonly newlyRefused: number
  readonly newlyAccepted: number
  /** Refused or accepted as before, in another way. */
  readonly otherwise: number
}

export interface SimulatePolicy extends Omit<SurveyAsk, 'policy'> {
  readonly inForce: Policy
  readonly draft: Policy
  readonly signIns: AsyncIterable<PastSignIn>
  readonly ask: (question: Parameters<Users['answer']>[1]) => Promise<unknown>
  readonly mint: Mint
  readonly onSignIn: (prospect: SignInProspect) => void
}

export interface Simulated {
  readonly people: Survey
  readonly signIns: SignInSurvey
}

export async function simulatePolicy(asked: SimulatePolicy): Promise<Simulated> {
  const people = await surveyPeople({ ...asked, policy: asked.draft })
  return { people, signIns: await surveySignIns(asked) }
}

async function surveySignIns({ signIns, inForce, draft, ask, mint, now, onSignIn }: SimulatePolicy): Promise<SignInSurvey> {
  const tally = { tried: 0, sameOutcome: 0, newlyRefused: 0, newlyAccepted: 0, otherwise: 0 }
  const under = async (policy: Policy, source: SourceId, said: SourceRecord): Promise<Decision | undefined> => {
    const hearing = policy.sources.get(source)
    if (!hearing) return undefined
    const deciding = decide({ ...said, observedAt: now }, { source: hearing, policy, fresh: mint.id('usr', now) })
    return answered(deciding, ask)
  }
  for await (const { reference, connection, said } of signIns) {
    tally.tried++
    const [before, after] = [await under(inForce, said.source, said), await under(draft, said.source, said)]
    const [was, is] = [outcomeOf(before), outcomeOf(after)]
    if (was === is) {
      tally.sameOutcome++
      continue
    }
    const [wasIn, isIn] = [before && !isRefusal(before.outcome), after && !isRefusal(after.outcome)]
    if (wasIn && !isIn) tally.newlyRefused++
    else if (!wasIn && isIn) tally.newlyAccepted++
    else tally.otherwise++
    const user = after?.explanation.user ?? before?.explanation.user
    onSignIn({ reference, connection, ...(user ? { user } : {}), inForce: was, draft: is, why: whyOf(after) ?? whyOf(before) ?? '' })
  }
  return tally
}

/** What it comes to: changes that only follow from time having passed are no difference. */
function outcomeOf(decision: Decision | undefined): string {
  if (!decision) return 'the connection is not there'
  const { outcome } = decision
  return isRefusal(outcome) ? outcome.code : outcome.kind === 'create' ? 'created' : outcome.link ? 'linked' : 'signed in'
}

function whyOf(decision: Decision | undefined): string | undefined {
  return decision && isRefusal(decision.outcome) ? decision.outcome.detail : decision?.explanation.match?.why
}
