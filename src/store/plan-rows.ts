// How a row of a plan is written and read: what it is about in the clear, by which lists are made; what was said of a person, and
// what would change, encrypted.

import { namesMeant } from '../domain/attribute-names.ts'
import { bare } from '../domain/bare.ts'
import type { RunId, UserId } from '../domain/ids.ts'
import type { AttributeValues } from '../domain/model.ts'
import type { PlanDecision, Planned, RowStatus } from '../domain/plan.ts'
import type { PlanRow } from '../flows/import-ports.ts'
import type { Cell, Columns } from './bulk.ts'
import { readRecord, writeRecord } from './record-format.ts'
import type { Sealer } from './sealing.ts'

export interface PlanRowColumns {
  seq: number
  external_key: string
  external_id: string
  decision: PlanDecision
  status: RowStatus
  user_id: UserId | null
  basis: number | null
  place: string | null
  sealed: Uint8Array
}

export const PLAN_ROW: Columns = [
  ['run_id', 'text'],
  ['seq', 'number'],
  ['external_key', 'text'],
  ['external_id', 'text'],
  ['decision', 'text'],
  ['status', 'text'],
  ['user_id', 'text'],
  ['basis', 'number'],
  ['place', 'text'],
  ['sealed', 'bytes'],
]

/** What few rows have is left out. */
interface Content {
  readonly w: string
  readonly l?: string
  readonly c?: string
  readonly a?: Planned['attributes']
  readonly g?: readonly [gained: readonly string[], lost: readonly string[]]
  readonly t?: string
  readonly m?: Planned['candidates']
  readonly h?: Planned['harms']
  readonly n?: 1
  readonly s?: AttributeValues
  readonly x?: 1
  readonly d?: string
  readonly b?: string
  readonly p?: PlanRow['chosen']
}

/** What a row's content is bound to. */
export const planPlace = (run: RunId, seq: number) => `plan ${run} ${seq}`

export function planRowCells(run: RunId, row: PlanRow, sealer: Sealer): Cell[] {
  const { planned, said, gone, digest, before, chosen } = row
  const { decision, why, label, code, attributes, gained, lost, to, candidates, harms, writes } = planned
  const content: { -readonly [Field in keyof Content]: Content[Field] } = { w: why }
  if (label !== undefined) content.l = label
  if (code !== undefined) content.c = code
  // All that somebody new gets follows from what was said.
  if (attributes.length && decision !== 'create') content.a = attributes
  if (gained.length || lost.length) content.g = [gained, lost]
  if (to !== undefined) content.t = to
  if (candidates.length) content.m = candidates
  if (harms.length) content.h = harms
  if (!writes) content.n = 1
  if (said) content.s = said
  if (gone) content.x = 1
  if (digest !== undefined) content.d = digest
  if (before) content.b = writeRecord(before)
  if (chosen !== undefined) content.p = chosen
  const { seq, externalId, status, place } = row
  const sealed = sealer.seal(JSON.stringify(content), planPlace(run, seq))
  return [run, seq, externalId.key, externalId.value, decision, status, planned.user ?? null, planned.basis ?? null, place, sealed]
}

type Writable<Thing> = { -readonly [Field in keyof Thing]: Thing[Field] }

/** By assignment: this is made for every row that is applied, and spreading costs more than all of it. */
export function toPlanRow(run: RunId, row: PlanRowColumns, sealer: Sealer): PlanRow {
  const content: Content = JSON.parse(sealer.open(row.sealed, planPlace(run, row.seq)))
  const { a = NONE, g, m = NONE, h = NONE } = content
  const planned: Writable<PlanRow['planned']> = {
    decision: row.decision,
    why: content.w,
    attributes: a,
    gained: g?.[0] ?? NONE,
    lost: g?.[1] ?? NONE,
    candidates: m,
    harms: h,
    writes: content.n === undefined,
  }
  if (row.user_id !== null) planned.user = row.user_id
  if (row.basis !== null) planned.basis = row.basis
  if (content.l !== undefined) planned.label = content.l
  if (content.c !== undefined) planned.code = content.c as NonNullable<Planned['code']>
  if (content.t !== undefined) planned.to = content.t
  const { seq, external_key, external_id, place, status } = row
  const read: Writable<PlanRow> = { seq, externalId: { key: external_key, value: external_id }, place: place ?? '', status, planned }
  // Names come from outside.
  if (content.s) read.said = Object.assign(bare<readonly string[]>(), content.s)
  if (content.x) read.gone = true
  if (content.d !== undefined) read.digest = content.d
  if (content.b !== undefined) read.before = readRecord(content.b)
  if (content.p !== undefined) read.chosen = content.p
  return read
}

const NONE: readonly never[] = []

/** The row's content without what a source calls this; undefined: it does not say it. A row that was not applied yet cannot be any more. */
export function withoutAttribute(run: RunId, row: PlanRowColumns, attribute: string, sealer: Sealer): Uint8Array | undefined {
  const content: Content = JSON.parse(sealer.open(row.sealed, planPlace(run, row.seq)))
  const { s = {}, b } = content
  const names = namesMeant({ attributes: s, aliases: {} }, [attribute])
  if (!names.size && b === undefined) return undefined
  const kept = Object.fromEntries(Object.entries(s).filter(([name]) => !names.has(name)))
  // What was on file before may hold it, too, and what would change may repeat it.
  const { b: _before, a: _changes, ...rest } = content
  return sealer.seal(JSON.stringify({ ...rest, s: kept }), planPlace(run, row.seq))
}
