// A small SCIM 2.0 service on loopback (RFC 7643, RFC 7644) that a test can look into and change: users, groups, paging,
// filters on userName and meta.lastModified, and a token endpoint. It may have the oddities that services have.

import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type Said, say } from './misbehaving-http.ts'

export type Resource = Readonly<Record<string, unknown>> & { readonly id: string }

export interface ScimWorld {
  users: readonly Resource[]
  groups: readonly Resource[]
}

/** What services do that RFC 7644 does not say, or says otherwise. */
export interface Oddities {
  /** It never gives more at a time. */
  readonly most?: number
  readonly ignoresStartIndex?: boolean
  readonly countsFromZero?: boolean
  /** totalResults is what is on the page. */
  readonly totalOfPage?: boolean
  readonly noTotal?: boolean
  /** Says how many there are. */
  readonly total?: (there: number) => number
  /** Beyond the last one. */
  readonly errorBeyond?: boolean
  readonly noServiceProviderConfig?: boolean
  /** Before each page. */
  readonly before?: (startIndex: number) => void
}

/** What it says to one question; pure, for scripts that spoil it. */
export function scimAnswer(world: ScimWorld, url: URL, odd: Oddities = {}): Said {
  const [endpoint = ''] = /[^/]+$/.exec(url.pathname) ?? []
  if (endpoint === 'ServiceProviderConfig' && !odd.noServiceProviderConfig)
    return {
      body: { schemas: ['urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig'], filter: { supported: true, maxResults: 200 } },
    }
  if (endpoint !== 'Users' && endpoint !== 'Groups') return fault(404, 'there is no such endpoint')
  const start = Math.max(odd.countsFromZero ? 0 : 1, Number(url.searchParams.get('startIndex') ?? 1))
  const count = Math.min(odd.most ?? 200, Number(url.searchParams.get('count') ?? 100))
  odd.before?.(start)
  const filter = url.searchParams.get('filter')
  const test = filter === null ? () => true : filterOf(filter)
  if (!test) return fault(400, `cannot read the filter ${filter}`, 'invalidFilter')
  const all = (endpoint === 'Users' ? world.users : world.groups).filter(test)
  const from = odd.ignoresStartIndex ? 0 : start - (odd.countsFromZero ? 0 : 1)
  if (odd.errorBeyond && from > 0 && from >= all.length) return fault(400, 'startIndex is beyond the last')
  const page = all.slice(from, from + count)
  const total = odd.total?.(all.length) ?? (odd.totalOfPage ? page.length : all.length)
  return {
    headers: { 'content-type': 'application/scim+json' },
    body: {
      schemas: ['urn:ietf:params:scim:api:messages:2.0:ListResponse'],
      ...(odd.noTotal ? {} : { totalResults: total }),
      startIndex: start,
      itemsPerPage: page.length,
      ...(page.length || odd.noTotal ? { Resources: page } : {}),
    },
  }
}

function fault(status: number, detail: string, scimType?: string): Said {
  const schemas = ['urn:ietf:params:scim:api:messages:2.0:Error']
  return {
    status,
    headers: { 'content-type': 'application/scim+json' },
    body: { schemas, status: String(status), detail, ...(scimType ? { scimType } : {}) },
  }
}

type Test = (resource: Resource) => boolean

/** Comparisons, joined by `and` and `or`, in brackets; undefined: it is something else. */
function filterOf(filter: string): Test | undefined {
  const tokens = filter.match(/[()]|"(?:[^"\\]|\\.)*"|[^\s()"]+/g) ?? []
  const either = (): Test | undefined => joined('or', both, (a, b) => (one) => a(one) || b(one))
  const both = (): Test | undefined => joined('and', term, (a, b) => (one) => a(one) && b(one))
  function joined(word: string, inner: () => Test | undefined, join: (a: Test, b: Test) => Test): Test | undefined {
    let left = inner()
    while (left && tokens[0]?.toLowerCase() === word) {
      tokens.shift()
      const right = inner()
      left = right && join(left, right)
    }
    return left
  }
  function term(): Test | undefined {
    if (tokens[0] === '(') {
      tokens.shift()
      const inside = either()
      return tokens.shift() === ')' ? inside : undefined
    }
    const [path = '', operator = '', value = ''] = tokens.splice(0, 3)
    if (!value.startsWith('"')) return undefined
    return comparison(path, operator.toLowerCase(), JSON.parse(value) as string)
  }
  const test = either()
  return tokens.length ? undefined : test
}

function comparison(path: string, operator: string, value: string): Test | undefined {
  const of = (resource: Resource) =>
    String((path.split('.') as string[]).reduce<unknown>((at, name) => (at as Record<string, unknown> | undefined)?.[name], resource) ?? '')
  if (path === 'userName' && operator === 'eq') return (one) => of(one).toLowerCase() === value.toLowerCase()
  if (path === 'userName' && operator === 'sw') return (one) => of(one).toLowerCase().startsWith(value.toLowerCase())
  if (path === 'meta.lastModified' && operator === 'ge') return (one) => Date.parse(of(one)) >= Date.parse(value)
  if (path === 'meta.lastModified' && operator === 'gt') return (one) => Date.parse(of(one)) > Date.parse(value)
  return undefined
}

// --- over HTTP ------------------------------------------------------------------------------------------------------------

export interface ScimServer {
  /** Without /Users. */
  readonly url: string
  readonly tokenUrl: string
  readonly world: ScimWorld
  odd: Oddities
  /** What may be said in the Authorization header, besides tokens. */
  readonly allowed: Set<string>
  /** What clients may get tokens; id -> secret. */
  readonly clients: Map<string, string>
  /** Seconds that tokens say they live. */
  tokensLive: number | undefined
  readonly tokens: { readonly issued: string[]; revokeAll(): void }
  /** Paths with queries, in order. */
  readonly asked: string[]
  /** The form of each question for a token. */
  readonly tokenForms: URLSearchParams[]
  close(): Promise<void>
}

export async function startScimServer(world: ScimWorld): Promise<ScimServer> {
  const valid = new Set<string>()
  const issued: string[] = []
  const scim = {
    world,
    odd: {} as Oddities,
    allowed: new Set<string>(),
    clients: new Map<string, string>(),
    tokensLive: 3600 as number | undefined,
    tokens: { issued, revokeAll: () => valid.clear() },
    asked: [] as string[],
    tokenForms: [] as URLSearchParams[],
  }
  /** RFC 6749, 4.4; the client says who it is in the header (2.3.1). */
  const token = (request: IncomingMessage, body: string): Said => {
    const pair = Buffer.from(/^Basic (\S+)$/.exec(request.headers.authorization ?? '')?.[1] ?? '', 'base64').toString()
    const [id = '', secret = ''] = pair.split(':').map((part) => decodeURIComponent(part.replaceAll('+', ' ')))
    const form = new URLSearchParams(body)
    scim.tokenForms.push(form)
    if (!secret || scim.clients.get(id) !== secret) return { status: 401, body: { error: 'invalid_client' } }
    if (form.get('grant_type') !== 'client_credentials') return { status: 400, body: { error: 'unsupported_grant_type' } }
    const access = `token-${issued.length + 1}`
    issued.push(access)
    valid.add(access)
    return {
      body: { access_token: access, token_type: 'Bearer', ...(scim.tokensLive === undefined ? {} : { expires_in: scim.tokensLive }) },
    }
  }
  const welcome = ({ headers: { authorization = '' } }: IncomingMessage) =>
    scim.allowed.has(authorization) || valid.has(authorization.replace(/^Bearer /, ''))
  const server = createServer(async (request, answer) => {
    const parts: Buffer[] = []
    for await (const part of request) parts.push(part)
    const url = new URL(request.url ?? '/', origin())
    if (url.pathname === '/token') return say(answer, token(request, Buffer.concat(parts).toString()))
    scim.asked.push(decodeURIComponent(`${url.pathname}${url.search}`))
    say(answer, welcome(request) ? scimAnswer(world, url, scim.odd) : fault(401, 'who are you?'))
  })
  const origin = () => `http://localhost:${(server.address() as AddressInfo).port}`
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return Object.assign(scim, {
    url: `${origin()}/scim/v2`,
    tokenUrl: `${origin()}/token`,
    close: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  })
}
