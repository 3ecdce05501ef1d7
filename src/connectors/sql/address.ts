// Where a database is and how it is spoken to, from the URL that a variable of this process holds. The URL has a password in it:
// no message quotes any of it but the host.
//
// TLS, decided by where the server is and what the URL says: to another machine always, and the server's certificate is verified
// (against the document's `ca`, or else the authorities that Node knows). `sslmode=disable` switches it off, and nothing else
// does: there is no TLS without verification. On this machine (a loopback address) it is off unless there is a `ca` or
// `sslmode=require` (`verify-full` is the same). `sslmode=verify-ca` takes any server that the document's `ca` vouches for, by
// whatever name.

import { BlockList, isIP } from 'node:net'
import type { SqlSettings } from '../../domain/documents/source.ts'
import { FeedFailure } from '../../flows/feed-ports.ts'

export interface Address {
  readonly host: string
  readonly port: number
  readonly user: string
  readonly password: string
  readonly database: string
  readonly tls: Tls | undefined
}

export interface Tls {
  readonly ca: string | undefined
  /** Whether the certificate has to name the host. */
  readonly named: boolean
}

const SERVERS = {
  postgres: { schemes: ['postgres:', 'postgresql:'], port: 5432 },
  mysql: { schemes: ['mysql:', 'mariadb:'], port: 3306 },
} as const

export function addressOf(written: string, { client, ca, connection }: SqlSettings & { client: 'postgres' | 'mysql' }): Address {
  const wrong = (why: string) => new FeedFailure('misconfigured', `${connection.env}: ${why}`)
  const { schemes, port } = SERVERS[client]
  const url = URL.parse(written.trim())
  if (!url)
    throw wrong(
      'it is not a URL; in a password, @ is written %40, / is %2F, # is %23, ? is %3F and % is %25, as encodeURIComponent does it',
    )
  if (!(schemes as readonly string[]).includes(url.protocol)) throw wrong(`it has to begin with ${schemes[0]}// for client ${client}`)
  const decoded = (part: string) => {
    try {
      return decodeURIComponent(part)
    } catch {
      throw wrong('there is a % in it that is not an escape; it is written %25')
    }
  }
  const host = decoded(url.hostname).replace(/^\[|\]$/g, '')
  const user = decoded(url.username)
  const database = decoded(url.pathname.slice(1))
  if (!host) throw wrong('it names no host')
  if (!user) throw wrong('it names no user')
  if (!database || database.includes('/')) throw wrong('it has to end with /database')
  if (url.hash) throw wrong('there is a # in it; in a password it is written %23')
  for (const parameter of url.searchParams.keys()) {
    // Not by its name: it may be the rest of a password with a ? in it.
    if (parameter !== 'sslmode') throw wrong('behind the ? it can have sslmode and nothing else')
  }
  return {
    host,
    port: url.port ? Number(url.port) : port,
    user,
    password: decoded(url.password),
    database,
    tls: tlsFor(host, url.searchParams.get('sslmode'), ca, wrong),
  }
}

function tlsFor(host: string, mode: string | null, ca: string | undefined, wrong: (why: string) => FeedFailure): Tls | undefined {
  switch (mode) {
    case null:
      return ca !== undefined || !isLoopback(host) ? { ca, named: true } : undefined
    case 'disable':
      if (ca !== undefined) throw wrong('sslmode=disable, and the source has a ca: take one of them out')
      return undefined
    case 'require':
    case 'verify-full':
      return { ca, named: true }
    case 'verify-ca':
      if (ca === undefined) throw wrong('sslmode=verify-ca needs the ca of the source')
      return { ca, named: false }
    default:
      throw wrong('sslmode is disable, require, verify-ca or verify-full')
  }
}

const loopback = new BlockList()
loopback.addSubnet('127.0.0.0', 8)
loopback.addAddress('::1', 'ipv6')

function isLoopback(host: string): boolean {
  const family = isIP(host)
  return family ? loopback.check(host, family === 6 ? 'ipv6' : 'ipv4') : /^(.+\.)?localhost$/i.test(host)
}

/** For messages, whoever wrote them. */
export function withoutSecrets({ password }: Pick<Address, 'password'>): (text: string) => string {
  if (!password) return (text) => text
  const forms = new Set([password, encodeURIComponent(password), encodeURI(password)])
  return (text) => [...forms].reduce((rest, form) => rest.replaceAll(form, '…'), text)
}
