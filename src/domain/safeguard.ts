// Decides whether a change of many people at once goes ahead by itself or waits for a person. By share and by count: a share
// alone lets a large population lose many, a count alone lets a small one lose everybody.

export interface Safeguard {
  /** Of all who are looked at, from 0 to 1. */
  readonly share: number
  /** People. */
  readonly count: number
}

/** The harm that an import can do, each kind with a figure of its own. */
export const harms = ['leavers', 'blanked', 'memberships', 'moved'] as const
export type Harm = (typeof harms)[number]
export type Safeguards = Readonly<Record<Harm, Safeguard>>

/** For whoever has not said otherwise. */
export const CAREFUL: Safeguard = { share: 0.2, count: 50 }

/** One alone is never too many, whatever share of a few people that is. */
const FEW = 2

const WOULD: Readonly<Record<Harm | 'harmed', string>> = {
  harmed: 'would lose something or be refused',
  leavers: 'would lose their access',
  blanked: 'would lose a value',
  memberships: 'would lose a group',
  moved: 'would be linked to another name than before',
}

/** Undefined: it may go ahead. */
export function heldBecause(
  { people, harmed }: { people: number; harmed: number },
  { share, count }: Safeguard,
  harm: Harm | 'harmed' = 'harmed',
): string | undefined {
  if (harmed >= count) return `${harmed} people ${WOULD[harm]}; the safeguard lets ${count - 1} pass`
  if (harmed >= FEW && harmed > people * share) {
    return `${harmed} of ${people} people ${WOULD[harm]}; the safeguard lets ${Math.round(share * 100)} % pass`
  }
  return undefined
}

/** All that holds a run, each kind of harm by itself. */
export function heldByHarm(people: number, harmed: Readonly<Record<Harm, number>>, safeguards: Safeguards): readonly string[] {
  return harms.flatMap((harm) => heldBecause({ people, harmed: harmed[harm] }, safeguards[harm], harm) ?? [])
}
