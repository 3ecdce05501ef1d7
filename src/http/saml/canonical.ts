// Exclusive canonical XML, without comments, written while a document passes through the scanner: for metadata of any size,
// whose signature has to be verified without ever holding the whole. Exclusive XML Canonicalization 1.0, section 3, on
// top of Canonical XML 1.0, section 2.3.

import { EXCLUSIVE_C14N } from './names.ts'
import { attributeOf, childrenNamed, type XmlElement, type XmlHandler, type XmlTag } from './xml.ts'

interface Rendered {
  readonly qname: string
  /** Prefix -> namespace, as this element's output and that of those around it have declared. */
  readonly namespaces: Readonly<Record<string, string>>
}

export class CanonicalWriter implements XmlHandler {
  private readonly out: (text: string) => void
  /** Prefixes that are treated as in inclusive canonicalisation; '' stands for #default. */
  private readonly inclusive: readonly string[]
  private readonly open_: Rendered[] = []

  constructor(out: (text: string) => void, inclusive: readonly string[] = []) {
    this.out = out
    this.inclusive = [...new Set(inclusive)]
  }

  open({ qname, attributes, scope }: XmlTag): void {
    const outer = this.open_.at(-1)?.namespaces ?? NOTHING
    const prefixes = new Set([prefixOf(qname), ...attributes.map((one) => prefixOf(one.qname, 'xml')), ...this.inclusive])
    prefixes.delete('xml')
    const declared: [string, string][] = []
    for (const prefix of prefixes) {
      const uri = scope[prefix]
      if (uri === undefined || (outer[prefix] ?? '') === uri) continue
      declared.push([prefix, uri])
    }
    declared.sort(([a], [b]) => compare(a, b))
    const namespaces = declared.length ? Object.assign(Object.create(null), outer, Object.fromEntries(declared)) : outer
    const sorted = [...attributes].sort((a, b) => compare(a.namespace, b.namespace) || compare(a.local, b.local))
    const written = [
      ...declared.map(([prefix, uri]) => ` ${prefix ? `xmlns:${prefix}` : 'xmlns'}="${inAttribute(uri)}"`),
      ...sorted.map(({ qname: name, value }) => ` ${name}="${inAttribute(value)}"`),
    ]
    this.out(`<${qname}${written.join('')}>`)
    this.open_.push({ qname, namespaces })
  }

  text(text: string): void {
    this.out(text.replace(/[&<>\r]/g, (character) => TEXT[character] as string))
  }

  close(): void {
    const element = this.open_.pop()
    if (element) this.out(`</${element.qname}>`)
  }
}

/** The canonical form of an element that has been read. */
export function canonical(element: XmlElement, inclusive: readonly string[] = []): string {
  const parts: string[] = []
  const writer = new CanonicalWriter((text) => parts.push(text), inclusive)
  replay(element, writer)
  return parts.join('')
}

function replay(element: XmlElement, handler: XmlHandler): void {
  handler.open(element)
  for (const node of element.children) {
    if (typeof node === 'string') handler.text(node)
    else replay(node, handler)
  }
  handler.close(element.end)
}

const NOTHING: Readonly<Record<string, string>> = Object.create(null)

/** An attribute without a prefix is in no namespace, so it uses none: `without` stands for that. */
function prefixOf(qname: string, without = ''): string {
  const colon = qname.indexOf(':')
  return colon < 0 ? without : qname.slice(0, colon)
}

/** By code point, as the specification sorts; ours are ASCII names and URIs. */
function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

const TEXT: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '\r': '&#xD;' }
const ATTRIBUTE: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '"': '&quot;',
  '\t': '&#x9;',
  '\n': '&#xA;',
  '\r': '&#xD;',
}

function inAttribute(value: string): string {
  return value.replace(/[&<"\t\n\r]/g, (character) => ATTRIBUTE[character] as string)
}

/** The prefixes that a Transform or a CanonicalizationMethod names. */
export function inclusivePrefixes(transform: XmlElement | undefined): string[] {
  const [list] = transform ? childrenNamed(transform, EXCLUSIVE_C14N, 'InclusiveNamespaces') : []
  const prefixes = (list && attributeOf(list, 'PrefixList'))?.trim()
  return prefixes ? prefixes.split(/\s+/).map((prefix) => (prefix === '#default' ? '' : prefix)) : []
}
