// Tells a profile as it turns out from the one before. Most of the time most of it is the same, and what is the same stays the
// very object that it was.

import type { SourceId } from './ids.ts'
import { type MappedValue, originOf } from './mapping.ts'
import type { LostValue, Profile, ProfileValue, RecordOnFile } from './model.ts'
import { sameValues } from './records.ts'
import type { Schema } from './schema.ts'
import { isSensitive } from './sensitive.ts'

export interface AttributeChange {
  readonly attribute: string
  readonly before: readonly string[]
  readonly after: readonly string[]
  /** Not for audit events, nor for whoever has not asked to see it. */
  readonly sensitive?: true
}

/** The profile as it turns out, told from the one before: most of the time, most of it is the same. */
export class ProfileChange {
  private readonly before: Profile
  private readonly schema: Schema
  private readonly moved: Record<string, ProfileValue> = {}
  private readonly changes: AttributeChange[] = []
  private anyMoved = false
  private kept = 0
  private readonly seen: string[] = []

  constructor(before: Profile, schema: Schema) {
    this.before = before
    this.schema = schema
  }

  stands(
    attribute: string,
    { policy: { id, version }, record }: Speaker,
    mapped: MappedValue,
    lost: readonly LostValue[] = NONE_LOST,
  ): void {
    const { values, row } = mapped
    const was = this.before[attribute]
    if (
      was &&
      was.source === id &&
      was.policyVersion === version &&
      was.from === row.from &&
      sameValues(was.values, values) &&
      sameLost(was.lost ?? NONE_LOST, lost)
    ) {
      this.keep(attribute)
      return
    }
    const { since, via } = originOf(mapped, record)
    const value: { -readonly [Field in keyof ProfileValue]: ProfileValue[Field] } = {
      values,
      source: id,
      policyVersion: version,
      from: row.from,
      since,
    }
    if (via !== undefined) value.via = via
    if (lost.length) value.lost = lost
    this.move(attribute, value)
  }

  put(attribute: string, value: ProfileValue): void {
    const was = this.before[attribute]
    const same = was && was.source === value.source && was.policyVersion === value.policyVersion && was.from === value.from
    if (same && sameValues(was.values, value.values) && sameGivers(was.by, value.by)) this.keep(attribute)
    else this.move(attribute, value)
  }

  private keep(attribute: string): void {
    this.kept++
    this.seen.push(attribute)
  }

  private move(attribute: string, value: ProfileValue): void {
    this.anyMoved = true
    this.moved[attribute] = value
    this.seen.push(attribute)
    const was = this.before[attribute]
    if (was) this.kept++
    if (!was || !sameValues(was.values, value.values)) this.change(attribute, was?.values ?? NOTHING, value.values)
  }

  private change(attribute: string, before: readonly string[], after: readonly string[]): void {
    this.changes.push(isSensitive(this.schema, attribute) ? { attribute, before, after, sensitive: true } : { attribute, before, after })
  }

  result(): { readonly profile: Profile; readonly changes: readonly AttributeChange[] } {
    let there = 0
    for (const _ in this.before) there++
    if (there === this.kept) {
      if (!this.anyMoved) return { profile: this.before, changes: NONE_CHANGED }
      return { profile: { ...this.before, ...this.moved }, changes: this.sorted() }
    }
    // Something that was there is not there any more.
    const stays = new Set(this.seen)
    const profile: Record<string, ProfileValue> = {}
    for (const attribute in this.before) {
      const value = this.before[attribute] as ProfileValue
      if (stays.has(attribute)) profile[attribute] = value
      else this.change(attribute, value.values, NOTHING)
    }
    return { profile: Object.assign(profile, this.moved), changes: this.sorted() }
  }

  private sorted(): readonly AttributeChange[] {
    return this.changes.sort((a, b) => (a.attribute < b.attribute ? -1 : 1))
  }
}

const NOTHING: readonly string[] = []
const NONE_LOST: readonly LostValue[] = []
const NONE_CHANGED: readonly AttributeChange[] = []

function sameGivers(a: ProfileValue['by'] = {}, b: ProfileValue['by'] = {}): boolean {
  const names = Object.keys(a)
  return names.length === Object.keys(b).length && names.every((name) => sameValues(a[name] ?? NOTHING, b[name] ?? NOTHING))
}

function sameLost(a: readonly LostValue[], b: readonly LostValue[]): boolean {
  if (a === b) return true
  return (
    a.length === b.length &&
    a.every((one, i) => {
      const other = b[i]
      return other !== undefined && one.source === other.source && one.why === other.why && sameValues(one.values, other.values)
    })
  )
}

/** Whose word it is. */
export interface Speaker {
  readonly policy: { readonly id: SourceId; readonly version: number }
  readonly record: RecordOnFile
}
