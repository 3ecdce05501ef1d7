// Single sign-on by HTTP-POST and single logout in a real browser, with its content security policy, its cookies and its
// idea of what a form may lead to; and with JavaScript switched off.

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { findUser } from '../../src/store/console-reads.ts'
import { startBrowser, type TestBrowser } from '../support/browser.ts'
import { startHouse, type TestHouse } from '../support/house.ts'
import { missing } from '../support/peers.ts'
import { type Pysaml2, startPysaml2 } from '../support/pysaml2.ts'
import { requestOnce } from '../support/walker.ts'

describe('Chromium at an identity provider', { skip: missing('chromium') || missing('pysaml2') }, () => {
  let house: TestHouse
  let idp: Pysaml2
  let browser: TestBrowser
  before(async () => {
    house = await startHouse()
    Object.defineProperty(house.clock, 'now', { get: () => new Date() })
    const connection = {
      ...house.connection,
      name: 'py',
      metadata: undefined,
      requests: { sign: 'always', binding: 'post' },
      jit: { create: true, update: true },
      mapping: [{ to: 'userName', from: 'nameID' }],
    }
    await house.apply({ connections: [connection] })
    const { body } = await requestOnce('GET', new URL('/saml/py/metadata', house.baseUrl), {})
    idp = await startPysaml2({
      spMetadata: body,
      users: [{ name: 'lise', password: 'fission', attributes: { mail: ['lise@corp.example'] }, nameId: 'lise' }],
    })
    await house.apply({ connections: [{ ...connection, metadata: { url: idp.metadataUrl } }] })
    browser = await startBrowser()
  })
  after(async () => {
    await browser?.close()
    await idp?.stop()
    await house?.close()
  })

  it('signs in by a form that sends itself, and signs out everywhere', async () => {
    const page = await browser.context.newPage()
    const errors: string[] = []
    page.on('console', (message) => /policy/i.test(message.text()) && errors.push(message.text()))
    await page.goto(`${house.baseUrl}/sign-in/py`)
    await page.fill('input[name=username]', 'lise')
    await page.fill('input[name=password]', 'fission')
    await page.press('input[name=password]', 'Enter')
    await page.waitForURL(`${house.baseUrl}/me`)
    await page.goto(`${house.baseUrl}/sign-out`)
    await page.screenshot({ path: browser.screenshot('7-sign-out-everywhere') })
    await page.getByRole('button', { name: 'Sign out' }).click()
    await page.getByText('and at your identity provider').waitFor()
    await page.screenshot({ path: browser.screenshot('8-signed-out-everywhere') })
    assert.deepEqual(errors, [], 'nothing that a policy of ours forbids')
    await page.goto(`${house.baseUrl}/sign-in/py`)
    await page.locator('input[name=password]').waitFor()
    await page.close()
  })

  for (const binding of ['redirect', 'post'] as const) {
    it(`is signed out here, over ${binding}, when the person signs out there`, async () => {
      const page = await browser.context.newPage()
      await page.goto(`${house.baseUrl}/sign-in/py`)
      await page.fill('input[name=username]', 'lise')
      await page.fill('input[name=password]', 'fission')
      await page.press('input[name=password]', 'Enter')
      await page.waitForURL(`${house.baseUrl}/me`)
      await page.goto(idp.startLogoutUrl(binding))
      await page.getByText('logged out: urn:oasis:names:tc:SAML:2.0:status:Success').waitFor()
      assert.equal((await findUser(house.db, 'lise'))?.sessions, 0)
      await page.close()
    })
  }

  it('has a button where there is no JavaScript', async () => {
    const context = await browser.context.browser()?.newContext({ javaScriptEnabled: false })
    assert.ok(context)
    const page = await context.newPage()
    await page.goto(`${house.baseUrl}/sign-in/py`)
    await page.screenshot({ path: browser.screenshot('9-without-javascript') })
    await page.getByRole('button', { name: 'Continue' }).click()
    await page.locator('input[name=password]').waitFor()
    await context.close()
  })
})
