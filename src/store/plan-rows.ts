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

export function toPlanRow(run: RunId, row: PlanRowColumns, sealer: Sealer): PlanRow {
  const {
    w,
    l,
    c,
    a = [],
    g = [[], []],
    t,
    m = [],
    h = [],
    n,
    s,
    x,
    d,
    b,
    p,
  }: Content = JSON.parse(sealer.open(row.sealed, planPlace(run, row.seq)))
  return {
    seq: row.seq,
    externalId: { key: row.external_key, value: row.external_id },
    place: row.place ?? '',
    status: row.status,
    planned: {
      decision: row.decision,
      ...(row.user_id === null ? {} : { user: row.user_id }),
      ...(row.basis === null ? {} : { basis: row.basis }),
      ...(l === undefined ? {} : { label: l }),
      ...(c === undefined ? {} : { code: c as NonNullable<Planned['code']> }),
      why: w,
      attributes: a,
      gained: g[0],
      lost: g[1],
      ...(t === undefined ? {} : { to: t }),
      candidates: m,
      harms: h,
      writes: n === undefined,
    },
    // Names come from outside.
    ...(s ? { said: Object.assign(bare<readonly string[]>(), s) } : {}),
    ...(x ? { gone: true as const } : {}),
    ...(d === undefined ? {} : { digest: d }),
    ...(b === undefined ? {} : { before: readRecord(b) }),
    ...(p === undefined ? {} : { chosen: p }),
  }
}

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
