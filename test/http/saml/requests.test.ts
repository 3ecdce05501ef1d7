// What we send to an identity provider, and what becomes of its special answers: bindings, signatures, name and context
// policies, fresh and passive sign-ins, drafts, our own metadata, and our keys while they roll over.

import assert from 'node:assert/strict'
import { createVerify } from 'node:crypto'
import { after, before, describe, it } from 'node:test'
import { readMetadataFile } from '../../../src/http/saml/metadata-file.ts'
import { NOTHING_INSECURE } from '../../../src/http/saml/names.ts'
import { attributeOf, descendants, METADATA_LIMITS, readXml, textOf } from '../../../src/http/saml/xml.ts'
import { findSignIn } from '../../../src/store/console-reads.ts'
import { CORPUS_NOW, corpus, corpusKey } from '../../support/corpus.ts'
import { startHouse, type TestHouse } from '../../support/house.ts'
import { answerForm, type KeyPair, keyPair, metadataXml, readRequest } from '../../support/idp.ts'
import { type Page, readForm, requestOnce, Walker } from '../../support/walker.ts'

const POST_SERVICE =
  '<md:SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST" Location="https://idp.example/sso-post"/>'
const NO_PASSIVE =
  '<samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Responder"><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:NoPassive"/></samlp:StatusCode>'
const PASSWORD = 'urn:oasis:names:tc:SAML:2.0:ac:classes:Password'
const MFA = 'https://refeds.org/profile/mfa'

describe('a sign-in request', () => {
  let house: TestHouse
  let otherKeys: KeyPair
  before(async () => {
    otherKeys = await keyPair('other sp')
    house = await startHouse({ otherKeys })
  })
  after(() => house?.close())

  const idpXml = (edit: (xml: string) => string = (xml) => xml) =>
    edit(metadataXml(house.idp.entityId, 'https://idp.example/sso', [house.idp.keys.certificate], POST_SERVICE))
  const connect = (requests: Record<string, unknown>, edit?: (xml: string) => string) =>
    house.apply({ connections: [{ ...house.connection, metadata: { xml: idpXml(edit) }, requests }] })
  const first = () => new Walker({ stopAtForms: true }).step(`${house.baseUrl}/sign-in/corp`)
  const postedXml = (page: Page) => Buffer.from(readForm(page).fields.SAMLRequest ?? '', 'base64').toString('utf8')
  const recordOf = (page: Page) => findSignIn(house.db, page.dom.querySelector('.reference')?.text ?? '')

  it('is signed when the metadata asks for it, over the query as it stands', async () => {
    await connect({}, (xml) => xml.replace('<md:IDPSSODescriptor', '<md:IDPSSODescriptor WantAuthnRequestsSigned="true"'))
    const location = String((await first()).headers.location)
    const [, query = ''] = location.split('?')
    const [signed = '', signature = ''] = query.split('&Signature=')
    const verified = createVerify('sha256').update(signed).verify(house.spKeys.certificate, decodeURIComponent(signature), 'base64')
    assert.ok(verified)
    await connect({})
    assert.doesNotMatch(String((await first()).headers.location), /Signature/)
  })

  it('goes by HTTP-POST where that is wanted or all there is, with its signature inside', async () => {
    await connect({ binding: 'post', sign: 'always' })
    const page = await first()
    const { action, fields } = readForm(page)
    assert.equal(action.href, 'https://idp.example/sso-post')
    const xml = postedXml(page)
    assert.match(xml, /<saml:Issuer>[^<]*<\/saml:Issuer><ds:Signature /, 'where the schema wants it')
    assert.equal(fields.RelayState, /\bID="([^"]+)"/.exec(xml)?.[1])
    assert.match(String(page.headers['content-security-policy']), /script-src 'sha256-[\w+/=]+'/)
    assert.doesNotMatch(String(page.headers['content-security-policy']), /form-action/)
    await connect({}, (text) => text.replace(/<md:SingleSignOnService Binding="[^"]*HTTP-Redirect"[^>]*\/>/, ''))
    assert.equal(readForm(await first()).action.href, 'https://idp.example/sso-post')
    await assert.rejects(
      connect({ binding: 'redirect' }, (text) => text.replace(/<md:SingleSignOnService Binding="[^"]*HTTP-Redirect"[^>]*\/>/, '')),
      /no single sign-on over redirect/,
    )
  })

  it('asks for a kind of name, a kind of sign-in, a fresh one', async () => {
    await connect({
      nameIdFormat: 'urn:oasis:names:tc:SAML:2.0:nameid-format:persistent',
      authnContext: [MFA, PASSWORD],
      comparison: 'minimum',
      forceAuthn: true,
    })
    const { xml } = readRequest(String((await first()).headers.location))
    const root = readXml(xml, METADATA_LIMITS)
    assert.equal(attributeOf(root, 'ForceAuthn'), 'true')
    assert.match(xml, /<samlp:NameIDPolicy AllowCreate="true" Format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"\/>/)
    assert.match(xml, new RegExp(`<samlp:RequestedAuthnContext Comparison="minimum"><saml:AuthnContextClassRef>${MFA}</`))
  })

  it('refuses an older sign-in where a fresh one was asked for', async () => {
    await connect({ forceAuthn: true })
    const old = (xml: string) =>
      xml.replace(/AuthnInstant="[^"]*"/, `AuthnInstant="${new Date(house.clock.now.getTime() - 3_600_000).toISOString()}"`)
    const page = await house.signIn(new Walker(), { beforeSigning: old })
    assert.equal((await recordOf(page))?.code, 'assertion.authn-instant')
    await house.apply({
      connections: [{ ...house.connection, metadata: { xml: idpXml() }, requests: { forceAuthn: true }, idpInitiated: true }],
    })
    const unsolicited = await house.signIn(new Walker(), { beforeSigning: old, inResponseTo: undefined })
    assert.equal((await recordOf(unsolicited))?.code, 'assertion.authn-instant', 'nor where nobody asked')
    await connect({ forceAuthn: true })
    assert.equal((await house.signIn(new Walker())).status, 200)
  })

  it('refuses another kind of sign-in than the one that was asked for', async () => {
    await connect({ authnContext: [MFA] })
    const page = await house.signIn(new Walker())
    const record = await recordOf(page)
    assert.equal(record?.code, 'assertion.authn-context')
    const failed = record?.steps.find((step) => !step.passed)
    assert.deepEqual([failed?.expected, failed?.came], [MFA, `«${PASSWORD}»`])
    assert.equal((await house.signIn(new Walker(), { beforeSigning: (xml) => xml.replace(PASSWORD, MFA) })).status, 200)
    await connect({ authnContext: [MFA], comparison: 'minimum' })
    await house.signIn(new Walker())
    const rows = await house.db.writer('sign_ins').where({ outcome: 'accepted' })
    assert.ok(
      rows.some((row) => JSON.stringify(row.steps).includes('only the identity provider can compare')),
      'and says where it cannot judge',
    )
  })

  for (const [words, status] of [
    ['no', NO_PASSIVE],
    ['some other failure', '<samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Responder"/>'],
  ] as const) {
    it(`asks passively first, and openly when that is answered with ${words}`, async () => {
      await connect({ isPassive: true })
      const walker = new Walker()
      const { id } = await house.begin(walker, '/sign-in/corp?return_to=/me')
      const answer = house.answer({
        inResponseTo: id,
        status,
        sign: 'nothing',
        beforeSigning: (xml) => xml.replace(/<saml:Assertion .*<\/saml:Assertion>/s, ''),
      })
      // The answer to a passive request, posted by this browser: on to the identity provider again, without IsPassive.
      const cookie = await walker.jar.getCookieString(answer.acs)
      const form = new URLSearchParams(answerForm(house.idp.keys, answer)).toString()
      const post = (headers: Record<string, string>) =>
        requestOnce(
          'POST',
          new URL(answer.acs),
          { 'content-type': 'application/x-www-form-urlencoded', accept: 'text/html', ...headers },
          form,
        )
      const stranger = await post({})
      assert.equal(stranger.status, 403, 'another browser gets the page')
      const again = await post({ cookie })
      assert.equal(again.status, 303)
      const asked = readRequest(String(again.headers.location))
      assert.doesNotMatch(asked.xml, /IsPassive/)
      assert.notEqual(asked.id, id)
      assert.equal((await post({ cookie })).status, 403, 'once')
    })
  }

  it('is told in words when the identity provider will not', async () => {
    await connect({})
    for (const [second, words] of [
      ['NoAuthnContext', /second factor/],
      ['InvalidNameIDPolicy', /kind of name/],
      ['RequestDenied', /may not use this application/],
    ] as const) {
      const status = `<samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Responder"><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:${second}"/></samlp:StatusCode><samlp:StatusMessage>because</samlp:StatusMessage>`
      const page = await house.signIn(new Walker(), { status, sign: 'nothing' })
      assert.match(page.body, words)
      assert.match((await recordOf(page))?.detail ?? '', /because/)
    }
  })

  it('has final addresses while the connection is a draft, and nobody can sign in', async () => {
    await house.apply({ connections: [{ ...house.connection, name: 'draft', metadata: undefined }] })
    const { body, status } = await requestOnce('GET', new URL('/saml/draft/metadata', house.baseUrl), {})
    assert.equal(status, 200)
    assert.match(body, new RegExp(`entityID="${house.baseUrl}/saml/draft/metadata"`))
    assert.equal((await new Walker().get(`${house.baseUrl}/sign-in/draft`)).status, 503)
    const acs = `${house.baseUrl}/saml/draft/acs`
    const page = await new Walker().post(acs, answerForm(house.idp.keys, house.answer({ acs })))
    assert.equal((await recordOf(page))?.code, 'connection.draft')
    const only = await new Walker().step(`${house.baseUrl}/sign-in`)
    assert.match(String(only.headers.location), /^https:\/\/idp\.example/, 'there is one to choose')
  })

  it('describes us: both bindings, both keys, what is wanted, who we are, for how long', async () => {
    await house.apply({
      connections: [house.connection],
      service: {
        organization: { name: 'Corp & Sons', url: 'https://corp.example' },
        contacts: [{ type: 'technical', name: 'Ada', email: 'ada@corp.example' }],
      },
    })
    const { body, headers } = await requestOnce('GET', new URL('/saml/corp/metadata', house.baseUrl), {})
    assert.match(String(headers['content-type']), /samlmetadata\+xml/)
    const root = readXml(body, METADATA_LIMITS)
    const all = (local: string) => [...descendants(root)].filter((element) => element.local === local)
    assert.deepEqual(
      all('SingleLogoutService').map((one) => attributeOf(one, 'Binding')?.split(':').at(-1)),
      ['HTTP-Redirect', 'HTTP-POST'],
    )
    assert.deepEqual(
      all('KeyDescriptor').map((one) => attributeOf(one, 'use')),
      ['signing', 'encryption', 'signing', 'encryption'],
    )
    assert.equal(new Set(all('X509Certificate').map(textOf)).size, 2)
    assert.deepEqual(
      all('RequestedAttribute').map((one) => [attributeOf(one, 'Name'), attributeOf(one, 'isRequired')]),
      [
        ['email', 'true'],
        ['name', 'false'],
        ['department', 'false'],
        ['groups', 'false'],
      ],
    )
    assert.equal(textOf(all('OrganizationName')[0] as never), 'Corp & Sons')
    assert.equal(textOf(all('EmailAddress')[0] as never), 'mailto:ada@corp.example')
    assert.ok(new Date(attributeOf(root, 'validUntil') ?? 0) > house.clock.now)
  })

  it('signs our metadata on request', async () => {
    const { body } = await requestOnce('GET', new URL('/saml/corp/metadata?signed', house.baseUrl), {})
    const asIfTheirs = body.replaceAll('SPSSODescriptor', 'IDPSSODescriptor')
    const read = (xml: string, signedBy: string) =>
      readMetadataFile([Buffer.from(xml)], { signedBy, allow: NOTHING_INSECURE, now: house.clock.now })
    assert.match(String(await read(body, house.spKeys.certificate)), /no identity provider/, 'the signature itself is in order')
    assert.match(String(await read(body, otherKeys.certificate)), /another key/)
    assert.match(String(await read(asIfTheirs, house.spKeys.certificate)), /changed since it was signed/)
  })
})

describe('our keys, while they roll over', () => {
  it('opens what is encrypted for the old one, and for the new one', async () => {
    const one = corpus('good').find((each) => each.name === 'good/encrypted-assertion')
    assert.ok(one)
    for (const [spKeys, otherKeys] of [
      [corpusKey('sp'), corpusKey('sp-other')],
      [corpusKey('sp-other'), corpusKey('sp')],
    ] as const) {
      const house = await startHouse({
        environment: { GATEHOUSE_BASE_URL: 'https://gate.example' },
        idp: { entityId: 'https://idp.example/metadata', keys: corpusKey('idp') },
        spKeys,
        otherKeys,
      })
      house.clock.now = CORPUS_NOW
      try {
        const answer = await requestOnce(
          'POST',
          new URL('/saml/corp/acs', house.baseUrl),
          { host: 'gate.example', 'content-type': 'application/x-www-form-urlencoded', accept: 'text/html' },
          new URLSearchParams({ SAMLResponse: one.field }).toString(),
        )
        const record = await findSignIn(house.db, /class="reference">([^<]+)</.exec(answer.body)?.[1] ?? '')
        assert.equal(record?.code, 'request.unknown', 'decrypted, verified, and only then asked who wanted it')
      } finally {
        await house.close()
      }
    }
  })
})
