// Looks at what a policy would make of everybody, from what is on file of them: who would change, from what to what, who
// would collide, be refused, gain or lose an entitlement. Writes nothing. Counts are complete, and people go by one at a
// time, so that a hundred thousand take no more memory than a thousand.

import { decideAgain, hasVoice } from '../domain/decide.ts'
import { conclude, type DecisionPolicy, type Known, type Question } from '../domain/deciding.ts'
import type { UserId } from '../domain/ids.ts'
import { keysOf } from '../domain/keys.ts'
import { firstValue, type User } from '../domain/model.ts'
import type { AttributeChange } from '../domain/profile-change.ts'
import { isRefusal } from '../domain/refusals.ts'
import type { KeyHolder } from './ports.ts'

export type Person = Known & { readonly linked: User }

/** What would become of one person. */
export interface Prospect {
  readonly user: UserId
  readonly userName: string
  readonly outcome: 'changed' | 'refused' | 'collides'
  readonly attributes: readonly AttributeChange[]
  readonly gained: readonly string[]
  readonly lost: readonly string[]
  readonly waiting: readonly string[]
  /** Why they would be refused, or with whom they would collide. */
  readonly why?: string
}

export interface Survey {
  readonly people: number
  readonly changed: number
  readonly unchanged: number
  readonly refused: number
  readonly collisions: number
  /** Known only from sources that are not in force: they stay as they are. */
  readonly leftAlone: number
  /** People who lose a value that they have: without another in its place. */
  readonly blanked: number
  /** People who lose a membership. */
  readonly membershipsLost: number
  readonly entitlementsLost: number
  /** People who are hurt in any of these ways; each once. */
  readonly harmed: number
  readonly attributes: Readonly<Record<string, number>>
  readonly gained: Readonly<Record<string, number>>
  readonly lost: Readonly<Record<string, number>>
  /** Entitlement -> people who fit and would find no seat. */
  readonly waiting: Readonly<Record<string, number>>
}

export interface SurveyAsk {
  readonly people: AsyncIterable<Iterable<Person>>
  readonly policy: DecisionPolicy
  /** The names of the keys that are unique now. */
  readonly uniqueNow: ReadonlySet<string>
  /** Seats of licences that are taken now. */
  readonly seats: ReadonlyMap<string, number>
  /** Who has these unique keys now. */
  readonly holdersOf: (keys: readonly { readonly name: string; readonly value: string }[]) => Promise<readonly KeyHolder[]>
  readonly now: Date
  readonly onProspect: (prospect: Prospect) => void
  readonly onProgress?: (people: number) => void
}

type Tally = { -readonly [Field in keyof Survey]: Survey[Field] extends number ? number : Record<string, number> }

export async function surveyPeople({
  people,
  policy,
  uniqueNow,
  seats,
  holdersOf,
  now,
  onProspect,
  onProgress,
}: SurveyAsk): Promise<Survey> {
  const tally: Tally = {
    people: 0,
    changed: 0,
    unchanged: 0,
    refused: 0,
    collisions: 0,
    leftAlone: 0,
    blanked: 0,
    membershipsLost: 0,
    entitlementsLost: 0,
    harmed: 0,
    attributes: {},
    gained: {},
    lost: {},
    waiting: {},
  }
  const taken = new Map(seats)
  const claims = new UniqueClaims()
  const unique = policy.keys.filter((kind) => kind.unique)
  // What becomes unique has to be so for everybody, whether they change or not.
  const fresh = unique.filter(({ name }) => !uniqueNow.has(name))
  // Whether somebody else has a value is asked once everybody's new one is known; until then nobody stands in the way.
  const answer = (question: Question): unknown => {
    if (question.about === 'seats') return taken
    if (question.about === 'holders') return []
    throw new Error(`a survey has no answer to a question about ${question.about}`)
  }
  for await (const batch of people) {
    for (const person of batch) {
      tally.people++
      if (!hasVoice(person, policy)) tally.leftAlone++
      const { linked: user } = person
      const outcome = conclude(decideAgain(person, policy, now), answer)
      const about = { user: user.id, userName: firstValue(user.profile, 'userName') ?? user.id }
      if (isRefusal(outcome)) {
        tally.refused++
        tally.harmed++
        onProspect({
          ...about,
          outcome: 'refused',
          attributes: [],
          gained: [],
          lost: [],
          waiting: [],
          why: `${outcome.code}: ${outcome.detail}`,
        })
        continue
      }
      const { attributes, entitled, keys } = outcome
      for (const [name, by] of Object.entries(entitled.seats)) taken.set(name, (taken.get(name) ?? 0) + by)
      const had = keys ? keysOf(user.profile, unique) : []
      for (const key of keys ?? []) {
        if (key.unique && !had.some((one) => one.name === key.name && one.value === key.value)) claims.note(about, key)
      }
      for (const key of keysOf(outcome.user.profile, fresh)) {
        if (!keys?.some((one) => one.name === key.name) || had.some((one) => one.name === key.name && one.value === key.value))
          claims.note(about, key)
      }
      count(tally, outcome)
      if (outcome.kind === 'unchanged') {
        tally.unchanged++
        continue
      }
      tally.changed++
      onProspect({ ...about, outcome: 'changed', attributes, gained: entitled.gained, lost: entitled.lost, waiting: entitled.waiting })
    }
    onProgress?.(tally.people)
  }
  for (const { user, userName, why } of await claims.collisions(holdersOf)) {
    tally.collisions++
    tally.harmed++
    onProspect({ user, userName, outcome: 'collides', attributes: [], gained: [], lost: [], waiting: [], why })
  }
  return tally
}

function count(
  tally: Tally,
  {
    attributes,
    entitled,
  }: {
    attributes: readonly AttributeChange[]
    entitled: { gained: readonly string[]; lost: readonly string[]; waiting: readonly string[] }
  },
): void {
  const raise = (counts: Record<string, number>, name: string) => {
    counts[name] = (counts[name] ?? 0) + 1
  }
  for (const { attribute } of attributes) raise(tally.attributes, attribute)
  for (const name of entitled.gained) raise(tally.gained, name)
  for (const name of entitled.lost) raise(tally.lost, name)
  for (const name of entitled.waiting) raise(tally.waiting, name)
  const blanked = attributes.some(({ attribute, before, after }) => attribute !== 'groups' && before.length > 0 && after.length === 0)
  const left = attributes.some(({ attribute, before, after }) => attribute === 'groups' && before.some((one) => !after.includes(one)))
  if (blanked) tally.blanked++
  if (left) tally.membershipsLost++
  if (entitled.lost.length) tally.entitlementsLost++
  if (blanked || left || entitled.lost.length) tally.harmed++
}

/** Unique values that would be claimed by somebody who has not got them. Only these are remembered. */
class UniqueClaims {
  private readonly claims = new Map<string, { readonly name: string; readonly value: string; readonly by: Claimant[] }>()

  note(by: Claimant, { name, value }: Key): void {
    const key = `${name} ${value}`
    const claim = this.claims.get(key)
    if (claim) claim.by.push(by)
    else this.claims.set(key, { name, value, by: [by] })
  }

  /** A value that somebody else still has counts, even if they would give it up: who is derived first may find it taken. */
  async collisions(holdersOf: SurveyAsk['holdersOf']): Promise<readonly (Claimant & { readonly why: string })[]> {
    const found: (Claimant & { readonly why: string })[] = []
    const holders = new Map((await holdersOf([...this.claims.values()])).map((holder) => [`${holder.name} ${holder.value}`, holder.user]))
    for (const [key, { name, by }] of this.claims) {
      const holder = holders.get(key)
      const all = new Set([...by.map(({ user }) => user), ...(holder === undefined ? [] : [holder])])
      if (all.size < 2) continue
      for (const one of by) {
        const others = [...all].filter((user) => user !== one.user)
        found.push({ ...one, why: `${name} would be the same as that of ${others.join(' and ')}` })
      }
    }
    return found
  }
}

interface Claimant {
  readonly user: UserId
  readonly userName: string
}

type Key = ReturnType<typeof keysOf>[number]
