// `npm test`: says which real peers are here and which suites are therefore skipped, then runs every test file. With
// CI=true a missing peer is a failure. Arguments are passed on: `npm test -- test/domain/decide.test.ts`.

import { spawn } from 'node:child_process'
import { missing, peerNames } from './peers.ts'

let failed = false
for (const peer of peerNames) {
  try {
    const why = missing(peer)
    process.stdout.write(why ? `peer missing: suites that need ${peer} are skipped; ${why}\n` : `peer found: ${peer}\n`)
  } catch (error) {
    failed = true
    process.stderr.write(`${(error as Error).message}\n`)
  }
}
if (failed) process.exit(1)

const given = process.argv.slice(2)
const runner = spawn(process.execPath, ['--test', '--test-timeout=120000', ...(given.length ? given : ['test/**/*.test.ts'])], {
  stdio: 'inherit',
})
runner.on('exit', (code) => process.exit(code ?? 1))
