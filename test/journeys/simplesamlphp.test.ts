// A sign-in through SimpleSAMLphp, an identity provider that nobody here wrote: signed requests, signed responses and
// assertions, attribute names that are OIDs, and an ACS that is a cross-site POST away.

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { findSignIn, findUser } from '../../src/store/console-reads.ts'
import { startHouse, type TestHouse } from '../support/house.ts'
import { missing } from '../support/peers.ts'
import { type SimpleSamlPhp, startSimpleSamlPhp } from '../support/simplesamlphp.ts'
import { Walker } from '../support/walker.ts'

describe('SimpleSAMLphp', { skip: missing('simplesamlphp') }, () => {
  let house: TestHouse
  let idp: SimpleSamlPhp

  before(async () => {
    house = await startHouse()
    // The other side has a clock of its own.
    Object.defineProperty(house.clock, 'now', { get: () => new Date() })
    const entityId = `${house.baseUrl}/saml/ssp/metadata`
    idp = await startSimpleSamlPhp({
      sp: { entityId, acs: `${house.baseUrl}/saml/ssp/acs`, slo: `${house.baseUrl}/saml/ssp/slo`, certificate: house.spKeys.certificate },
      users: [
        {
          name: 'marie',
          password: 'radium',
          attributes: {
            uid: ['marie'],
            mail: ['Marie@Corp.example'],
            displayName: ['Marie Skłodowska-Curie'],
            eduPersonAffiliation: ['staff', 'faculty'],
          },
        },
        { name: 'pierre', password: 'piezo', attributes: { uid: ['pierre'], displayName: ['Pierre'] } },
      ],
    })
    await house.apply({
      connections: [
        {
          name: 'ssp',
          kind: 'saml',
          subjects: '.',
          metadata: { url: idp.metadataUrl },
          requests: { sign: 'always' },
          jit: { create: true, update: true, required: ['email'] },
          mapping: [
            { to: 'userName', from: 'nameID' },
            { to: 'email', from: 'attributes.urn:oid:0.9.2342.19200300.100.1.3' },
            { to: 'displayName', from: 'attributes.urn:oid:2.16.840.1.113730.3.1.241' },
            { to: 'groups', from: 'attributes.urn:oid:1.3.6.1.4.1.5923.1.1.1.1' },
          ],
        },
      ],
    })
  })
  after(async () => {
    await idp?.stop()
    await house?.close()
  })

  const signIn = async (walker: Walker, username: string, password: string) => {
    const chooser = await walker.get(`${house.appUrl}/reports/q3?format=full`)
    const link = chooser.dom.querySelectorAll('a').find((one) => one.text.trim() === 'ssp')
    const login = await walker.get(new URL(link?.getAttribute('href') ?? '', chooser.url))
    assert.match(login.url.href, /loginuserpass/)
    return walker.submit(login, { username, password }, 'form[name=f]')
  }

  it('signs a person in and tells the app who it is', async () => {
    const walker = new Walker()
    const page = await signIn(walker, 'marie', 'radium')
    assert.equal(page.url.href, `${house.appUrl}/reports/q3?format=full`)
    const received = house.upstream.received.at(-1)
    assert.equal(received?.headers['x-remote-user'], 'marie')
    assert.equal(Buffer.from(String(received?.headers['x-remote-name']), 'latin1').toString('utf8'), 'Marie Skłodowska-Curie')
    assert.equal(received?.headers['x-remote-groups'], 'staff;faculty')
    const user = await findUser(house.db, 'marie')
    assert.equal(user?.state, 'active')
    assert.deepEqual(user?.profile.email?.values, ['Marie@Corp.example'])
    assert.deepEqual(
      user?.links.map((link) => [link.source, link.externalId]),
      [['ssp', 'marie']],
    )
    assert.ok(walker.trail.some((step) => step.method === 'POST' && step.url === `${house.baseUrl}/saml/ssp/acs`))
  })

  it('refuses a person about whom the identity provider says too little', async () => {
    const page = await signIn(new Walker(), 'pierre', 'piezo')
    assert.equal(page.status, 403)
    assert.match(page.body, /Something about you is missing/)
    const record = await findSignIn(house.db, page.dom.querySelector('.reference')?.text ?? '')
    assert.match(record?.detail ?? '', /email \(from attributes\.urn:oid:0\.9\.2342\.19200300\.100\.1\.3\)/)
    assert.equal(await findUser(house.db, 'pierre'), undefined)
  })

  it('knows the person again', async () => {
    await signIn(new Walker(), 'marie', 'radium')
    assert.equal((await findUser(house.db, 'marie'))?.sessions, 2)
    assert.equal(await house.count('users'), 1)
  })

  it('signs the person out there when they sign out here', async () => {
    const walker = new Walker()
    await signIn(walker, 'marie', 'radium')
    const page = await walker.submit(await walker.get(`${house.baseUrl}/sign-out`))
    assert.match(page.body, /at your identity provider/, page.body)
    assert.match((await walker.get(`${house.baseUrl}/sign-in/ssp`)).url.href, /loginuserpass/, 'it asks again')
  })

  it('ends the session here, at every app, when the person signs out there', async () => {
    const walker = new Walker()
    await signIn(walker, 'marie', 'radium')
    const before = Number((await findUser(house.db, 'marie'))?.sessions)
    const page = await walker.get(
      `${idp.url}/saml2/idp/SingleLogoutService.php?ReturnTo=${encodeURIComponent(`${idp.url}/module.php/core/loginuserpass.php`)}`,
    )
    assert.ok(page.status < 500, page.body)
    assert.equal(Number((await findUser(house.db, 'marie'))?.sessions), before - 1)
    assert.notEqual((await walker.step(`${house.appUrl}/`)).status, 200, 'the app’s key is gone too')
  })
})
