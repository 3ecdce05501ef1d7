// The small doors of Gatehouse's own host: /me, sign-in and its choices, sign-out, metadata, the look-up API.

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import request from 'supertest'
import { portsOf } from '../../src/app/ports.ts'
import { createToken } from '../../src/flows/create-token.ts'
import { OPERATOR, standardPolicy, startHouse, type TestHouse } from '../support/house.ts'
import { keyPair, metadataXml, readRequest } from '../support/idp.ts'
import { readForm, Walker } from '../support/walker.ts'

describe('Gatehouse’s own pages', () => {
  let house: TestHouse
  let walker: Walker
  let cookie: string
  const at = () => request(house.baseUrl)

  before(async () => {
    house = await startHouse()
    walker = new Walker()
    await house.signIn(walker, { nameId: 'ada', attributes: { email: 'ada@corp.example', name: '<b>Ada</b>', groups: ['x', 'y'] } })
    cookie = await walker.jar.getCookieString(house.baseUrl)
  })
  after(() => house?.close())

  it('show people what is known of them, escaped', async () => {
    const answer = await at().get('/me').set('Cookie', cookie).set('Accept', 'text/html').expect(200)
    assert.match(answer.text, /&lt;b&gt;Ada&lt;\/b&gt;/)
    assert.doesNotMatch(answer.text, /<b>Ada/)
    assert.match(answer.headers['content-security-policy'] ?? '', /default-src 'none'/)
    assert.equal(answer.headers['cache-control'], 'no-store')
  })

  it('answer programs with JSON, and with 401 where nobody is signed in', async () => {
    const me = await at().get('/me').set('Cookie', cookie).set('Accept', 'application/json').expect(200)
    assert.deepEqual(me.body.apps[0].headers, { 'X-Remote-User': 'ada', 'X-Remote-Name': '<b>Ada</b>', 'X-Remote-Groups': 'x;y' })
    assert.equal(me.body.session.connection, 'corp')
    await at()
      .get('/me')
      .set('Accept', 'application/json')
      .expect(401)
      .expect('Content-Type', /problem\+json/)
    await at().get('/me').set('Accept', 'text/html').expect(303).expect('Location', '/sign-in?return_to=/me')
  })

  it('send a request that names us, to the identity provider', async () => {
    const answer = await at().get('/sign-in/corp').expect(303)
    const location = new URL(answer.headers.location ?? '')
    assert.equal(location.origin + location.pathname, 'https://idp.example/sso')
    const { xml, id, relayState } = readRequest(location.href)
    assert.match(xml, new RegExp(`AssertionConsumerServiceURL="${house.baseUrl}/saml/corp/acs"`))
    assert.match(xml, new RegExp(`>${house.baseUrl}/saml/corp/metadata</`))
    assert.equal(relayState, id, 'an opaque token, never an address')
    assert.equal(location.searchParams.has('SigAlg'), false, 'its metadata does not ask for a signature')
    const [set = ''] = answer.headers['set-cookie'] ?? []
    assert.match(set, new RegExp(`^gatehouse-request-${id}=[\\w-]{43}; .*Path=/saml/corp/acs; HttpOnly`))
    await at().get('/sign-in/nowhere').expect(404)
  })

  it('describe us to an identity provider', async () => {
    const answer = await at()
      .get('/saml/corp/metadata')
      .expect(200)
      .expect('Content-Type', /samlmetadata\+xml/)
    const text = answer.text ?? answer.body.toString()
    assert.match(text, new RegExp(`entityID="${house.baseUrl}/saml/corp/metadata"`))
    assert.match(text, new RegExp(`Location="${house.baseUrl}/saml/corp/acs"`))
  })

  it('let people choose where there is a choice', async () => {
    const xml = metadataXml('https://other.example', 'https://other.example/sso', [(await keyPair()).certificate])
    const { connections } = standardPolicy(xml, 'unused', 'http://127.0.0.1:9')
    await house.apply({ connections: connections.map((one) => ({ ...one, name: 'other' })) })
    const page = await new Walker().get(`${house.baseUrl}/sign-in?return_to=${encodeURIComponent(`${house.appUrl}/x`)}`)
    assert.deepEqual(
      page.dom.querySelectorAll('main a').map((link) => link.text),
      ['corp', 'other'],
    )
    const toIdp = await new Walker().step(new URL(page.dom.querySelectorAll('main a')[1]?.getAttribute('href') ?? '', page.url))
    assert.match(toIdp.headers.location ?? '', /^https:\/\/other\.example\/sso/)
  })

  it('never take an answer meant for another connection', async () => {
    const browser = new Walker()
    const { id } = await house.begin(browser)
    const answer = house.answer({ inResponseTo: id })
    const page = await browser.post(answer.acs.replace('/corp/', '/other/'), { SAMLResponse: Buffer.from('<a/>').toString('base64') })
    assert.equal(page.status, 400)
    assert.equal((await house.post(browser, { ...answer, acs: answer.acs.replace('/corp/', '/other/') })).status, 403)
  })

  it('sign out only for a form of our own', async () => {
    const browser = new Walker()
    await house.signIn(browser, { nameId: 'out' })
    const page = await browser.get(`${house.baseUrl}/sign-out`)
    assert.ok(readForm(page).fields.csrf)
    assert.equal((await browser.post(`${house.baseUrl}/sign-out`, {})).status, 403)
    assert.equal((await browser.post(`${house.baseUrl}/sign-out`, { csrf: 'x' })).status, 403)
    assert.equal((await browser.get(`${house.baseUrl}/me`, { accept: 'application/json' })).status, 200)
    await browser.submit(page)
    assert.equal((await browser.get(`${house.baseUrl}/me`, { accept: 'application/json' })).status, 401)
  })

  it('answer look-ups for a token in force, and nobody else', async () => {
    const ports = portsOf(house.db)
    const { secret } = await createToken(ports, { name: 'help desk', days: 1, actor: OPERATOR, now: house.clock.now })
    await at().get('/api/v1/users').expect(401).expect('WWW-Authenticate', 'Bearer')
    await at().get('/api/v1/users').set('Authorization', 'Bearer gatehouse_wrongwrongwrongwrongwrong').expect(401)
    const bearer = { Authorization: `Bearer ${secret}` }
    const users = await at().get('/api/v1/users?search=ad').set(bearer).expect(200)
    assert.deepEqual(
      users.body.users.map((user: { userName: string }) => user.userName),
      ['ada'],
    )
    const user = await at().get('/api/v1/users/ADA').set(bearer).expect(200)
    assert.equal(user.body.profile.email.from, 'attributes.email')
    await at().get('/api/v1/users/nobody').set(bearer).expect(404)
    const signIns = await at().get('/api/v1/sign-ins?limit=1').set(bearer).expect(200)
    const [{ reference }] = signIns.body.signIns
    await at().get(`/api/v1/sign-ins/${reference.toLowerCase()}`).set(bearer).expect(200)
    await at().get('/api/v1/sign-ins/what').set(bearer).expect(404)
  })

  it('say plainly that there is nothing', async () => {
    await at()
      .get('/nowhere')
      .set('Accept', 'text/html')
      .expect(404)
      .expect(/There is nothing here/)
    await at().get('/.gatehouse/passwd').expect(404)
    await at().get('/.gatehouse/pico.css').expect(200)
    await at()
      .get('/%E0%A4%A')
      .expect((answer) => assert.ok([400, 404].includes(answer.status)))
  })
})
