// How imports are told on the command line.

import type { ImportRun } from '../../flows/import-ports.ts'
import { sightOf, summaryOf } from '../../http/import-words.ts'
import { plain, print, time } from './output.ts'

export function printRun(run: ImportRun, source: string): void {
  const { mode, state, details, counts, id } = run
  const what = run.kind === 'undo' ? `taking back ${details.undoes ?? 'a run'}` : `${mode} run`
  // When it was taken back is what the other run says.
  const since = run.finishedAt && (state === 'undone' ? `, applied ${time(run.finishedAt)}` : ` since ${time(run.finishedAt)}`)
  print(`${id}  ${source}, ${what}, ${state}${since ?? ''}`)
  print(sightOf(run))
  const summary = Object.entries(summaryOf(run))
  print(summary.map(([name, count]) => `${name} ${count}`).join('  '))
  const more = [
    counts.waiting ? `${counts.waiting} wait for a person` : '',
    counts.moved ? `${counts.moved} left out, because the person was changed since the plan was made` : '',
    counts.passed ? `${counts.passed} rows passed over` : '',
    counts.faults ? `${counts.faults} lines could not be read` : '',
  ].filter(Boolean)
  if (more.length) print(more.join('; '))
  for (const { code, why } of state === 'held' ? (details.causes ?? []) : []) print(`held: ${code}: ${plain(why)}`)
  if (details.failure) print(`failed: ${details.failure.code}: ${plain(details.failure.why)}`)
}
