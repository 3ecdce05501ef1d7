// Part of npm run bench:sign-in: hostile documents, one after the other: of 10 MB, deep, and wide. Each must be refused with
// little of the main thread's time, and memory must not grow.

import { mkdtempSync, rmSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { generated } from '../test/fixtures/saml/generated.ts'
import { keyPair } from '../test/support/idp.ts'
import { freePort } from '../test/support/ports.ts'
import { median, startMeasured } from './support/measured.ts'
import { preparedDatabase } from './support/prepared.ts'

const DOCUMENTS = 10_000
const TEN_MB = 10 * 1024 * 1024

const folder = mkdtempSync(`${tmpdir()}/gatehouse-bench-`)
const port = await freePort()
const pair = await keyPair('bench')
const db = await preparedDatabase({ folder, port, certificate: pair.certificate, upstream: 'http://127.0.0.1:9' })
await db.close()

const form = (xml: string) => new URLSearchParams({ SAMLResponse: Buffer.from(xml).toString('base64') }).toString()
const kinds: readonly { readonly name: string; readonly body: Buffer; readonly status: number }[] = [
  { name: '10 MB', body: Buffer.alloc(TEN_MB, 'SAMLResponse=QUJD'), status: 413 },
  { name: 'deep', body: Buffer.from(form(generated({ kind: 'deep', count: 5_000 }))), status: 400 },
  { name: 'wide', body: Buffer.from(form(generated({ kind: 'wide-elements', count: 10_000 }))), status: 400 },
  { name: 'wide attributes', body: Buffer.from(form(generated({ kind: 'wide-attributes', count: 10_000 }))), status: 400 },
  { name: 'as large as a form may be', body: Buffer.from(form(`<a>${'x'.repeat(270_000)}</a>`)), status: 400 },
]

const house = await startMeasured('./gatehouse.ts', { PORT: String(port), GATEHOUSE_DATA_DIR: folder, GATEHOUSE_LOG_LEVEL: 'silent' })
try {
  const main = new Map<string, number[]>(kinds.map(({ name }) => [name, []]))
  const memory: number[] = []
  for (let i = 0; i < DOCUMENTS; i++) {
    const kind = kinds[i % kinds.length] as (typeof kinds)[number]
    const before = await house.state()
    const status = await post(kind.body)
    const after = await house.state()
    if (status !== kind.status) throw new Error(`${kind.name}: answered ${status}`)
    // The first ones warm the code up.
    if (i >= 200) main.get(kind.name)?.push(after.main - before.main)
    if (i % 100 === 0) memory.push(after.rss)
  }
  const half = Math.floor(memory.length / 2)
  process.stdout.write(
    `${DOCUMENTS} hostile documents, all refused\n${'main thread, ms'.padEnd(28)}${'median'.padStart(10)}${'most'.padStart(10)}\n`,
  )
  for (const [name, times] of main)
    process.stdout.write(
      `${name.padEnd(28)}${median(times).toFixed(2).padStart(10)}${Math.max(...times)
        .toFixed(2)
        .padStart(10)}\n`,
    )
  process.stdout.write(
    `memory: ${memory[1]?.toFixed(0)} MB after 100, at most ${Math.max(...memory.slice(0, half)).toFixed(0)} MB in the first half, ${Math.max(...memory.slice(half)).toFixed(0)} MB in the second\n`,
  )
} finally {
  await house.stop()
  rmSync(folder, { recursive: true })
}

/** As an attacker would: goes on sending until an answer comes, and does not mind that nobody listens. */
function post(body: Buffer): Promise<number> {
  return new Promise((resolve, reject) => {
    const socket = net.connect(port, '127.0.0.1')
    let answer = ''
    socket.on('error', () => {})
    socket.on('data', (data) => {
      answer += data.toString('latin1')
      const status = /^HTTP\/1\.1 (\d{3})/.exec(answer)?.[1]
      if (!status) return
      resolve(Number(status))
      socket.destroy()
    })
    socket.on('close', () => reject(new Error('closed without an answer')))
    socket.write(
      `POST /saml/corp/acs HTTP/1.1\r\nHost: localhost:${port}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: ${body.length}\r\n\r\n`,
    )
    socket.write(body)
  })
}
