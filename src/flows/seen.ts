// Marks whom a run has seen: one bit for each number, so that ten million people take little more than a megabyte.

export class Seen {
  private bits = new Uint8Array(1024)
  private count = 0

  get size(): number {
    return this.count
  }

  /** False: it was marked before. */
  mark(number: number): boolean {
    const at = Math.floor(number / 8)
    if (at >= this.bits.length) {
      const grown = new Uint8Array(Math.max(at + 1, this.bits.length * 2))
      grown.set(this.bits)
      this.bits = grown
    }
    const bit = 1 << (number % 8)
    if ((this.bits[at] as number) & bit) return false
    this.bits[at] = (this.bits[at] as number) | bit
    this.count++
    return true
  }

  has(number: number): boolean {
    return ((this.bits[Math.floor(number / 8)] ?? 0) & (1 << (number % 8))) !== 0
  }
}

/**
 * Tells which numbers may have come twice, and none that did not come at all: one bit for each of many, which two may share.
 * (A Bloom filter with one hash; what shares a bit by chance is told apart by whoever looks.)
 */
export class Twice {
  private readonly bits = new Uint8Array(SHARED_BITS / 8)
  private readonly found = new Set<number>()
  private tooMany = false

  note(number: number): void {
    const bit = number % SHARED_BITS
    const at = Math.floor(bit / 8)
    const mask = 1 << (bit % 8)
    if (!((this.bits[at] as number) & mask)) this.bits[at] = (this.bits[at] as number) | mask
    else if (this.found.size < MOST_FOUND) this.found.add(number)
    else this.tooMany = true
  }

  /** Undefined: too many to be counted, so anything may have come twice. */
  get suspects(): readonly number[] | undefined {
    return this.tooMany ? undefined : [...this.found]
  }
}

/** 16 MB, of which three million numbers take two bits in a hundred. */
const SHARED_BITS = 2 ** 27
const MOST_FOUND = 200_000
