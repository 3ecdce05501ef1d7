// pysaml2 as an identity provider on loopback: Debian's package, and the program in pysaml2-idp.py around its Server.

import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { keyPair } from './idp.ts'
import { freePort } from './ports.ts'

export interface Pysaml2 {
  readonly url: string
  readonly entityId: string
  readonly metadataUrl: string
  /** Opened by a browser that signed in, sends a LogoutRequest to the service provider; ends at "logged out: STATUS". */
  startLogoutUrl(binding: 'redirect' | 'post'): string
  stop(): Promise<void>
}

export interface Pysaml2User {
  readonly name: string
  readonly password: string
  /** By pysaml2's own names (`mail`, `givenName`, `sn`, `displayName`, ...), which it sends as OIDs; other names stay. */
  readonly attributes: Readonly<Record<string, readonly string[]>>
  /** The persistent NameID; without it pysaml2 makes one up, the same as long as it runs. */
  readonly nameId?: string
}

export interface Pysaml2Wants {
  readonly signResponse: boolean
  readonly signAssertion: boolean
  /** To the certificate in the service provider's metadata, by AES-256-GCM and RSA-OAEP. */
  readonly encryptAssertion: boolean
  /** Refuse an AuthnRequest that is not signed. A wrong signature is refused anyway. */
  readonly requestsSigned: boolean
}

export interface Pysaml2Options {
  /** The XML. Where answers and logouts go, and which keys hold, is all taken from it. */
  readonly spMetadata: string
  readonly users: readonly Pysaml2User[]
  readonly want?: Partial<Pysaml2Wants>
}

export async function startPysaml2({ spMetadata, users, want = {} }: Pysaml2Options): Promise<Pysaml2> {
  const folder = mkdtempSync(join(tmpdir(), 'gatehouse-pysaml2-'))
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const write = (name: string, content: string) => {
    writeFileSync(join(folder, name), content)
    return join(folder, name)
  }
  const pair = await keyPair('pysaml2')
  const defaults: Pysaml2Wants = { signResponse: false, signAssertion: true, encryptAssertion: false, requestsSigned: true }
  const settings = write(
    'settings.json',
    JSON.stringify({
      url,
      port,
      key: write('idp.key', pair.key),
      certificate: write('idp.crt', pair.certificate),
      spMetadata: write('sp.xml', spMetadata),
      users,
      want: { ...defaults, ...want },
    }),
  )
  const log = join(folder, 'log')
  const toLog = openSync(log, 'a')
  // Debian's own Python has Debian's pysaml2; another one may come first on the PATH. pysaml2 leaves files in TMPDIR.
  const server = spawn('/usr/bin/python3', [join(import.meta.dirname, 'pysaml2-idp.py'), settings], {
    env: { ...process.env, TMPDIR: folder, PYTHONDONTWRITEBYTECODE: '1' },
    stdio: ['ignore', 'ignore', toLog],
  })
  closeSync(toLog)
  const stop = async () => {
    const ended = new Promise((resolve) => server.once('exit', resolve))
    if (server.exitCode === null && server.signalCode === null && server.kill()) await ended
    rmSync(folder, { recursive: true, force: true })
  }
  const metadataUrl = `${url}/metadata`
  if (!(await answers(metadataUrl, server))) {
    const said = readFileSync(log, 'utf8')
    await stop()
    throw new Error(`pysaml2 did not come up at ${url}: ${said}`)
  }
  return { url, entityId: metadataUrl, metadataUrl, startLogoutUrl: (binding) => `${url}/start-logout?binding=${binding}`, stop }
}

async function answers(url: string, server: ChildProcess): Promise<boolean> {
  for (let tries = 0; tries < 200 && server.exitCode === null; tries++) {
    const answer = await fetch(url).catch(() => undefined)
    if (answer?.ok) return true
    await pause(100)
  }
  return false
}
