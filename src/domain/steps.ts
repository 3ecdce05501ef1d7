// The steps of one attempt to sign in or out, in the order they are taken, each with what was expected and what came.
// Closed: a check that has a new name adds it here first. What is kept of a step goes on the record, for administrators.

import { isRefusal, type Refusal } from './refusals.ts'

export const stepCatalogue = {
  message: 'the message could be read',
  artifact: 'the identity provider gave the response behind the artifact',
  status: 'the identity provider reports success',
  'response-issuer': 'the response is from this connection’s identity provider',
  destination: 'the response is addressed to this connection',
  places: 'one assertion, and signatures only where they belong',
  algorithms: 'signatures of accepted kinds',
  'response-signature': 'the response’s signature verifies',
  decryption: 'what is encrypted could be decrypted',
  'assertion-signature': 'the assertion’s signature verifies',
  'signatures-demanded': 'as much is signed as the connection demands',
  issuer: 'the assertion is from this connection’s identity provider',
  times: 'the assertion is valid now',
  audience: 'the assertion is meant for this connection',
  subject: 'the person is confirmed for this connection',
  authentication: 'somebody has signed in there',
  attributes: 'the attributes could be read',
  'response-request': 'the response and the assertion answer the same request',
  unused: 'the message was not used before',
  request: 'this browser asked for it',
  match: 'whose account it is',
  decision: 'the policy lets the person in',
  'redirect-signature': 'the address’s signature verifies',
  'message-signature': 'the message’s signature verifies',
  expiry: 'the message is recent',
  sessions: 'the sessions that it names',
} as const

export type StepName = keyof typeof stepCatalogue

export interface Step {
  readonly step: StepName
  readonly passed: boolean
  readonly expected?: string
  readonly came?: string
}

/** Collects the steps of one attempt while it is being checked. */
export class Trace {
  readonly steps: Step[]

  constructor(before: readonly Step[] = []) {
    this.steps = [...before]
  }

  pass(step: StepName, came?: string): void {
    this.steps.push({ step, passed: true, ...(came === undefined ? {} : { came }) })
  }

  /** Notes how a check went, and hands its outcome on. */
  note<Outcome>(step: StepName, outcome: Outcome | Refusal, came?: (outcome: Outcome) => string | undefined): Outcome | Refusal {
    if (isRefusal(outcome)) return this.fail(step, outcome)
    this.pass(step, came?.(outcome as Outcome))
    return outcome
  }

  fail(step: StepName, refusal: Refusal): Refusal {
    const { detail, expected, came } = refusal
    this.steps.push({ step, passed: false, ...(expected === undefined ? {} : { expected }), came: came ?? detail })
    return refusal
  }
}
