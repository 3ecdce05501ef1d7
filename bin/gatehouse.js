#!/usr/bin/env node
// Starts Gatehouse on a Node that can run its TypeScript sources. An older one on PATH hands over to the one that was
// installed with the dependencies.
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const [major] = process.versions.node.split('.').map(Number)
if (major >= 24) {
  await import('../src/main.ts')
} else {
  const newer = fileURLToPath(new URL('../node_modules/node/bin/node', import.meta.url))
  if (!existsSync(newer)) {
    process.stderr.write(`Gatehouse needs Node.js 24; this is ${process.versions.node}. «npm ci» in its folder installs one.\n`)
    process.exit(1)
  }
  const { status, signal } = spawnSync(newer, [fileURLToPath(import.meta.url), ...process.argv.slice(2)], { stdio: 'inherit' })
  process.exit(signal ? 1 : (status ?? 1))
}
