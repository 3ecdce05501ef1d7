// A server in a process of its own that tells how much processor time it has used, and a loop that loads it.

import { type ChildProcess, fork } from 'node:child_process'
import http from 'node:http'
import { fileURLToPath } from 'node:url'

export interface MeasuredServer {
  readonly port: number
  /** Milliseconds of processor time since it started, user and system. */
  cpu(): Promise<number>
  /** Milliseconds of processor time that its main thread has used since it started, and the memory it holds now, in MB. */
  state(): Promise<{ readonly main: number; readonly rss: number }>
  stop(): Promise<void>
}

/** The server's own half: says that it listens, and answers when it is asked for its processor time. */
export function reportTo(port: number): void {
  process.on('message', (message) => {
    if (message === 'stop') process.exit(0)
    const { user, system } = process.cpuUsage()
    const main = process.threadCpuUsage()
    process.send?.({ cpu: (user + system) / 1000, main: (main.user + main.system) / 1000, rss: process.memoryUsage.rss() / 1024 / 1024 })
  })
  process.send?.({ port })
}

export async function startMeasured(file: string, environment: Record<string, string>): Promise<MeasuredServer> {
  const child = fork(fileURLToPath(new URL(file, import.meta.url)), {
    env: { ...process.env, ...environment },
  })
  const { port } = await answer<{ port: number }>(child)
  return {
    port,
    async cpu() {
      child.send('cpu')
      return (await answer<{ cpu: number }>(child)).cpu
    },
    state() {
      child.send('state')
      return answer(child)
    },
    stop: () =>
      new Promise((resolve) => {
        child.once('exit', () => resolve())
        child.send('stop')
      }),
  }
}

function answer<Message>(child: ChildProcess): Promise<Message> {
  return new Promise((resolve, reject) => {
    const gone = (code: number | null) => reject(new Error(`the server ended with ${code}`))
    child.once('exit', gone)
    child.once('message', (message) => {
      child.off('exit', gone)
      resolve(message as Message)
    })
  })
}

export interface Shot {
  readonly method: 'GET' | 'POST'
  readonly path: string
  readonly headers: Record<string, string>
  readonly body?: string
}

export interface Round {
  readonly perSecond: number
  readonly cpuMs: number
  readonly p50: number
  readonly p99: number
}

/** Sends every shot once, so many at a time, each as soon as one before it is answered. */
export async function fire(
  server: MeasuredServer,
  shots: readonly Shot[],
  atOnce: number,
  expect: (status: number) => boolean,
  /** Ends it before every shot is fired. */
  stop?: AbortSignal,
): Promise<Round> {
  const agent = new http.Agent({ keepAlive: true, maxSockets: atOnce })
  const times: number[] = []
  let next = 0
  const before = await server.cpu()
  const began = performance.now()
  await Promise.all(
    Array.from({ length: atOnce }, async () => {
      for (let shot = shots[next++]; shot && !stop?.aborted; shot = shots[next++]) {
        const sent = performance.now()
        const status = await send(agent, server.port, shot)
        if (!expect(status)) throw new Error(`answered ${status}`)
        times.push(performance.now() - sent)
      }
    }),
  )
  const seconds = (performance.now() - began) / 1000
  const cpu = (await server.cpu()) - before
  agent.destroy()
  times.sort((a, b) => a - b)
  const at = (share: number) => times[Math.min(times.length - 1, Math.floor(times.length * share))] ?? 0
  return { perSecond: shots.length / seconds, cpuMs: cpu / shots.length, p50: at(0.5), p99: at(0.99) }
}

export function send(agent: http.Agent, port: number, { method, path, headers, body }: Shot): Promise<number> {
  return new Promise((resolve, reject) => {
    const request = http.request({ agent, host: '127.0.0.1', port, method, path, headers }, (response) => {
      response.resume()
      response.on('end', () => resolve(response.statusCode ?? 0))
      response.on('error', reject)
    })
    request.on('error', reject)
    request.end(body)
  })
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
}

/** Rounds of two servers, taken in turns, as a table with the ratio of their processor time. */
export function report(unit: string, ours: readonly Round[], theirs: readonly Round[], theirName: string): number {
  const line = (name: string, rounds: readonly Round[]) => {
    const figure = (pick: (round: Round) => number, digits: number) => median(rounds.map(pick)).toFixed(digits).padStart(9)
    return `${name.padEnd(28)}${figure((r) => r.perSecond, 1)}${figure((r) => r.cpuMs, 3)}${figure((r) => r.p50, 2)}${figure((r) => r.p99, 2)}`
  }
  const ratios = ours.map((round, i) => round.cpuMs / (theirs[i]?.cpuMs ?? Number.NaN))
  const ratio = median(ratios)
  process.stdout.write(
    [
      `${'median of rounds'.padEnd(28)}${`${unit}/s`.padStart(9)}${'cpu ms'.padStart(9)}${'p50 ms'.padStart(9)}${'p99 ms'.padStart(9)}`,
      line('Gatehouse', ours),
      line(theirName, theirs),
      `processor time per ${unit}, Gatehouse / the other: ${ratio.toFixed(2)} (rounds ${Math.min(...ratios).toFixed(2)} to ${Math.max(...ratios).toFixed(2)})`,
      '',
    ].join('\n'),
  )
  return ratio
}
