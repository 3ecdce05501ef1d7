// Fetches an identity provider's metadata from where an administrator said it is, and has it read as it comes. The only
// place where a policy file reaches out to files and networks.

import { createReadStream } from 'node:fs'
import { resolve } from 'node:path'
import type { MetadataSpec } from '../domain/documents/connection.ts'
import type { MetadataReader } from '../flows/ports.ts'
import { readMetadataFile } from '../http/saml/metadata-file.ts'
import type { Allowances } from '../http/saml/names.ts'
import type { Outbound } from './outbound.ts'

/** The largest federations' files have about 100 MB. */
const LARGEST = 256 * 1024 * 1024
const PATIENCE_MS = 60_000

export interface MetadataReaderParts {
  /** That relative file names count from: the policy file's own. */
  readonly folder: string
  readonly outbound: Outbound
  readonly allow: Allowances
  readonly clock: () => Date
  /** How long a fetch may take. */
  readonly patienceMs?: number
}

export function metadataReader({ folder, outbound, allow, clock, patienceMs = PATIENCE_MS }: MetadataReaderParts): MetadataReader {
  const pieces = (where: MetadataSpec): AsyncIterable<Uint8Array> | Iterable<Uint8Array> => {
    if ('xml' in where) return [Buffer.from(where.xml)]
    if ('file' in where) return createReadStream(resolve(folder, where.file))
    const headers = { accept: 'application/samlmetadata+xml, application/xml;q=0.9, text/xml;q=0.8' }
    return outbound({ url: where.url, headers, largestBytes: LARGEST, patienceMs })
  }
  return {
    async read(where) {
      const { entityId, signedBy } = where
      try {
        return await readMetadataFile(pieces(where), { entityId, signedBy, allow, now: clock() })
      } catch (error) {
        return `it cannot be read: ${(error as Error).message}`
      }
    },
  }
}
