// npm run bench:sign-in: a pool of unique signed responses, posted to Gatehouse (whole sign-in: verify, decide, commit, session)
// and to a minimal passport-saml app without any database, in turns, in one run.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { keyPair } from '../test/support/idp.ts'
import { freePort } from '../test/support/ports.ts'
import { fire, type Round, report, startMeasured } from './support/measured.ts'
import { preparedDatabase } from './support/prepared.ts'
import { signedResponses } from './support/responses.ts'

const ROUNDS = 24
const PER_ROUND = 40
const WARM_UP = 14
const AT_ONCE = 4

const folder = mkdtempSync(`${tmpdir()}/gatehouse-bench-`)
const port = await freePort()
const baseUrl = `http://localhost:${port}`
const acs = `${baseUrl}/saml/corp/acs`
const pair = await keyPair('bench')

const db = await preparedDatabase({ folder, port, certificate: pair.certificate, upstream: 'http://127.0.0.1:9' })
process.stdout.write(`Making ${(ROUNDS + WARM_UP) * PER_ROUND} signed responses …\n`)
const pool = await signedResponses(db, {
  port,
  pair,
  count: (ROUNDS + WARM_UP) * PER_ROUND,
  known: WARM_UP * PER_ROUND,
})
await db.close()

const ours = await startMeasured('./gatehouse.ts', { PORT: String(port), GATEHOUSE_DATA_DIR: folder, GATEHOUSE_LOG_LEVEL: 'warn' })
const theirPort = await freePort()
const theirs = await startMeasured('./passport-app.ts', {
  BENCH_PORT: String(theirPort),
  BENCH_ISSUER: `${baseUrl}/saml/corp/metadata`,
  BENCH_ACS: acs,
  BENCH_ACS_PATH: '/saml/corp/acs',
  BENCH_CERT: pair.certificate,
})
try {
  const rounds: { ours: Round[]; theirs: Round[] } = { ours: [], theirs: [] }
  const isIn = (status: number) => status === 303
  for (let i = 0; i < ROUNDS + WARM_UP; i++) {
    const shots = pool.slice(i * PER_ROUND, (i + 1) * PER_ROUND)
    const mine = await fire(ours, shots, AT_ONCE, isIn)
    const other = await fire(theirs, shots, AT_ONCE, isIn)
    // The first ones warm both up.
    if (i < WARM_UP) continue
    rounds.ours.push(mine)
    rounds.theirs.push(other)
  }
  report('sign-in', rounds.ours, rounds.theirs, 'Express + passport-saml')
} finally {
  await ours.stop()
  await theirs.stop()
  rmSync(folder, { recursive: true })
}
