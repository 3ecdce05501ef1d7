// Decides what becomes of people whom no feed stands behind: an identity provider only says that somebody comes, never that they
// are gone. By days since they last signed in, or since they were made where they never have.

import type { CoverageSpec } from './documents/source.ts'

export const coverageStages = ['covered', 'warned', 'suspended', 'task'] as const
export type CoverageStage = Exclude<(typeof coverageStages)[number], 'covered'>

/** What was done last, and how many days ago. */
export interface CoverageDone {
  readonly stage: CoverageStage
  readonly days: number
}

/** What is to be done now; undefined: nothing more than was done. One after the other, and never sooner after a warning than was warned. */
export function coverageStep(
  quietDays: number,
  done: CoverageDone | undefined,
  { warn, suspend, task }: CoverageSpec,
): CoverageStage | undefined {
  const steps = ORDER.flatMap((stage) => {
    const after = { warned: warn, suspended: suspend, task }[stage]
    return after === undefined ? [] : [{ stage, after }]
  })
  const at = done ? ORDER.indexOf(done.stage) : -1
  const next = steps.find(({ stage }) => ORDER.indexOf(stage) > at)
  if (!next || quietDays < next.after) return undefined
  const before = steps.find(({ stage }) => stage === done?.stage)
  // Where the policy was only now written, whoever is warned today has as many days left as everybody.
  return done && before && done.days < next.after - before.after ? undefined : next.stage
}

const ORDER: readonly CoverageStage[] = ['warned', 'suspended', 'task']
