// Puts the house together: configuration and database in, doors out. The only place where flows meet the store.

import pino, { type Logger } from 'pino'
import { acceptAssertion } from '../flows/accept-assertion.ts'
import { endSession } from '../flows/end-session.ts'
import { enterApp, issueTicket } from '../flows/enter-app.ts'
import { refuseSignIn } from '../flows/refuse-sign-in.ts'
import { startSignIn } from '../flows/start-sign-in.ts'
import { sweepExpired } from '../flows/sweep-expired.ts'
import { cookieJar } from '../http/cookies.ts'
import { csrf } from '../http/csrf.ts'
import { type Gate, gate } from '../http/gate/gate.ts'
import { type ServiceProviderKeys, serviceProvider } from '../http/saml/service-provider.ts'
import { visits } from '../http/session.ts'
import { audit } from '../store/audit.ts'
import { findSignIn, findUser, listSignIns, listUsers } from '../store/console-reads.ts'
import type { Db } from '../store/db.ts'
import { gateReads } from '../store/gate-reads.ts'
import { leftovers } from '../store/leftovers.ts'
import { documents, policyReader } from '../store/policies.ts'
import { sessions } from '../store/sessions.ts'
import { assertions, requests, signIns } from '../store/sign-ins.ts'
import { findToken, tokens } from '../store/tokens.ts'
import { users } from '../store/users.ts'
import type { Config } from './config.ts'
import { mint } from './mint.ts'
import { type Doors, routes } from './routes.ts'

/** Everything that any flow asks of the world. */
export function portsOf(db: Db) {
  return { inTransaction: db.inTransaction, users, audit, requests, assertions, signIns, sessions, documents, tokens, leftovers, mint }
}

export interface House {
  readonly doors: Doors
  readonly gate: Gate
  /** Throws while the database cannot be reached. */
  ready(): Promise<unknown>
  sweep(): Promise<number>
  readonly log: Logger
}

export interface HouseParts {
  readonly config: Config
  readonly db: Db
  readonly keys: ServiceProviderKeys
  readonly secretKey: string
  readonly clock?: () => Date
  readonly log?: Logger
}

export function assemble({
  config,
  db,
  keys,
  secretKey,
  clock = () => new Date(),
  log = pino({ level: config.logLevel }),
}: HouseParts): House {
  const { baseUrl, sessionHours } = config
  const ports = portsOf(db)
  const policies = policyReader(db)
  const cookies = cookieJar(baseUrl.protocol === 'https:')
  const visit = visits({ askGate: gateReads(db), policyAt: policies.at, cookies, clock })
  const common = {
    baseUrl,
    clock,
    log,
    visit,
    cookies,
    serviceProvider: serviceProvider({ baseUrl: baseUrl.origin, keys, skewSeconds: config.clockSkewSeconds }),
    issueTicket: (grant: Parameters<typeof issueTicket>[1]) => issueTicket(ports, grant),
  }

  const doors = routes({
    ...common,
    policy: policies.inForce,
    csrf: csrf(secretKey),
    sessionHours,
    start: (ask) => startSignIn(ports, ask),
    accept: (arrival) => acceptAssertion(ports, arrival),
    refuse: (attempt) => refuseSignIn(ports, attempt),
    end: (session) => endSession(ports, session),
    findToken: (secretHash, now) => findToken(db, secretHash, now),
    listUsers: (page) => listUsers(db, page),
    findUser: (who) => findUser(db, who),
    listSignIns: (page) => listSignIns(db, page),
    findSignIn: (reference) => findSignIn(db, reference),
  })

  return {
    doors,
    gate: gate({ ...common, mint, enter: (ask) => enterApp(ports, ask) }),
    ready: policies.inForce,
    sweep: () => sweepExpired(ports, { now: clock(), keepSignInsDays: config.keepSignInsDays }),
    log,
  }
}
