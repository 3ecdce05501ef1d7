// One connection to a directory, for one run: opened, encrypted, signed in, and asked one question at a time. It never sends a
// password in the clear unless it was told that it may, and never opens itself again: what answers after a break would not know
// who asks, and would leave people out. That, and that its search takes an empty page for the last one (RFC 2696 says otherwise),
// is why the library's own client is not used here; its requests are.

import { connect as connectTcp, isIP, type Socket } from 'node:net'
import { type ConnectionOptions, connect as connectTls, getCACertificates } from 'node:tls'
import { BindRequest, ExtendedRequest, UnbindRequest } from 'ldapts'
import type { LdapSettings } from '../../domain/documents/source.ts'
import { FeedFailure, type FeedLimits } from '../../flows/feed-ports.ts'
import { connectionFailure, line, Refused, refusal, wrongAnswer } from './failures.ts'
import { BIND_RESPONSE, EXTENDED_RESPONSE, Frames, type ResultMessage, readMessage, type ServerMessage } from './messages.ts'

export interface LdapAsk {
  readonly settings: LdapSettings
  /** What the variable of that name holds. */
  readonly secrets: (name: string) => string
  readonly limits: FeedLimits
}

/** Large groups come in one message where a server does not divide them. */
const LARGEST_MESSAGE = 32 * 1024 * 1024
/** RFC 4511 section 4.14.1. */
const START_TLS = '1.3.6.1.4.1.1466.20037'

/** Opens it and signs in. Whoever has it closes it. */
export async function connect({ settings, secrets, limits }: LdapAsk, signal: AbortSignal): Promise<Connection> {
  const server = serverOf(settings)
  const { bind } = settings
  const password = bind && passwordFor(bind.password.env, secrets)
  if (bind && !server.encrypted && !settings.plaintext && !isLoopback(server.host)) {
    throw new FeedFailure(
      'misconfigured',
      `the password would go to ${server.name} in the clear: write ldaps:// or startTls: true (or plaintext: true, where nobody can listen)`,
    )
  }
  const connection = new Connection(server, limits, signal, password)
  try {
    await connection.open()
    if (bind && password !== undefined) await connection.bind(bind.dn, password)
    return connection
  } catch (error) {
    connection.close()
    throw error
  }
}

interface Server {
  /** For people. */
  readonly name: string
  readonly host: string
  readonly port: number
  readonly encrypted: false | 'tls' | 'startTls'
  readonly ca: string | undefined
}

function serverOf({ url, startTls, ca }: LdapSettings): Server {
  if (!URL.canParse(url)) throw new FeedFailure('misconfigured', `ldap.url is not an address: ${line(url)}`)
  const { protocol, hostname, port, username, password } = new URL(url)
  if (username || password) throw new FeedFailure('misconfigured', 'ldap.url must not hold a name or a password; ldap.bind does')
  const secure = protocol === 'ldaps:'
  if (secure && startTls) throw new FeedFailure('misconfigured', 'ldaps:// is encrypted from the start: leave out startTls')
  const host = hostname.replace(/^\[|\]$/g, '')
  return {
    name: `${protocol}//${hostname}${port ? `:${port}` : ''}`,
    host,
    port: port ? Number(port) : secure ? 636 : 389,
    encrypted: secure ? 'tls' : startTls && 'startTls',
    ca,
  }
}

function passwordFor(name: string, secrets: (name: string) => string): string {
  const password = secrets(name)
  // A bind with a name and no password succeeds, and is anonymous (RFC 4513 section 5.1.2).
  if (password === '') throw new FeedFailure('misconfigured', `${name} is empty; a directory takes that for nobody at all`)
  return password
}

function isLoopback(host: string): boolean {
  return /^localhost\.?$/i.test(host) || (isIP(host) === 4 && host.startsWith('127.')) || host === '::1'
}

export class Connection {
  readonly server: string
  readonly encrypted: boolean
  readonly #to: Server
  readonly #patienceMs: number
  readonly #password: string | undefined
  readonly #signal: AbortSignal
  readonly #frames: Frames
  readonly #stop = () => this.#fail(cancelled())
  #socket: Socket | undefined
  /** Why nothing more will come. */
  #failure: FeedFailure | undefined
  #ended: FeedFailure | undefined
  #wake: (() => void) | undefined
  #lastId = 0

  constructor(to: Server, { patienceMs, rowBytes }: FeedLimits, signal: AbortSignal, password: string | undefined) {
    this.server = to.name
    this.encrypted = to.encrypted !== false
    this.#to = to
    this.#patienceMs = patienceMs
    this.#frames = new Frames(Math.max(LARGEST_MESSAGE, rowBytes))
    this.#password = password
    this.#signal = signal
  }

  async open(): Promise<void> {
    if (this.#signal.aborted) throw cancelled()
    this.#signal.addEventListener('abort', this.#stop)
    const { host, port, encrypted } = this.#to
    if (encrypted === 'tls') return this.#established(this.#secured({ host, port }), 'secureConnect')
    await this.#established(connectTcp({ host, port, noDelay: true }), 'connect')
    if (encrypted !== 'startTls') return
    await this.#extended(START_TLS, 'encrypt the connection').catch((error: unknown) => {
      if (!(error instanceof Refused)) throw error
      throw new FeedFailure('misconfigured', `${this.server} does not encrypt when it is asked to (startTls): write ldaps:// instead`, {
        cause: error,
      })
    })
    // Whatever was sent ahead in the clear would be taken for an answer of the encrypted connection.
    if (!this.#frames.isEmpty) throw new FeedFailure('malformed', `${this.server} sent more in the clear after it had agreed to encrypt`)
    const plain = this.#socket as Socket
    plain.removeAllListeners('data').removeAllListeners('close')
    await this.#established(this.#secured({ socket: plain, host }), 'secureConnect')
  }

  /** RFC 4513 section 3.1.3: the name is compared with the one that was asked for, whatever the environment says. */
  #secured(over: ConnectionOptions): Socket {
    const { host } = this.#to
    const ca = this.#to.ca ?? [...getCACertificates('default'), ...getCACertificates('system')]
    return connectTls({ ...over, ca, rejectUnauthorized: true, ...(isIP(host) ? {} : { servername: host }) })
  }

  async #established(socket: Socket, event: 'connect' | 'secureConnect'): Promise<void> {
    this.#socket = socket
    let stands: true | undefined
    socket
      .on('data', (chunk: Buffer) => {
        this.#frames.push(chunk)
        socket.pause()
        this.#wake?.()
      })
      .on('error', (error) => this.#fail(connectionFailure(error, this.server)))
      .on('close', () => {
        this.#ended ??= new FeedFailure('unreachable', `${this.server} closed the connection in the middle`)
        this.#wake?.()
      })
      .once(event, () => {
        stands = true
        socket.pause()
        this.#wake?.()
      })
    await this.#until(() => stands, 'there was no connection')
  }

  async bind(dn: string, password: string): Promise<void> {
    const id = this.send((messageId) => new BindRequest({ messageId, dn, password }))
    await this.result(id, BIND_RESPONSE, `sign in as ${dn}`)
  }

  /** Who the server takes us for (RFC 4532); undefined: it cannot say. */
  async whoAmI(oid: string): Promise<string | undefined> {
    const { value } = await this.#extended(oid, 'ask who we are')
    return value?.length ? line(value.toString('utf8')) : undefined
  }

  async #extended(oid: string, doing: string): Promise<ResultMessage> {
    return this.result(
      this.send((messageId) => new ExtendedRequest({ messageId, oid })),
      EXTENDED_RESPONSE,
      doing,
    )
  }

  /** @returns the number to receive the answers by */
  send(question: (messageId: number) => { write(): Buffer }): number {
    const failure = this.#failure ?? this.#ended
    if (failure) throw failure
    this.#lastId++
    this.#socket?.write(question(this.#lastId).write())
    return this.#lastId
  }

  async result(id: number, operation: number, doing: string): Promise<ResultMessage> {
    const answer = await this.receive(id)
    if (answer.kind !== 'result' || answer.operation !== operation) throw wrongAnswer(doing)
    const refused = refusal(answer, doing)
    if (refused) throw refused
    return answer
  }

  /** The next part of the answer, or all of it. */
  async receive(id: number): Promise<ServerMessage> {
    const message = await this.#until(() => {
      const frame = this.#frames.next()
      return frame && this.#withoutSecret(readMessage(frame))
    }, 'nothing came')
    if (message.id === id) return message
    // A notice of disconnection (RFC 4511 section 4.4.1).
    if (message.id === 0 && message.kind === 'result') {
      const said = line(message.diagnostic)
      throw new FeedFailure('unreachable', `${this.server} ended the connection${said ? ` (${said})` : ''}`)
    }
    throw new FeedFailure('malformed', `${this.server} answered a question that nobody asked`)
  }

  /** Some servers repeat what they were sent. */
  #withoutSecret(message: ServerMessage): ServerMessage {
    const password = this.#password
    if (message.kind !== 'result' || password === undefined) return message
    const without = (words: string) => words.replaceAll(password, '…')
    return { ...message, diagnostic: without(message.diagnostic), referrals: message.referrals.map(without) }
  }

  close(): void {
    this.#signal.removeEventListener('abort', this.#stop)
    const socket = this.#socket
    if (!socket || socket.destroyed) return
    socket.removeAllListeners('data').on('error', () => undefined)
    if (!this.#failure && !socket.connecting) socket.end(new UnbindRequest({ messageId: this.#lastId + 1 }).write())
    socket.destroySoon()
  }

  /** Waits until it is there; what comes meanwhile is read as it is wanted, and not before. */
  async #until<Found>(find: () => Found | undefined, otherwise: string): Promise<Found> {
    let timer: NodeJS.Timeout | undefined
    const tooSlow = () => this.#fail(new FeedFailure('too-slow', `${this.server}: ${otherwise} within ${this.#patienceMs / 1000} s`))
    try {
      for (;;) {
        if (this.#failure) throw this.#failure
        const found = find()
        if (found !== undefined) return found
        if (this.#ended) throw this.#ended
        timer ??= setTimeout(tooSlow, this.#patienceMs)
        await new Promise<void>((resolve) => {
          this.#wake = resolve
          this.#socket?.resume()
        })
      }
    } finally {
      clearTimeout(timer)
      this.#wake = undefined
    }
  }

  #fail(failure: FeedFailure): void {
    this.#failure ??= failure
    this.#socket?.destroy()
    this.#wake?.()
  }
}

export function cancelled(): FeedFailure {
  return new FeedFailure('cancelled', 'the run was stopped')
}
