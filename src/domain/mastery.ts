// Decides which source's word stands for each attribute. Sources are ranked; the best-ranked one that has a value wins.
// A pure function of the records on file and the policy: the order in which the records arrived plays no part.

import type { SourceId } from './ids.ts'
import { map } from './mapping.ts'
import type { Profile, ProfileValue, RecordOnFile } from './model.ts'
import { sameValues } from './records.ts'
import type { Refusal } from './refusals.ts'
import type { SourcePolicy } from './source-policy.ts'

export type SourcePolicies = ReadonlyMap<SourceId, SourcePolicy>

/** Ids are sortable by birth, so without an explicit rank the source that was connected first is the master. */
function byRank(a: SourceId, b: SourceId): number {
  return a < b ? -1 : a > b ? 1 : 0
}

/** The word of a source that is no longer in force counts for nothing. One value that cannot be used refuses the whole. */
export function deriveProfile(records: readonly RecordOnFile[], policies: SourcePolicies): Profile | Refusal {
  const profile: Record<string, ProfileValue> = {}
  const ranked = [...records].sort((a, b) => byRank(a.source, b.source))
  for (const record of ranked) {
    const policy = policies.get(record.source)
    if (!policy) continue
    const mapped = map(record, policy.mapping)
    if (mapped.refusal) return mapped.refusal
    for (const [attribute, { values, from, since }] of mapped.values) {
      profile[attribute] ??= { values, source: record.source, policyVersion: policy.version, from, since }
    }
  }
  return profile
}

export interface AttributeChange {
  readonly attribute: string
  readonly before: readonly string[]
  readonly after: readonly string[]
}

/** Attributes whose values differ, by name. */
export function diffProfiles(before: Profile, after: Profile): readonly AttributeChange[] {
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])].sort()
  const changes: AttributeChange[] = []
  for (const attribute of names) {
    const was = before[attribute]?.values ?? []
    const is = after[attribute]?.values ?? []
    if (!sameValues(was, is)) changes.push({ attribute, before: was, after: is })
  }
  return changes
}

/** Equal in values and in provenance. */
export function sameProfile(a: Profile, b: Profile): boolean {
  const names = Object.keys(a)
  if (names.length !== Object.keys(b).length) return false
  return names.every((name) => {
    const x = a[name]
    const y = b[name]
    return (
      x !== undefined &&
      y !== undefined &&
      sameValues(x.values, y.values) &&
      x.source === y.source &&
      x.policyVersion === y.policyVersion &&
      x.from === y.from
    )
  })
}
