// The strict reader: what it reads, what it refuses, and that it stays linear.

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { attributeOf, childrenNamed, MESSAGE_LIMITS, METADATA_LIMITS, readXml, textOf, XmlFault } from '../../../src/http/saml/xml.ts'
import { escapeXml } from '../../support/idp.ts'

const read = (text: string) => readXml(text, MESSAGE_LIMITS)

describe('the XML reader', () => {
  it('reads elements, attributes, text and namespaces', () => {
    const root = read(
      '<?xml version="1.0" encoding="UTF-8"?>\n<a:r xmlns:a="urn:a" xmlns="urn:d" x="1 &amp; 2"><b a:y=\'z\'>t&#233;xt&lt;</b><a:b xmlns:a="urn:other"/></a:r>\n',
    )
    assert.equal(root.namespace, 'urn:a')
    assert.equal(attributeOf(root, 'x'), '1 & 2')
    const [b] = childrenNamed(root, 'urn:d', 'b')
    assert.ok(b)
    assert.equal(textOf(b), 'téxt<')
    assert.deepEqual(b.attributes, [{ namespace: 'urn:a', local: 'y', qname: 'a:y', value: 'z' }])
    assert.equal(childrenNamed(root, 'urn:other', 'b').length, 1)
  })

  it('reads back any text and any attribute value', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: 'grapheme' }).filter((text) => !/[\p{Cc}\ufffe\uffff]/u.test(text) && text.isWellFormed()),
        (text) => {
          const root = read(`<a b="${escapeXml(text)}">${escapeXml(text)}</a>`)
          assert.equal(textOf(root), text)
          assert.equal(attributeOf(root, 'b'), text)
        },
      ),
    )
  })

  it('normalises line ends', () => assert.equal(textOf(read('<a>x\r\ny\rz</a>')), 'x\ny\nz'))

  const refused: Record<string, string> = {
    'a DOCTYPE': '<!DOCTYPE a><a/>',
    'an entity declaration': '<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>',
    'an entity beyond the five': '<a>&nbsp;</a>',
    'a bare ampersand': '<a>x & y</a>',
    'a processing instruction': '<a><?php x?></a>',
    'a stylesheet instruction': '<?xml-stylesheet href="x"?><a/>',
    CDATA: '<a><![CDATA[x]]></a>',
    'a comment': '<a>admin<!-- -->@x</a>',
    'a comment before the root': '<!-- x --><a/>',
    'another encoding': '<?xml version="1.0" encoding="UTF-16"?><a/>',
    'XML 1.1': '<?xml version="1.1"?><a/>',
    'text before the root': 'x<a/>',
    'text after the root': '<a/>x',
    'two roots': '<a/><b/>',
    'an unbound prefix': '<x:a/>',
    'an unbound prefix on an attribute': '<a x:b="c"/>',
    'a prefix from Object.prototype': '<constructor:a/>',
    'a reserved prefix bound anew': '<a xmlns:xml="urn:x"/>',
    'a prefix unbound': '<a xmlns:b="urn:b"><c xmlns:b=""/></a>',
    'an attribute twice': '<a b="1" b="2"/>',
    'an attribute twice under two prefixes': '<a xmlns:x="u" xmlns:y="u" x:b="1" y:b="2"/>',
    'an ID twice': '<a ID="x"><b ID="x"/></a>',
    'an ID twice in two spellings': '<a ID="x"><b Id="x"/></a>',
    'an end tag that does not fit': '<a></b>',
    'an end tag in another prefix': '<p:a xmlns:p="u" xmlns:q="u"></q:a>',
    'something unclosed': '<a><b></a>',
    nothing: '',
    'space alone': '  ',
    'a NUL': '<a>\u0000</a>',
    'a NUL by reference': '<a>&#0;</a>',
    'a surrogate by reference': '<a>&#xD800;</a>',
    'a less-than in an attribute': '<a b="<"/>',
    'an unquoted attribute': '<a b=c/>',
    'attributes without space between': '<a b="1"c="2"/>',
    'the end of CDATA in text': '<a>]]></a>',
    'too deep': '<a>'.repeat(40) + '</a>'.repeat(40),
    'too many attributes': `<a ${Array.from({ length: 30 }, (_, i) => `a${i}="x"`).join(' ')}/>`,
    'too many elements': `<a>${'<b/>'.repeat(3000)}</a>`,
  }
  for (const [name, text] of Object.entries(refused)) it(`refuses ${name}`, () => assert.throws(() => read(text), XmlFault))

  it('throws nothing but its own fault, whatever comes', () => {
    const piece = fc.constantFrom(
      '<',
      '>',
      '</',
      '/>',
      'a',
      ':',
      '=',
      '"',
      "'",
      ' ',
      'xmlns',
      '&',
      ';',
      '#',
      '<!--',
      '-->',
      '<?',
      '?>',
      'x',
      '<a>',
      '</a>',
    )
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 60 }), (pieces) => {
        try {
          read(pieces.join(''))
        } catch (error) {
          assert.ok(error instanceof XmlFault, String(error))
        }
      }),
      { numRuns: 2000 },
    )
  })

  it('skips comments where people write by hand, as in metadata', () => {
    assert.equal(textOf(readXml('<!-- by hand --><a>x<!-- and here --></a><!-- end -->', METADATA_LIMITS)), 'x')
    assert.throws(() => readXml('<a><!-- x -- y --></a>', METADATA_LIMITS), XmlFault)
  })
})
