// How a profile is written: short, because the gate reads one with every request and an import writes a million. Nearly all values
// of a person have one origin, so that is written once. What an earlier release wrote at length is read as well.

import type { SourceId } from '../domain/ids.ts'
import type { LostValue, Profile, ProfileValue, Via } from '../domain/model.ts'
import { fromJson } from './db.ts'
import { momentOf } from './record-format.ts'

/** since in milliseconds */
type Origin = [source: SourceId, policyVersion: number, since: number, via?: Via]
interface More {
  readonly lost?: readonly LostValue[]
  readonly by?: NonNullable<ProfileValue['by']>
}
/**
 * values (one of them: as it is), from, the origin's place; and what few have. A text: the only value, of the first origin, from the
 * attribute that is called the same.
 */
type Short = string | [values: string | readonly string[], from: string, origin: number, more?: More]
type Packed = [origins: Origin[], values: Record<string, Short>]

export function writeProfile(profile: Profile): string {
  const origins: Origin[] = []
  const values: Record<string, Short> = {}
  for (const name in profile) {
    const { values: said, from, source, policyVersion, since, via, lost, by } = profile[name] as ProfileValue
    const moment = since.getTime()
    let at = origins.findIndex((one) => one[0] === source && one[1] === policyVersion && one[2] === moment && one[3] === via)
    if (at < 0) at = origins.push(via === undefined ? [source, policyVersion, moment] : [source, policyVersion, moment, via]) - 1
    const [only] = said
    if (at === 0 && said.length === 1 && only !== undefined && !lost && !by && from === sameName(name)) {
      values[name] = only
      continue
    }
    const short: Exclude<Short, string> = [said.length === 1 && only !== undefined ? only : said, from, at]
    if (lost || by) short.push({ ...(lost ? { lost } : {}), ...(by ? { by } : {}) })
    values[name] = short
  }
  return JSON.stringify([origins, values])
}

export function toProfile(column: unknown): Profile {
  const kept = fromJson<Packed | LongProfile>(column)
  return Array.isArray(kept) ? unpack(kept as Packed) : readLong(kept as LongProfile)
}

function unpack([origins, values]: Packed): Profile {
  const profile: Record<string, ProfileValue> = {}
  for (const name in values) {
    const packed = values[name] as Short
    const [said, from, at, more] = typeof packed === 'string' ? ([packed, sameName(name), 0] as const) : packed
    const [source, policyVersion, since, via] = origins[at] as Origin
    const value: { -readonly [Field in keyof ProfileValue]: ProfileValue[Field] } = {
      values: typeof said === 'string' ? [said] : said,
      source,
      policyVersion,
      from,
      since: momentOf(since),
    }
    if (via !== undefined) value.via = via
    if (more?.lost) value.lost = more.lost
    if (more?.by) value.by = more.by
    profile[name] = value
  }
  return profile
}

function sameName(attribute: string): string {
  return `attributes.${attribute}`
}

type LongProfile = Record<string, ProfileValue & { since: string | number }>

function readLong(kept: LongProfile): Profile {
  for (const name in kept) {
    const value = kept[name] as { since: string | number | Date }
    value.since = typeof value.since === 'number' ? momentOf(value.since) : new Date(value.since)
  }
  return kept as unknown as Profile
}
