// MariaDB on loopback: Debian's server, with a data folder of its own that nothing is left of, and TLS with a certificate of its
// own for `localhost`.

import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { type Connection, createConnection } from 'mysql2/promise'
import { keyPair } from './idp.ts'
import { freePort } from './ports.ts'

export interface TestMariadb {
  readonly port: number
  /** PEM; its own authority. */
  readonly certificate: string
  /** As root; the last statement's rows. */
  run(...statements: readonly string[]): Promise<readonly Readonly<Record<string, unknown>>[]>
  /** At once, as a crash would be. */
  kill(): Promise<void>
  stop(): Promise<void>
}

export async function startMariadb(): Promise<TestMariadb> {
  const folder = mkdtempSync(join(tmpdir(), 'gatehouse-mariadb-'))
  const at = (name: string) => join(folder, name)
  const user = userInfo().username
  mkdirSync(at('tmp'))
  const { key, certificate } = await keyPair('localhost')
  writeFileSync(at('key.pem'), key, { mode: 0o600 })
  writeFileSync(at('cert.pem'), certificate)
  const installed = spawnSync(
    'mariadb-install-db',
    ['--no-defaults', `--datadir=${at('data')}`, `--user=${user}`, '--auth-root-authentication-method=normal', '--skip-test-db'],
    { encoding: 'utf8' },
  )
  if (installed.status !== 0) throw new Error(`mariadb-install-db: ${installed.stdout}${installed.stderr}`)

  const port = await freePort()
  const server = spawn(
    '/usr/sbin/mariadbd',
    [
      '--no-defaults',
      `--user=${user}`,
      `--datadir=${at('data')}`,
      `--tmpdir=${at('tmp')}`,
      `--socket=${at('socket')}`,
      `--pid-file=${at('pid')}`,
      `--log-error=${at('log')}`,
      `--port=${port}`,
      '--bind-address=127.0.0.1',
      `--ssl-cert=${at('cert.pem')}`,
      `--ssl-key=${at('key.pem')}`,
      '--innodb-buffer-pool-size=16M',
      '--innodb-flush-log-at-trx-commit=0',
    ],
    { stdio: 'ignore' },
  )
  const ended = new Promise<void>((resolve) => server.once('exit', () => resolve()))
  const end = async (signal: NodeJS.Signals) => {
    server.kill(signal)
    await ended
  }
  const root = await connected(port, server).catch(async (error) => {
    const log = readFileSync(at('log'), 'utf8').slice(-2_000)
    await end('SIGKILL')
    throw new Error(`MariaDB did not come up: ${log}`, { cause: error })
  })
  // The server goes first in some tests.
  root.on('error', () => {})
  return {
    port,
    certificate,
    async run(...statements) {
      let rows: unknown
      for (const statement of statements) [rows] = await root.query(statement)
      return rows as Readonly<Record<string, unknown>>[]
    },
    kill: () => end('SIGKILL'),
    async stop() {
      root.destroy()
      await end('SIGTERM')
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

async function connected(port: number, server: ChildProcess): Promise<Connection> {
  for (let tries = 0; ; tries++) {
    try {
      return await createConnection({
        host: '127.0.0.1',
        port,
        user: 'root',
        dateStrings: true,
        supportBigNumbers: true,
        bigNumberStrings: true,
      })
    } catch (error) {
      if (tries === 100 || server.exitCode !== null) throw error
      await pause(100)
    }
  }
}
