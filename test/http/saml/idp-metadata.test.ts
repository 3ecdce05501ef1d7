// What is read from an identity provider's metadata, and what is refused with a reason that tells what to do.

import assert from 'node:assert/strict'
import { before, describe, it } from 'node:test'
import { type MetadataDemands, readMetadataFile } from '../../../src/http/saml/metadata-file.ts'
import { NOTHING_INSECURE } from '../../../src/http/saml/names.ts'
import { type KeyPair, keyPair, metadataXml } from '../../support/idp.ts'

const NOW = new Date('2026-06-01T00:00:00Z')

const read = (xml: string, demands: Partial<MetadataDemands> = {}) =>
  readMetadataFile([Buffer.from(xml)], { allow: NOTHING_INSECURE, now: NOW, ...demands })
const idpOf = async (xml: string, demands: Partial<MetadataDemands> = {}) => {
  const found = await read(xml, demands)
  assert.ok(typeof found !== 'string', String(found))
  return found.idp
}

describe('identity provider metadata', () => {
  let one: KeyPair
  let two: KeyPair
  let weak: KeyPair
  before(async () => {
    ;[one, two, weak] = await Promise.all([keyPair('one'), keyPair('two'), keyPair('weak', 1024)])
  })
  const good = (...pairs: KeyPair[]) =>
    metadataXml(
      'https://idp.example',
      'https://idp.example/sso',
      pairs.map((pair) => pair.certificate),
    )

  it('names the provider, its address and all its signing keys', async () => {
    const idp = await idpOf(`\uFEFF${good(one, two, one)}`)
    assert.equal(idp.entityId, 'https://idp.example')
    assert.deepEqual(idp.singleSignOn, { redirect: 'https://idp.example/sso' })
    assert.equal(idp.certificates.length, 2)
  })

  it('takes a key without a use for both, and leaves encryption keys alone', async () => {
    assert.equal((await idpOf(good(one).replace(' use="signing"', ''))).certificates.length, 1)
    assert.match(String(await read(good(one).replace('use="signing"', 'use="encryption"'))), /no signing certificate/)
  })

  const refused: [name: string, xml: () => string, reason: RegExp][] = [
    ['what is not XML', () => 'hello', /not XML/],
    ['a DOCTYPE', () => `<!DOCTYPE x>${good(one).replace(/<\?xml.*?\?>/, '')}`, /not XML/],
    ['a service provider', () => good(one).replace(/IDPSSODescriptor/g, 'SPSSODescriptor'), /no identity provider role/],
    [
      'a federation of nobody',
      () => '<md:EntitiesDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata"/>',
      /no identity provider among its 0 entities/,
    ],
    ['what has run out', () => good(one).replace('entityID=', 'validUntil="2026-01-01T00:00:00Z" entityID='), /valid until 2026-01-01/],
    ['a weak key', () => good(weak), /1024 bits/],
    ['a certificate that is none', () => good(one).replace(/<ds:X509Certificate>.*?</, '<ds:X509Certificate>AAAA<'), /cannot be read/],
    [
      'an address that is a script',
      () => good(one).replace('Location="https://idp.example/sso"', 'Location="javascript:alert(1)"'),
      /no single sign-on over HTTP-Redirect/,
    ],
  ]
  for (const [name, xml, reason] of refused) {
    it(`refuses ${name}`, async () => assert.match(String(await read(xml())), reason))
  }
})
