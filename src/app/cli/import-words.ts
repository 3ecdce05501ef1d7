// How imports are told: counts, causes, states, for people and as JSON.

import type { ImportRun } from '../../flows/import-ports.ts'
import { plain, print, time } from './output.ts'

/** What a run has come to, as every door tells it. */
export interface ImportSummary {
  readonly created: number
  readonly linked: number
  readonly updated: number
  readonly unchanged: number
  readonly disputed: number
  readonly leavers: number
  readonly refused: number
  readonly held: number
}

/** By what the rows would do, or did. Of a run that is held, all that would have been written is. */
export function summaryOf({ counts, state }: ImportRun): ImportSummary {
  const of = (name: keyof typeof counts) => counts[name] ?? 0
  const writes = of('create') + of('link') + of('update') + of('return') + of('leaver')
  return {
    created: of('create'),
    linked: of('link'),
    updated: of('update') + of('return'),
    unchanged: of('unchanged'),
    disputed: of('disputed'),
    leavers: of('leaver'),
    refused: of('refused') + of('faults'),
    held: state === 'held' ? writes : 0,
  }
}

export function runJson(run: ImportRun, source: string) {
  const { id, mode, state, phase, kind, counts, details, startedAt, finishedAt, actor } = run
  return {
    run: id,
    kind,
    source,
    mode,
    outcome: outcomeOf(run),
    state,
    ...(state === 'running' ? { phase } : {}),
    counts: summaryOf(run),
    waiting: counts.waiting ?? 0,
    applied: counts.applied ?? 0,
    moved: counts.moved ?? 0,
    passedOver: counts.passed ?? 0,
    rows: counts.rows ?? 0,
    badLines: counts.faults ?? 0,
    ...(details.causes ? { heldBecause: details.causes } : {}),
    ...(details.failure ? { failure: details.failure } : {}),
    ...(details.harmed ? { harmed: details.harmed, people: details.people } : {}),
    ...(details.leaversUnknown ? { leaversUnknown: details.leaversUnknown } : {}),
    ...(details.read ? { read: details.read } : {}),
    ...(details.file === undefined ? {} : { file: details.file }),
    ...(details.approvedBy ? { approvedBy: details.approvedBy } : {}),
    ...(details.undoes ? { undoes: details.undoes } : {}),
    ...(details.undoneBy ? { undoneBy: details.undoneBy } : {}),
    detectsLeavers: mode === 'full',
    by: actor,
    startedAt,
    ...(finishedAt ? { finishedAt } : {}),
  }
}

export function outcomeOf({
  state,
}: ImportRun): 'applied' | 'waiting' | 'held' | 'failed' | 'cancelled' | 'running' | 'superseded' | 'undone' {
  switch (state) {
    case 'done':
      return 'applied'
    case 'planned':
      return 'waiting'
    default:
      return state
  }
}

export function printRun(run: ImportRun, source: string): void {
  const { mode, state, details, counts, id } = run
  print(`${id}  ${source}, ${mode} run, ${state}${run.finishedAt ? ` since ${time(run.finishedAt)}` : ''}`)
  print(mode === 'full' ? 'A full run: whoever is not in the feed has left.' : 'An incremental run: it cannot see who has left.')
  const summary = Object.entries(summaryOf(run))
  print(summary.map(([name, count]) => `${name} ${count}`).join('  '))
  const more = [
    counts.waiting ? `${counts.waiting} wait for a person` : '',
    counts.moved ? `${counts.moved} left out, because the person was changed since the plan was made` : '',
    counts.passed ? `${counts.passed} rows passed over` : '',
    counts.faults ? `${counts.faults} lines could not be read` : '',
  ].filter(Boolean)
  if (more.length) print(more.join('; '))
  for (const { code, why } of details.causes ?? []) print(`held: ${code}: ${plain(why)}`)
  if (details.failure) print(`failed: ${details.failure.code}: ${plain(details.failure.why)}`)
}
