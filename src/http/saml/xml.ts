// Our own strict reader of XML, linear in the length of the text, run before any library sees a document and again over
// the signed bytes. It knows elements, attributes, text and namespaces. What SAML has no use for and attackers do
// (DTDs, processing instructions, CDATA, comments in messages, entities beyond the five, repeated IDs) is a fault.
// XML 1.0 (fifth edition) and Namespaces in XML 1.0; names are limited to ASCII.

export interface XmlElement {
  readonly namespace: string
  readonly local: string
  readonly attributes: readonly XmlAttribute[]
  /** Elements and text in document order; text is decoded. */
  readonly children: readonly (XmlElement | string)[]
}

export interface XmlAttribute {
  readonly namespace: string
  readonly local: string
  readonly value: string
}

export interface XmlLimits {
  readonly depth: number
  readonly elements: number
  readonly attributesPerElement: number
  /** Metadata written by hand has comments; a message with one is refused. */
  readonly comments: 'refuse' | 'skip'
}

export const MESSAGE_LIMITS: XmlLimits = { depth: 32, elements: 2_000, attributesPerElement: 24, comments: 'refuse' }
export const METADATA_LIMITS: XmlLimits = { depth: 32, elements: 20_000, attributesPerElement: 64, comments: 'skip' }

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

type Scope = Readonly<Record<string, string>>

interface Open {
  readonly element: { namespace: string; local: string; attributes: XmlAttribute[]; children: (XmlElement | string)[] }
  readonly qname: string
  readonly scope: Scope
}

/** @throws XmlFault */
export function readXml(source: string, limits: XmlLimits): XmlElement {
  const forbidden = FORBIDDEN.exec(source)
  if (forbidden) throw new XmlFault(`a character that XML does not allow, at ${forbidden.index}`)
  // XML 1.0, section 2.11: line ends are read as one line feed.
  const text = source.includes('\r') ? source.replace(/\r\n?/g, '\n') : source
  return new Reader(text, limits).document()
}

class Reader {
  private readonly text: string
  private readonly limits: XmlLimits
  private readonly ids = new Set<string>()
  private at = 0
  private elements = 0

  constructor(text: string, limits: XmlLimits) {
    this.text = text
    this.limits = limits
  }

  document(): XmlElement {
    this.skip(DECLARATION)
    this.outside()
    if (this.text[this.at] !== '<') throw this.fault('no root element')
    const root = this.tree()
    this.outside()
    if (this.at !== this.text.length) throw this.fault('something after the root element')
    return root
  }

  /** The element that starts here, with all below it; without recursion, so that depth costs no stack. */
  private tree(): XmlElement {
    const stack: Open[] = []
    let root: XmlElement | undefined
    do {
      if (this.text.startsWith('</', this.at)) {
        this.close(stack.pop())
      } else if (this.text[this.at] === '<') {
        if (!this.comment()) {
          const { open, empty } = this.start(stack.at(-1))
          root ??= open.element
          if (!empty) stack.push(open)
          if (stack.length > this.limits.depth) throw this.fault(`deeper than ${this.limits.depth} elements`)
        }
      } else {
        const end = this.text.indexOf('<', this.at)
        if (end < 0) throw this.fault('an element that is not closed')
        this.addText(stack.at(-1), this.text.slice(this.at, end))
        this.at = end
      }
      if (this.at >= this.text.length && stack.length) throw this.fault('an element that is not closed')
    } while (stack.length)
    if (!root) throw this.fault('no root element')
    return root
  }

  private start(parent: Open | undefined): { open: Open; empty: boolean } {
    if (++this.elements > this.limits.elements) throw this.fault(`more than ${this.limits.elements} elements`)
    this.at++
    const name = this.take(NAME)
    if (!name) throw this.fault('markup that is not an element (a DOCTYPE, a processing instruction, CDATA)')
    const [qname, prefix, local] = name
    const raw: { prefix: string | undefined; local: string; value: string }[] = []
    for (let found = this.take(ATTRIBUTE); found; found = this.take(ATTRIBUTE)) {
      const value = this.decode((found[4] ?? found[5] ?? '').replace(/[\t\n]/g, ' '))
      raw.push({ prefix: found[2], local: found[3] as string, value })
      if (raw.length > this.limits.attributesPerElement) throw this.fault(`more than ${this.limits.attributesPerElement} attributes`)
    }
    this.skip(SPACE)
    const empty = this.text.startsWith('/>', this.at)
    if (!empty && this.text[this.at] !== '>') throw this.fault('a start tag that cannot be read')
    this.at += empty ? 2 : 1

    const scope = this.bindings(parent?.scope ?? { '': '', xml: XML_NAMESPACE }, raw)
    const element = {
      namespace: this.resolve(prefix ?? '', scope),
      local: local as string,
      attributes: this.attributes(raw, scope),
      children: [],
    }
    parent?.element.children.push(element)
    return { open: { element, qname, scope }, empty }
  }

  private close(open: Open | undefined): void {
    this.at += 2
    const name = this.take(NAME)
    this.skip(SPACE)
    if (!open || name?.[0] !== open.qname || this.text[this.at] !== '>') throw this.fault('an end tag that does not fit')
    this.at++
  }

  private addText(open: Open | undefined, raw: string): void {
    if (raw.includes(']]>')) throw this.fault('«]]>» in text')
    open?.element.children.push(this.decode(raw))
  }

  private bindings(outer: Scope, raw: readonly { prefix: string | undefined; local: string; value: string }[]): Scope {
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

  private resolve(prefix: string, scope: Scope): string {
    const namespace = Object.hasOwn(scope, prefix) ? scope[prefix] : undefined
    if (namespace === undefined) throw this.fault('a prefix that is bound to no namespace')
    return namespace
  }

  private attributes(raw: readonly { prefix: string | undefined; local: string; value: string }[], scope: Scope): XmlAttribute[] {
    const seen = new Set<string>()
    const attributes: XmlAttribute[] = []
    for (const { prefix, local, value } of raw) {
      const declaration = prefix === 'xmlns' || (prefix === undefined && local === 'xmlns')
      const namespace = declaration ? XMLNS_NAMESPACE : prefix === undefined ? '' : this.resolve(prefix, scope)
      const key = `${namespace} ${local}`
      if (seen.has(key)) throw this.fault('an attribute given twice')
      seen.add(key)
      if (declaration) continue
      if (/^id$/i.test(local)) this.claimId(value)
      attributes.push({ namespace, local, value })
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

  /** Space and, where allowed, comments around the root. */
  private outside(): void {
    do this.skip(SPACE)
    while (this.comment())
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
    return new XmlFault(`${what}, at ${this.at}`)
  }
}

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
