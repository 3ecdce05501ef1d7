// Fetches an identity provider's metadata from where an administrator said it is, and has it read. The only place where
// a policy file reaches out to files and networks.

import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import type { MetadataReader } from '../flows/ports.ts'
import { readIdpMetadata } from '../http/saml/idp-metadata.ts'

const LARGEST = 10 * 1024 * 1024
const PATIENCE_MS = 10_000

/** @param folder that relative file names count from: the policy file's own */
export function metadataReader(folder: string, clock: () => Date): MetadataReader {
  return {
    async read(where) {
      let xml: string
      try {
        xml =
          'xml' in where ? where.xml : 'file' in where ? await readFile(resolve(folder, where.file), 'utf8') : await fetchText(where.url)
      } catch (error) {
        return `it cannot be read: ${(error as Error).message}`
      }
      const idp = readIdpMetadata(xml, clock())
      return typeof idp === 'string' ? idp : { idp, xml }
    },
  }
}

async function fetchText(url: string): Promise<string> {
  // A redirect could lead from https to http, or to another host than the one that is trusted.
  const answer = await fetch(url, {
    redirect: 'error',
    signal: AbortSignal.timeout(PATIENCE_MS),
    headers: { accept: 'application/samlmetadata+xml, application/xml, text/xml' },
  })
  if (!answer.ok) throw new Error(`${url} answered ${answer.status}`)
  const parts: Uint8Array[] = []
  let size = 0
  for await (const part of answer.body ?? []) {
    size += part.length
    if (size > LARGEST) throw new Error(`${url} is larger than ${LARGEST} bytes`)
    parts.push(part)
  }
  return Buffer.concat(parts).toString('utf8')
}
