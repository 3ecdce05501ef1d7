// How runs of imports and the rows of their plans are told to programs and shown on pages: the same names and numbers at every
// door.

import type { Schema } from '../domain/schema.ts'
import { hide, isSensitive, shownChange } from '../domain/sensitive.ts'
import type { ImportRun, PlanRow } from '../flows/import-ports.ts'

export interface RunLine {
  readonly run: ImportRun
  /** Its name. */
  readonly source: string
}

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
    refused: of('refused'),
    held: state === 'held' ? writes : 0,
  }
}

/** Whether leavers can be seen by it. */
export function sightOf({ mode, details, kind }: ImportRun): string {
  if (kind === 'undo') return 'An import is taken back.'
  if (details.leaversUnknown) return `It could not see who has left: ${details.leaversUnknown}.`
  if (mode === 'full') return 'A full run: whoever is not in the feed has left.'
  return details.seesLeavers
    ? 'An incremental run of a source that says who has left, too.'
    : 'An incremental run: it cannot see who has left.'
}

/** How far it is, from 0 to 1; undefined: that cannot be said. */
export function shareDone({ phase, counts, details: { read } }: ImportRun): number | undefined {
  if (phase === 'reading') return read?.total ? Math.min(1, read.done / read.total) : undefined
  const { create = 0, link = 0, update = 0, leaver = 0, applied = 0, moved = 0, waiting = 0 } = counts
  const all = create + link + update + leaver + (counts.return ?? 0) - waiting
  return all > 0 ? Math.min(1, (applied + moved) / all) : undefined
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

export function runJson(run: ImportRun, source: string) {
  const { id, mode, state, phase, kind, counts, details, startedAt, finishedAt, actor } = run
  return {
    run: id,
    kind,
    source,
    mode,
    outcome: outcomeOf(run),
    state,
    ...(state === 'running' ? { phase, done: shareDone(run) } : {}),
    counts: summaryOf(run),
    waiting: counts.waiting ?? 0,
    applied: counts.applied ?? 0,
    moved: counts.moved ?? 0,
    ignored: counts.ignored ?? 0,
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
    sees: sightOf(run),
    detectsLeavers: !details.leaversUnknown && (mode === 'full' || details.seesLeavers === true),
    by: actor,
    startedAt,
    ...(finishedAt ? { finishedAt } : {}),
  }
}

export function rowJson(row: PlanRow, schema: Schema, reveal: boolean) {
  const { seq, place, externalId, status, planned } = row
  const { decision, user, label, why, code, attributes, gained, lost, to, candidates, harms } = planned
  return {
    row: seq,
    place,
    key: externalId.value,
    decision,
    status,
    ...(user === undefined ? {} : { user }),
    ...(label === undefined ? {} : { userName: label }),
    why,
    ...(code === undefined ? {} : { code }),
    ...(to === undefined ? {} : { becomes: to }),
    attributes: attributes.map((one) => (reveal ? one : shownChange(one))),
    gained,
    lost,
    ...(candidates.length ? { candidates } : {}),
    ...(harms.length ? { harms } : {}),
    said: saidOf(row, schema, reveal),
  }
}

/** What the source said is in its own words; where anything may be sensitive, none of it is shown unasked. */
function saidOf({ said }: PlanRow, schema: Schema, reveal: boolean) {
  if (!said || reveal || ![...schema.keys()].some((name) => isSensitive(schema, name))) return said
  return Object.fromEntries(Object.entries(said).map(([name, values]) => [name, hide(values)]))
}
