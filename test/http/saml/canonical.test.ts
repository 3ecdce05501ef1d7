// Our own exclusive canonicalisation, judged by the library over documents that nobody would write, and by known answers.

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { SignedXml } from 'xml-crypto'
import { canonical } from '../../../src/http/saml/canonical.ts'
import { METADATA_LIMITS, readXml, type XmlElement } from '../../../src/http/saml/xml.ts'
import { standalone, writeXml } from '../../../src/http/saml/xml-writing.ts'

const read = (xml: string) => readXml(xml, METADATA_LIMITS)

describe('canonicalisation', () => {
  const known: [name: string, xml: string, expected: string][] = [
    ['drops what is not used', '<a:x xmlns:a="u:a" xmlns:b="u:b"><a:y/></a:x>', '<a:x xmlns:a="u:a"><a:y></a:y></a:x>'],
    ['declares where it is first used', '<x xmlns:b="u:b"><b:y/><b:z/></x>', '<x><b:y xmlns:b="u:b"></b:y><b:z xmlns:b="u:b"></b:z></x>'],
    ['takes the default namespace back', '<x xmlns="u"><y xmlns=""><z/></y></x>', '<x xmlns="u"><y xmlns=""><z></z></y></x>'],
    [
      'declares again what was bound anew',
      '<p:x xmlns:p="u1"><p:y xmlns:p="u2"/></p:x>',
      '<p:x xmlns:p="u1"><p:y xmlns:p="u2"></p:y></p:x>',
    ],
    [
      'sorts attributes by namespace, then name',
      '<x b="2" q:a="4" p:z="3" a="1" xmlns:q="u:1" xmlns:p="u:2"/>',
      '<x xmlns:p="u:2" xmlns:q="u:1" a="1" b="2" q:a="4" p:z="3"></x>',
    ],
    ['keeps xml: attributes', '<x xml:lang="de"/>', '<x xml:lang="de"></x>'],
    [
      'writes characters one way',
      '<x a="&quot;&#9;&#10;&#13;&gt;\'">&quot;&gt;&#13;\n&amp;</x>',
      '<x a="&quot;&#x9;&#xA;&#xD;>\'">"&gt;&#xD;\n&amp;</x>',
    ],
    ['leaves comments out', '<x>a<!-- b -->c</x>', '<x>ac</x>'],
  ]
  for (const [name, xml, expected] of known) it(name, () => assert.equal(canonical(read(xml)), expected))

  it('treats listed prefixes as inclusive canonicalisation does', () => {
    assert.equal(canonical(read('<x xmlns:a="u:a" xmlns:b="u:b"><y/></x>'), ['a']), '<x xmlns:a="u:a"><y></y></x>')
    assert.equal(canonical(read('<p:x xmlns:p="u" xmlns="d"/>'), ['']), '<p:x xmlns="d" xmlns:p="u"></p:x>')
  })

  const names = fc.constantFrom('a', 'b', 'Cd', 'e-f')
  const uris = fc.constantFrom('urn:a', 'urn:b', 'http://c.example/')
  const text = fc.string({ unit: fc.constantFrom('x', ' ', '&amp;', '&lt;', '&gt;', '"', "'", 'é', '\n', '\u{1f600}'), maxLength: 6 })
  const element: fc.Arbitrary<string> = fc.letrec<{ node: string }>((tie) => ({
    node: fc
      .record({
        prefix: fc.constantFrom('', 'p:', 'q:'),
        name: names,
        declared: fc.uniqueArray(fc.tuple(fc.constantFrom('', 'p', 'q'), uris), { selector: ([prefix]) => prefix, maxLength: 3 }),
        attributes: fc.uniqueArray(fc.tuple(fc.constantFrom('', 'p:', 'xml:'), names, text), {
          selector: ([prefix, name]) => prefix + name,
          maxLength: 3,
        }),
        inside: fc.array(fc.oneof({ depthSize: 'small', withCrossShrink: true }, text, tie('node')), { maxLength: 3 }),
      })
      .map(({ prefix, name, declared, attributes, inside }) => {
        const namespaces = declared.map(([of, uri]) => ` ${of ? `xmlns:${of}` : 'xmlns'}="${uri}"`).join('')
        const written = attributes.map(([of, key, value]) => ` ${of}${key}="${value.replace(/"/g, '')}"`).join('')
        return `<${prefix}${name}${namespaces}${written}>${inside.join('')}</${prefix}${name}>`
      }),
  })).node
  const documents = element.map((inner) => `<root xmlns:p="urn:p" xmlns:q="urn:q" ID="_1">${inner}</root>`)

  it('agrees with the library on any document', () => {
    fc.assert(
      fc.property(documents, fc.subarray(['p', 'q']), (xml, inclusive) => {
        assert.equal(canonical(read(xml), inclusive), byLibrary(xml, inclusive))
      }),
      { numRuns: 500 },
    )
  })

  it('gives an element that stands alone the form it has in its place', () => {
    fc.assert(
      fc.property(documents, (xml) => {
        const inner = read(xml).children.find((node): node is XmlElement => typeof node !== 'string') as XmlElement
        const alone = standalone(xml, inner)
        assert.equal(canonical(read(alone)), canonical(inner))
        assert.equal(canonical(read(writeXml(inner))), canonical(inner))
      }),
    )
  })
})

/** The library has no public canonicaliser; what it signs is what it has canonicalised. */
function byLibrary(xml: string, inclusive: readonly string[]): string {
  const seen: string[] = []
  const signer = new SignedXml({ privateKey: 'unused', canonicalizationAlgorithm: 'http://www.w3.org/2001/10/xml-exc-c14n#' })
  signer.signatureAlgorithm = 'test' as never
  Object.assign(signer, {
    SignatureAlgorithms: {
      test: class {
        getAlgorithmName = () => 'test'
        getSignature = () => 'AA=='
      },
    },
    HashAlgorithms: {
      test: class {
        getAlgorithmName = () => 'test'
        getHash = (content: string) => {
          seen.push(content)
          return 'AA=='
        }
      },
    },
  })
  signer.addReference({
    xpath: '/*',
    digestAlgorithm: 'test' as never,
    transforms: ['http://www.w3.org/2001/10/xml-exc-c14n#'],
    ...(inclusive.length ? { inclusiveNamespacesPrefixList: [...inclusive] } : {}),
  })
  signer.computeSignature(xml)
  return seen[0] as string
}
