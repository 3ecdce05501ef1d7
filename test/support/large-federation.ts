// A federation's file that is larger than the heap of this thread, read as it comes. Answers with what was picked.

import { parentPort, workerData } from 'node:worker_threads'
import { readMetadataFile } from '../../src/http/saml/metadata-file.ts'
import { NOTHING_INSECURE } from '../../src/http/saml/names.ts'

const { head, filler, picked, megabytes } = workerData as { head: string; filler: string; picked: string; megabytes: number }
const many = Buffer.from(filler.repeat(100))
const times = Math.ceil((megabytes * 1024 * 1024) / many.length)

function* pieces(): Generator<Buffer> {
  yield Buffer.from(head)
  for (let i = 0; i < times; i++) {
    for (let at = 0; at < many.length; at += 65_536) yield many.subarray(at, at + 65_536)
    if (i === times - 2) yield Buffer.from(picked)
  }
  yield Buffer.from('</md:EntitiesDescriptor>')
}

const now = new Date('2026-06-01T00:00:00Z')
const found = await readMetadataFile(pieces(), { entityId: 'https://idp1.example', allow: NOTHING_INSECURE, now })
parentPort?.postMessage(typeof found === 'string' ? found : { entityId: found.idp.entityId, entities: found.entities })
