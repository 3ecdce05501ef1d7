// How a source record is written before it is sealed: short, because it is read for every sign-in and every row of a
// simulation. What an earlier release wrote, in the clear and at length, is read as well.

import { bare } from '../domain/bare.ts'
import type { SourceId } from '../domain/ids.ts'
import type { AttributeOnFile, RecordOnFile, Said, Via } from '../domain/model.ts'

const STATES = ['present', 'empty', 'absent'] as const

/** values, since (milliseconds), via */
type PackedWord = [values: readonly string[], since: number, via?: Via | 0]
/** When it was said, in milliseconds, and by which means. */
type Moment = [since: number, via?: Via]
/** values, the place of the moment, the state as its place in STATES, and what was said first. */
type PackedAttribute = [values: readonly string[], moment: number, state?: number, first?: PackedWord | null]
/** A text: the only value, present since the first of the moments, as nearly all are. */
type ShortAttribute = string | PackedAttribute
/** As another release wrote it: moment and state apart, for each. */
type EarlierAttribute = [values: readonly string[], since: number, via: Via | 0, state: number, first?: PackedWord | null]

interface Packed {
  readonly s: SourceId
  readonly k: readonly [key: string, value: string]
  readonly n?: readonly [value: string, format: string, since: number]
  /** Not there: the attributes are as they were written earlier. */
  readonly m?: readonly Moment[]
  readonly a: Readonly<Record<string, ShortAttribute | EarlierAttribute>>
  readonly l: Readonly<Record<string, string>>
  readonly x?: readonly [authnContext: string, authnInstant: string]
  readonly g?: readonly string[]
  readonly o: number
  readonly v?: Via
}

export function writeRecord(record: RecordOnFile): string {
  const { source, externalId, nameId, attributes, aliases, session, groups, observedAt, via } = record
  const packed = bare<ShortAttribute>()
  const moments: Moment[] = []
  for (const name in attributes) packed[name] = packAttribute(attributes[name] as AttributeOnFile, moments)
  const whole: Packed = {
    s: source,
    k: [externalId.key, externalId.value],
    ...(nameId ? { n: [nameId.value, nameId.format, nameId.since.getTime()] } : {}),
    m: moments,
    a: packed,
    l: aliases,
    ...(session ? { x: [session.authnContext, session.authnInstant] } : {}),
    ...(groups ? { g: groups } : {}),
    o: observedAt.getTime(),
    ...(via ? { v: via } : {}),
  }
  return JSON.stringify(whole)
}

function packAttribute({ values, since, via, state, first }: AttributeOnFile, moments: Moment[]): ShortAttribute {
  const time = since.getTime()
  let at = moments.findIndex((one) => one[0] === time && one[1] === via)
  if (at < 0) at = moments.push(via === undefined ? [time] : [time, via]) - 1
  const code = STATES.indexOf(state)
  if (first !== undefined) return [values, at, code, first && [first.values, first.since.getTime(), first.via ?? 0]]
  const [only] = values
  if (at === 0 && code === 0 && values.length === 1 && only !== undefined) return only
  return code ? [values, at, code] : [values, at]
}

export function readRecord(text: string): RecordOnFile {
  const kept: Packed | LongRecord = JSON.parse(text)
  return 'a' in kept ? unpack(kept) : readLongRecord(kept)
}

let latest = new Date(0)

/** Most of what is kept of one person was said at one moment: one Date for it. */
export function momentOf(time: number): Date {
  if (latest.getTime() !== time) latest = new Date(time)
  return latest
}

function unpack({ s, k, n, m, a, l, x, g, o, v }: Packed): RecordOnFile {
  const attributes = bare<AttributeOnFile>()
  for (const name in a) attributes[name] = m ? unpackAttribute(a[name] as ShortAttribute, m) : earlier(a[name] as EarlierAttribute)
  const record: { -readonly [Field in keyof RecordOnFile]: RecordOnFile[Field] } = {
    source: s,
    externalId: { key: k[0], value: k[1] },
    attributes,
    aliases: Object.assign(bare<string>(), l),
    observedAt: momentOf(o),
  }
  if (n) record.nameId = { value: n[0], format: n[1], since: momentOf(n[2]) }
  if (x) record.session = { authnContext: x[0], authnInstant: x[1] }
  if (g) record.groups = g
  if (v) record.via = v
  return record
}

function unpackAttribute(packed: ShortAttribute, moments: readonly Moment[]): AttributeOnFile {
  if (typeof packed === 'string') return attributeOf([packed], moments[0] as Moment, 0, undefined)
  const [values, at, code = 0, first] = packed
  return attributeOf(values, moments[at] as Moment, code, first)
}

function earlier([values, since, via, code, first]: EarlierAttribute): AttributeOnFile {
  return attributeOf(values, via ? [since, via] : [since], code, first)
}

function attributeOf(values: readonly string[], [since, via]: Moment, code: number, first: PackedWord | null | undefined): AttributeOnFile {
  const state = STATES[code] ?? 'absent'
  const attribute: { -readonly [Field in keyof AttributeOnFile]: AttributeOnFile[Field] } = { values, since: momentOf(since), state }
  if (via) attribute.via = via
  if (first !== undefined) attribute.first = first && word(first)
  return attribute
}

function word([values, since, via]: PackedWord): Said {
  return { values, since: momentOf(since), ...(via ? { via } : {}) }
}

/** Of the first release: whether an attribute was there, and an empty one kept as such. */
export interface LongRecord extends Omit<RecordOnFile, 'observedAt' | 'attributes'> {
  readonly observedAt: string
  readonly attributes: Readonly<Record<string, { readonly values: readonly string[]; readonly since: string; readonly present: boolean }>>
}

export function readLongRecord(kept: LongRecord): RecordOnFile {
  const attributes = bare<AttributeOnFile>()
  for (const [name, { values, since, present }] of Object.entries(kept.attributes)) {
    const state = !present ? 'absent' : values.some((one) => one.trim()) ? 'present' : 'empty'
    attributes[name] = { values, since: new Date(since), state }
  }
  const { nameId } = kept
  return {
    ...kept,
    ...(nameId ? { nameId: { ...nameId, since: new Date(nameId.since) } } : {}),
    attributes,
    observedAt: new Date(kept.observedAt),
  }
}
