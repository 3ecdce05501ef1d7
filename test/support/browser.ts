// Chromium with a fresh profile, and where its screenshots are kept for people to look at.

import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type BrowserContext, chromium } from 'playwright-core'
import { pathOf } from './peers.ts'

const output = fileURLToPath(new URL('../.output/', import.meta.url))

export interface TestBrowser {
  readonly context: BrowserContext
  /** Where a screenshot of that name belongs. */
  screenshot(name: string): string
  close(): Promise<void>
}

export async function startBrowser(): Promise<TestBrowser> {
  mkdirSync(output, { recursive: true })
  const profile = mkdtempSync(join(tmpdir(), 'gatehouse-browser-'))
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: pathOf('chromium'),
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--no-first-run',
    ],
    viewport: { width: 1000, height: 760 },
  })
  return {
    context,
    screenshot: (name) => join(output, `${name}.png`),
    async close() {
      await context.close()
      rmSync(profile, { recursive: true, force: true })
    },
  }
}
