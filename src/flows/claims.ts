// What must be there once in a feed, as numbers: the key of a subject, a value that only one person may have, a value by which
// people are matched. Two rows that claim the same contest each other.

import { hash } from 'node:crypto'

/** The same key first: what is refused for that contests nothing else. */
export const CLAIMS = ['subject', 'unique', 'matching'] as const
export type ClaimKind = (typeof CLAIMS)[number]

const KINDS = 4

/** @param salt of this run: nobody outside can make up a value that is taken for another one's */
export function claiming(salt: string): (kind: ClaimKind, text: string) => number {
  // 50 bits, two of them for the kind: a million people have three million, and hardly ever two of them the same by chance.
  return (kind, text) => hash('sha256', `${salt} ${kind} ${text}`, 'buffer').readUIntBE(0, 6) * KINDS + CLAIMS.indexOf(kind)
}

export function kindOf(claim: number): ClaimKind {
  return CLAIMS[claim % KINDS] as ClaimKind
}
