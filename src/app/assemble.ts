// Puts the house together: configuration and database in, doors out. The only place where flows meet the store.

import pino, { type Logger } from 'pino'
import type { SourceId } from '../domain/ids.ts'
import type { Connection } from '../domain/policy.ts'
import { hideSensitive } from '../domain/sensitive.ts'
import { acceptAssertion } from '../flows/accept-assertion.ts'
import { acceptLogoutRequest, acceptLogoutResponse } from '../flows/accept-logout.ts'
import type { BeginWork } from '../flows/background-ports.ts'
import { enterApp, issueTicket } from '../flows/enter-app.ts'
import { trimRecords } from '../flows/look-after-records.ts'
import { type Refreshed, refreshIfDue, rescueMetadata } from '../flows/refresh-metadata.ts'
import { refuseSignIn } from '../flows/refuse-sign-in.ts'
import { startLogout } from '../flows/start-logout.ts'
import { startSignIn } from '../flows/start-sign-in.ts'
import { sweepExpired } from '../flows/sweep-expired.ts'
import { takePassive } from '../flows/take-passive.ts'
import { cookieJar } from '../http/cookies.ts'
import { csrf } from '../http/csrf.ts'
import { type Gate, gate } from '../http/gate/gate.ts'
import { type ServiceProviderKeys, serviceProvider } from '../http/saml/service-provider.ts'
import { type Verifier, verificationPool } from '../http/saml/verification-pool.ts'
import { visits } from '../http/session.ts'
import { findSignIn, findUser, listSignIns, listUsers } from '../store/console-reads.ts'
import type { Db } from '../store/db.ts'
import { gateReads } from '../store/gate-reads.ts'
import { policyReader } from '../store/policies.ts'
import { findToken } from '../store/tokens.ts'
import { backgroundWork } from './background.ts'
import type { Config } from './config.ts'
import { importDeps } from './import-deps.ts'
import { metadataReader } from './metadata-reader.ts'
import { mint } from './mint.ts'
import { type Outbound, outbound } from './outbound.ts'
import { portsOf } from './ports.ts'
import { type Doors, routes } from './routes.ts'

export interface House {
  readonly doors: Doors
  readonly gate: Gate
  /** Throws while the database cannot be reached. */
  ready(): Promise<unknown>
  sweep(): Promise<number>
  /** Looks at the metadata whose time has come. */
  refreshMetadata(): Promise<readonly Refreshed[]>
  close(): Promise<void>
  readonly log: Logger
}

export interface HouseParts {
  readonly config: Config
  readonly db: Db
  readonly keys: ServiceProviderKeys
  readonly secretKey: string
  readonly clock?: () => Date
  readonly log?: Logger
  readonly verifier?: Verifier
  /** Undefined: in processes of their own. */
  readonly beginWork?: BeginWork
}

export function assemble({
  config,
  db,
  keys,
  secretKey,
  clock = () => new Date(),
  log = pino({ level: config.logLevel }),
  verifier = verificationPool(),
  beginWork = backgroundWork(config, log),
}: HouseParts): House {
  const { baseUrl, sessionHours } = config
  const ports = portsOf(db)
  const policies = policyReader(db)
  const cookies = cookieJar(baseUrl.protocol === 'https:')
  const visit = visits({ askGate: gateReads(db), policyAt: policies.at, cookies, clock })
  const ask = outbound(config.internalHosts)
  const reader = metadataReader({ folder: '.', outbound: ask, allow: config.allow, clock })
  const refreshing = { ...ports, metadata: reader }
  // Somebody is waiting for this one.
  const impatient = metadataReader({ folder: '.', outbound: ask, allow: config.allow, clock, patienceMs: RESCUE_PATIENCE_MS })
  const rescuing = { ...ports, metadata: impatient }
  const common = {
    baseUrl,
    clock,
    log,
    visit,
    cookies,
    serviceProvider: serviceProvider({
      baseUrl: baseUrl.origin,
      keys,
      skewSeconds: config.clockSkewSeconds,
      metadataDays: config.metadataDays,
      allow: config.allow,
      verifier,
      postSoap: (url, body) => postSoap(ask, url, body),
    }),
    issueTicket: (grant: Parameters<typeof issueTicket>[1]) => issueTicket(ports, grant),
  }

  const doors = routes({
    ...common,
    policy: policies.inForce,
    csrf: csrf(secretKey),
    sessionHours,
    keepsResponses: config.keepResponsesDays > 0,
    start: (ask) => startSignIn(ports, ask),
    accept: (arrival) => acceptAssertion(ports, arrival),
    refuse: (attempt) => refuseSignIn(ports, attempt),
    clockSkewSeconds: config.clockSkewSeconds,
    takePassive: (request) => takePassive(ports, request),
    rescue: oneAtATime((connection, now) => rescueMetadata(rescuing, { connection, now })),
    resolveArtifact: (artifact, connection, now) =>
      common.serviceProvider.resolveArtifact(artifact, connection, { id: mint.messageId(), now }),
    startLogout: (session) => startLogout(ports, session),
    newId: mint.messageId,
    acceptLogoutRequest: (arrived) => acceptLogoutRequest(ports, arrived),
    acceptLogoutResponse: (arrived) => acceptLogoutResponse(ports, arrived),
    findToken: (secretHash, now) => findToken(db, secretHash, now),
    listUsers: (page) => listUsers(db, page),
    findUser: async (who) => {
      const [user, { schema }] = [await findUser(db, who), await policies.inForce()]
      return user && { ...user, profile: hideSensitive(user.profile, schema) }
    },
    listSignIns: (page) => listSignIns(db, page),
    findSignIn: (reference) => findSignIn(db, reference),
    ...importDeps({ config, db, ports, policies, clock, log, begin: beginWork }),
  })

  return {
    doors,
    gate: gate({ ...common, mint, enter: (ask) => enterApp(ports, ask) }),
    ready: policies.inForce,
    sweep: async () => {
      const { keepSignInsDays, keepResponsesDays, keepPlansDays, keepUnmappedDays: keepDays } = config
      await trimRecords(ports, { policy: await policies.inForce(), keepDays, now: clock() })
      return sweepExpired(ports, { now: clock(), keepSignInsDays, keepResponsesDays, keepPlansDays })
    },
    refreshMetadata: async () => {
      const { connections } = await policies.inForce()
      const looked: Refreshed[] = []
      // One after the other: federations' files are large, and nobody waits for this.
      for (const connection of connections.values()) {
        const refreshed = await refreshIfDue(refreshing, { connection, now: clock() })
        if (refreshed) looked.push(refreshed)
      }
      for (const { connection, outcome, reasons, addedKeys, removedKeys, endpoints } of looked) {
        const about = { connection, outcome, reasons, addedKeys, removedKeys, endpoints }
        if (outcome === 'failed' || outcome === 'held') log.warn(about, 'metadata was looked at again and is not in force')
        else log.info(about, 'metadata was looked at again')
      }
      return looked
    },
    close: () => verifier.close(),
    log,
  }
}

const RESCUE_PATIENCE_MS = 10_000

/** Whoever comes while a connection's metadata is being fetched waits for that, instead of being refused. */
function oneAtATime(rescue: (connection: Connection, now: Date) => Promise<void>): typeof rescue {
  const underWay = new Map<SourceId, Promise<void>>()
  return (connection, now) => {
    const already = underWay.get(connection.id)
    if (already) return already
    const started = rescue(connection, now).finally(() => underWay.delete(connection.id))
    underWay.set(connection.id, started)
    return started
  }
}

const LARGEST_SOAP = 512 * 1024
const SOAP_PATIENCE_MS = 10_000

async function postSoap(ask: Outbound, url: string, body: string): Promise<string> {
  const headers = {
    'content-type': 'text/xml; charset=utf-8',
    soapaction: 'http://www.oasis-open.org/committees/security',
    accept: 'text/xml',
  }
  const parts: Uint8Array[] = []
  for await (const part of ask({ url, method: 'POST', headers, body, largestBytes: LARGEST_SOAP, patienceMs: SOAP_PATIENCE_MS }))
    parts.push(part)
  return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(parts))
}
