// Distinguished names (RFC 4514), so far as it takes to see that two of them are the same: spaces, letter case, quotes and escapes
// are written one way by whoever made the member and another way by the server. What cannot be read stays as it is.

/** Equal for names that mean the same. It is a name itself, in lower case. */
export function foldName(name: string): string {
  if (!UNUSUAL.test(name)) return foldCase(name)
  const parts = partsOf(name)
  return parts ? parts.map((rdn) => rdn.map(foldPair).sort().join('+')).join(',') : foldCase(name.trim())
}

/** Whether it stands below that one, or is that one; both folded. */
export function isWithin(name: string, base: string): boolean {
  return base === '' || name === base || name.endsWith(`,${base}`)
}

/** Anything that may be written in more than one way, but for letter case. */
const UNUSUAL = /[\\"#;+]|\s[,=]|[,=]\s|\s\s|^\s|\s$/

/** As caseIgnoreMatch prepares it (RFC 4518 sections 2.2, 2.3). */
function foldCase(text: string): string {
  return text.normalize('NFKC').toLowerCase()
}

interface Pair {
  readonly type: string
  readonly value: string
}

function foldPair({ type, value }: Pair): string {
  return `${type.toLowerCase()}=${escaped(foldCase(value).trim().replace(/\s+/g, ' '))}`
}

function escaped(value: string): string {
  return value.replace(/[\\",+;<>=\0]|^#/g, (character) => (character === '\0' ? '\\00' : `\\${character}`))
}

/** Relative names, each of one or more pairs; undefined: it is not a name. */
function partsOf(name: string): readonly (readonly Pair[])[] | undefined {
  const parts: Pair[][] = [[]]
  let at = 0
  while (at < name.length) {
    const type = /\s*([A-Za-z0-9.-]+)\s*=\s*/y
    type.lastIndex = at
    const found = type.exec(name)
    if (!found) return undefined
    const read = valueAt(name, type.lastIndex)
    if (!read) return undefined
    parts.at(-1)?.push({ type: (found[1] as string).replace(/^oid\./i, ''), value: read.value })
    const separator = name[read.end]
    if (separator === ',' || separator === ';') parts.push([])
    at = read.end + 1
    // It ends with a separator.
    if (separator !== undefined && at >= name.length) return undefined
  }
  return parts
}

/** Up to what separates it from the next pair. */
function valueAt(name: string, start: number): { value: string; end: number } | undefined {
  const bytes: Buffer[] = []
  let quoted = false
  let at = start
  // Spaces at the end belong to it only where they are escaped.
  let kept = 0
  for (; at < name.length; at++) {
    const character = name[at] as string
    if (character === '"') quoted = !quoted
    else if (character === '\\') {
      const hex = /^[0-9a-f]{2}/i.exec(name.slice(at + 1, at + 3))?.[0]
      const next = hex === undefined ? name.slice(at + 1, at + 2) : hex
      if (next === '') return undefined
      bytes.push(hex === undefined ? Buffer.from(next) : Buffer.from(hex, 'hex'))
      at += next.length
      kept = bytes.length
    } else if (!quoted && (character === ',' || character === ';' || character === '+')) break
    else {
      const whole = String.fromCodePoint(name.codePointAt(at) as number)
      bytes.push(Buffer.from(whole))
      at += whole.length - 1
      if (quoted || !/\s/.test(whole)) kept = bytes.length
    }
  }
  if (quoted) return undefined
  const value = Buffer.concat(bytes.slice(0, kept)).toString('utf8')
  // Written as the bytes of its encoding (RFC 4514 section 2.4).
  const encoded = name[start] === '#' ? /^#(?:04|0c|13|16)([0-9a-f]{2})((?:[0-9a-f]{2})*)$/i.exec(value) : undefined
  return { value: encoded ? Buffer.from(encoded[2] as string, 'hex').toString('utf8') : value, end: at }
}
