// Decides when something that could not be told is told again: soon at first, then ever more seldom, and at last not any more.

const FIRST_MS = 30_000
const LONGEST_MS = 6 * 3_600_000
/** About two days of trying. */
export const MOST_ATTEMPTS = 18

/** @param attempts how many there were @param chance from 0 to 1 @returns undefined: no more */
export function retryAt(attempts: number, now: Date, chance: number): Date | undefined {
  if (attempts >= MOST_ATTEMPTS) return undefined
  const wait = Math.min(FIRST_MS * 2 ** (attempts - 1), LONGEST_MS)
  // A quarter to either side, so that many that failed together do not come back together.
  return new Date(now.getTime() + wait * (0.75 + chance / 2))
}
