// Samba as the domain controller of an Active Directory on loopback: Debian's packages, a domain of its own, made for this run.

import { execFile, spawn } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Client } from 'ldapts'
import { missing, pathOf } from './peers.ts'
import { ended, keyFor, listens } from './slapd.ts'

export interface Samba {
  readonly url: string
  readonly ldapsUrl: string
  /** PEM. */
  readonly certificate: string
  readonly base: string
  readonly administrator: { readonly dn: string; readonly password: string }
  asAdministrator<Result>(work: (client: Client) => Promise<Result>): Promise<Result>
  stop(): Promise<void>
}

/** Its LDAP port cannot be chosen, so it takes an address of its own, and somebody who may listen there. */
export function missingSamba(): string | false {
  const why = missing('samba')
  if (why !== false) return why
  if (process.platform === 'linux' && process.getuid?.() === 0) return false
  const rights = 'Samba listens on port 389 only, which takes root, and an address of its own, which takes Linux'
  if (process.env.CI === 'true') throw new Error(`with CI=true nothing is skipped, but ${rights}`)
  return rights
}

const run = promisify(execFile)
const PASSWORD = 'Only-for-tests-1'

export async function startSamba(): Promise<Samba> {
  const folder = mkdtempSync(join(tmpdir(), 'gatehouse-samba-'))
  const address = `127.${randomInt(1, 255)}.${randomInt(1, 255)}.${randomInt(1, 255)}`
  const { key, certificate } = await keyFor(address)
  const file = (name: string, text: string) => {
    writeFileSync(join(folder, name), text, { mode: 0o600 })
    return join(folder, name)
  }
  const crt = file('server.crt', certificate)
  const options = {
    'server services': 'ldap',
    interfaces: `${address}/8`,
    'bind interfaces only': 'yes',
    'log file': join(folder, 'log'),
    'pid directory': folder,
    'ncalrpc dir': join(folder, 'ncalrpc'),
    'tls certfile': crt,
    'tls cafile': crt,
    'tls keyfile': file('server.key', key),
  }
  const domain = [
    '--realm=CORP.EXAMPLE',
    '--domain=CORP',
    '--host-name=dc',
    `--host-ip=${address}`,
    `--adminpass=${PASSWORD}`,
    '--server-role=dc',
    '--dns-backend=NONE',
    `--targetdir=${folder}/domain`,
  ]
  await run(pathOf('samba-tool'), ['domain', 'provision', ...domain])
  const server = spawn(
    '/usr/sbin/samba',
    [
      '-i',
      '-M',
      'single',
      '-s',
      `${folder}/domain/etc/smb.conf`,
      ...Object.entries(options).map(([name, value]) => `--option=${name}=${value}`),
    ],
    { stdio: 'ignore' },
  )
  await listens(server, address, 636)
  const ldapsUrl = `ldaps://${address}`
  const administrator = { dn: 'administrator@CORP.EXAMPLE', password: PASSWORD }
  return {
    url: `ldap://${address}`,
    ldapsUrl,
    certificate,
    base: 'DC=corp,DC=example',
    administrator,
    async asAdministrator(work) {
      const client = new Client({ url: ldapsUrl, tlsOptions: { ca: certificate } })
      try {
        await client.bind(administrator.dn, administrator.password)
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
