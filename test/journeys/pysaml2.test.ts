// pysaml2 as the identity provider: our connection is a draft until its metadata exists, its assertions are encrypted with
// AES-GCM for us, and it checks every signature of ours. Sign-in and single logout, begun by either side, both bindings.

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { findSignIn, findUser, listSignIns } from '../../src/store/console-reads.ts'
import { startHouse, type TestHouse } from '../support/house.ts'
import { missing } from '../support/peers.ts'
import { type Pysaml2, startPysaml2 } from '../support/pysaml2.ts'
import { type Page, requestOnce, Walker } from '../support/walker.ts'

describe('pysaml2', { skip: missing('pysaml2') }, () => {
  let house: TestHouse
  let idp: Pysaml2

  const connection = {
    name: 'py',
    kind: 'saml',
    subjects: '.',
    requests: { sign: 'always', binding: 'post' },
    signed: 'both',
    externalId: 'attributes.urn:oid:0.9.2342.19200300.100.1.3',
    jit: { create: true, update: true },
    mapping: [
      { to: 'userName', from: 'attributes.urn:oid:0.9.2342.19200300.100.1.3' },
      { to: 'displayName', from: 'attributes.urn:oid:2.16.840.1.113730.3.1.241' },
    ],
  }

  before(async () => {
    house = await startHouse()
    Object.defineProperty(house.clock, 'now', { get: () => new Date() })
    await house.apply({ connections: [connection] })
    const draft = await requestOnce('GET', new URL('/saml/py/metadata', house.baseUrl), {})
    assert.equal(draft.status, 200)
    idp = await startPysaml2({
      spMetadata: draft.body,
      users: [{ name: 'lise', password: 'fission', attributes: { mail: ['lise@corp.example'], displayName: ['Lise Meitner'] } }],
      want: { signResponse: true, signAssertion: true, encryptAssertion: true },
    })
    await house.apply({ connections: [{ ...connection, metadata: { url: idp.metadataUrl } }] })
  })
  after(async () => {
    await idp?.stop()
    await house?.close()
  })

  const signIn = async (walker: Walker): Promise<Page> => {
    const login = await walker.get(`${house.baseUrl}/sign-in/py`)
    return login.dom.querySelector('input[name=password]') ? walker.submit(login, { username: 'lise', password: 'fission' }) : login
  }

  it('signs a person in with an encrypted assertion, asked by HTTP-POST', async () => {
    const page = await signIn(new Walker())
    assert.equal(page.url.href, `${house.baseUrl}/me`, page.body)
    const user = await findUser(house.db, 'lise@corp.example')
    assert.deepEqual(user?.profile.displayName?.values, ['Lise Meitner'])
    const [latest] = await listSignIns(house.db, { limit: 1 })
    const record = await findSignIn(house.db, latest?.reference ?? '')
    for (const step of ['response-signature', 'decryption', 'assertion-signature']) {
      assert.ok(
        record?.steps.some((one) => one.step === step && one.passed),
        step,
      )
    }
  })

  it('signs the person out there when they sign out here', async () => {
    const walker = new Walker()
    await signIn(walker)
    const page = await walker.submit(await walker.get(`${house.baseUrl}/sign-out`))
    assert.match(page.body, /at your identity provider/)
    assert.match((await walker.get(`${house.baseUrl}/sign-in/py`)).body, /password/, 'it asks again')
  })

  for (const binding of ['redirect', 'post'] as const) {
    it(`ends the session here when the identity provider signs the person out over ${binding}`, async () => {
      const walker = new Walker()
      await signIn(walker)
      const before = (await findUser(house.db, 'lise@corp.example'))?.sessions
      const page = await walker.get(idp.startLogoutUrl(binding))
      assert.match(page.body, /logged out: urn:oasis:names:tc:SAML:2.0:status:Success/)
      assert.ok(Number((await findUser(house.db, 'lise@corp.example'))?.sessions) < Number(before))
      assert.match((await walker.get(`${house.baseUrl}/me`, { accept: 'application/json' })).body, /no-session/)
    })
  }
})
