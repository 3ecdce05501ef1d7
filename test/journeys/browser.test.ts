// The demo's round trip in a real browser, by keyboard as much as by mouse, on a desk and on a phone. Keeps screenshots in
// test/.output/ for people to look at.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { portsOf } from '../../src/app/ports.ts'
import { changeState } from '../../src/flows/change-state.ts'
import { findUser } from '../../src/store/console-reads.ts'
import { openDatabase } from '../../src/store/db.ts'
import { startBrowser, type TestBrowser } from '../support/browser.ts'
import { type TestDemo, testDemo } from '../support/demo.ts'
import { OPERATOR } from '../support/house.ts'
import { missing } from '../support/peers.ts'
import { NO_TARGETS } from '../support/world.ts'

describe('Chromium', { skip: missing('chromium') }, () => {
  let demo: TestDemo
  let browser: TestBrowser

  before(async () => {
    demo = await testDemo()
    browser = await startBrowser()
  })
  after(async () => {
    await browser?.close()
    await demo?.stop()
  })

  it('walks the round trip, from the app to the app', async () => {
    const page = await browser.context.newPage()
    const errors: string[] = []
    page.on('console', (message) => message.type() === 'error' && errors.push(message.text()))

    await page.goto(`${demo.app}/orders?open=1`)
    await page.getByText('Who are you today?').waitFor()
    await page.screenshot({ path: browser.screenshot('1-identity-provider') })
    // By keyboard: the first button is Ada's, the second Grace's.
    await page.getByRole('button', { name: /Grace Hopper/ }).focus()
    await page.keyboard.press('Enter')
    await page.locator('#user').waitFor()
    assert.equal(page.url(), `${demo.app}/orders?open=1`)
    assert.equal(await page.locator('#user').textContent(), 'Grace Hopper')
    await page.screenshot({ path: browser.screenshot('2-legacy-app') })

    await page.goto(`${demo.gatehouse}/me`)
    assert.equal(await page.getByRole('row', { name: /^Department Engineering/ }).count(), 1)
    await page.screenshot({ path: browser.screenshot('3-me'), fullPage: true })
    await page.setViewportSize({ width: 360, height: 740 })
    const wider = await page.evaluate('document.documentElement.scrollWidth - window.innerWidth')
    assert.equal(wider, 0, 'nothing sticks out on a phone')
    await page.screenshot({ path: browser.screenshot('4-me-on-a-phone') })
    await page.setViewportSize({ width: 1000, height: 760 })

    const cookies = await browser.context.cookies([demo.gatehouse, demo.app])
    for (const cookie of cookies) assert.ok(cookie.httpOnly, cookie.name)
    assert.deepEqual(errors, [], 'no script, style or picture was refused')
    await page.close()
  })

  it('sees a changed attribute at the next sign-in', async () => {
    const page = await browser.context.newPage()
    await page.goto(`${demo.identityProvider}/people/demo-1002`)
    await page.getByLabel('Department').fill('Navy')
    await page.getByRole('button', { name: 'Save' }).click()
    await page.goto(`${demo.gatehouse}/sign-in/demo`)
    await page.getByRole('button', { name: /Grace Hopper/ }).click()
    await page.getByRole('row', { name: /^Department Navy/ }).waitFor()
    await page.close()
  })

  it('tells a deprovisioned person in plain words', async () => {
    const db = openDatabase(
      { sqlite: join(demo.dataDir, 'gatehouse.db') },
      { current: readFileSync(join(demo.dataDir, 'secret.key'), 'utf8') },
    )
    const user = await findUser(db, 'grace@corp.example')
    assert.ok(user)
    await changeState(portsOf(db), {
      user: user.id,
      policy: NO_TARGETS,
      to: 'deprovisioned',
      reason: 'left',
      actor: OPERATOR,
      now: new Date(),
    })
    await db.close()
    const page = await browser.context.newPage()
    await page.goto(demo.app)
    await page.getByRole('button', { name: /Grace Hopper/ }).click()
    await page.getByRole('heading', { name: 'Your access has ended' }).waitFor()
    assert.match((await page.locator('.reference').textContent()) ?? '', /^[0-9A-Z]{4}-[0-9A-Z]{4}$/)
    await page.screenshot({ path: browser.screenshot('5-refused') })
    await page.close()
  })

  it('signs out', async () => {
    const page = await browser.context.newPage()
    await page.goto(demo.app)
    await page.getByRole('button', { name: /Ada Lovelace/ }).click()
    await page.getByRole('link', { name: 'Sign out' }).click()
    await page.screenshot({ path: browser.screenshot('6-sign-out') })
    await page.getByRole('button', { name: 'Sign out' }).click()
    await page.getByRole('heading', { name: 'You are signed out' }).waitFor()
    await page.goto(demo.app)
    await page.getByText('Who are you today?').waitFor()
    await page.close()
  })
})
