// The demo: Gatehouse on embedded SQLite, an identity provider and a legacy app, in one process on loopback. Starts only
// when asked for by name, and never beside anything that looks like production.

import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { join, resolve } from 'node:path'
import { parsePolicyFile } from '../../domain/documents.ts'
import { applyPolicy } from '../../flows/apply-policy.ts'
import { openDatabase } from '../../store/db.ts'
import { migrateUp } from '../../store/migrations.ts'
import { assemble } from '../assemble.ts'
import { type Config, ConfigFaults, readConfig } from '../config.ts'
import { dataKeys, developmentPair, secretKey, serviceProviderKeys } from '../keys.ts'
import { metadataReader } from '../metadata-reader.ts'
import { outbound } from '../outbound.ts'
import { portsOf } from '../ports.ts'
import { bound, listen } from '../server.ts'
import { startWorker } from '../worker.ts'
import { demoIdentityProvider } from './identity-provider.ts'
import { demoLegacyApp } from './legacy-app.ts'
import { type DemoPerson, demoPeople } from './people.ts'

export interface Demo {
  readonly gatehouse: string
  readonly app: string
  readonly identityProvider: string
  readonly people: readonly DemoPerson[]
  readonly dataDir: string
  stop(): Promise<void>
}

type Environment = Readonly<Record<string, string | undefined>>

/** What only a production would have. The demo lets anybody in without a password, so it keeps away. */
const PRODUCTION_ONLY = [
  'DATABASE_URL',
  'DATABASE_URL_FILE',
  'GATEHOUSE_SECRET_KEY',
  'GATEHOUSE_SECRET_KEY_FILE',
  'GATEHOUSE_SP_KEY_FILE',
  'GATEHOUSE_SP_CERT_FILE',
] as const

const CONNECTION = 'demo'
const HR_FILE = 'people.csv'

/** @throws ConfigFaults */
export async function startDemo(environment: Environment): Promise<Demo> {
  const { config, idpPort, appPort } = demoConfig(environment)
  const db = openDatabase(config.database, dataKeys(config))
  const stops: (() => Promise<unknown>)[] = [() => db.close()]
  const stop = async () => {
    for (const one of stops.splice(0).reverse()) await one()
  }
  try {
    await migrateUp(db)

    const { baseUrl } = config
    const people = demoPeople()
    const entityId = `http://localhost:${idpPort}/metadata`
    const idpKeys = await developmentPair('demo-idp', 'Gatehouse demo identity provider')
    const idp = createServer(demoIdentityProvider({ entityId, keys: idpKeys, people, acs: `${baseUrl.origin}/saml/${CONNECTION}/acs` }))
    await bound(idp, idpPort, '127.0.0.1')
    stops.push(() => closed(idp))
    const legacyApp = demoLegacyApp()
    await bound(legacyApp, appPort, '127.0.0.1')
    stops.push(() => closed(legacyApp))

    const appHost = `app.localhost:${config.port}`
    writeHrFile(config.importDir, people)
    await applyDemoPolicy(config, db, { metadataUrl: entityId, appHost, upstream: `http://127.0.0.1:${appPort}` })
    const keys = await serviceProviderKeys(config)
    const house = assemble({ config, db, keys, secretKey: secretKey(config) })
    const running = await listen(house, { port: config.port, address: config.listenAddress, baseUrl })
    const worker = startWorker({ config, db, ports: portsOf(db), log: house.log })
    stops.push(running.stop, worker.stop)
    return {
      gatehouse: baseUrl.origin,
      app: `http://${appHost}`,
      identityProvider: `http://localhost:${idpPort}`,
      people,
      dataDir: config.dataDir,
      stop,
    }
  } catch (error) {
    await stop()
    throw error
  }
}

function demoConfig(environment: Environment): { config: Config; idpPort: number; appPort: number } {
  const faults: string[] = PRODUCTION_ONLY.filter((name) => environment[name]).map(
    (name) => `${name}: is set, so this looks like production; the demo does not start beside it`,
  )
  if (environment.NODE_ENV === 'production') faults.push('NODE_ENV: is production; the demo lets anybody in and does not start there')
  if (environment.GATEHOUSE_BASE_URL) faults.push('GATEHOUSE_BASE_URL: is set; the demo serves localhost only')
  const idpPort = portFrom(environment, 'GATEHOUSE_DEMO_IDP_PORT', 3001, faults)
  const appPort = portFrom(environment, 'GATEHOUSE_DEMO_APP_PORT', 3002, faults)
  if (faults.length) throw new ConfigFaults(faults)
  const config = readConfig({
    GATEHOUSE_LOG_LEVEL: 'warn',
    ...environment,
    GATEHOUSE_LISTEN_ADDRESS: '127.0.0.1',
    GATEHOUSE_DATA_DIR: resolve(environment.GATEHOUSE_DATA_DIR || 'data/demo'),
  })
  return { config, idpPort, appPort }
}

function portFrom(environment: Environment, name: string, standard: number, faults: string[]): number {
  const port = Number(environment[name] || standard)
  if (!Number.isInteger(port) || port < 1 || port > 65535) faults.push(`${name}: write a whole number from 1 to 65535`)
  return port
}

async function applyDemoPolicy(
  config: Config,
  db: ReturnType<typeof openDatabase>,
  { metadataUrl, appHost, upstream }: { metadataUrl: string; appHost: string; upstream: string },
) {
  const parsed = parsePolicyFile({
    connections: [
      {
        name: CONNECTION,
        kind: 'saml',
        metadata: { url: metadataUrl },
        // The bundled identity provider signs people in and nothing more.
        singleLogout: false,
        jit: { create: true, update: true, required: ['email'] },
        // Whom the personnel office has named before is the same person.
        matching: [{ by: ['email'], link: 'auto' }],
        mapping: [
          { to: 'userName', from: 'attributes.email' },
          { to: 'email', from: 'attributes.email' },
          { to: 'displayName', from: 'attributes.displayName' },
          { to: 'givenName', from: 'attributes.givenName' },
          { to: 'familyName', from: 'attributes.familyName' },
          { to: 'title', from: 'attributes.title' },
          { to: 'department', from: 'attributes.department' },
          { to: 'groups', from: 'attributes.groups' },
        ],
      },
    ],
    // What a personnel office would send: somebody whom nobody has seen yet, and everybody who may sign in.
    sources: [
      {
        name: 'hr',
        kind: 'csv',
        key: 'employeeNumber',
        csv: { file: HR_FILE },
        lifecycle: { leavers: 'deprovision' },
        approve: { new: 'auto', exact: 'auto', update: 'auto', leaver: 'ask' },
        matching: [{ by: ['email'], link: 'auto' }],
        mapping: [
          { to: 'userName', from: 'attributes.email' },
          { to: 'email', from: 'attributes.email' },
          { to: 'givenName', from: 'attributes.givenName' },
          { to: 'familyName', from: 'attributes.familyName' },
          { to: 'department', from: 'attributes.department' },
          { to: 'employeeNumber', from: 'attributes.employeeNumber' },
        ],
      },
    ],
    targets: [{ name: 'badges', kind: 'manual', instructions: 'Collect the badge and switch it off at the front desk.' }],
    entitlements: [{ name: 'console', when: "'administrators' in groups", administrator: true }],
    apps: [
      {
        name: 'legacy',
        host: appHost,
        upstream,
        headers: [
          { name: 'X-Remote-User', from: 'user.userName' },
          { name: 'X-Remote-Name', from: 'user.displayName' },
          { name: 'X-Remote-Email', from: 'user.email' },
          { name: 'X-Remote-Department', from: 'user.department' },
          { name: 'X-Remote-Groups', from: 'user.groups' },
        ],
      },
    ],
  })
  const faults = 'file' in parsed ? [] : parsed.faults
  const now = new Date()
  const applied =
    'file' in parsed
      ? await applyPolicy(
          {
            ...portsOf(db),
            metadata: metadataReader({ folder: '.', outbound: outbound(config.internalHosts), allow: config.allow, clock: () => now }),
          },
          { file: parsed.file, ownHost: config.baseUrl.host, actor: { kind: 'system', name: 'demo' }, now, prune: true, dryRun: false },
        )
      : { faults }
  if ('faults' in applied)
    throw new Error(`the demo’s own policy is wrong: ${applied.faults.map(({ path, message }) => `${path}: ${message}`).join('; ')}`)
}

/** Once: whoever plays with it finds it as they left it. */
function writeHrFile(folder: string, people: readonly DemoPerson[]): void {
  const file = join(folder, HR_FILE)
  if (existsSync(file)) return
  const all = [
    ...people,
    { id: 'demo-1006', email: 'dorothy@corp.example', givenName: 'Dorothy', familyName: 'Vaughan', department: 'Research' },
  ]
  const lines = all.map(({ id, email, givenName, familyName, department }) =>
    [id.replace('demo-', 'E'), email, givenName, familyName, department].join(','),
  )
  mkdirSync(folder, { recursive: true })
  writeFileSync(file, ['employeeNumber,email,givenName,familyName,department', ...lines, ''].join('\n'))
}

function closed(server: ReturnType<typeof createServer>): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve())
    server.closeAllConnections()
  })
}
