// npm run bench:gate: requests with a session through Gatehouse (session in the database, headers stripped and injected)
// and through Express + express-session (in memory) + http-proxy-middleware, to the same app, in turns, in one run.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { keyPair } from '../test/support/idp.ts'
import { freePort } from '../test/support/ports.ts'
import { requestOnce } from '../test/support/walker.ts'
import { fire, type Round, report, type Shot, startMeasured } from './support/measured.ts'
import { preparedDatabase } from './support/prepared.ts'
import { signedInCookie } from './support/responses.ts'

const ROUNDS = 14
const WARM_UP = 3
const PER_ROUND = 1_500
const AT_ONCE = 32

const folder = mkdtempSync(`${tmpdir()}/gatehouse-bench-`)
const [port, theirPort, upstreamPort] = [await freePort(), await freePort(), await freePort()]
const upstreamUrl = `http://127.0.0.1:${upstreamPort}`
const appHost = `app.localhost:${port}`
const pair = await keyPair('bench')

const db = await preparedDatabase({ folder, port, certificate: pair.certificate, upstream: upstreamUrl })
await db.close()

const upstream = await startMeasured('./upstream.ts', { BENCH_PORT: String(upstreamPort) })
const ours = await startMeasured('./gatehouse.ts', { PORT: String(port), GATEHOUSE_DATA_DIR: folder, GATEHOUSE_LOG_LEVEL: 'warn' })
const theirs = await startMeasured('./session-proxy.ts', { BENCH_PORT: String(theirPort), BENCH_UPSTREAM: upstreamUrl })
try {
  const shots = (host: string, cookie: string): Shot[] =>
    Array.from({ length: PER_ROUND }, (_, i) => ({
      method: 'GET',
      path: `/page/${i}`,
      headers: { host, cookie, accept: 'text/html', 'user-agent': 'bench' },
    }))
  const mine = shots(appHost, await signedInCookie(port, pair))
  const other = shots(`127.0.0.1:${theirPort}`, await theirSession())
  const rounds: { ours: Round[]; theirs: Round[] } = { ours: [], theirs: [] }
  for (let i = 0; i < ROUNDS + WARM_UP; i++) {
    const one = await fire(ours, mine, AT_ONCE, (status) => status === 200)
    const two = await fire(theirs, other, AT_ONCE, (status) => status === 200)
    if (i < WARM_UP) continue
    rounds.ours.push(one)
    rounds.theirs.push(two)
  }
  report('request', rounds.ours, rounds.theirs, 'Express + session + proxy')
} finally {
  await Promise.all([ours.stop(), theirs.stop(), upstream.stop()])
  rmSync(folder, { recursive: true })
}

async function theirSession(): Promise<string> {
  const answer = await requestOnce('GET', new URL(`http://127.0.0.1:${theirPort}/sign-in-for-the-bench`), {})
  return (answer.headers['set-cookie']?.[0] ?? '').split(';')[0] ?? ''
}
