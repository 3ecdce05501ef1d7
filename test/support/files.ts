// Files for a suite, in a folder that goes with it.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after } from 'node:test'

/** @returns the folder, and what puts another file into it */
export function testFiles(ending: string): { readonly folder: string; readonly put: (content: string | Uint8Array) => string } {
  const folder = mkdtempSync(join(tmpdir(), 'gatehouse-files-'))
  after(() => rmSync(folder, { recursive: true }))
  let files = 0
  return {
    folder,
    put(content) {
      const file = join(folder, `${++files}.${ending}`)
      writeFileSync(file, content)
      return file
    },
  }
}
