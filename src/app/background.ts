// Begins long work in a process of its own: the command line does it, and whoever signs in meanwhile waits for nothing. Its run is
// in the database, where everybody looks for it.

import { spawn } from 'node:child_process'
import { createWriteStream, mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import type { Logger } from 'pino'
import { actorName } from '../domain/events.ts'
import type { BeginWork, LongWork } from '../flows/background-ports.ts'
import type { Upload } from '../http/console/upload.ts'
import type { Config, Environment } from './config.ts'
import { mint } from './mint.ts'

const MAIN = new URL('../main.ts', import.meta.url).pathname

/** @returns the exit code, as the command tells it */
export function runCommand(args: readonly string[], environment: Environment): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [MAIN, ...args, '--json'], { stdio: ['ignore', 'ignore', 'ignore'], env: { ...environment } })
    child.once('error', reject)
    child.once('exit', (code) => resolve(code ?? 1))
  })
}

export function backgroundWork({ environment }: Pick<Config, 'environment'>, log: Logger): BeginWork {
  return async (work, actor) => {
    const args = [...argumentsOf(work), '--begun-by', actorName(actor)]
    runCommand(args, environment)
      .then((code) => log.info({ what: work.what, run: work.run, code }, 'long work has ended'))
      .catch((error) => log.warn({ err: error, what: work.what, run: work.run }, 'long work could not be begun'))
      .finally(() => {
        if (work.what === 'import' && work.file) rmSync(work.file.path, { force: true })
      })
  }
}

function argumentsOf(work: LongWork): readonly string[] {
  switch (work.what) {
    case 'import':
      return [
        'import',
        work.source,
        `--${work.mode}`,
        '--run-id',
        work.run,
        ...(work.planOnly ? ['--plan-only'] : []),
        ...(work.file ? ['--file', work.file.path, '--file-name', work.file.name] : []),
      ]
    case 'approve':
      return ['runs', 'approve', work.run, ...(work.decision ? ['--decision', work.decision] : [])]
    case 'undo':
      return ['undo', work.run]
  }
}

/** Into the import folder, under a name of ours. */
export function uploads(importDir: string): Upload {
  return async (content) => {
    const folder = join(importDir, 'uploads')
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    const path = join(folder, `${mint.secret()}.csv`)
    try {
      await pipeline(content, atMost(LARGEST_UPLOAD), createWriteStream(path, { mode: 0o600 }))
    } catch (error) {
      rmSync(path, { force: true })
      throw error
    }
    return { path, discard: async () => rmSync(path, { force: true }) }
  }
}

const LARGEST_UPLOAD = 2 * 1024 ** 3

function atMost(bytes: number) {
  return async function* (content: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    let size = 0
    for await (const part of content) {
      size += part.length
      // The door answers with this.
      if (size > bytes) throw Object.assign(new Error(`the file is larger than ${bytes} bytes`), { status: 413 })
      yield part
    }
  }
}
