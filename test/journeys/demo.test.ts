// The demo as a newcomer walks it: open the app, sign in at the demo's identity provider, see what the app received,
// change something, sign in again; then be deprovisioned and refused.

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { run } from '../../src/app/cli/cli.ts'
import { ConfigFaults } from '../../src/app/config.ts'
import { type Demo, startDemo } from '../../src/app/demo/demo.ts'
import { freePort } from '../support/ports.ts'
import { type Page, Walker } from '../support/walker.ts'

describe('the demo', () => {
  let demo: Demo
  let folder: string
  const environment: Record<string, string> = {}

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'gatehouse-demo-'))
    Object.assign(environment, {
      PORT: String(await freePort()),
      GATEHOUSE_DEMO_IDP_PORT: String(await freePort()),
      GATEHOUSE_DEMO_APP_PORT: String(await freePort()),
      GATEHOUSE_DATA_DIR: folder,
    })
    demo = await startDemo(environment)
  })
  after(async () => {
    await demo?.stop()
    rmSync(folder, { recursive: true, force: true })
  })

  const choose = (walker: Walker, page: Page, id: string) => {
    assert.match(page.body, /Who are you today/)
    return walker.submit(page, { person: id })
  }

  it('brings a person from the app through sign-in back to the page first asked for', async () => {
    const walker = new Walker()
    const page = await choose(walker, await walker.get(`${demo.app}/orders?open=1&note=caf%C3%A9`), 'demo-1004')
    assert.equal(page.url.href, `${demo.app}/orders?open=1&note=caf%C3%A9`)
    assert.match(page.body, /José Núñez/)
    const whoami = JSON.parse((await walker.get(`${demo.app}/whoami.json`)).body)
    assert.deepEqual(whoami.identity, {
      'x-remote-user': 'jose@corp.example',
      'x-remote-name': 'José Núñez',
      'x-remote-email': 'jose@corp.example',
      'x-remote-department': 'Finance',
      'x-remote-groups': 'staff;finance',
    })
  })

  it('updates the profile when the identity provider says something new', async () => {
    const walker = new Walker()
    await choose(walker, await walker.get(demo.app), 'demo-1003')
    const form = await walker.get(`${demo.identityProvider}/people/demo-1003`)
    await walker.submit(form, { department: 'Flight' })
    await choose(walker, await walker.get(`${demo.gatehouse}/sign-in/demo`), 'demo-1003')
    const me = JSON.parse((await walker.get(`${demo.gatehouse}/me`, { accept: 'application/json' })).body)
    assert.deepEqual(me.attributes.find((one: { name: string }) => one.name === 'department').values, ['Flight'])
    assert.equal(me.apps[0].headers['X-Remote-Department'], 'Flight')
  })

  it('refuses whom an operator has deprovisioned, ends the session at once, and gives a reference', async () => {
    const walker = new Walker()
    await choose(walker, await walker.get(demo.app), 'demo-1002')
    const before = process.env
    process.env = { ...before, ...environment }
    try {
      assert.equal(await run(['user', 'deprovision', 'GRACE@corp.example', '--reason', 'left', '--json']), 0)
    } finally {
      process.env = before
    }
    const page = await choose(walker, await walker.get(demo.app), 'demo-1002')
    assert.equal(page.status, 403)
    assert.match(page.body, /Your access has ended/)
    assert.match(page.dom.querySelector('.reference')?.text ?? '', /^[0-9A-Z]{4}-[0-9A-Z]{4}$/)
  })

  it('signs out here and at the app', async () => {
    const walker = new Walker()
    await choose(walker, await walker.get(demo.app), 'demo-1001')
    const page = await walker.submit(await walker.get(`${demo.app}/.gatehouse/sign-out`))
    assert.match(page.body, /You are signed out/)
    assert.match((await walker.get(demo.app)).body, /Who are you today/)
  })

  it('keeps away from a production configuration', async () => {
    for (const [name, value] of [
      ['NODE_ENV', 'production'],
      ['DATABASE_URL', 'postgres://somewhere/else'],
      ['GATEHOUSE_SP_KEY_FILE', '/etc/sp.key'],
      ['GATEHOUSE_BASE_URL', 'https://gate.example.com'],
    ] as const) {
      await assert.rejects(
        startDemo({ ...environment, [name]: value }),
        (error) => error instanceof ConfigFaults && error.message.includes(name),
      )
    }
  })
})
