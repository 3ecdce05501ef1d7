// The environment: what is taken, what is refused, and that all faults come at once.

import assert from 'node:assert/strict'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { describe, it } from 'node:test'
import { ConfigFaults, readConfig } from '../../src/app/config.ts'

const production = {
  NODE_ENV: 'production',
  GATEHOUSE_BASE_URL: 'https://gate.example.com',
  GATEHOUSE_SECRET_KEY: 'x'.repeat(40),
  GATEHOUSE_SP_KEY_FILE: '/etc/gatehouse/sp.key',
  GATEHOUSE_SP_CERT_FILE: '/etc/gatehouse/sp.crt',
}

function faultsOf(environment: Record<string, string>): readonly string[] {
  try {
    readConfig(environment)
    return []
  } catch (error) {
    assert.ok(error instanceof ConfigFaults)
    return error.faults
  }
}

describe('the configuration', () => {
  it('needs nothing for development', () => {
    const config = readConfig({})
    assert.equal(config.baseUrl.href, 'http://localhost:3000/')
    assert.deepEqual(config.database, { sqlite: resolve('data/gatehouse.db') })
    assert.equal(config.listenAddress, '127.0.0.1')
    assert.equal(config.production, false)
  })

  it('reports every fault together, each by the variable’s name', () => {
    const faults = faultsOf({
      PORT: 'http',
      GATEHOUSE_SESSION_HOURS: '0',
      DATABASE_URL: 'mysql://x',
      GATEHOUSE_SECRET_KEY: 'short',
      GATEHOUSE_LOG_LEVEL: 'loud',
    })
    assert.deepEqual(faults.map((fault) => fault.split(':')[0]).sort(), [
      'DATABASE_URL',
      'GATEHOUSE_LOG_LEVEL',
      'GATEHOUSE_SECRET_KEY',
      'GATEHOUSE_SESSION_HOURS',
      'PORT',
    ])
  })

  it('insists in production on what development makes up', () => {
    assert.deepEqual(faultsOf(production), [])
    const faults = faultsOf({ NODE_ENV: 'production' }).join('\n')
    for (const name of ['GATEHOUSE_BASE_URL', 'GATEHOUSE_SECRET_KEY', 'GATEHOUSE_SP_KEY_FILE']) assert.match(faults, new RegExp(name))
    assert.match(faultsOf({ ...production, GATEHOUSE_BASE_URL: 'http://gate.example.com' }).join(), /must be https/)
    assert.deepEqual(readConfig({ ...production, GATEHOUSE_BASE_URL: 'http://gate.example.com', INSECURE_ALLOW_HTTP: 'true' }).insecure, [
      'INSECURE_ALLOW_HTTP',
    ])
  })

  it('reads secrets from files, and not from both', () => {
    const file = join(mkdtempSync(join(tmpdir(), 'gatehouse-')), 'key')
    writeFileSync(file, `${'k'.repeat(44)}\n`)
    assert.equal(readConfig({ GATEHOUSE_SECRET_KEY_FILE: file }).secretKey, 'k'.repeat(44))
    assert.match(faultsOf({ GATEHOUSE_SECRET_KEY_FILE: file, GATEHOUSE_SECRET_KEY: 'x'.repeat(40) }).join(), /not both/)
    assert.match(faultsOf({ GATEHOUSE_SECRET_KEY_FILE: '/nowhere' }).join(), /GATEHOUSE_SECRET_KEY_FILE/)
  })

  it('takes an address without a path only, and both halves of a key pair', () => {
    for (const url of ['gate.example.com', 'https://gate.example.com/base', 'ftp://x', 'https://u@x'])
      assert.match(faultsOf({ GATEHOUSE_BASE_URL: url }).join(), /GATEHOUSE_BASE_URL/, url)
    assert.match(faultsOf({ GATEHOUSE_SP_KEY_FILE: 'x' }).join(), /both or neither/)
  })
})
