// Single logout from outside: whom a good message signs out, and that every bad twin of it, one edit away, ends nobody.

import assert from 'node:assert/strict'
import { after, before, beforeEach, describe, it } from 'node:test'
import {
  byPost,
  byRedirect,
  type Dispatch,
  type LogoutRequest,
  logoutRequestXml,
  logoutResponseXml,
} from '../../../src/http/saml/outgoing.ts'
import { findSignIn, findUser } from '../../../src/store/console-reads.ts'
import { dialects } from '../../support/databases.ts'
import { startHouse, type TestHouse } from '../../support/house.ts'
import { deflate, type KeyPair, keyPair } from '../../support/idp.ts'
import { type Page, requestOnce, Walker } from '../../support/walker.ts'

const PERSISTENT = 'urn:oasis:names:tc:SAML:2.0:nameid-format:persistent'

for (const dialect of dialects) {
  describe(`single logout on ${dialect}`, () => {
    let house: TestHouse
    let other: KeyPair
    let count = 0
    before(async () => {
      house = await startHouse({ dialect, logout: true })
      other = await keyPair('other')
    })
    after(() => house?.close())
    beforeEach(async () => {
      await house.db.writer('sessions').delete()
    })

    const slo = () => `${house.baseUrl}/saml/corp/slo`
    const request = (differing: Partial<LogoutRequest> = {}): string =>
      logoutRequestXml({
        id: `_l${process.pid}x${++count}`,
        now: house.clock.now,
        issuer: house.idp.entityId,
        destination: slo(),
        nameId: { value: 'ada', format: PERSISTENT },
        ...differing,
      })
    const deliver = (walker: Walker, dispatch: Dispatch): Promise<Page> =>
      'redirect' in dispatch
        ? walker.step(dispatch.redirect)
        : walker.post(dispatch.post, dispatch.fields, {}, new URL('https://idp.example/'))
    const signing = () => house.idp.keys
    const sessionsOf = async (userName: string) => (await findUser(house.db, userName))?.sessions ?? 0
    const recordOf = (page: Page) => findSignIn(house.db, page.dom.querySelector('.reference')?.text ?? '')

    for (const [name, send] of [
      ['HTTP-Redirect', byRedirect],
      ['HTTP-POST', byPost],
    ] as const) {
      it(`ends every session of the person that a signed request by ${name} names, and answers with our signature`, async () => {
        const [ada, again, bob] = [new Walker(), new Walker(), new Walker({ stopAtForms: true })]
        await house.signIn(ada)
        await house.signIn(again)
        await house.signIn(bob, { nameId: 'bob', attributes: { email: 'bob@corp.example' } })
        // By the back: not the person's own browser.
        const page = await deliver(bob, send(slo(), { xml: request(), kind: 'SAMLRequest', relayState: 'a b&"<c>' }, signing()))
        assert.equal(await sessionsOf('ada'), 0)
        assert.equal(await sessionsOf('bob'), 1, 'nobody else')
        const answered = name === 'HTTP-Redirect' ? new URL(page.headers.location ?? '').searchParams : undefined
        const relayState = answered?.get('RelayState') ?? page.dom.querySelector('[name=RelayState]')?.getAttribute('value')
        assert.equal(relayState, 'a b&"<c>')
        if (answered) assert.ok(answered.get('Signature'))
        else {
          const xml = Buffer.from(page.dom.querySelector('[name=SAMLResponse]')?.getAttribute('value') ?? '', 'base64').toString('utf8')
          assert.match(xml, /LogoutResponse.*SignatureValue.*status:Success/s)
          assert.match(String(page.headers['content-security-policy']), /frame-ancestors https:\/\/idp\.example;/)
          assert.equal(page.headers['x-frame-options'], undefined)
        }
      })
    }

    it('ends the one session that an index names', async () => {
      const [one, two] = [new Walker(), new Walker()]
      await house.signIn(one, { id: '_one' })
      await house.signIn(two, { id: '_two' })
      const dispatch = byRedirect(slo(), { xml: request({ sessionIndex: '_ones' }), kind: 'SAMLRequest' }, signing())
      await deliver(new Walker(), dispatch)
      assert.equal(await sessionsOf('ada'), 1)
      assert.equal((await two.get(`${house.baseUrl}/me`, { accept: 'application/json' })).status, 200)
    })

    it('leaves a record of it, and an audit event', async () => {
      await house.signIn(new Walker())
      const before = await house.count('audit_events')
      await deliver(new Walker(), byRedirect(slo(), { xml: request(), kind: 'SAMLRequest' }, signing()))
      assert.equal((await house.count('audit_events')) - before, 1)
      const row = await house.db
        .writer('sign_ins')
        .where({ flow: 'logout', outcome: 'accepted', subject: 'ada' })
        .whereNotNull('user_id')
        .first()
      assert.ok(row)
    })

    const bad: [name: string, dispatch: () => Dispatch, code: string][] = [
      ['unsigned in the address', () => byRedirect(slo(), { xml: request(), kind: 'SAMLRequest' }, undefined), 'logout.signature'],
      ['unsigned in a form', () => byPost(slo(), { xml: request(), kind: 'SAMLRequest' }, undefined), 'logout.signature'],
      ['signed with another key', () => byRedirect(slo(), { xml: request(), kind: 'SAMLRequest' }, other), 'logout.signature'],
      ['signed with another key in a form', () => byPost(slo(), { xml: request(), kind: 'SAMLRequest' }, other), 'logout.signature'],
      [
        'with the message exchanged',
        () => query((text) => text.replace(/SAMLRequest=[^&]*/, `SAMLRequest=${encodeURIComponent(deflate(request()))}`)),
        'logout.signature',
      ],
      [
        'with a second message in front',
        () =>
          query((text) => `SAMLRequest=${encodeURIComponent(deflate(request({ nameId: { value: 'bob', format: PERSISTENT } })))}&${text}`),
        'logout.signature',
      ],
      [
        'with a second message behind',
        () => query((text) => `${text}&SAMLRequest=${encodeURIComponent(deflate(request()))}`),
        'logout.signature',
      ],
      ['with a parameter that hides another', () => query((text) => `xSAMLRequest=y&${text}`), 'logout.signature'],
      ['with the RelayState exchanged', () => query((text) => text.replace(/RelayState=[^&]*/, 'RelayState=evil')), 'logout.signature'],
      ['with the RelayState cut out', () => query((text) => text.replace(/RelayState=[^&]*&/, '')), 'logout.signature'],
      [
        'with a weaker algorithm',
        () => query((text) => text.replace(/SigAlg=[^&]*/, `SigAlg=${encodeURIComponent('http://www.w3.org/2000/09/xmldsig#rsa-sha1')}`)),
        'logout.signature',
      ],
      ['with a NUL in the algorithm', () => query((text) => text.replace(/SigAlg=[^&]*/, 'SigAlg=a%00b')), 'logout.signature'],
      ['with names in other letters', () => query((text) => text.replace('SigAlg', 'sigalg')), 'logout.signature'],
      [
        'from another issuer',
        () => byRedirect(slo(), { xml: request({ issuer: 'https://evil.example' }), kind: 'SAMLRequest' }, signing()),
        'logout.issuer',
      ],
      [
        'for another connection',
        () => byRedirect(slo(), { xml: request({ destination: `${house.baseUrl}/saml/other/slo` }), kind: 'SAMLRequest' }, signing()),
        'logout.destination',
      ],
      [
        'for nowhere',
        () => byRedirect(slo(), { xml: request().replace(/ Destination="[^"]*"/, ''), kind: 'SAMLRequest' }, signing()),
        'logout.destination',
      ],
      [
        'that has run out',
        () =>
          byRedirect(slo(), { xml: request({ now: new Date(house.clock.now.getTime() - 20 * 60_000) }), kind: 'SAMLRequest' }, signing()),
        'logout.expired',
      ],
      [
        'from the future',
        () =>
          byRedirect(slo(), { xml: request({ now: new Date(house.clock.now.getTime() + 20 * 60_000) }), kind: 'SAMLRequest' }, signing()),
        'logout.expired',
      ],
      [
        'without an ID',
        () => byRedirect(slo(), { xml: request().replace(/ ID="[^"]*"/, ''), kind: 'SAMLRequest' }, signing()),
        'logout.malformed',
      ],
      [
        'that names nobody',
        () => byRedirect(slo(), { xml: request().replace(/<saml:NameID.*?<\/saml:NameID>/, ''), kind: 'SAMLRequest' }, signing()),
        'logout.malformed',
      ],
      [
        'with a comment in the name',
        () => byRedirect(slo(), { xml: request().replace('>ada<', '>ada<!-- -->.evil<'), kind: 'SAMLRequest' }, signing()),
        'logout.malformed',
      ],
      ['with a DOCTYPE', () => byRedirect(slo(), { xml: `<!DOCTYPE x>${request()}`, kind: 'SAMLRequest' }, signing()), 'logout.malformed'],
      [
        'that inflates to megabytes',
        () =>
          byRedirect(
            slo(),
            { xml: request().replace('</samlp:LogoutRequest>', `${' '.repeat(3_000_000)}</samlp:LogoutRequest>`), kind: 'SAMLRequest' },
            signing(),
          ),
        'logout.malformed',
      ],
      [
        'a response that nobody asked for',
        () => byRedirect(slo(), { xml: response('_never-sent'), kind: 'SAMLResponse' }, signing()),
        'logout.unsolicited',
      ],
      ['nothing at all', () => ({ redirect: slo() }), 'logout.signature'],
      ['an empty form', () => ({ post: slo(), fields: {} }), 'logout.malformed'],
    ]
    const response = (inResponseTo: string, status: readonly [string, string?] = ['Success']) =>
      logoutResponseXml({ id: `_r${++count}`, now: house.clock.now, issuer: house.idp.entityId, destination: slo(), inResponseTo, status })
    const query = (edit: (text: string) => string): Dispatch => {
      const good = byRedirect(slo(), { xml: request(), kind: 'SAMLRequest', relayState: 'relay' }, signing())
      assert.ok('redirect' in good)
      const [path, text = ''] = good.redirect.split('?')
      return { redirect: `${path}?${edit(text)}` }
    }
    for (const [name, dispatch, code] of bad) {
      it(`refuses a message ${name}, and ends nobody’s session`, async () => {
        await house.signIn(new Walker())
        const page = await deliver(new Walker({ stopAtForms: true }), dispatch())
        assert.equal(page.status, 400, page.body)
        assert.match(page.body, /nothing was ended/)
        const record = await recordOf(page)
        assert.deepEqual([record?.flow, record?.code], ['logout', code], record?.detail ?? '')
        assert.ok(record?.steps.some((step) => !step.passed))
        assert.equal(await sessionsOf('ada'), 1)
      })
    }

    it('takes a request once', async () => {
      const dispatch = byRedirect(slo(), { xml: request(), kind: 'SAMLRequest' }, signing())
      await deliver(new Walker(), dispatch)
      await house.signIn(new Walker())
      const page = await deliver(new Walker(), dispatch)
      assert.equal((await recordOf(page))?.code, 'logout.replayed')
      assert.equal(await sessionsOf('ada'), 1)
    })

    for (const [status, words] of [
      [['Success'], /at every app behind Gatehouse, and at your identity provider/],
      [['Success', 'PartialLogout'], /could not sign you out everywhere/],
      [['Responder'], /could not sign you out there/],
    ] as const) {
      it(`ends the session before it asks the identity provider, and tells its answer ${status.join('/')} honestly`, async () => {
        const walker = new Walker()
        await house.signIn(walker)
        const asked = await walker.get(`${house.baseUrl}/sign-out`)
        assert.match(asked.body, /and at your identity provider/)
        const page = await walker.step(`${house.baseUrl}/sign-out`)
        const form = page.dom.querySelector('[name=csrf]')?.getAttribute('value') ?? ''
        const sent = await posted(walker, form)
        assert.equal(await sessionsOf('ada'), 0, 'whatever the identity provider does')
        const location = new URL(String(sent.headers.location))
        assert.equal(location.origin + location.pathname, 'https://idp.example/slo')
        const id = location.searchParams.get('RelayState') ?? ''
        const answer = byRedirect(slo(), { xml: response(id, status), kind: 'SAMLResponse', relayState: id }, signing())
        assert.match((await deliver(walker, answer)).body, words)
        const again = await deliver(walker, byRedirect(slo(), { xml: response(id, status), kind: 'SAMLResponse' }, signing()))
        assert.equal((await recordOf(again))?.code, 'logout.unsolicited', 'answered once')
      })
    }
    const posted = async (walker: Walker, csrf: string): Promise<Page> => {
      const cookie = await walker.jar.getCookieString(house.baseUrl)
      const answer = await requestOnce(
        'POST',
        new URL('/sign-out', house.baseUrl),
        { cookie, 'content-type': 'application/x-www-form-urlencoded' },
        new URLSearchParams({ csrf }).toString(),
      )
      return answer as unknown as Page
    }

    it('is nowhere where the connection does not want it', async () => {
      await house.apply({ connections: [{ ...house.connection, singleLogout: false }] })
      assert.equal((await new Walker().get(slo())).status, 404)
      await house.apply({ connections: [house.connection] })
    })
  })
}
