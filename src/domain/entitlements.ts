// Decides which roles and licences follow from a profile. A role is held by whoever fits its rule. A licence has a number of
// seats: whoever holds one keeps it while the rule fits, and others wait for a free one.

import { celValue, type Expression, ExpressionFailure } from './expressions.ts'
import type { Grant, Profile } from './model.ts'
import { type Refusal, refuse } from './refusals.ts'
import type { Schema } from './schema.ts'
import { isSensitive } from './sensitive.ts'

export interface EntitlementRule {
  readonly name: string
  /** As the administrator wrote it. */
  readonly when: string
  readonly expression: Expression
  /** Undefined: a role, for as many as fit. */
  readonly seats: number | undefined
}

export interface Entitlements {
  /** Of the document. */
  readonly version: number
  readonly rules: readonly EntitlementRule[]
  /** Names of those whose holders count as administrators. */
  readonly administrators: ReadonlySet<string>
}

/** Licence -> how many seats are taken, by anybody. */
export type SeatsTaken = ReadonlyMap<string, number>

/** Name -> seats. */
export function licencesOf({ rules }: Entitlements): ReadonlyMap<string, number> {
  return new Map(rules.flatMap(({ name, seats }) => (seats === undefined ? [] : [[name, seats] as const])))
}

export interface Entitled {
  readonly grants: readonly Grant[]
  readonly gained: readonly string[]
  readonly lost: readonly string[]
  /** Licence -> seats more (or fewer) that are taken after this. */
  readonly seats: Readonly<Record<string, 1 | -1>>
  /** Fits the rule, and no seat is free. */
  readonly waiting: readonly string[]
}

/** The names of the rules that fit this profile. */
export function fitting(profile: Profile, { rules }: Entitlements, schema: Schema): readonly string[] | Refusal {
  if (!rules.length) return []
  const inputs = inputsOf(
    profile,
    rules.map(({ expression }) => expression),
    schema,
  )
  const names: string[] = []
  for (const { name, when, expression } of rules) {
    try {
      if (expression.run(inputs) === true) names.push(name)
    } catch (error) {
      if (!(error instanceof ExpressionFailure)) throw error
      const reads = expression.reads.user
      const hides = reads?.all || reads?.names.some((one) => isSensitive(schema, one))
      const why = hides ? 'it fails (why is not shown, because it reads something sensitive)' : error.message
      return refuse('mapping.failed', `entitlement ${name}, when ${when}: ${why} (at character ${error.at + 1})`)
    }
  }
  return names
}

/** What rules see of a profile. */
function inputsOf(profile: Profile, expressions: readonly Expression[], schema: Schema) {
  const user: Record<string, unknown> = {}
  for (const { reads } of expressions) {
    for (const name of reads.user?.all ? schema.keys() : (reads.user?.names ?? [])) {
      const definition = schema.get(name)
      if (definition && !(name in user)) user[name] = celValue(definition.type, profile[name]?.values ?? [])
    }
  }
  return { groups: profile.groups?.values ?? [], user }
}

/** Whether one rule fits; undefined: it fails on this profile. */
export function fits(profile: Profile, rule: Expression, schema: Schema): boolean | undefined {
  try {
    return rule.run(inputsOf(profile, [rule], schema)) === true
  } catch (error) {
    if (!(error instanceof ExpressionFailure)) throw error
    return undefined
  }
}

/** The licences among them that the person does not hold yet: for these somebody has to count. */
export function licencesWanted(fits: readonly string[], held: readonly Grant[], { rules }: Entitlements): readonly string[] {
  return rules
    .filter(({ name, seats }) => seats !== undefined && fits.includes(name) && !held.some((grant) => grant.name === name))
    .map(({ name }) => name)
}

export function entitle(
  fits: readonly string[],
  held: readonly Grant[],
  entitlements: Entitlements,
  taken: SeatsTaken,
  now: Date,
): Entitled {
  const grants: Grant[] = []
  const gained: string[] = []
  const waiting: string[] = []
  for (const { name, seats } of entitlements.rules) {
    if (!fits.includes(name)) continue
    const before = held.find((grant) => grant.name === name)
    if (before) {
      grants.push(before)
    } else if (seats !== undefined && (taken.get(name) ?? 0) >= seats) {
      waiting.push(name)
    } else {
      grants.push({ name, policyVersion: entitlements.version, since: now, ...(seats === undefined ? {} : { seat: true as const }) })
      gained.push(name)
    }
  }
  const ended = held.filter((grant) => !grants.some(({ name }) => name === grant.name))
  return { grants, gained, lost: ended.map(({ name }) => name), waiting, seats: seatsMoved(grants, gained, ended) }
}

function seatsMoved(grants: readonly Grant[], gained: readonly string[], ended: readonly Grant[]): Entitled['seats'] {
  const seats: Record<string, 1 | -1> = {}
  for (const { name, seat } of grants) if (seat && gained.includes(name)) seats[name] = 1
  for (const { name, seat } of ended) if (seat) seats[name] = -1
  return seats
}

/** Of somebody whose access has ended. */
export function nothingLeft(held: readonly Grant[]): Entitled {
  return { grants: [], gained: [], lost: held.map(({ name }) => name), waiting: [], seats: seatsMoved([], [], held) }
}
