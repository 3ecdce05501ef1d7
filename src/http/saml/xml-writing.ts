// Elements as text again: cut out of what they were read from, or written anew from the tree.

import { OUTERMOST, type XmlElement, type XmlScope } from './xml.ts'

/**
 * An element's own text, able to stand alone: the namespaces that were declared further out are declared on it. Exclusive
 * canonicalisation gives the same bytes for it as in its place (Exclusive XML Canonicalization 1.0, section 3).
 * @param text what the element was read from, with line feeds
 */
export function standalone(text: string, element: XmlElement): string {
  const own = text.slice(element.start, element.end)
  const tag = own.slice(0, tagLength(own))
  const declared = Object.entries(element.scope).filter(
    ([prefix, uri]) => prefix !== 'xml' && !(prefix === '' && uri === '') && !hasDeclaration(tag, prefix),
  )
  const declarations = declared.map(([prefix, uri]) => ` ${prefix ? `xmlns:${prefix}` : 'xmlns'}="${escapeXml(uri)}"`).join('')
  return `<${element.qname}${declarations}${own.slice(1 + element.qname.length)}`
}

function tagLength(own: string): number {
  return /<(?:[^"'>]|"[^"]*"|'[^']*')*>/y.exec(own)?.[0].length ?? 0
}

/** Values are taken out first: one could look like a declaration. */
function hasDeclaration(tag: string, prefix: string): boolean {
  const names = tag.replace(/"[^"]*"|'[^']*'/g, '""')
  return new RegExp(`\\s${prefix ? `xmlns:${prefix.replace(/[.]/g, '\\.')}` : 'xmlns'}\\s*=`).test(names)
}

const ESCAPES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&apos;' }

/** An element as text again, able to stand alone: the same tree, not the same characters. */
export function writeXml(element: XmlElement, outer: XmlScope = OUTERMOST): string {
  const declarations = Object.entries(element.scope)
    .filter(([prefix, uri]) => outer[prefix] !== uri)
    .map(([prefix, uri]) => ` ${prefix ? `xmlns:${prefix}` : 'xmlns'}="${escapeXml(uri)}"`)
  const attributes = element.attributes.map(({ qname, value }) => ` ${qname}="${escapeXml(value)}"`)
  const content = element.children.map((node) => (typeof node === 'string' ? escapeXml(node) : writeXml(node, element.scope)))
  return `<${element.qname}${declarations.join('')}${attributes.join('')}>${content.join('')}</${element.qname}>`
}

/** For text and for attribute values. */
export function escapeXml(text: string): string {
  return text.replace(/[&<>"'\t\n\r]/g, (character) => ESCAPES[character] ?? `&#${character.charCodeAt(0)};`)
}
