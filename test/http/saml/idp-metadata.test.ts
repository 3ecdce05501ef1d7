// What is read from an identity provider's metadata, and what is refused with a reason that tells what to do.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { before, describe, it } from 'node:test'
import { Worker } from 'node:worker_threads'
import { type MetadataDemands, readMetadataFile } from '../../../src/http/saml/metadata-file.ts'
import { NOTHING_INSECURE } from '../../../src/http/saml/names.ts'
import { signMessage } from '../../../src/http/saml/outgoing.ts'
import { CORPUS_NOW } from '../../support/corpus.ts'
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

  it('reads where people are signed out, artifacts resolved, and how long all that holds', async () => {
    const services =
      '<md:ArtifactResolutionService index="3" Binding="urn:oasis:names:tc:SAML:2.0:bindings:SOAP" Location="https://idp.example/art"/>' +
      '<md:SingleLogoutService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST" Location="https://idp.example/slo" ResponseLocation="https://idp.example/slo-back"/>'
    const xml = metadataXml('https://idp.example', 'https://idp.example/sso', [one.certificate], services)
    const idp = await idpOf(xml.replace('entityID=', 'validUntil="2026-07-01T00:00:00Z" cacheDuration="P1DT1H" entityID='))
    assert.deepEqual(idp.singleLogout, { post: { location: 'https://idp.example/slo', responseLocation: 'https://idp.example/slo-back' } })
    assert.deepEqual(idp.artifactResolution, [{ index: 3, location: 'https://idp.example/art' }])
    assert.deepEqual([idp.validUntil, idp.cacheSeconds], ['2026-07-01T00:00:00Z', 90_000])
  })

  it('takes a weak key where the operator allows it, and leaves it out beside a strong one', async () => {
    assert.equal((await idpOf(good(weak), { allow: { ...NOTHING_INSECURE, smallRsa: true } })).certificates.length, 1)
    assert.equal((await idpOf(good(weak, two))).certificates.length, 1)
  })

  it('takes addresses over https only, but for this machine', async () => {
    const plain = good(one).replace('https://idp.example/sso', 'http://idp.example/sso')
    assert.match(String(await read(plain)), /https address/)
    assert.equal((await idpOf(plain, { allow: { ...NOTHING_INSECURE, http: true } })).singleSignOn.redirect, 'http://idp.example/sso')
    const here = good(one).replace('https://idp.example/sso', 'http://localhost:8080/sso')
    assert.equal((await idpOf(here)).singleSignOn.redirect, 'http://localhost:8080/sso')
  })

  it('does not mind what a comment says, however long the file', async () => {
    const xml = good(one)
      .replace('<!-- made by hand -->', `<!-- don't "edit" > this --><!--${' x'.repeat(1000)}-->`)
      .replace('</md:IDPSSODescriptor>', `<md:Extensions>${'<x/>\n'.repeat(15_000)}</md:Extensions></md:IDPSSODescriptor>`)
    for (const size of [1, 3, 65_536]) {
      const bytes = Buffer.from(xml)
      const pieces = Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) => bytes.subarray(i * size, (i + 1) * size))
      const found = await readMetadataFile(pieces, { allow: NOTHING_INSECURE, now: NOW })
      assert.ok(typeof found !== 'string', String(found))
    }
  })

  it('reads the metadata of every vendor in the corpus', async () => {
    const folder = new URL('../../fixtures/saml/vendors/', import.meta.url)
    const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('metadata.xml'))
    assert.ok(files.length >= 9)
    for (const file of files) {
      const idp = await idpOf(readFileSync(new URL(file, folder), 'utf8'), { now: CORPUS_NOW })
      assert.ok(idp.certificates.length >= 1, file)
    }
  })
})

describe('a federation', () => {
  let pair: KeyPair
  let signer: KeyPair
  let stranger: KeyPair
  before(async () => {
    ;[pair, signer, stranger] = await Promise.all([keyPair('one'), keyPair('federation'), keyPair('stranger')])
  })
  const entity = (n: number) =>
    metadataXml(`https://idp${n}.example`, `https://idp${n}.example/sso`, [pair.certificate]).replace(/^<\?xml[^>]*\?>/, '')
  const head =
    '<?xml version="1.0" encoding="UTF-8"?>\n<md:EntitiesDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata" ID="_all" validUntil="2026-06-08T00:00:00Z" cacheDuration="PT6H">\n'
  const sp =
    '<md:EntityDescriptor entityID="https://sp.example"><md:SPSSODescriptor protocolSupportEnumeration="x"/></md:EntityDescriptor>\n'
  const federation = (count: number) =>
    `${head}${sp}${Array.from({ length: count }, (_, n) => entity(n)).join('\n')}<md:EntitiesDescriptor>${entity(count)}</md:EntitiesDescriptor></md:EntitiesDescriptor>`
  // A comment is no part of what is signed.
  const signed = () => signMessage(federation(3).replaceAll('<!-- made by hand -->', ''), signer)

  it('is read for the one entity that is picked, nested or not, with the limits of the whole', async () => {
    for (const n of [0, 2, 3]) {
      const found = await read(federation(3), { entityId: `https://idp${n}.example` })
      assert.ok(typeof found !== 'string', String(found))
      assert.deepEqual([found.idp.entityId, found.entities], [`https://idp${n}.example`, 5])
      assert.deepEqual([found.idp.validUntil, found.idp.cacheSeconds], ['2026-06-08T00:00:00Z', 21_600])
      assert.equal((await idpOf(found.xml)).entityId, `https://idp${n}.example`, 'what is kept can be read again')
    }
  })

  it('says what to write where there are several, and when there is none of that name', async () => {
    assert.match(String(await read(federation(3))), /4 identity providers .*entityId/)
    assert.match(String(await read(federation(3), { entityId: 'https://nobody.example' })), /no https:\/\/nobody\.example among its 5/)
    assert.match(String(await read(federation(3).replace('idp1.', 'idp2.'), { entityId: 'https://idp2.example' })), /there twice/)
    assert.match(
      String(await read(federation(3), { entityId: 'https://idp0.example', now: new Date('2026-06-09T00:00:00Z') })),
      /valid until/,
    )
  })

  it('is read as it comes, in pieces of any size', async () => {
    const bytes = Buffer.from(federation(2).replace('https://sp.example', 'https://späß.example'))
    for (const size of [1, 7, 1000]) {
      const pieces = Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) => bytes.subarray(i * size, (i + 1) * size))
      const found = await readMetadataFile(pieces, { entityId: 'https://idp1.example', allow: NOTHING_INSECURE, now: NOW })
      assert.ok(typeof found !== 'string', String(found))
    }
  })

  it('is verified over all of it against a pinned certificate', async () => {
    const ask = { entityId: 'https://idp1.example', signedBy: signer.certificate }
    assert.equal((await idpOf(signed(), ask)).entityId, 'https://idp1.example')
    assert.match(String(await read(signed(), { ...ask, signedBy: stranger.certificate })), /another key/)
    assert.match(String(await read(federation(3), ask)), /not signed/)
    assert.match(String(await read(signed().replace('idp0.example/sso', 'evil.example/sso'), ask)), /changed since it was signed/)
    assert.match(
      String(
        await read(
          signed().replace('<md:EntityDescriptor entityID="https://sp.example">', '<md:EntityDescriptor entityID="https://sp.evil">'),
          ask,
        ),
      ),
      /changed/,
    )
    assert.match(String(await read(signed().replace(/<ds:Signature /, '<x xmlns=""/><ds:Signature '), ask)), /not signed|first element/)
  })

  it('of a hundred megabytes passes through a heap of 48', { timeout: 120_000 }, async () => {
    const thread = new Worker(new URL('../../support/large-federation.ts', import.meta.url), {
      workerData: { head, filler: entity(7), picked: entity(1), megabytes: 100 },
      resourceLimits: { maxOldGenerationSizeMb: 48 },
    })
    const [found] = (await once(thread, 'message')) as [{ entityId: string; entities: number } | string]
    assert.ok(typeof found !== 'string', String(found))
    assert.equal(found.entityId, 'https://idp1.example')
    assert.ok(found.entities > 50_000, `${found.entities} entities`)
  })
})
