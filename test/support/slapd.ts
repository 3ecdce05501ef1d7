// OpenLDAP's server on loopback: Debian's package, a configuration and a folder of its own, filled before it starts.

import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createConnection } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { promisify } from 'node:util'
import { Client } from 'ldapts'
import { generate } from 'selfsigned'
import { freePort } from './ports.ts'

export interface LdapKey {
  readonly key: string
  readonly certificate: string
}

export interface SlapdAsk {
  readonly suffix: string
  /** LDIF, operational attributes included. */
  readonly content: string
  /** Lines of slapd.conf about the database, like limits and access. */
  readonly rules: readonly string[]
  /** The entry of the password policy (draft-behera-ldap-password-policy). */
  readonly policy: string
}

export interface Slapd {
  readonly url: string
  readonly ldapsUrl: string
  /** PEM. */
  readonly certificate: string
  /** As the administrator, who may do anything. */
  asAdministrator<Result>(work: (client: Client) => Promise<Result>): Promise<Result>
  stop(): Promise<void>
}

/** For the address alone, and for no name. */
export async function keyFor(address: string): Promise<LdapKey> {
  const pair = await generate([{ name: 'commonName', value: 'directory' }], {
    keySize: 2048,
    algorithm: 'sha256',
    extensions: [
      { name: 'basicConstraints', cA: true },
      { name: 'subjectAltName', altNames: [{ type: 7, ip: address }] },
    ],
  })
  return { key: pair.private, certificate: pair.cert }
}

const run = promisify(execFile)
const SCHEMAS = ['core', 'cosine', 'inetorgperson', 'nis']
const PASSWORD = 'only for tests: administrator'

export async function startSlapd({ suffix, content, rules, policy }: SlapdAsk): Promise<Slapd> {
  const folder = mkdtempSync(join(tmpdir(), 'gatehouse-slapd-'))
  const [port, securePort, { key, certificate }] = await Promise.all([freePort(), freePort(), keyFor('127.0.0.1')])
  const administrator = `cn=administrator,${suffix}`
  const file = (name: string, text: string) => {
    writeFileSync(join(folder, name), text, { mode: 0o600 })
    return join(folder, name)
  }
  mkdirSync(join(folder, 'database'))
  const configuration = file(
    'slapd.conf',
    [
      ...SCHEMAS.map((name) => `include /etc/ldap/schema/${name}.schema`),
      'modulepath /usr/lib/ldap',
      'moduleload back_mdb',
      'moduleload ppolicy',
      `pidfile ${folder}/slapd.pid`,
      `TLSCertificateFile ${file('server.crt', certificate)}`,
      `TLSCertificateKeyFile ${file('server.key', key)}`,
      'database mdb',
      'maxsize 268435456',
      `suffix "${suffix}"`,
      `rootdn "${administrator}"`,
      `rootpw "${PASSWORD}"`,
      `directory ${folder}/database`,
      'index objectClass,entryUUID,uid eq',
      ...rules,
      'overlay ppolicy',
      `ppolicy_default "${policy}"`,
      '',
    ].join('\n'),
  )
  await run('/usr/sbin/slapadd', ['-q', '-f', configuration, '-l', file('content.ldif', content)])
  const url = `ldap://127.0.0.1:${port}`
  const ldapsUrl = `ldaps://127.0.0.1:${securePort}`
  const server = spawn('/usr/sbin/slapd', ['-d', '0', '-f', configuration, '-h', `${url} ${ldapsUrl}`], { stdio: 'ignore' })
  await listens(server, '127.0.0.1', port)
  return {
    url,
    ldapsUrl,
    certificate,
    async asAdministrator(work) {
      const client = new Client({ url })
      try {
        await client.bind(administrator, PASSWORD)
        return await work(client)
      } finally {
        await client.unbind()
      }
    },
    async stop() {
      await ended(server)
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

export async function listens(server: ChildProcess, host: string, port: number): Promise<void> {
  for (let tries = 0; tries < 300 && server.exitCode === null; tries++) {
    const open = await new Promise<boolean>((resolve) => {
      const probe = createConnection({ host, port }, () => {
        probe.destroy()
        resolve(true)
      })
      probe.once('error', () => resolve(false))
    })
    if (open) return
    await pause(100)
  }
  await ended(server)
  throw new Error(`nothing listens at ${host}:${port}`)
}

export async function ended(server: ChildProcess): Promise<void> {
  if (server.exitCode !== null) return
  const exit = new Promise((resolve) => server.once('exit', resolve))
  server.kill()
  await exit
}
