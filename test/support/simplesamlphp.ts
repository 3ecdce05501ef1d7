// SimpleSAMLphp as an identity provider on loopback: Debian's package, PHP's own server, a configuration of its own.

import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { keyPair } from './idp.ts'
import { freePort } from './ports.ts'

export interface SimpleSamlPhp {
  readonly metadataUrl: string
  readonly url: string
  stop(): Promise<void>
}

export interface SpRegistration {
  readonly entityId: string
  readonly acs: string
  readonly slo: string
  /** PEM; our requests must carry its signature. */
  readonly certificate: string
}

export interface PhpUser {
  readonly name: string
  readonly password: string
  readonly attributes: Readonly<Record<string, readonly string[]>>
}

export async function startSimpleSamlPhp({
  sp,
  users,
  encrypt = false,
}: {
  sp: SpRegistration
  users: readonly PhpUser[]
  encrypt?: boolean
}): Promise<SimpleSamlPhp> {
  const folder = mkdtempSync(join(tmpdir(), 'gatehouse-ssp-'))
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  for (const name of ['metadata', 'cert', 'tmp', 'sessions', 'log']) mkdirSync(join(folder, name))
  const write = (file: string, content: string) => writeFileSync(join(folder, file), `<?php\n${content}\n`)

  const { key, certificate } = await keyPair('simplesamlphp')
  writeFileSync(join(folder, 'cert/idp.key'), key)
  writeFileSync(join(folder, 'cert/idp.crt'), certificate)
  write(
    'config.php',
    `$config = ${php({
      baseurlpath: `${url}/`,
      certdir: `${folder}/cert/`,
      tempdir: `${folder}/tmp/`,
      attributenamemapdir: '/etc/simplesamlphp/attributemap/',
      metadatadir: `${folder}/metadata/`,
      loggingdir: `${folder}/log/`,
      'logging.handler': 'file',
      secretsalt: 'only for tests',
      'auth.adminpassword': 'not used',
      technicalcontact_email: 'nobody@corp.example',
      timezone: 'UTC',
      'enable.saml20-idp': true,
      'store.type': 'phpsession',
      'session.phpsession.savepath': `${folder}/sessions`,
      'session.cookie.secure': false,
      'module.enable': { exampleauth: true, core: true, saml: true },
      'metadata.sources': [{ type: 'flatfile' }],
    })};`,
  )
  const accounts = Object.fromEntries(users.map((user) => [`${user.name}:${user.password}`, user.attributes]))
  write('authsources.php', `$config = ['people' => array_merge(['exampleauth:UserPass'], ${php(accounts)})];`)
  write(
    'metadata/saml20-idp-hosted.php',
    `$metadata['__DYNAMIC:1__'] = ${php({
      host: '__DEFAULT__',
      privatekey: 'idp.key',
      certificate: 'idp.crt',
      auth: 'people',
      'sign.logout': true,
      'validate.logout': true,
      SingleLogoutServiceBinding: ['HTTP-Redirect', 'HTTP-POST'].map((binding) => `urn:oasis:names:tc:SAML:2.0:bindings:${binding}`),
      'attributes.NameFormat': 'urn:oasis:names:tc:SAML:2.0:attrname-format:uri',
      authproc: {
        3: { class: 'saml:AttributeNameID', attribute: 'uid', Format: 'urn:oasis:names:tc:SAML:2.0:nameid-format:persistent' },
        100: { class: 'core:AttributeMap', 0: 'name2oid' },
      },
    })};`,
  )
  write(
    'metadata/saml20-sp-remote.php',
    `$metadata[${php(sp.entityId)}] = ${php({
      AssertionConsumerService: sp.acs,
      SingleLogoutService: ['HTTP-Redirect', 'HTTP-POST'].map((binding) => ({
        Binding: `urn:oasis:names:tc:SAML:2.0:bindings:${binding}`,
        Location: sp.slo,
      })),
      'sign.logout': true,
      'validate.logout': true,
      'assertion.encryption': encrypt,
      ...(encrypt ? { sharedkey_algorithm: 'http://www.w3.org/2009/xmlenc11#aes256-gcm' } : {}),
      NameIDFormat: 'urn:oasis:names:tc:SAML:2.0:nameid-format:persistent',
      'validate.authnrequest': true,
      certData: sp.certificate.replace(/-----.*?-----|\s/g, ''),
    })};`,
  )

  const server = spawn('php', ['-S', `127.0.0.1:${port}`, '-t', '/usr/share/simplesamlphp/www'], {
    env: { ...process.env, SIMPLESAMLPHP_CONFIG_DIR: folder, PHP_CLI_SERVER_WORKERS: '1' },
    stdio: 'ignore',
  })
  const metadataUrl = `${url}/saml2/idp/metadata.php`
  await answers(metadataUrl, server)
  return {
    url,
    metadataUrl,
    async stop() {
      const ended = new Promise((resolve) => server.once('exit', resolve))
      server.kill()
      await ended
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

async function answers(url: string, server: ChildProcess): Promise<void> {
  for (let tries = 0; tries < 100 && server.exitCode === null; tries++) {
    const answer = await fetch(url).catch(() => undefined)
    if (answer?.ok) return
    await pause(100)
  }
  throw new Error(`SimpleSAMLphp did not come up at ${url}`)
}

/** A value as PHP writes it. */
function php(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(php).join(', ')}]`
  if (typeof value === 'object' && value !== null) {
    const pairs = Object.entries(value).map(([name, one]) => `${/^\d+$/.test(name) ? name : php(name)} => ${php(one)}`)
    return `[${pairs.join(', ')}]`
  }
  if (typeof value === 'boolean') return String(value)
  return `'${String(value).replace(/[\\']/g, '\\$&')}'`
}
