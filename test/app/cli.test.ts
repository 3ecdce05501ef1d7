// The command line as a shell meets it: exit codes, --json, --help, faults on standard error.

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { readConfig } from '../../src/app/config.ts'
import { dataKeys } from '../../src/app/keys.ts'
import { portsOf } from '../../src/app/ports.ts'
import type { VerifiedAssertion } from '../../src/domain/assertion.ts'
import { acceptAssertion } from '../../src/flows/accept-assertion.ts'
import { openDatabase } from '../../src/store/db.ts'
import { policyReader } from '../../src/store/policies.ts'
import { keyPair, metadataXml } from '../support/idp.ts'
import { freePort } from '../support/ports.ts'

const bin = fileURLToPath(new URL('../../bin/gatehouse.js', import.meta.url))

describe('the command line', () => {
  let folder: string
  let environment: Record<string, string>

  const gatehouse = (...args: string[]) =>
    new Promise<{ code: number; out: string; err: string }>((resolve) => {
      const child = execFile(process.execPath, [bin, ...args], { env: { PATH: process.env.PATH, ...environment } }, (error, out, err) => {
        resolve({ code: error ? Number(error.code) : 0, out, err })
      })
      child.stdin?.end()
    })
  const json = async (...args: string[]) => {
    const { code, out, err } = await gatehouse(...args, '--json')
    assert.equal(code, 0, err)
    return JSON.parse(out)
  }
  const certificate = async () => (await keyPair()).certificate
  const policy = (upstreamPort: number) => `
connections:
  - name: corp
    kind: saml
    metadata: { file: ./idp-metadata.xml }
    subjects: '.'
    idpInitiated: true
    jit: { create: true, update: true }
    mapping:
      - { to: userName, from: nameID }
      - { to: email, from: attributes.email }
apps:
  - { name: legacy, host: "app.localhost:3000", upstream: "http://127.0.0.1:${upstreamPort}", headers: [{ name: X-Remote-User, from: user.userName }] }
`

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'gatehouse-cli-'))
    environment = { GATEHOUSE_DATA_DIR: join(folder, 'data') }
    writeFileSync(
      join(folder, 'idp-metadata.xml'),
      metadataXml('https://idp.example', 'https://idp.example/sso', [(await keyPair()).certificate]),
    )
    writeFileSync(join(folder, 'gatehouse.yaml'), policy(await freePort()))
    writeFileSync(join(folder, 'wrong.yaml'), policy(1).replace('kind: saml', 'kind: oidc').replace('to: email', 'to: "?"'))
    writeFileSync(join(folder, 'lost.yaml'), policy(1).replace('idp-metadata', 'no-such-file'))
  })
  after(() => rmSync(folder, { recursive: true, force: true }))

  it('explains itself', async () => {
    const { code, out } = await gatehouse('--help')
    assert.equal(code, 0)
    for (const command of ['serve', 'migrate', 'apply', 'export', 'connection', 'user', 'token', 'sign-ins', 'doctor', 'demo'])
      assert.match(out, new RegExp(`\\n  ${command}`))
    assert.equal((await gatehouse('user', 'deprovision', '--help')).code, 0)
  })

  it('ends with 2 when it was asked wrongly', async () => {
    assert.equal((await gatehouse('fly')).code, 2)
    assert.equal((await gatehouse('apply')).code, 2)
    assert.equal((await gatehouse('user', 'list', '--limit', 'many')).code, 2)
    assert.equal((await gatehouse('apply', '-f', join(folder, 'nowhere.yaml'))).code, 2)
    const before = environment
    environment = { ...environment, PORT: 'x', GATEHOUSE_LOG_LEVEL: 'y' }
    const { code, err } = await gatehouse('user', 'list')
    environment = before
    assert.equal(code, 2)
    assert.match(err, /PORT[\s\S]*GATEHOUSE_LOG_LEVEL/)
  })

  it('applies a file, says what it did, and exports what is in force', async () => {
    const { code, err } = await gatehouse('apply', '-f', join(folder, 'wrong.yaml'))
    assert.equal(code, 2)
    assert.match(err, /wrong\.yaml:4: connections\[0\]\.kind/)
    assert.match(err, /wrong\.yaml:11: connections\[0\]\.mapping\[1\]\.to/)
    assert.match(err, /Nothing was changed: 2 faults/)
    const lost = await gatehouse('apply', '-f', join(folder, 'lost.yaml'))
    assert.equal(lost.code, 2)
    assert.match(lost.err, /connections\[0\]\.metadata: it cannot be read/)
    assert.deepEqual(await json('export'), { connections: [], apps: [] })

    const file = join(folder, 'gatehouse.yaml')
    const outcomes = (answer: { applied: { outcome: string }[] }) => answer.applied.map((one) => one.outcome)
    assert.deepEqual(outcomes(await json('apply', '-f', file, '--dry-run')), ['created', 'created'])
    assert.deepEqual(outcomes(await json('apply', '-f', file)), ['created', 'created'])
    assert.deepEqual(outcomes(await json('apply', '-f', file)), ['unchanged', 'unchanged'])
    const exported = join(folder, 'exported.yaml')
    writeFileSync(exported, (await gatehouse('export')).out)
    assert.deepEqual(outcomes(await json('apply', '-f', exported, '--prune')), ['unchanged', 'unchanged'])
  })

  it('shows a connection, and looks at its metadata again', async () => {
    let served = metadataXml('https://one.example', 'https://one.example/sso', [await certificate()])
    const server = createServer((_request, response) => response.end(served))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
    const file = join(folder, 'looked-at.yaml')
    const connection = (name: string, metadata: string) =>
      `  - { name: ${name}, kind: saml, subjects: '.', ${metadata}mapping: [{ to: userName, from: nameID }] }\n`
    writeFileSync(file, `connections:\n${connection('watched', `metadata: { url: "${url}" }, `)}${connection('drafted', '')}`)
    try {
      assert.match((await gatehouse('apply', '-f', file)).out, /Draft, until it has metadata of its identity provider: drafted/)
      const listed = (await json('connection')).connections.map((one: { name: string; state: string }) => `${one.name} ${one.state}`)
      assert.deepEqual(listed, ['corp ready', 'watched ready', 'drafted draft'])
      const draft = await gatehouse('connection', 'drafted')
      assert.match(draft.out, /DRAFT.*\n[\s\S]*answers to \(ACS\) +http:\/\/localhost:\d+\/saml\/drafted\/acs/)
      assert.equal((await gatehouse('connection', 'drafted', '--refresh')).code, 2)
      assert.equal((await gatehouse('connection', 'nowhere')).code, 1)
      assert.match((await gatehouse('connection', 'watched', '--refresh')).out, /watched: unchanged/)

      const second = await certificate()
      served = metadataXml('https://one.example', 'https://one.example/sso', [second])
      assert.match((await gatehouse('connection', 'watched', '--refresh', '--dry-run')).out, /new key +[0-9A-F:]{95}\n +removed key/)
      assert.equal((await json('connection', 'watched', '--refresh')).outcome, 'applied')

      served = metadataXml('https://two.example', 'https://two.example/sso', [second])
      const held = await gatehouse('connection', 'watched', '--refresh')
      assert.equal(held.code, 1)
      assert.match(held.out, /held\n[\s\S]*entityID was https:\/\/one\.example and is now https:\/\/two\.example/)
      assert.equal((await json('connection', 'watched')).theirs.entityId, 'https://one.example')
      assert.equal((await gatehouse('connection', 'watched', '--refresh', '--accept')).code, 0)
      assert.equal((await json('connection', 'watched')).theirs.entityId, 'https://two.example')
      served = 'gone'
      assert.match((await gatehouse('connection', 'watched', '--refresh')).err, /What was in force stays in force/)
    } finally {
      server.close()
      await gatehouse('apply', '-f', join(folder, 'gatehouse.yaml'), '--prune')
    }
  })

  it('shows people and sign-ins, and ends access', async () => {
    const config = readConfig(environment)
    const db = openDatabase(config.database, dataKeys(config))
    const inForce = await policyReader(db).inForce()
    const connection = inForce.connections.get('corp')
    assert.ok(connection)
    const now = new Date()
    const assertion = {
      id: '_1',
      issuer: 'https://idp.example',
      nameId: { value: 'Ada', format: 'x' },
      attributes: { email: ['ada@corp.example'] },
      aliases: {},
      authnInstant: now,
      replayableUntil: now,
    } as unknown as VerifiedAssertion
    const accepted = await acceptAssertion(portsOf(db), {
      assertion,
      connection,
      policy: inForce,
      response: undefined,
      keepsContent: true,
      browserSecret: () => undefined,
      host: 'h',
      address: '::1',
      steps: [],
      clockSkewSeconds: 60,
      sessionHours: 1,
      now,
    })
    await db.close()

    assert.deepEqual(
      (await json('user', 'list')).users.map((user: { userName: string }) => user.userName),
      ['Ada'],
    )
    const shown = await json('user', 'show', 'ada')
    assert.equal(shown.profile.email.from, 'attributes.email')
    assert.match((await gatehouse('user', 'show', 'ADA')).out, /corp v1, attributes\.email/)
    assert.equal((await gatehouse('user', 'show', 'nobody')).code, 1)
    assert.equal((await json('sign-ins', accepted.reference.toLowerCase())).outcome, 'accepted')
    assert.equal((await gatehouse('sign-ins', 'ZZZZ-ZZZZ')).code, 1)
    assert.equal((await gatehouse('sign-ins', 'not-a-reference')).code, 2)
    assert.deepEqual(
      await json('user', 'deprovision', 'ada', '--reason', 'left').then((answer) => [answer.outcome, answer.sessionsEnded]),
      ['deprovisioned', 1],
    )
    assert.equal((await json('user', 'deprovision', 'ada', '--reason', 'left')).outcome, 'already')
    assert.match((await gatehouse('user', 'show', 'ada')).out, /deprovisioned since .* \(left\)/)
  })

  it('makes, lists and revokes tokens, and shows the secret once', async () => {
    const made = await json('token', 'create', 'help desk', '--days', '7')
    assert.match(made.token, /^gatehouse_[\w-]{43}$/)
    const { tokens } = await json('token', 'list')
    assert.deepEqual(
      tokens.map((token: { name: string }) => token.name),
      ['help desk'],
    )
    assert.ok(!JSON.stringify(tokens).includes(made.token))
    assert.equal((await json('token', 'revoke', made.id)).revoked, true)
    assert.equal((await gatehouse('token', 'revoke', made.id)).code, 1)
  })

  it('examines itself', async () => {
    const { code, out } = await gatehouse('doctor')
    assert.equal(code, 1, 'the app behind it does not answer')
    assert.match(out, /ok {4}database: sqlite answers/)
    assert.match(out, /ok {4}connection corp: https:\/\/idp\.example, signing certificate valid for/)
    assert.match(out, /FAIL {2}app legacy: .*cannot be reached/)
  })

  it('migrates up and down', async () => {
    environment = { GATEHOUSE_DATA_DIR: join(folder, 'fresh') }
    const { applied } = await json('migrate')
    assert.ok(applied.length)
    assert.deepEqual(await json('migrate'), { applied: [] })
    assert.deepEqual((await json('migrate', '--down')).takenBack, applied.slice(-1))
  })
})
