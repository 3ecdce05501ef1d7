// gatehouse serve | migrate | doctor

import { X509Certificate } from 'node:crypto'
import { connect } from 'node:net'
import type { Command } from 'commander'
import type { SourceSpec } from '../../domain/documents/source.ts'
import type { IdentityProvider } from '../../domain/identity-provider.ts'
import type { Policy } from '../../domain/policy.ts'
import type { MetadataState } from '../../flows/ports.ts'
import { listCases } from '../../store/cases.ts'
import { type Db, openDatabase } from '../../store/db.ts'
import { listJobs } from '../../store/jobs.ts'
import { metadataStateOf } from '../../store/metadata-states.ts'
import { migrateDown, migrateUp, pendingMigrations } from '../../store/migrations.ts'
import { policyReader } from '../../store/policies.ts'
import { countStale, everybody } from '../../store/runs.ts'
import { countTasks } from '../../store/tasks.ts'
import { assemble } from '../assemble.ts'
import { type Config, ConfigFaults, readConfig } from '../config.ts'
import { dataKeys, secretKey, serviceProviderKeys } from '../keys.ts'
import { webAsker } from '../outbound.ts'
import { portsOf } from '../ports.ts'
import { listen } from '../server.ts'
import { connectorOf } from '../sources.ts'
import { startWorker } from '../worker.ts'
import { CommandFailure, print, printJson } from './output.ts'
import { stopAsked } from './stopping.ts'
import { atNewestSchema } from './workplace.ts'

export function serveCommands(program: Command): void {
  program.command('serve').description('serve Gatehouse until it is told to stop').action(serve)
  program
    .command('migrate')
    .description('bring the database to the newest schema')
    .option('--down', 'take the newest migration back instead; what only the newer schema can hold is lost', false)
    .option('--json', 'answer with JSON', false)
    .action(migrate)
  program
    .command('doctor')
    .description('look for what would keep people from signing in, and say what to do')
    .option('--json', 'answer with JSON', false)
    .action(doctor)
}

async function serve(): Promise<void> {
  const config = readConfig(process.env)
  const keys = await serviceProviderKeys(config)
  const db = openDatabase(config.database, dataKeys(config))
  try {
    await atNewestSchema(db)
    const house = assemble({ config, db, keys, secretKey: secretKey(config) })
    const worker = startWorker({ config, db, ports: portsOf(db), log: house.log })
    const running = await listen(house, { port: config.port, address: config.listenAddress, baseUrl: config.baseUrl })
    for (const name of config.insecure) house.log.warn(`${name} is on: do not serve people like this`)
    house.log.info({ url: config.baseUrl.origin, port: running.port, database: db.dialect }, 'Gatehouse is serving')
    await stopAsked()
    house.log.info('stopping')
    await worker.stop()
    await running.stop()
  } finally {
    await db.close()
  }
}

async function migrate(options: { down: boolean; json: boolean }): Promise<void> {
  const config = readConfig(process.env)
  const db = openDatabase(config.database, dataKeys(config))
  try {
    const names = options.down ? await migrateDown(db) : await migrateUp(db)
    if (options.json) return printJson({ [options.down ? 'takenBack' : 'applied']: names })
    if (names.length) print(`${options.down ? 'Taken back' : 'Applied'}: ${names.join(', ')}`)
    else print(options.down ? 'There is nothing to take back.' : 'The database is at the newest schema already.')
  } finally {
    await db.close()
  }
}

interface Finding {
  readonly check: string
  readonly ok: boolean
  readonly says: string
}

/** Certificates that run out sooner than this are worth a word. */
const SOON_DAYS = 30

async function doctor(options: { json: boolean }): Promise<void> {
  const findings = await examine()
  const ill = findings.filter((finding) => !finding.ok)
  if (options.json) printJson({ healthy: !ill.length, findings })
  else for (const { check, ok, says } of findings) print(`${ok ? 'ok  ' : 'FAIL'}  ${check}: ${says}`)
  if (ill.length) throw new CommandFailure(`${ill.length} of ${findings.length} checks failed.`)
}

async function examine(): Promise<readonly Finding[]> {
  let config: Config
  try {
    config = readConfig(process.env)
  } catch (error) {
    if (!(error instanceof ConfigFaults)) throw error
    return error.faults.map((says) => ({ check: 'configuration', ok: false, says }))
  }
  const findings: Finding[] = [{ check: 'configuration', ok: true, says: `serves ${config.baseUrl.origin}` }]
  for (const name of config.insecure) findings.push({ check: 'configuration', ok: false, says: `${name} is on` })
  findings.push(
    await attempt('SAML key pair', async () => validity(new X509Certificate((await serviceProviderKeys(config)).current.certificate))),
  )
  if (config.spOtherKeyFiles) {
    const other = async () => validity(new X509Certificate((await serviceProviderKeys(config)).other?.certificate ?? ''))
    findings.push(await attempt('other SAML key pair', other))
  }
  const db = openDatabase(config.database, dataKeys(config))
  try {
    findings.push(await attempt('database', () => schemaState(db)))
    if (findings.at(-1)?.ok) findings.push(...(await examinePolicy(db, config, await policyReader(db).inForce())))
  } finally {
    await db.close()
  }
  return findings
}

async function schemaState(db: Db): Promise<string> {
  const pending = await pendingMigrations(db)
  if (pending.length) throw new Error(`behind by ${pending.join(', ')}; run «gatehouse migrate»`)
  return `${db.dialect} answers and is at the newest schema`
}

async function examinePolicy(
  db: Db,
  config: Config,
  { imports, connections, drafts, apps, faults, unknownSources, revision }: Policy,
): Promise<readonly Finding[]> {
  const findings: Finding[] = []
  if (!connections.size)
    findings.push({ check: 'connections', ok: false, says: 'there is none, so nobody can sign in; «gatehouse apply -f FILE» makes one' })
  for (const { kind, name, message } of faults) findings.push({ check: `${kind} ${name}`, ok: false, says: `out of force: ${message}` })
  if (unknownSources.length)
    findings.push({ check: 'mastery', ok: true, says: `names sources that are not there (yet): ${unknownSources.join(', ')}` })
  for (const { name } of drafts.values()) {
    if (faults.some((one) => one.kind === 'connection' && one.name === name)) continue
    findings.push({ check: `connection ${name}`, ok: true, says: 'a draft; nobody can sign in until it has metadata' })
  }
  for (const { id, name, idp, metadata } of connections.values()) {
    const certificates = idp.certificates.map((base64) => new X509Certificate(Buffer.from(base64, 'base64')))
    const best = certificates.sort((a, b) => b.validToDate.getTime() - a.validToDate.getTime())[0]
    findings.push(
      await attempt(`connection ${name}`, async () => `${idp.entityId}, signing certificate ${best ? validity(best) : 'missing'}`),
    )
    if (metadata && 'url' in metadata)
      findings.push(await attempt(`metadata of ${name}`, async () => metadataState(idp, await metadataStateOf(db, id))))
  }
  findings.push(await attempt('people', () => peopleState(db, revision)))
  for (const { name, spec, policy } of imports.values())
    if (policy) findings.push(await attempt(`source ${name}`, () => sourceState(spec, config)))
  findings.push(await attempt('jobs and tasks', () => workState(db)))
  if (!apps.length) findings.push({ check: 'apps', ok: false, says: 'there is none to protect; «gatehouse apply -f FILE» makes one' })
  for (const { name, host, upstream } of apps)
    findings.push(await attempt(`app ${name}`, async () => `${host} -> ${await reach(upstream)}`))
  return findings
}

async function peopleState(db: Db, revision: number): Promise<string> {
  const stale = revision ? await countStale(db) : 0
  const waiting = (await listCases(db, { all: false, limit: 1_000 })).length
  // One that opens shows that the key is right.
  for await (const [first] of everybody(db, { size: 1 })) {
    if (first) break
  }
  const due = stale ? `; ${stale} derived under an older policy («gatehouse reapply»)` : ''
  return `what is kept of them opens; ${waiting ? `${waiting} wait for a decision («gatehouse match list»)` : 'nobody waits for a decision'}${due}`
}

/** A file is there when somebody puts it there; what is asked over a network has to answer. */
async function sourceState(spec: SourceSpec, config: Config): Promise<string> {
  if (spec.kind === 'csv' && spec.csv.file === undefined)
    return spec.csv.folder === undefined ? 'takes files that are given to it' : `takes files from the folder ${spec.csv.folder}`
  const place = { importDir: config.importDir, environment: config.environment, ask: webAsker(config.internalHosts) }
  return connectorOf(spec, place).test(AbortSignal.timeout(SOURCE_PATIENCE_MS))
}

const SOURCE_PATIENCE_MS = 10_000

async function workState(db: Db): Promise<string> {
  const dead = await listJobs(db, { state: 'dead', limit: 1_000 })
  const { open, overdue } = await countTasks(db, new Date())
  if (dead.length)
    throw new Error(`${dead.length} jobs are given up («gatehouse jobs --state dead»); ${dead[0]?.target}: ${dead[0]?.lastError ?? ''}`)
  if (overdue) throw new Error(`${overdue} of ${open} open tasks are overdue («gatehouse tasks»)`)
  return open ? `${open} open tasks, none overdue` : 'nothing is left undone'
}

function metadataState(idp: IdentityProvider, state: MetadataState | undefined): string {
  const validUntil = String(state?.details?.validUntil ?? idp.validUntil ?? '')
  const reasons = state?.details?.reasons
  const why = Array.isArray(reasons) ? reasons.join('; ') : ''
  if (state?.outcome === 'failed' || state?.outcome === 'held') {
    throw new Error(`${state.outcome} at ${state.checkedAt?.toISOString()}: ${why}; what was in force before still is`)
  }
  if (validUntil && new Date(validUntil).getTime() < Date.now()) throw new Error(`was valid until ${validUntil} only`)
  return state?.checkedAt ? `looked at ${state.checkedAt.toISOString()}: ${state.outcome}` : 'not looked at again yet'
}

async function attempt(check: string, look: () => Promise<string>): Promise<Finding> {
  try {
    return { check, ok: true, says: await look() }
  } catch (error) {
    return { check, ok: false, says: (error as Error).message }
  }
}

function validity({ validToDate }: X509Certificate): string {
  const days = Math.floor((validToDate.getTime() - Date.now()) / 86_400_000)
  if (days < 0) throw new Error(`ran out on ${validToDate.toISOString().slice(0, 10)}`)
  return `valid for ${days} more days${days < SOON_DAYS ? ', replace it soon' : ''}`
}

function reach(upstream: string): Promise<string> {
  const { hostname, port, protocol } = new URL(upstream)
  return new Promise((resolve, reject) => {
    const socket = connect({
      host: hostname.replace(/^\[|\]$/g, ''),
      port: Number(port) || (protocol === 'https:' ? 443 : 80),
      timeout: 3_000,
    })
    const ended = (error?: Error) => {
      socket.destroy()
      if (error) reject(new Error(`${upstream} cannot be reached: ${error.message}`))
      else resolve(`${upstream} answers`)
    }
    socket.once('connect', () => ended())
    socket.once('error', ended)
    socket.once('timeout', () => ended(new Error('no answer within 3 seconds')))
  })
}
