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
