// The assertion consumer, met from outside: who gets in, who does not, what the record says, and that a refused attempt
// leaves nothing else behind. On both databases.

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import type { RefusalCode } from '../../../src/domain/refusals.ts'
import { findSignIn, findUser } from '../../../src/store/console-reads.ts'
import { dialects } from '../../support/databases.ts'
import { startHouse, type TestHouse } from '../../support/house.ts'
import { type Answer, answerForm, answerXml, keyPair, metadataXml } from '../../support/idp.ts'
import { type Page, requestOnce, Walker } from '../../support/walker.ts'

const MINUTE = 60_000

interface BadInput {
  readonly name: string
  readonly code: RefusalCode
  readonly status?: number
  /** What differs from a good answer. */
  readonly differing?: (house: TestHouse) => Partial<Answer>
  /** What is posted instead of an answer. */
  readonly form?: (house: TestHouse, good: Answer) => Record<string, string> | Promise<Record<string, string>>
}

const forms = (xml: string) => ({ SAMLResponse: Buffer.from(xml).toString('base64') })

const badInputs: readonly BadInput[] = [
  { name: 'unsigned', code: 'signature.missing', differing: () => ({ sign: 'nothing' }) },
  { name: 'signed with another key', code: 'signature.invalid', form: async (_, good) => answerForm(await keyPair('stranger'), good) },
  {
    name: 'tampered with after signing',
    code: 'signature.invalid',
    differing: () => ({ afterSigning: (xml) => xml.replace('ada@corp.example', 'root@corp.example') }),
  },
  {
    name: 'a broken second signature beside a good one',
    code: 'signature.invalid',
    differing: () => ({
      sign: 'both',
      afterSigning: (xml) => xml.replace(/InResponseTo="[^"]*"><saml:Issuer>/, (found) => `Consent="x" ${found}`),
    }),
  },
  { name: 'expired', code: 'assertion.expired', differing: ({ clock }) => ({ now: new Date(clock.now.getTime() - 7 * MINUTE) }) },
  {
    name: 'not valid yet',
    code: 'assertion.not-yet-valid',
    differing: ({ clock }) => ({ now: new Date(clock.now.getTime() + 5 * MINUTE) }),
  },
  {
    name: 'made long ago, whatever it says of its validity',
    code: 'assertion.expired',
    differing: ({ clock }) => ({
      beforeSigning: (xml) =>
        xml.replace(/(<saml:Assertion [^>]*IssueInstant=")[^"]*/, `$1${new Date(clock.now.getTime() - 60 * MINUTE).toISOString()}`),
    }),
  },
  { name: 'for another audience', code: 'assertion.audience', differing: () => ({ audience: 'https://other.example/metadata' }) },
  {
    name: 'without an audience',
    code: 'assertion.audience',
    differing: () => ({ beforeSigning: (xml) => xml.replace(/<saml:AudienceRestriction>.*?<\/saml:AudienceRestriction>/, '') }),
  },
  { name: 'for another recipient', code: 'assertion.recipient', differing: () => ({ recipient: 'https://other.example/acs' }) },
  { name: 'for another destination', code: 'assertion.destination', differing: () => ({ destination: 'https://other.example/acs' }) },
  { name: 'from another issuer', code: 'assertion.issuer', differing: () => ({ issuer: 'https://evil.example/metadata' }) },
  {
    name: 'from another issuer inside the assertion only',
    code: 'assertion.issuer',
    differing: ({ idp }) => ({
      beforeSigning: (xml) =>
        xml.replace(new RegExp(`(<saml:Assertion [^>]*><saml:Issuer>)${idp.entityId}`), '$1https://evil.example/metadata'),
    }),
  },
  {
    name: 'a list of prefixes that would keep a verifier busy',
    code: 'signature.algorithm',
    differing: () => ({
      afterSigning: (xml) =>
        xml.replace(
          /<ds:Transform Algorithm="([^"]*exc-c14n#)"\/>/,
          `<ds:Transform Algorithm="$1"><ec:InclusiveNamespaces xmlns:ec="$1" PrefixList="${Array.from({ length: 5_000 }, (_, i) => `p${i}`).join(' ')}"/></ds:Transform>`,
        ),
    }),
  },
  {
    name: 'half a character where the record is cut',
    code: 'assertion.destination',
    differing: () => ({ destination: `${'a'.repeat(199)}\u{1f600}${'b'.repeat(400)}\u{1f600}` }),
  },
  {
    name: 'signed in tomorrow',
    code: 'assertion.not-yet-valid',
    differing: () => ({ beforeSigning: (xml) => xml.replace(/AuthnInstant="[^"]*"/, 'AuthnInstant="2099-01-01T00:00:00Z"') }),
  },
  { name: 'unsolicited', code: 'assertion.unsolicited', differing: () => ({ inResponseTo: undefined }) },
  { name: 'an answer to a request that was never made', code: 'request.unknown', differing: () => ({ inResponseTo: '_never-made' }) },
  {
    name: 'two answers to "which request?"',
    code: 'assertion.malformed',
    differing: () => ({ beforeSigning: (xml) => xml.replace(/InResponseTo="[^"]*"/, 'InResponseTo="_another"') }),
  },
  { name: 'not base64', code: 'response.not-base64', status: 400, form: () => ({ SAMLResponse: 'this is *not* base64' }) },
  { name: 'not XML', code: 'response.not-xml', status: 400, form: () => forms('{"this":"is not XML"}') },
  {
    name: 'not UTF-8',
    code: 'response.not-xml',
    status: 400,
    form: () => ({ SAMLResponse: Buffer.from([0x3c, 0x61, 0xff, 0x3e]).toString('base64') }),
  },
  { name: 'XML, but no SAML', code: 'response.not-saml', status: 400, form: () => forms('<a><b/></a>') },
  { name: 'a DOCTYPE', code: 'response.not-xml', status: 400, form: ({ idp }, good) => forms(`<!DOCTYPE a>${answerXml(idp.keys, good)}`) },
  { name: 'an empty form', code: 'response.missing', status: 400, form: () => ({}) },
  { name: '10 MB of XML', code: 'response.too-large', status: 413, form: () => forms(`<a>${'<b/>'.repeat(2_500_000)}</a>`) },
  {
    name: 'more elements than any assertion has',
    code: 'response.not-xml',
    status: 400,
    form: () => forms(`<a>${'<b/>'.repeat(5_000)}</a>`),
  },
  { name: 'without a required attribute', code: 'attribute.missing', differing: () => ({ attributes: { name: 'Ada' } }) },
  { name: 'with an empty required attribute', code: 'attribute.missing', differing: () => ({ attributes: { email: '  ' } }) },
  {
    name: 'two values where one belongs',
    code: 'attribute.value',
    differing: () => ({ attributes: { email: ['a@corp.example', 'b@corp.example'] } }),
  },
  { name: 'a line break in a value', code: 'attribute.value', differing: () => ({ attributes: { email: 'a@corp.example\nX-Admin: 1' } }) },
  {
    name: 'without a NameID',
    code: 'subject.missing',
    differing: () => ({ beforeSigning: (xml) => xml.replace(/<saml:NameID.*?<\/saml:NameID>/, '') }),
  },
  { name: 'a blank NameID', code: 'subject.missing', differing: () => ({ nameId: '  ' }) },
  {
    name: 'a transient NameID',
    code: 'subject.transient',
    differing: () => ({ nameIdFormat: 'urn:oasis:names:tc:SAML:2.0:nameid-format:transient' }),
  },
  {
    name: 'a session that is over at the identity provider',
    code: 'assertion.expired',
    differing: ({ clock }) => ({ sessionNotOnOrAfter: new Date(clock.now.getTime() - 10 * MINUTE) }),
  },
  {
    name: 'a status of failed authentication',
    code: 'idp.authentication-failed',
    differing: () => ({
      sign: 'nothing',
      status:
        '<samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Responder"><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:AuthnFailed"/></samlp:StatusCode><samlp:StatusMessage>internal &lt;b&gt;words&lt;/b&gt; of the IdP</samlp:StatusMessage>',
    }),
  },
  {
    name: 'a status of request denied',
    code: 'idp.denied',
    differing: () => ({
      sign: 'nothing',
      status:
        '<samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Responder"><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:RequestDenied"/></samlp:StatusCode>',
    }),
  },
]

for (const dialect of dialects) {
  describe(`the assertion consumer on ${dialect}`, () => {
    let house: TestHouse
    before(async () => {
      house = await startHouse({ dialect })
    })
    after(() => house?.close())

    const nothingChanged = async (work: () => Promise<void>) => {
      const tables = ['users', 'links', 'source_records', 'sessions']
      // That somebody waits for an administrator to tell who they are is noted, and changes nobody.
      const events = async () => Number((await house.db.writer('audit_events').whereNot({ kind: 'match.opened' }).count({ n: '*' }))[0]?.n)
      const counts = () => Promise.all([...tables.map((table) => house.count(table)), events()])
      const earlier = await counts()
      await work()
      assert.deepEqual(await counts(), earlier)
    }
    /** The record that the page's reference leads to. */
    const recordOf = (page: Page) => findSignIn(house.db, page.dom.querySelector('.reference')?.text ?? '')

    for (const { name, code, status = 403, differing, form } of badInputs) {
      it(`refuses ${name}`, async () => {
        await nothingChanged(async () => {
          const walker = new Walker()
          const { id } = await house.begin(walker)
          const good = house.answer({ inResponseTo: id, ...differing?.(house) })
          const page = form ? await walker.post(good.acs, await form(house, good)) : await house.post(walker, good)
          const record = await recordOf(page)
          assert.equal(record?.code, code, `${record?.code}: ${record?.detail}`)
          assert.equal(record?.outcome, 'refused')
          assert.ok(record?.detail, 'the record says what was wrong')
          assert.equal(page.status, status)
          assert.doesNotMatch(page.body, /internal|words of the IdP|evil\.example|stranger/, 'nothing of what came is echoed')
          assert.equal(page.headers['set-cookie'], undefined)
        })
      })
    }

    it('lets a good answer in, whether the response, the assertion or both are signed', async () => {
      for (const sign of ['assertion', 'response', 'both'] as const) {
        const page = await house.signIn(new Walker(), { sign, nameId: `signed-${sign}` })
        assert.equal(page.status, 200, page.body)
        assert.match(page.body, new RegExp(`signed-${sign}`))
      }
    })

    it('creates a user with link, record, audit events and a session, and says who did it', async () => {
      await house.signIn(new Walker(), { nameId: 'Grace', attributes: { email: 'grace@corp.example', groups: ['a', 'b;c'] } })
      const user = await findUser(house.db, 'grace')
      assert.equal(user?.state, 'active')
      assert.deepEqual(user?.profile.groups?.values, ['a', 'b;c'])
      assert.deepEqual(
        user?.links.map((link) => [link.source, link.externalId]),
        [['corp', 'Grace']],
      )
      assert.deepEqual(user?.events.map((event) => event.kind).sort(), ['user.created'])
      assert.deepEqual(new Set(user?.events.map((event) => event.actor)), new Set(['connection corp']))
      assert.equal(user?.sessions, 1)
    })

    it('updates what is said anew, keeps what is left out, and writes nothing when nothing is new', async () => {
      await house.signIn(new Walker(), { nameId: 'kate', attributes: { email: 'kate@corp.example', name: 'Kate' } })
      await house.signIn(new Walker(), { nameId: 'kate', attributes: { email: 'kate@new.example' } })
      const user = await findUser(house.db, 'kate')
      assert.deepEqual(user?.profile.email?.values, ['kate@new.example'])
      assert.deepEqual(user?.profile.displayName?.values, ['Kate'])
      const events = user?.events.length
      await house.signIn(new Walker(), { nameId: 'kate', attributes: { email: 'kate@new.example' } })
      assert.equal((await findUser(house.db, 'kate'))?.events.length, events)
    })

    it('takes an answer once', async () => {
      const walker = new Walker()
      const { id } = await house.begin(walker)
      const answer = house.answer({ inResponseTo: id, nameId: 'once' })
      const form = answerForm(house.idp.keys, answer)
      const cookie = await walker.jar.getCookieString(answer.acs)
      assert.equal((await walker.post(answer.acs, form)).status, 200)
      // The same browser with its old cookies, as somebody who recorded everything would.
      const again = await new Walker().post(answer.acs, form, { cookie })
      assert.equal(again.status, 403)
      assert.equal((await recordOf(again))?.code, 'assertion.replayed')
      // A new assertion for the request that was answered already.
      const second = await house.post(walker, house.answer({ inResponseTo: id, nameId: 'once' }))
      assert.equal(second.status, 403)
      assert.equal((await recordOf(second))?.code, 'request.unknown')
    })

    it('takes an answer from the browser that asked, and from no other', async () => {
      const victim = new Walker()
      const { id } = await house.begin(new Walker())
      await nothingChanged(async () => {
        const page = await house.post(victim, house.answer({ inResponseTo: id, nameId: 'attacker' }))
        assert.equal(page.status, 403)
        assert.equal((await recordOf(page))?.code, 'request.other-browser')
      })
    })

    it('lets a request run out', async () => {
      const walker = new Walker()
      const { id } = await house.begin(walker)
      const earlier = house.clock.now
      try {
        house.clock.now = new Date(earlier.getTime() + 16 * MINUTE)
        const page = await house.post(walker, house.answer({ inResponseTo: id }))
        assert.equal((await recordOf(page))?.code, 'request.unknown')
      } finally {
        house.clock.now = earlier
      }
    })

    it('makes one user of two first sign-ins at the same moment', async () => {
      const before = await house.count('users')
      const browsers = await Promise.all(
        Array.from({ length: 6 }, async () => {
          const walker = new Walker()
          return { walker, id: (await house.begin(walker)).id }
        }),
      )
      const pages = await Promise.all(
        browsers.map(({ walker, id }) => house.post(walker, house.answer({ inResponseTo: id, nameId: 'twin' }))),
      )
      assert.deepEqual(
        pages.map((page) => page.status),
        [200, 200, 200, 200, 200, 200],
      )
      assert.equal(await house.count('users'), before + 1)
    })

    it('knows a NameID of one connection only there', async () => {
      await house.signIn(new Walker(), { nameId: 'somebody' })
      const theirs = await keyPair('another identity provider')
      const xml = metadataXml('https://another.example', 'https://another.example/sso', [theirs.certificate])
      await house.apply({ connections: [{ ...house.connection, name: 'another', metadata: { xml } }] })
      const walker = new Walker()
      const { id } = await house.begin(walker, '/sign-in/another')
      const acs = `${house.baseUrl}/saml/another/acs`
      const audience = `${house.baseUrl}/saml/another/metadata`
      const answer = house.answer({ acs, audience, issuer: 'https://another.example', inResponseTo: id, nameId: 'somebody' })
      await nothingChanged(async () => {
        const page = await walker.post(acs, answerForm(theirs, answer), {}, new URL('https://another.example/'))
        assert.equal((await recordOf(page))?.code, 'match.unlinked', 'not the same person because of the same name')
      })
    })

    it('does not join an account that it finds by its user name', async () => {
      await house.signIn(new Walker(), { nameId: 'owner' })
      await nothingChanged(async () => {
        const page = await house.signIn(new Walker(), { nameId: 'OWNER' })
        assert.equal(page.status, 403)
        assert.match(page.body, /An account with your name exists already/)
        assert.equal((await recordOf(page))?.code, 'match.unlinked')
      })
    })

    it('answers programs with a problem document', async () => {
      const answer = await requestOnce(
        'POST',
        new URL(house.answer().acs),
        { accept: 'application/json', 'content-type': 'application/x-www-form-urlencoded' },
        'SAMLResponse=*',
      )
      assert.match(answer.headers['content-type'] ?? '', /application\/problem\+json/)
      const problem = JSON.parse(answer.body)
      assert.equal(problem.type, 'urn:gatehouse:problem:response.not-base64')
      assert.equal(problem.status, 400)
      assert.equal((await findSignIn(house.db, problem.reference))?.code, 'response.not-base64')
    })

    it('keeps no more than a little of what strangers send', async () => {
      const page = await new Walker().post(house.answer().acs, forms(`<${'a'.repeat(200_000)}/>`))
      assert.ok(((await recordOf(page))?.detail?.length ?? 0) < 500)
    })

    it('admits one shape of request', async () => {
      const acs = house.answer().acs
      assert.equal((await requestOnce('GET', new URL(`${acs}?SAMLResponse=x`), {})).status, 405)
      const form = { 'content-type': 'application/x-www-form-urlencoded' }
      assert.equal((await requestOnce('POST', new URL(`${acs}?SAMLRequest=x`), form, 'SAMLResponse=eA==')).status, 400)
      assert.equal((await requestOnce('POST', new URL(acs), { 'content-type': 'application/json' }, '{"SAMLResponse":"eA=="}')).status, 400)
      assert.equal((await requestOnce('POST', new URL(acs), form, 'SAMLResponse=eA==&SAMLResponse=eA==')).status, 400)
      assert.equal((await requestOnce('POST', new URL(`${house.baseUrl}/saml/nowhere/acs`), form, 'SAMLResponse=eA==')).status, 404)
    })

    it('leaves no assertion and no secret in the log', async () => {
      await house.signIn(new Walker(), { nameId: 'logged', attributes: { email: 'very-private@corp.example' } })
      const log = house.log.join('\n')
      assert.match(log, /sign-in accepted/)
      assert.doesNotMatch(log, /very-private|SAMLResponse|gatehouse=/)
    })
  })
}
