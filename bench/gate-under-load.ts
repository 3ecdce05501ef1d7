// Part of npm run bench:sign-in: requests through the gate, first alone, then while sign-ins are posted as fast as they are
// taken, in turns, in one run. What may be asked: a p99 below three times the quiet one.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { keyPair } from '../test/support/idp.ts'
import { freePort } from '../test/support/ports.ts'
import { fire, median, type Round, startMeasured } from './support/measured.ts'
import { preparedDatabase } from './support/prepared.ts'
import { signedInCookie, signedResponses } from './support/responses.ts'

const ROUNDS = 12
const WARM_UP = 2
const GATE_REQUESTS = 2_000
const AT_THE_GATE = 4
const SIGNING_IN = 8
const SIGN_INS = 250

const folder = mkdtempSync(`${tmpdir()}/gatehouse-bench-`)
const [port, upstreamPort] = [await freePort(), await freePort()]
const pair = await keyPair('bench')
const db = await preparedDatabase({ folder, port, certificate: pair.certificate, upstream: `http://127.0.0.1:${upstreamPort}` })
const count = (ROUNDS + WARM_UP) * SIGN_INS
process.stdout.write(`Making ${count} signed responses …\n`)
const responses = await signedResponses(db, { port, pair, count, known: 500 })
await db.close()

const upstream = await startMeasured('./upstream.ts', { BENCH_PORT: String(upstreamPort) })
const house = await startMeasured('./gatehouse.ts', { PORT: String(port), GATEHOUSE_DATA_DIR: folder, GATEHOUSE_LOG_LEVEL: 'warn' })
try {
  const cookie = await signedInCookie(port, pair)
  const gate = Array.from({ length: GATE_REQUESTS }, (_, i) => ({
    method: 'GET' as const,
    path: `/page/${i}`,
    headers: { host: `app.localhost:${port}`, cookie, accept: 'text/html' },
  }))
  const through = () => fire(house, gate, AT_THE_GATE, (status) => status === 200)
  const rounds: { quiet: Round; busy: Round; signIns: number }[] = []
  for (let i = 0; i < ROUNDS + WARM_UP; i++) {
    const quiet = await through()
    const shots = responses.slice(i * SIGN_INS, (i + 1) * SIGN_INS)
    const stop = new AbortController()
    let signIns = 0
    const signingIn = fire(house, shots, SIGNING_IN, (status) => status === 303 && ++signIns > 0, stop.signal)
    const busy = await through()
    stop.abort()
    await signingIn
    if (i >= WARM_UP) rounds.push({ quiet, busy, signIns })
  }
  const line = (name: string, pick: (round: (typeof rounds)[number]) => Round) => {
    const figure = (of: (round: Round) => number) =>
      median(rounds.map((round) => of(pick(round))))
        .toFixed(2)
        .padStart(10)
    return `${name.padEnd(28)}${figure((r) => r.perSecond)}${figure((r) => r.p50)}${figure((r) => r.p99)}`
  }
  const ratios = rounds.map(({ quiet, busy }) => busy.p99 / quiet.p99)
  const p99 = (pick: (round: (typeof rounds)[number]) => Round) => median(rounds.map((round) => pick(round).p99))
  process.stdout.write(
    [
      `${'through the gate'.padEnd(28)}${'request/s'.padStart(10)}${'p50 ms'.padStart(10)}${'p99 ms'.padStart(10)}`,
      line('quiet', ({ quiet }) => quiet),
      line('while people sign in', ({ busy }) => busy),
      `p99 while people sign in / quiet: ${(p99((round) => round.busy) / p99((round) => round.quiet)).toFixed(2)} (rounds ${Math.min(...ratios).toFixed(2)} to ${Math.max(...ratios).toFixed(2)}), with ${median(rounds.map((one) => one.signIns))} sign-ins a round`,
      '',
    ].join('\n'),
  )
} finally {
  await Promise.all([house.stop(), upstream.stop()])
  rmSync(folder, { recursive: true })
}
