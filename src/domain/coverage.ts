// Decides what becomes of people whom no feed stands behind: an identity provider only says that somebody comes, never that they
// are gone. By days since they last signed in, or since they were made where they never have.

import type { CoverageSpec } from './documents/source.ts'

export const coverageStages = ['covered', 'warned', 'suspended', 'task'] as const
export type CoverageStage = Exclude<(typeof coverageStages)[number], 'covered'>

/** What is to be done now; undefined: nothing more than was done. @param done the stage that they have reached */
export function coverageStep(
  quietDays: number,
  done: CoverageStage | undefined,
  { warn, suspend, task }: CoverageSpec,
): CoverageStage | undefined {
  const due: CoverageStage[] = []
  if (warn !== undefined && quietDays >= warn) due.push('warned')
  if (suspend !== undefined && quietDays >= suspend) due.push('suspended')
  if (task !== undefined && quietDays >= task) due.push('task')
  const reached = done === undefined ? -1 : ORDER.indexOf(done)
  // One after the other: nobody is suspended who was not warned before, where that is asked for.
  return due.find((stage) => ORDER.indexOf(stage) > reached)
}

const ORDER: readonly CoverageStage[] = ['warned', 'suspended', 'task']
