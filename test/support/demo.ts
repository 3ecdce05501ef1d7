// The demo on free ports, with data that go when it stops.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Demo, startDemo } from '../../src/app/demo/demo.ts'
import { freePort } from './ports.ts'

export interface TestDemo extends Demo {
  readonly folder: string
}

export async function testDemo(): Promise<TestDemo> {
  const folder = mkdtempSync(join(tmpdir(), 'gatehouse-demo-'))
  const demo = await startDemo({
    PORT: String(await freePort()),
    GATEHOUSE_DEMO_IDP_PORT: String(await freePort()),
    GATEHOUSE_DEMO_APP_PORT: String(await freePort()),
    GATEHOUSE_DATA_DIR: join(folder, 'data'),
  })
  return {
    ...demo,
    folder,
    async stop() {
      await demo.stop()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
