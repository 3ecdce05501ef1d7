// The console in a real browser: an administrator imports, looks at the plan, decides what waits, does what is to be done by hand,
// and shows an auditor that it was done. Keeps screenshots in test/.output/ for people to look at.

import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import type { Page } from 'playwright-core'
import { startBrowser, type TestBrowser } from '../support/browser.ts'
import { type TestDemo, testDemo } from '../support/demo.ts'
import { missing } from '../support/peers.ts'

describe('the console in Chromium', { skip: missing('chromium') }, () => {
  let demo: TestDemo
  let browser: TestBrowser
  let page: Page

  before(async () => {
    demo = await testDemo()
    browser = await startBrowser()
    page = await browser.context.newPage()
  })
  after(async () => {
    await browser?.close()
    await demo?.stop()
  })

  const signIn = async (name: RegExp) => {
    await browser.context.clearCookies()
    await page.goto(`${demo.gatehouse}/console`)
    await page.getByRole('button', { name }).click()
    await page.waitForURL(`${demo.gatehouse}/console/**`)
  }
  /** Runs go on in a process of their own; the page looks again by itself. */
  const ended = async (outcome: RegExp) => {
    await page.locator('p strong', { hasText: outcome }).first().waitFor({ timeout: 60_000 })
  }
  const narrow = async (name: string) => {
    await page.setViewportSize({ width: 360, height: 740 })
    assert.equal(await page.evaluate('document.documentElement.scrollWidth - window.innerWidth'), 0, 'nothing sticks out on a phone')
    await page.screenshot({ path: browser.screenshot(name) })
    await page.setViewportSize({ width: 1000, height: 760 })
  }

  it('lets nobody in who is no administrator', async () => {
    await signIn(/Grace Hopper/)
    await page.getByRole('heading', { name: 'This is for administrators' }).waitFor()
    await page.screenshot({ path: browser.screenshot('20-console-closed') })
  })

  it('imports a source, and says what came of it', async () => {
    await signIn(/Ada Lovelace/)
    await page.getByRole('heading', { name: 'Imports' }).waitFor()
    await page.screenshot({ path: browser.screenshot('21-console-imports'), fullPage: true })
    await narrow('22-console-imports-on-a-phone')
    await page.getByRole('button', { name: 'Import', exact: true }).click()
    await ended(/waiting/)
    assert.match((await page.locator('main').textContent()) ?? '', /A full run: whoever is not in the feed has left/)
    assert.match((await page.locator('main').textContent()) ?? '', /by ada@corp\.example/)
    await page.screenshot({ path: browser.screenshot('23-console-run'), fullPage: true })
  })

  it('gives a disputed row to whom the administrator says', async () => {
    await page.getByRole('link', { name: '1 waits for you' }).click()
    await page.getByText('administrators are never linked by a rule').first().waitFor()
    await page.screenshot({ path: browser.screenshot('24-console-rows'), fullPage: true })
    await narrow('25-console-rows-on-a-phone')
    // By keyboard.
    await page.getByRole('button', { name: 'It is this user' }).focus()
    await page.keyboard.press('Enter')
    await page.getByText('There is none.').waitFor()
  })

  it('takes a file, plans only, and approves the leavers', async () => {
    const lines = readFileSync(join(demo.folder, 'data/import/people.csv'), 'utf8').trim().split('\n')
    const file = join(demo.folder, 'without-mary.csv')
    writeFileSync(file, lines.filter((line) => !line.includes('mary@')).join('\n'))
    await page.goto(`${demo.gatehouse}/console/imports`)
    assert.match((await page.getByText('Last run:').textContent()) ?? '', /full, applied.* by ada@corp\.example/)
    await page.getByLabel('CSV file').setInputFiles(file)
    await page.getByRole('button', { name: 'Upload and import' }).click()
    await ended(/waiting/)
    assert.match((await page.locator('main').textContent()) ?? '', /without-mary\.csv.*Nobody was changed yet/s)
    await page.getByLabel('Go ahead with').selectOption('leaver')
    await page.getByRole('button', { name: 'Approve' }).click()
    await ended(/applied/)
    await page.screenshot({ path: browser.screenshot('26-console-applied'), fullPage: true })
  })

  it('lists what is to be done by hand, and shows when all of it is', async () => {
    await page.goto(`${demo.gatehouse}/console/tasks`)
    await page.screenshot({ path: browser.screenshot('27-console-tasks'), fullPage: true })
    await narrow('28-console-tasks-on-a-phone')
    await page.getByLabel(/Take away mary@corp.example’s access to badges/).check()
    await page.getByLabel('Note').fill('badge collected')
    const evidence = await page.getByRole('link', { name: 'evidence' }).getAttribute('href')
    await page.getByRole('button', { name: 'Mark as done' }).click()
    await page.getByText('There is nothing to do.').waitFor()
    await page.goto(`${demo.gatehouse}${evidence}`)
    await page.getByText('All of it is done').waitFor()
    await page.screenshot({ path: browser.screenshot('29-console-evidence'), fullPage: true })
    const answer = await page.request.get(`${demo.gatehouse}${evidence}?as=csv`)
    assert.match(await answer.text(), /^"when","what","text","reference"\r\n.*hr was read \(without-mary\.csv\)/s)
  })

  it('takes a run back', async () => {
    await page.goto(`${demo.gatehouse}/console/runs`)
    await page.screenshot({ path: browser.screenshot('30-console-runs'), fullPage: true })
    await page.locator('tbody a').first().click()
    await page.getByRole('button', { name: 'Take it back' }).click()
    for (let i = 0; i < 60; i++) {
      await page.goto(`${demo.gatehouse}/console/runs`)
      if (await page.getByRole('cell', { name: 'undone' }).count()) break
      await page.waitForTimeout(500)
    }
    assert.equal(await page.getByRole('cell', { name: 'undone' }).count(), 1)
    await page.goto(`${demo.gatehouse}/console/coverage`)
    await page.screenshot({ path: browser.screenshot('31-console-coverage'), fullPage: true })
  })

  it('takes no form that did not come from its pages', async () => {
    const forged = await page.request.post(`${demo.gatehouse}/console/imports/hr`, { form: { mode: 'full', csrf: 'x' } })
    assert.equal(forged.status(), 403)
    const upload = await page.request.post(`${demo.gatehouse}/console/imports/hr/file`, {
      multipart: { csrf: 'x', file: { name: 'x.csv', mimeType: 'text/csv', buffer: Buffer.from('a,b\n') } },
    })
    assert.equal(upload.status(), 403)
  })
})
