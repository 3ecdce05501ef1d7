// Loaded before a command that is to be measured: tells on descriptor 3, when it ends, the most memory it has held (MB) and
// the processor time it has used (ms, of all threads).

import { readFileSync, writeSync } from 'node:fs'

process.on('exit', () => {
  const { user, system } = process.cpuUsage()
  writeSync(3, JSON.stringify({ peak: peak(), cpu: (user + system) / 1000 }))
})

/** Linux counts what the parent held at the fork into maxRSS, and not into VmHWM. */
function peak(): number {
  if (process.platform !== 'linux') return process.resourceUsage().maxRSS / 1024
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) / 1024
}
