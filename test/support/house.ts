// A whole Gatehouse on a free port, over a real database, with a policy applied and a clock that tests may set.

import { createServer, type IncomingHttpHeaders, type Server } from 'node:http'
import pino from 'pino'
import { assemble } from '../../src/app/assemble.ts'
import { readConfig } from '../../src/app/config.ts'
import { metadataReader } from '../../src/app/metadata-reader.ts'
import { outbound } from '../../src/app/outbound.ts'
import { portsOf } from '../../src/app/ports.ts'
import { listen, type Running } from '../../src/app/server.ts'
import { type PolicyFile, parsePolicyFile } from '../../src/domain/documents.ts'
import type { Actor } from '../../src/domain/events.ts'
import { applyPolicy } from '../../src/flows/apply-policy.ts'
import type { BeginWork } from '../../src/flows/background-ports.ts'
import type { Verifier } from '../../src/http/saml/verification-pool.ts'
import type { Db } from '../../src/store/db.ts'
import { type Dialect, testDatabase } from './databases.ts'
import { type Answer, answerForm, type KeyPair, keyPair, metadataXml, readRequest } from './idp.ts'
import { freePort } from './ports.ts'
import type { Page, Walker } from './walker.ts'

export const OPERATOR: Actor = { kind: 'operator', name: 'test' }

export interface TestHouse {
  readonly baseUrl: string
  readonly appUrl: string
  readonly appHost: string
  readonly db: Db
  readonly idp: { readonly entityId: string; readonly keys: KeyPair }
  readonly spKeys: KeyPair
  /** As it was applied. */
  readonly connection: ReturnType<typeof standardPolicy>['connections'][number]
  readonly upstream: Upstream
  readonly log: string[]
  readonly running: Running
  clock: { now: Date }
  apply(content: unknown): Promise<void>
  /** Begins a sign-in in this browser; what the identity provider would get. */
  begin(walker: Walker, path?: string): Promise<{ id: string; relayState: string | undefined }>
  /** A good answer to that, with whatever is to differ. */
  answer(differing?: Partial<Answer>): Answer
  post(walker: Walker, answer: Answer, relayState?: string): Promise<Page>
  /** All of it: begin, answer, post. */
  signIn(walker: Walker, differing?: Partial<Answer>): Promise<Page>
  count(table: string): Promise<number>
  close(): Promise<void>
}

export interface Received {
  readonly method: string
  readonly url: string
  readonly headers: IncomingHttpHeaders
  readonly rawHeaders: readonly string[]
  readonly body: string
}

export interface Upstream {
  readonly url: string
  readonly received: Received[]
  readonly server: Server
  close(): Promise<void>
}

/** A legacy app that remembers what it got. */
export async function startUpstream(): Promise<Upstream> {
  const received: Received[] = []
  const server = createServer((request, response) => {
    const parts: Buffer[] = []
    request.on('data', (part: Buffer) => parts.push(part))
    request.on('end', () => {
      const { method = '', url = '', headers, rawHeaders } = request
      received.push({ method, url, headers, rawHeaders, body: Buffer.concat(parts).toString('utf8') })
      response.setHeader('Content-Type', 'application/json')
      response.end(JSON.stringify({ url, headers }))
    })
  })
  const port = await freePort()
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${port}`,
    received,
    server,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

export interface HouseOptions {
  readonly dialect?: Dialect
  readonly db?: Db
  /** Changes the policy before it is applied. */
  readonly policy?: (policy: PolicyFile) => void
  readonly environment?: Record<string, string>
  /** While our keys roll over. */
  readonly otherKeys?: KeyPair
  /** The identity provider has single logout. */
  readonly logout?: boolean
  readonly verifier?: Verifier
  readonly spKeys?: KeyPair
  readonly idp?: { readonly entityId: string; readonly keys: KeyPair }
  /** In this process, instead of in one of its own. */
  readonly beginWork?: (db: Db) => BeginWork
}

/** Made once a process; making them takes longer than most tests. */
const idpKeys = keyPair('idp')
const serviceProviderKeys = keyPair('sp')

export async function startHouse({
  dialect = 'sqlite',
  db: given,
  policy,
  environment = {},
  otherKeys,
  logout = false,
  ...fixed
}: HouseOptions = {}): Promise<TestHouse> {
  const database = given ? undefined : await testDatabase(dialect)
  const db = given ?? (database as NonNullable<typeof database>).db
  const [keys, spKeys, upstream, port] = await Promise.all([
    fixed.idp?.keys ?? idpKeys,
    fixed.spKeys ?? serviceProviderKeys,
    startUpstream(),
    freePort(),
  ])
  const baseUrl = `http://localhost:${port}`
  const appHost = `app.localhost:${port}`
  const entityId = fixed.idp?.entityId ?? 'https://idp.example/metadata'
  const clock = { now: new Date() }
  const log: string[] = []
  const config = readConfig({ PORT: String(port), ...environment })
  const house = assemble({
    config,
    db,
    keys: otherKeys ? { current: spKeys, other: otherKeys } : { current: spKeys },
    secretKey: 'a key for tests that is long enough',
    clock: () => clock.now,
    ...(fixed.verifier ? { verifier: fixed.verifier } : {}),
    ...(fixed.beginWork ? { beginWork: fixed.beginWork(db) } : {}),
    log: pino({ level: 'trace' }, { write: (line: string) => log.push(line) }),
  })

  const apply = async (content: unknown) => {
    const parsed = parsePolicyFile(content)
    if ('faults' in parsed) throw new Error(JSON.stringify(parsed.faults))
    policy?.(parsed.file)
    const ports = {
      ...portsOf(db),
      metadata: metadataReader({ folder: '.', outbound: outbound(config.internalHosts), allow: config.allow, clock: () => clock.now }),
    }
    const applied = await applyPolicy(ports, {
      file: parsed.file,
      ownHost: config.baseUrl.host,
      actor: OPERATOR,
      now: clock.now,
      prune: false,
      dryRun: false,
    })
    if ('faults' in applied) throw new Error(JSON.stringify(applied.faults))
  }
  const services = logout ? logoutServices('https://idp.example/slo') : ''
  const standard = standardPolicy(metadataXml(entityId, 'https://idp.example/sso', [keys.certificate], services), appHost, upstream.url)
  await apply(standard)
  const running = await listen(house, { port, address: '127.0.0.1', baseUrl: config.baseUrl })

  const answer = (differing: Partial<Answer> = {}): Answer => ({
    acs: `${baseUrl}/saml/corp/acs`,
    audience: `${baseUrl}/saml/corp/metadata`,
    issuer: entityId,
    now: clock.now,
    ...differing,
  })
  const begin = async (walker: Walker, path = '/sign-in/corp') => {
    const page = await walker.step(new URL(path, baseUrl))
    const { id, relayState } = readRequest(page.headers.location as string)
    return { id, relayState }
  }
  const post = (walker: Walker, what: Answer, relayState?: string) =>
    walker.post(what.acs, answerForm(keys, what, relayState), {}, new URL('https://idp.example/sso'))

  return {
    baseUrl,
    appUrl: `http://${appHost}`,
    appHost,
    db,
    idp: { entityId, keys },
    spKeys,
    connection: standard.connections[0] as TestHouse['connection'],
    upstream,
    log,
    running,
    clock,
    apply,
    begin,
    answer,
    post,
    async signIn(walker, differing = {}) {
      const { id, relayState } = await begin(walker)
      return post(walker, answer({ inResponseTo: id, ...differing }), relayState)
    },
    count: async (table) => Number((await db.writer(table).count({ n: '*' }))[0]?.n),
    async close() {
      await running.stop()
      await upstream.close()
      await database?.close()
    },
  }
}

export function logoutServices(location: string): string {
  return ['HTTP-Redirect', 'HTTP-POST']
    .map((binding) => `<md:SingleLogoutService Binding="urn:oasis:names:tc:SAML:2.0:bindings:${binding}" Location="${location}"/>`)
    .join('')
}

export function standardPolicy(xml: string, appHost: string, upstream: string) {
  return {
    connections: [
      {
        name: 'corp',
        kind: 'saml',
        metadata: { xml },
        subjects: '.',
        idpInitiated: false,
        jit: { create: true, update: true, required: ['email'] },
        mapping: [
          { to: 'userName', from: 'nameID' },
          { to: 'email', from: 'attributes.email' },
          { to: 'displayName', from: 'attributes.name' },
          { to: 'department', from: 'attributes.department' },
          { to: 'groups', from: 'attributes.groups' },
        ],
      },
    ],
    apps: [
      {
        name: 'legacy',
        host: appHost,
        upstream,
        headers: [
          { name: 'X-Remote-User', from: 'user.userName' },
          { name: 'X-Remote-Name', from: 'user.displayName' },
          { name: 'X-Remote-Groups', from: 'user.groups' },
        ],
      },
    ],
  }
}
