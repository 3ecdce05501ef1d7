// LemonLDAP::NG through Lasso: one entity with several roles, answers to logouts at an address of their own, keys without a
// certificate in its signatures, and AES-CBC as the only way it encrypts. It signs people out in hidden frames.

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { findSignIn, findUser } from '../../src/store/console-reads.ts'
import { startHouse, type TestHouse } from '../support/house.ts'
import { type LemonLdap, logOutOfLemonLdap, startLemonLdap } from '../support/lemonldap.ts'
import { missing } from '../support/peers.ts'
import { type Page, requestOnce, Walker } from '../support/walker.ts'

describe('LemonLDAP::NG', { skip: missing('lemonldap') }, () => {
  const houses: TestHouse[] = []
  const idps: LemonLdap[] = []
  after(async () => {
    for (const one of [...idps, ...houses]) await ('stop' in one ? one.stop() : one.close())
  })

  const connection = {
    name: 'llng',
    kind: 'saml',
    subjects: '.',
    requests: { sign: 'always' },
    externalId: 'attributes.uid',
    jit: { create: true, update: true },
    mapping: [
      { to: 'userName', from: 'attributes.uid' },
      { to: 'email', from: 'attributes.mail' },
    ],
  }

  const start = async (encrypt: 'none' | 'assertion', environment: Record<string, string> = {}) => {
    const house = await startHouse({ environment })
    houses.push(house)
    Object.defineProperty(house.clock, 'now', { get: () => new Date() })
    await house.apply({ connections: [connection] })
    const { body } = await requestOnce('GET', new URL('/saml/llng/metadata', house.baseUrl), {})
    const idp = await startLemonLdap({ spMetadata: body, encrypt })
    idps.push(idp)
    await house.apply({ connections: [{ ...connection, metadata: { url: idp.metadataUrl } }] })
    return { house, idp }
  }
  const signIn = async (house: TestHouse, walker: Walker): Promise<Page> => {
    const login = await walker.get(`${house.baseUrl}/sign-in/llng`)
    return login.dom.querySelector('#lform') ? walker.submit(login, { user: 'dwho', password: 'dwho' }, '#lform') : login
  }

  describe('in the clear', () => {
    let house: TestHouse
    let idp: LemonLdap
    before(async () => {
      ;({ house, idp } = await start('none'))
    })

    it('signs a person in', async () => {
      const page = await signIn(house, new Walker())
      assert.equal(page.url.href, `${house.baseUrl}/me`, page.body)
      assert.equal((await findUser(house.db, 'dwho'))?.state, 'active')
    })

    it('signs the person out there when they sign out here', async () => {
      const walker = new Walker()
      await signIn(house, walker)
      const page = await walker.submit(await walker.get(`${house.baseUrl}/sign-out`))
      assert.match(page.body, /at your identity provider/, page.body)
      assert.deepEqual(idp.errors(), [])
      assert.ok((await walker.get(`${house.baseUrl}/sign-in/llng`)).dom.querySelector('#lform'), 'it asks again')
    })

    it('ends the session here when the person signs out there, in a frame', async () => {
      const walker = new Walker()
      await signIn(house, walker)
      const before = Number((await findUser(house.db, 'dwho'))?.sessions)
      await logOutOfLemonLdap(idp, walker)
      assert.deepEqual(idp.errors(), [])
      assert.ok(Number((await findUser(house.db, 'dwho'))?.sessions) < before)
    })
  })

  it('is refused where it encrypts with AES-CBC, and says why', async () => {
    const { house } = await start('assertion')
    const page = await signIn(house, new Walker())
    assert.equal(page.status, 403)
    const record = await findSignIn(house.db, page.dom.querySelector('.reference')?.text ?? '')
    assert.equal(record?.code, 'encryption.failed')
    assert.match(record?.detail ?? '', /AES-CBC .*INSECURE_ALLOW_AES_CBC/)
  })

  it('is accepted with AES-CBC in its signed response where the operator allows that', async () => {
    const { house } = await start('assertion', { INSECURE_ALLOW_AES_CBC: 'true' })
    const page = await signIn(house, new Walker())
    assert.equal(page.url.href, `${house.baseUrl}/me`, page.body)
  })
})
