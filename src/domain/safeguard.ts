// Decides whether a change of many people at once goes ahead by itself or waits for a person. By share and by count: a share
// alone lets a large population lose many, a count alone lets a small one lose everybody.

export interface Safeguard {
  /** Of all who are looked at, from 0 to 1. */
  readonly share: number
  /** People. */
  readonly count: number
}

/** For whoever has not said otherwise. */
export const CAREFUL: Safeguard = { share: 0.2, count: 50 }

/** Below this many people a share says nothing: one of three is a third. */
const FEW = 3

/** Undefined: it may go ahead. */
export function heldBecause({ people, harmed }: { people: number; harmed: number }, { share, count }: Safeguard): string | undefined {
  if (harmed >= count) return `${harmed} people would lose something or be refused; the safeguard lets ${count - 1} pass`
  if (harmed >= FEW && harmed > people * share) {
    return `${harmed} of ${people} people would lose something or be refused; the safeguard lets ${Math.round(share * 100)} % pass`
  }
  return undefined
}
