// Our own strict reader of XML, linear in the length of the text, run before any library sees a document and again over
// the signed bytes. It knows elements, attributes, text and namespaces. What SAML has no use for and attackers do
// (DTDs, processing instructions, CDATA, comments in messages, entities beyond the five, repeated IDs) is a fault.
// XML 1.0 (fifth edition) and Namespaces in XML 1.0; names are limited to ASCII.
//
// The scanner takes a text in pieces and tells a handler what it meets, so that a federation's file of a hundred megabytes
// passes through without being kept; `readXml` is the scanner with a handler that keeps the whole tree.

/** Prefix -> namespace, the default namespace under ''. */
export type XmlScope = Readonly<Record<string, string>>

export interface XmlElement {
  readonly namespace: string
  readonly local: string
  /** As written, with its prefix. */
  readonly qname: string
  readonly attributes: readonly XmlAttribute[]
  /** Elements and text in document order; text is decoded. */
  readonly children: readonly (XmlElement | string)[]
  /** The namespaces in scope here. */
  readonly scope: XmlScope
  /** Where it begins and ends in the text, whose line ends are line feeds. */
  readonly start: number
  readonly end: number
}

export interface XmlAttribute {
  readonly namespace: string
  readonly local: string
  readonly qname: string
  readonly value: string
}

export interface XmlLimits {
  readonly depth: number
  readonly elements: number
  readonly attributesPerElement: number
  /** Longest single tag or run of text, in UTF-16 units. */
  readonly token: number
  /** Metadata written by hand has comments; a message with one is refused. */
  readonly comments: 'refuse' | 'skip'
  /** A federation's file has more IDs than anybody needs to remember; nothing in it is found by one. */
  readonly uniqueIds: boolean
}

export const MESSAGE_LIMITS: XmlLimits = {
  depth: 32,
  elements: 2_000,
  attributesPerElement: 24,
  token: 512 * 1024,
  comments: 'refuse',
  uniqueIds: true,
}
export const METADATA_LIMITS: XmlLimits = {
  depth: 32,
  elements: 20_000,
  attributesPerElement: 64,
  token: 256 * 1024,
  comments: 'skip',
  uniqueIds: true,
}

/** Why a text is not the XML we read. The message names the place, never the content. */
export class XmlFault extends Error {
  override readonly name = 'XmlFault'
}

const XML_NAMESPACE = 'http://www.w3.org/XML/1998/namespace'
const XMLNS_NAMESPACE = 'http://www.w3.org/2000/xmlns/'
const DECLARATION =
  /<\?xml\s+version=(?:"1\.0"|'1\.0')(?:\s+encoding=(?:"[Uu][Tt][Ff]-8"|'[Uu][Tt][Ff]-8'))?(?:\s+standalone=(?:"(?:yes|no)"|'(?:yes|no)'))?\s*\?>/y
const NAME = /(?:([A-Za-z_][\w.-]*):)?([A-Za-z_][\w.-]*)/y
const SPACE = /[ \t\n]*/y
const ATTRIBUTE = /([ \t\n]+)(?:([A-Za-z_][\w.-]*):)?([A-Za-z_][\w.-]*)[ \t\n]*=[ \t\n]*(?:"([^"<]*)"|'([^'<]*)')/y
const ENTITY = /&(?:(lt|gt|amp|quot|apos)|#(\d{1,7})|#x([0-9a-fA-F]{1,6}));|&/g
// biome-ignore lint/suspicious/noControlCharactersInRegex: XML 1.0 allows no others (production 2)
const FORBIDDEN = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/

/** What the scanner has met. `start` and `end` count from the beginning of the whole text. */
export interface XmlHandler {
  open(tag: XmlTag): void
  text(text: string): void
  /** `end`: just behind the element. */
  close(end: number): void
}

export interface XmlTag {
  readonly namespace: string
  readonly local: string
  readonly qname: string
  readonly attributes: readonly XmlAttribute[]
  readonly scope: XmlScope
  readonly start: number
}

/** @throws XmlFault */
export function readXml(source: string, limits: XmlLimits): XmlElement {
  const builder = new XmlTreeBuilder()
  new XmlScanner(limits, builder).whole(source)
  if (!builder.root) throw new XmlFault('no root element')
  return builder.root
}

/** The text that offsets of elements count in. */
export function withLineFeeds(source: string): string {
  // XML 1.0, section 2.11: line ends are read as one line feed.
  return source.includes('\r') ? source.replace(/\r\n?/g, '\n') : source
}

type Growing = { -readonly [Key in keyof XmlElement]: XmlElement[Key] } & { children: (XmlElement | string)[] }

/** Keeps the tree of the element that it is opened with, and of all below it. */
export class XmlTreeBuilder implements XmlHandler {
  root: XmlElement | undefined
  private readonly open_: Growing[] = []

  open(tag: XmlTag): void {
    const element: Growing = { ...tag, children: [], end: -1 }
    this.open_.at(-1)?.children.push(element)
    this.root ??= element
    this.open_.push(element)
  }

  text(text: string): void {
    this.open_.at(-1)?.children.push(text)
  }

  close(end: number): void {
    const element = this.open_.pop()
    if (element) element.end = end
  }
}

interface RawAttribute {
  readonly prefix: string | undefined
  readonly local: string
  readonly value: string
}

export class XmlScanner {
  private readonly limits: XmlLimits
  private readonly handler: XmlHandler
  private readonly ids = new Set<string>()
  private readonly open: { qname: string; scope: XmlScope }[] = []
  /** What has not been read yet begins at `at`; `base` characters came before. */
  private text = ''
  private at = 0
  private base = 0
  private elements = 0
  private ended = false
  private rootClosed = false
  private heldReturn = false
  private searchedTo = 0
  private quote = 0

  constructor(limits: XmlLimits, handler: XmlHandler) {
    this.limits = limits
    this.handler = handler
  }

  /** All of it at once. @throws XmlFault */
  whole(source: string): void {
    this.ended = true
    this.push(source)
    this.end()
  }

  /** @throws XmlFault */
  push(piece: string): void {
    const forbidden = FORBIDDEN.exec(piece)
    if (forbidden) throw new XmlFault(`a character that XML does not allow, at ${this.base + this.text.length + forbidden.index}`)
    let more = this.heldReturn ? `\r${piece}` : piece
    // A line feed may follow in the next piece.
    this.heldReturn = more.endsWith('\r')
    if (this.heldReturn) more = more.slice(0, -1)
    this.text = this.text.slice(this.at) + withLineFeeds(more)
    this.base += this.at
    this.searchedTo -= this.at
    this.at = 0
    this.advance()
  }

  /** @throws XmlFault */
  end(): void {
    if (this.heldReturn) this.text += '\n'
    this.heldReturn = false
    this.ended = true
    this.advance()
    if (this.open.length) throw this.fault('an element that is not closed')
    if (!this.rootClosed) throw this.fault('no root element')
  }

  private advance(): void {
    while (this.at < this.text.length) {
      if (!this.hasWholeToken()) return
      if (this.base + this.at === 0) this.skip(DECLARATION)
      if (this.open.length) this.inside()
      else this.outside()
    }
  }

  /** Whether what begins here is here to its end. At the end of the text, what is cut off becomes a fault where it is read. */
  private hasWholeToken(): boolean {
    if (this.ended) return true
    const from = Math.max(this.searchedTo, this.at + 1)
    const markup = this.text[this.at] === '<'
    const comment = markup && '<!--'.startsWith(this.text.slice(this.at, this.at + 4))
    const end = comment
      ? this.text.indexOf('-->', Math.max(this.at + 4, from - 2))
      : markup
        ? this.tagEnd(from)
        : this.text.indexOf('<', from)
    this.searchedTo = end >= 0 ? 0 : this.text.length
    if (end >= 0) this.quote = 0
    if (end < 0 && this.text.length - this.at > this.limits.token) throw this.fault(`something longer than ${this.limits.token} characters`)
    return end >= 0
  }

  /** Goes on where the search ended the last time, inside the quotes that it was in. */
  private tagEnd(from: number): number {
    for (let i = from; i < this.text.length; i++) {
      const code = this.text.charCodeAt(i)
      if (this.quote) this.quote = code === this.quote ? 0 : this.quote
      else if (code === 0x22 || code === 0x27) this.quote = code
      else if (code === 0x3e) return i
    }
    return -1
  }

  private inside(): void {
    if (this.text[this.at] === '<') {
      if (this.text.startsWith('</', this.at)) this.close()
      else if (!this.comment()) this.start()
      return
    }
    const end = this.text.indexOf('<', this.at)
    if (end < 0) throw this.fault('an element that is not closed')
    const raw = this.text.slice(this.at, end)
    if (raw.length > this.limits.token) throw this.fault(`a text longer than ${this.limits.token} characters`)
    if (raw.includes(']]>')) throw this.fault('«]]>» in text')
    this.handler.text(this.decode(raw))
    this.at = end
  }

  /** Space and, where allowed, comments around the root; the root itself. */
  private outside(): void {
    this.skip(SPACE)
    if (this.at >= this.text.length || !this.hasWholeToken() || this.comment()) return
    if (this.rootClosed) throw this.fault('something after the root element')
    if (this.text[this.at] !== '<') throw this.fault('no root element')
    this.start()
  }

  private start(): void {
    if (++this.elements > this.limits.elements) throw this.fault(`more than ${this.limits.elements} elements`)
    const start = this.base + this.at
    this.at++
    const name = this.take(NAME)
    if (!name) throw this.fault('markup that is not an element (a DOCTYPE, a processing instruction, CDATA)')
    const [qname, prefix, local] = name
    const raw: RawAttribute[] = []
    for (let found = this.take(ATTRIBUTE); found; found = this.take(ATTRIBUTE)) {
      const value = this.decode((found[4] ?? found[5] ?? '').replace(/[\t\n]/g, ' '))
      raw.push({ prefix: found[2], local: found[3] as string, value })
      if (raw.length > this.limits.attributesPerElement) throw this.fault(`more than ${this.limits.attributesPerElement} attributes`)
    }
    this.skip(SPACE)
    const empty = this.text.startsWith('/>', this.at)
    if (!empty && this.text[this.at] !== '>') throw this.fault('a start tag that cannot be read')
    this.at += empty ? 2 : 1

    const scope = this.bindings(this.open.at(-1)?.scope ?? OUTERMOST, raw)
    const namespace = this.resolve(prefix ?? '', scope)
    this.handler.open({ namespace, local: local as string, qname, attributes: this.attributes(raw, scope), scope, start })
    if (empty) {
      this.closed()
      return
    }
    this.open.push({ qname, scope })
    if (this.open.length > this.limits.depth) throw this.fault(`deeper than ${this.limits.depth} elements`)
  }

  private close(): void {
    this.at += 2
    const open = this.open.pop()
    const name = this.take(NAME)
    this.skip(SPACE)
    if (!open || name?.[0] !== open.qname || this.text[this.at] !== '>') throw this.fault('an end tag that does not fit')
    this.at++
    this.closed()
  }

  private closed(): void {
    this.rootClosed = !this.open.length
    this.handler.close(this.base + this.at)
  }

  private bindings(outer: XmlScope, raw: readonly RawAttribute[]): XmlScope {
    let scope: Record<string, string> | undefined
    for (const { prefix, local, value } of raw) {
      const bound = prefix === 'xmlns' ? local : prefix === undefined && local === 'xmlns' ? '' : undefined
      if (bound === undefined) continue
      if (bound === 'xml' || bound === 'xmlns' || value === XML_NAMESPACE || value === XMLNS_NAMESPACE)
        throw this.fault('a reserved prefix')
      if (bound !== '' && value === '') throw this.fault('a prefix bound to nothing')
      scope ??= Object.assign(Object.create(null), outer) as Record<string, string>
      scope[bound] = value
    }
    return scope ?? outer
  }

  private resolve(prefix: string, scope: XmlScope): string {
    const namespace = Object.hasOwn(scope, prefix) ? scope[prefix] : undefined
    if (namespace === undefined) throw this.fault('a prefix that is bound to no namespace')
    return namespace
  }

  private attributes(raw: readonly RawAttribute[], scope: XmlScope): XmlAttribute[] {
    const seen = new Set<string>()
    const attributes: XmlAttribute[] = []
    for (const { prefix, local, value } of raw) {
      const declaration = prefix === 'xmlns' || (prefix === undefined && local === 'xmlns')
      const namespace = declaration ? XMLNS_NAMESPACE : prefix === undefined ? '' : this.resolve(prefix, scope)
      const key = `${namespace} ${local}`
      if (seen.has(key)) throw this.fault('an attribute given twice')
      seen.add(key)
      if (declaration) continue
      if (this.limits.uniqueIds && /^id$/i.test(local)) this.claimId(value)
      attributes.push({ namespace, local, qname: prefix === undefined ? local : `${prefix}:${local}`, value })
    }
    return attributes
  }

  private claimId(id: string): void {
    if (this.ids.has(id)) throw this.fault('an ID given twice')
    this.ids.add(id)
  }

  private decode(raw: string): string {
    if (!raw.includes('&')) return raw
    return raw.replace(ENTITY, (whole, name: string | undefined, decimal: string | undefined, hex: string | undefined) => {
      if (name) return { lt: '<', gt: '>', amp: '&', quot: '"', apos: "'" }[name] as string
      const code = decimal ? Number(decimal) : hex ? Number.parseInt(hex, 16) : Number.NaN
      const allowed = code === 9 || code === 10 || code === 13 || (code >= 0x20 && code <= 0xd7ff) || (code >= 0xe000 && code <= 0xfffd)
      if (!allowed && !(code >= 0x10000 && code <= 0x10ffff))
        throw this.fault(whole === '&' ? 'an entity beyond the five' : 'a character reference to nothing')
      return String.fromCodePoint(code)
    })
  }

  private comment(): boolean {
    if (!this.text.startsWith('<!--', this.at)) return false
    if (this.limits.comments === 'refuse') throw this.fault('a comment')
    const end = this.text.indexOf('--', this.at + 4)
    if (end < 0 || this.text[end + 2] !== '>') throw this.fault('a comment that is not closed')
    this.at = end + 3
    return true
  }

  private take(pattern: RegExp): RegExpExecArray | null {
    pattern.lastIndex = this.at
    const found = pattern.exec(this.text)
    if (found) this.at += found[0].length
    return found
  }

  private skip(pattern: RegExp): void {
    this.take(pattern)
  }

  private fault(what: string): XmlFault {
    return new XmlFault(`${what}, at ${this.base + this.at}`)
  }
}

/** What is bound before any declaration. */
export const OUTERMOST: XmlScope = Object.assign(Object.create(null), { '': '', xml: XML_NAMESPACE })

// --- looking around in what was read ---------------------------------------------------------------------------------

export function isNamed(element: XmlElement, namespace: string, local: string): boolean {
  return element.namespace === namespace && element.local === local
}

function isElement(node: XmlElement | string, namespace: string, local: string): node is XmlElement {
  return typeof node !== 'string' && isNamed(node, namespace, local)
}

export function childrenNamed(parent: XmlElement, namespace: string, local: string): readonly XmlElement[] {
  return parent.children.filter((node) => isElement(node, namespace, local)) as XmlElement[]
}

/** An attribute without a namespace. */
export function attributeOf(element: XmlElement, local: string): string | undefined {
  return element.attributes.find((attribute) => attribute.namespace === '' && attribute.local === local)?.value
}

/** The text of an element that holds nothing but text; undefined when it holds an element. */
export function textOf(element: XmlElement): string | undefined {
  let text = ''
  for (const node of element.children) {
    if (typeof node !== 'string') return undefined
    text += node
  }
  return text
}

/** The child elements, whatever they are, without the text between them. */
export function elementsOf(parent: XmlElement): readonly XmlElement[] {
  return parent.children.filter((node) => typeof node !== 'string')
}

/** Every element below and including this one, in document order. */
export function* descendants(element: XmlElement): Generator<XmlElement> {
  yield element
  for (const node of element.children) if (typeof node !== 'string') yield* descendants(node)
}

/** What came, for the record: bounded, on one line. */
export function quote(value: string | undefined): string {
  if (value === undefined) return '(nothing)'
  const line = value.replace(/\s+/g, ' ').trim()
  return `«${line.length > 200 ? `${line.slice(0, 200).toWellFormed()}…` : line}»`
}
