// Asks other services for JSON, for the connectors that read over HTTP: who we are to them, how long we wait for them, and what
// is worth another try. Follows no redirect, and puts no secret into a message, not even one that the other side repeats.

import { setTimeout as pause } from 'node:timers/promises'
import * as oauth from 'oauth4webapi'
import type { AuthSettings, SecretName } from '../domain/documents/source.ts'
import { type AskWeb, FeedFailure, type FeedFailureCode, type WebRequest } from '../flows/feed-ports.ts'
import { at, EndsEarly, isObject, type Json, jsonOf } from './flattening.ts'

export interface HttpClientAsk {
  readonly auth: AuthSettings | undefined
  readonly accept: string
  readonly headers?: Readonly<Record<string, string>>
  /** Throws if there is no such thing. */
  readonly secrets: (name: string) => string
  readonly patienceMs: number
  readonly ask: AskWeb
}

export interface JsonAnswer {
  readonly url: URL
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  /** Undefined: there is none. */
  readonly body: Json | undefined
  /**
   * The other side's clock when it was asked, or ours if it does not tell: its Date header less the time that the answer took,
   * since what it says may be as old as that. UTC, whole seconds, rounded down.
   */
  readonly askedAt: string
}

export interface JsonClient {
  /** @param tolerated statuses that are answers, too; then the body is undefined if it is not JSON */
  get(url: URL, signal: AbortSignal, tolerated?: readonly number[]): Promise<JsonAnswer>
  /** What a status means that was tolerated and is not welcome after all. */
  refused(answer: JsonAnswer): FeedFailure
  /** What the other side says, or an address, as much of it as fits into a message, without secrets. */
  quoted(said: string | URL): string
  failure(code: FeedFailureCode, message: string): FeedFailure
}

const LARGEST_PAGE = 32 * 1024 * 1024
/** Of an answer that only says what is wrong. */
const LARGEST_COMPLAINT = 64 * 1024
/** Before the second try and those that follow; never longer than a tenth of our patience. */
const PAUSES_MS = [1_000, 3_000, 9_000]
/** Before a token ends, or after half of its life if that is sooner. */
const RENEW_MS = 60_000

export function httpClient({ auth, accept, headers = {}, secrets, patienceMs, ask }: HttpClientAsk): JsonClient {
  const hidden: string[] = []
  const failure = (code: FeedFailureCode, message: string, cause?: unknown) =>
    new FeedFailure(code, masked(message, hidden), cause === undefined ? {} : { cause })
  const quoted = (said: string | URL) => clipped(masked(typeof said === 'string' ? said : plain(said), hidden))
  const line: Line = { ask, patienceMs, failure, quoted }
  const credentials = credentialsOf(auth, { line, secrets, hidden })
  const ours = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]))
  return {
    failure,
    quoted,
    refused: (answer) => refusal(line, answer.url, answer),
    async get(url, signal, tolerated = []) {
      // Else Node would send it along.
      if (url.username || url.password)
        throw failure('misconfigured', `${quoted(url)} has a user or a password within it; a source says them under auth`)
      const once = async (renew: boolean) => {
        const who = await credentials.headers(signal, renew)
        return persistently(line, { url: url.href, headers: { accept, ...ours, ...who, 'accept-encoding': 'identity' } }, signal)
      }
      const first = await once(false)
      const answer = first.status === 401 && credentials.renewable ? await once(true) : first
      const { status } = answer
      if (status >= 200 && status <= 299) return { ...answer, url, body: answer.bytes.length ? parsed(line, url, answer) : undefined }
      const body = complaint(answer)
      if (!tolerated.includes(status)) throw refusal(line, url, { ...answer, body })
      return { ...answer, url, body }
    },
  }
}

/** With parameters of ours in its query; those of the same name are replaced. A space is %20: not every server reads a `+`. */
export function withQuery(url: URL, parameters: Readonly<Record<string, string>>): URL {
  const changed = new URL(url)
  const query = new URLSearchParams(changed.search)
  for (const [name, value] of Object.entries(parameters)) query.set(name, value)
  changed.search = query.toString().replaceAll('+', '%20')
  return changed
}

function plain({ origin, pathname, search }: URL): string {
  return `${origin}${pathname}${search}`
}

function clipped(text: string): string {
  const line = text.replace(/[\p{Cc}\s]+/gu, ' ').trim()
  return line.length > 300 ? `${line.slice(0, 300)}…` : line
}

// --- one answer -----------------------------------------------------------------------------------------------------------

interface Line {
  readonly ask: AskWeb
  readonly patienceMs: number
  readonly failure: (code: FeedFailureCode, message: string, cause?: unknown) => FeedFailure
  readonly quoted: JsonClient['quoted']
}

type Asking = Omit<WebRequest, 'signal'>

interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly bytes: Buffer
  readonly askedAt: string
}

/** Again where another try may do: a GET changes nothing, and neither does asking for a token. */
async function persistently(line: Line, asking: Asking, signal: AbortSignal): Promise<Answer> {
  for (let tried = 0; ; tried++) {
    const pauseMs = Math.min(PAUSES_MS[tried] ?? 0, line.patienceMs / 10)
    const last = tried === PAUSES_MS.length
    const answer = await exchange(line, asking, signal).catch((error) => {
      if (last || !(error instanceof FeedFailure && brokeOff(error))) throw error
      return undefined
    })
    if (answer && (last || !isPassing(answer.status))) return answer
    const asked = answer && retryAfterMs(answer)
    // To come back sooner than it asks would only prolong it.
    if (answer && asked !== undefined && asked > line.patienceMs) return answer
    await pause(asked ?? pauseMs, undefined, { signal }).catch(() => {
      throw stopped(line)
    })
  }
}

async function exchange({ ask, patienceMs, failure, quoted }: Line, asking: Asking, signal: AbortSignal): Promise<Answer> {
  if (signal.aborted) throw stopped({ failure })
  const leash = new AbortController()
  const stop = () => leash.abort()
  const patience = setTimeout(stop, patienceMs)
  signal.addEventListener('abort', stop, { once: true })
  const name = quoted(new URL(asking.url))
  const began = Date.now()
  let answering = false
  try {
    const { status, headers, body } = await ask({ ...asking, signal: leash.signal })
    answering = true
    patience.refresh()
    const askedAt = instantAsked(headers.date, began)
    const largest = status <= 299 ? LARGEST_PAGE : LARGEST_COMPLAINT
    const parts: Uint8Array[] = []
    let size = 0
    for await (const part of body) {
      patience.refresh()
      size += part.length
      // Leaving the loop closes the connection.
      if (size > largest) break
      parts.push(part)
    }
    if (size > LARGEST_PAGE)
      throw failure('too-large', `the answer of ${name} is larger than ${LARGEST_PAGE} bytes; ask for fewer at a time`)
    if (size <= largest && size < Number(headers['content-length'] ?? 0))
      throw failure('cut-off', `the answer of ${name} ends in the middle`)
    return { status, headers, bytes: Buffer.concat(parts), askedAt }
  } catch (error) {
    if (error instanceof FeedFailure) throw error
    if (signal.aborted) throw stopped({ failure }, error)
    if (leash.signal.aborted)
      throw failure(
        'too-slow',
        `${name} ${answering ? 'stopped in the middle of its answer' : 'did not answer'} for ${patienceMs / 1000} s`,
      )
    const { code = '', message } = error as NodeJS.ErrnoException
    if (code.startsWith('ERR_INVALID_')) throw failure('misconfigured', `${name} cannot be asked like this: ${message}`, error)
    if (code.startsWith('HPE_')) throw failure('malformed', `${name} does not answer in HTTP: ${message}`, error)
    if (answering) throw failure('cut-off', `${name} broke off in the middle of its answer`, error)
    throw failure('unreachable', `${name} cannot be reached: ${message || code}`, error)
  } finally {
    clearTimeout(patience)
    signal.removeEventListener('abort', stop)
  }
}

const stopped = ({ failure }: Pick<Line, 'failure'>, cause?: unknown) => failure('cancelled', 'the run was stopped', cause)

function brokeOff({ code, cause }: FeedFailure): boolean {
  return code === 'cut-off' || ['ECONNRESET', 'EPIPE', 'ECONNABORTED'].includes((cause as NodeJS.ErrnoException | undefined)?.code ?? '')
}

/** Request Timeout, Too Many Requests, and whatever went wrong on the other side (RFC 9110, 15.5.9 and 15.6; RFC 6585, 4). */
function isPassing(status: number): boolean {
  return status === 408 || status === 429 || status >= 500
}

/** RFC 9110, 10.2.3: seconds, or a date of the other side's clock. */
function retryAfterMs({ headers: { 'retry-after': said, date } }: Answer): number | undefined {
  if (said === undefined) return undefined
  if (/^\d+$/.test(said)) return Number(said) * 1000
  const until = Date.parse(said)
  const now = Date.parse(date ?? '')
  return Number.isNaN(until) ? undefined : Math.max(0, until - (Number.isNaN(now) ? Date.now() : now))
}

function instantAsked(date: string | undefined, began: number): string {
  const said = Date.parse(date ?? '')
  const asked = Number.isNaN(said) ? began : said - (Date.now() - began)
  return new Date(asked).toISOString().replace(/\.\d+Z$/, 'Z')
}

// --- what it means --------------------------------------------------------------------------------------------------------

function parsed({ failure, quoted }: Line, url: URL, { bytes, headers }: Answer): Json {
  const fault = (code: FeedFailureCode, what: string) => failure(code, `the answer of ${quoted(url)} ${what}`)
  const coding = headers['content-encoding'] ?? 'identity'
  if (coding !== 'identity') throw fault('malformed', `is in ${quoted(coding)}, which it was not asked for`)
  try {
    return jsonOf(bytes)
  } catch (error) {
    if (error instanceof TypeError) throw fault('malformed', 'is not valid UTF-8')
    // What the parser says would repeat what is in the answer.
    if (error instanceof EndsEarly) throw fault('cut-off', 'ends in the middle')
    throw fault('malformed', `cannot be read as JSON; it says that it is ${quoted(headers['content-type'] ?? 'nothing in particular')}`)
  }
}

/** What comes with a status that is none of success; often no JSON. */
function complaint({ bytes }: Pick<Answer, 'bytes'>): Json | undefined {
  try {
    return jsonOf(bytes)
  } catch {
    return undefined
  }
}

function refusal(
  { failure, quoted }: Line,
  url: URL,
  { status, headers, body }: Pick<JsonAnswer, 'status' | 'headers' | 'body'>,
): FeedFailure {
  const said = complaintOf(body)
  const no = (code: FeedFailureCode, why: string) =>
    failure(code, `${quoted(url)} answered ${status}${said ? ` (${quoted(said)})` : ''}${why}`)
  if (status === 401) return no('denied', ': it does not accept the credentials')
  if (status === 403) return no('denied', ': these credentials do not have the right to it')
  if (isPassing(status)) {
    const wait = headers['retry-after']
    return no('unreachable', wait ? `, and asks to be left alone (Retry-After: ${quoted(wait)})` : ', again and again')
  }
  if (status >= 300 && status <= 399)
    return no('misconfigured', `, a redirect to ${quoted(headers.location ?? 'nowhere')}; the source has to name that address itself`)
  return no('misconfigured', '')
}

/** Where SCIM (RFC 7644, 3.12), problems (RFC 9457), OAuth (RFC 6749, 5.2) and most others say what is wrong. */
function complaintOf(body: Json | undefined): string | undefined {
  if (!isObject(body)) return undefined
  return ['/detail', '/error_description', '/message', '/error/message', '/error', '/title']
    .map((pointer) => at(body, pointer))
    .find((said) => typeof said === 'string' && said !== '') as string | undefined
}

// --- who we are -----------------------------------------------------------------------------------------------------------

interface Credentials {
  /** Whether asking for others may help where these are refused. */
  readonly renewable: boolean
  headers(signal: AbortSignal, renew: boolean): Promise<Readonly<Record<string, string>>>
}

interface CredentialsAsk {
  readonly line: Line
  readonly secrets: (name: string) => string
  /** What must not be in a message; it grows. */
  readonly hidden: string[]
}

function credentialsOf(auth: AuthSettings | undefined, { line, secrets, hidden }: CredentialsAsk): Credentials {
  const secret = ({ env }: SecretName) => {
    let value: string
    try {
      value = secrets(env)
    } catch (error) {
      throw line.failure('misconfigured', `the secret ${env} cannot be had: ${(error as Error).message}`)
    }
    if (!value) throw line.failure('misconfigured', `the secret ${env} is empty`)
    hide(hidden, value)
    return value
  }
  const always = (headers: () => Record<string, string>): Credentials => ({ renewable: false, headers: async () => headers() })
  if (!auth) return always(() => ({}))
  if ('bearer' in auth) return always(() => ({ authorization: `Bearer ${sendable(line, secret(auth.bearer), auth.bearer.env)}` }))
  if ('header' in auth)
    return always(() => ({ [auth.header.name.toLowerCase()]: sendable(line, secret(auth.header.value), auth.header.value.env) }))
  if ('basic' in auth)
    return always(() => {
      const pair = Buffer.from(`${auth.basic.user}:${secret(auth.basic.password)}`).toString('base64')
      hide(hidden, pair)
      return { authorization: `Basic ${pair}` }
    })
  const { oauth2 } = auth
  let token: Token | undefined
  return {
    renewable: true,
    async headers(signal, renew) {
      if (renew || !token || Date.now() >= token.until) {
        token = await tokenFrom(line, oauth2, secret(oauth2.clientSecret), signal)
        hide(hidden, token.text)
      }
      return { authorization: `Bearer ${token.text}` }
    },
  }
}

function hide(hidden: string[], value: string): void {
  const inForms = new URLSearchParams({ '': value }).toString().slice(1)
  for (const form of [value, encodeURIComponent(value), inForms, inForms.replaceAll('+', '%20')]) {
    if (!hidden.includes(form)) hidden.push(form)
  }
}

function masked(message: string, hidden: readonly string[]): string {
  return [...hidden].sort((a, b) => b.length - a.length).reduce((text, one) => text.replaceAll(one, '•••'), message)
}

function sendable({ failure }: Line, value: string, name: string, code: FeedFailureCode = 'misconfigured'): string {
  if (/^[\x21-\x7e\x80-\xff]([\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?$/.test(value)) return value
  throw failure(code, `${name} holds what cannot be sent in a header: a line break, perhaps, or a space at its end`)
}

interface Token {
  readonly text: string
  /** Milliseconds since 1970. */
  readonly until: number
}

type OAuth2 = Extract<AuthSettings, { oauth2: unknown }>['oauth2']

/** RFC 6749, 4.4, with client_secret_basic (2.3.1). */
async function tokenFrom(line: Line, { tokenUrl, clientId, scope }: OAuth2, secret: string, signal: AbortSignal): Promise<Token> {
  const url = new URL(tokenUrl)
  const server: oauth.AuthorizationServer = { issuer: url.origin, token_endpoint: tokenUrl }
  const client: oauth.Client = { client_id: clientId }
  const asked = Date.now()
  const response = await oauth.clientCredentialsGrantRequest(server, client, oauth.ClientSecretBasic(secret), scope ? { scope } : {}, {
    // Whoever wrote the address has decided so.
    [oauth.allowInsecureRequests]: true,
    [oauth.customFetch]: async (address, { headers, body }) => {
      const answer = await persistently(line, { url: address, method: 'POST', headers, body: String(body) }, signal)
      if (answer.status !== 200) throw tokenRefusal(line, url, { ...answer, body: complaint(answer) })
      return new Response(new Uint8Array(answer.bytes), { status: 200, headers: { 'content-type': answer.headers['content-type'] ?? '' } })
    },
  })
  const said = await oauth.processClientCredentialsResponse(server, client, response).catch((error: Error) => {
    // Its cause would hold the answer, and with it the token.
    throw line.failure('malformed', `the answer of ${line.quoted(url)} is not one that OAuth 2.0 knows: ${error.message}`)
  })
  const livesMs = (said.expires_in ?? Number.POSITIVE_INFINITY) * 1000
  const text = sendable(line, said.access_token, `the token of ${line.quoted(url)}`, 'malformed')
  return { text, until: asked + Math.max(livesMs - RENEW_MS, livesMs / 2) }
}

function tokenRefusal(line: Line, url: URL, answer: Pick<JsonAnswer, 'status' | 'headers' | 'body'>): FeedFailure {
  const code = at(answer.body ?? null, '/error')
  // RFC 6749, 5.2: it may say 400 where others say 401.
  if (answer.status === 400 && (code === 'invalid_client' || code === 'unauthorized_client'))
    return line.failure('denied', `${line.quoted(url)} gives no token (${code}): it does not accept the credentials`)
  return refusal(line, url, answer)
}
