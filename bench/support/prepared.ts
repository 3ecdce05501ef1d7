// A migrated SQLite database with the standard policy in force, for the server that is to be measured.

import { readConfig } from '../../src/app/config.ts'
import { dataKeys } from '../../src/app/keys.ts'
import { metadataReader } from '../../src/app/metadata-reader.ts'
import { outbound } from '../../src/app/outbound.ts'
import { portsOf } from '../../src/app/ports.ts'
import { parsePolicyFile } from '../../src/domain/documents.ts'
import { applyPolicy } from '../../src/flows/apply-policy.ts'
import { NOTHING_INSECURE } from '../../src/http/saml/names.ts'
import { type Db, openDatabase } from '../../src/store/db.ts'
import { migrateUp } from '../../src/store/migrations.ts'
import { standardPolicy } from '../../test/support/house.ts'
import { metadataXml } from '../../test/support/idp.ts'

export const ISSUER = 'https://idp.example/metadata'

export interface Prepare {
  readonly folder: string
  readonly port: number
  readonly certificate: string
  readonly upstream: string
}

export async function preparedDatabase({ folder, port, certificate, upstream }: Prepare): Promise<Db> {
  const config = readConfig({ GATEHOUSE_DATA_DIR: folder })
  const db = openDatabase(config.database, dataKeys(config))
  await migrateUp(db)
  const now = new Date()
  const parsed = parsePolicyFile(
    standardPolicy(metadataXml(ISSUER, 'https://idp.example/sso', [certificate]), `app.localhost:${port}`, upstream),
  )
  if ('faults' in parsed) throw new Error(JSON.stringify(parsed.faults))
  const ports = {
    ...portsOf(db),
    metadata: metadataReader({ folder: '.', outbound: outbound([]), allow: NOTHING_INSECURE, clock: () => now }),
  }
  const ask = {
    file: parsed.file,
    ownHost: `localhost:${port}`,
    actor: { kind: 'system', name: 'bench' },
    now,
    prune: false,
    dryRun: false,
  } as const
  const result = await applyPolicy(ports, ask)
  if ('faults' in result) throw new Error(JSON.stringify(result.faults))
  return db
}
