// Requests that Gatehouse itself makes to addresses an administrator wrote or a metadata file named: metadata, artifacts, and
// the services that people are imported from. Guarded, because such an address may lead where only this machine can reach: the
// name is resolved here, every address that it has is judged, and the connection goes to the very address that was judged.
// Redirects are not followed.

import dns from 'node:dns'
import http from 'node:http'
import https from 'node:https'
import { BlockList, isIP, type LookupFunction } from 'node:net'
import type { AskWeb } from '../flows/feed-ports.ts'

export interface OutboundRequest {
  readonly url: string
  readonly method?: 'GET' | 'POST'
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
  readonly largestBytes: number
  readonly patienceMs: number
}

/** Throws with plain words when the answer is not a 2xx, is too large, too slow, or comes from where it may not. */
export type Outbound = (request: OutboundRequest) => AsyncIterable<Uint8Array>

const internal = new BlockList()
for (const [network, bits] of [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['224.0.0.0', 4],
  ['240.0.0.0', 4],
] as const) {
  internal.addSubnet(network, bits, 'ipv4')
  // The same, written as IPv6.
  internal.addSubnet(`::ffff:${network}`, 96 + bits, 'ipv6')
}
/** IPv6 that leads somewhere: global unicast, and IPv4 written as IPv6 (judged as IPv4 above). */
const global = new BlockList()
global.addSubnet('2000::', 3, 'ipv6')
global.addSubnet('::ffff:0.0.0.0', 96, 'ipv6')
// Within it, what carries an IPv4 address of anybody's choice (Teredo, 6to4), and documentation.
internal.addSubnet('2001::', 32, 'ipv6')
internal.addSubnet('2001:db8::', 32, 'ipv6')
internal.addSubnet('2002::', 16, 'ipv6')

export function isInternal(address: string): boolean {
  if (isIP(address) !== 6) return internal.check(address, 'ipv4')
  return internal.check(address, 'ipv6') || !global.check(address, 'ipv6')
}

/** @param internalHosts host names that may be internal, as the operator says */
export function outbound(internalHosts: readonly string[]): Outbound {
  const send = guarded(internalHosts)
  return (request) => fetched(request, send)
}

/** The same, for whoever judges the status and counts the bytes. @param internalHosts as in `outbound` */
export function webAsker(internalHosts: readonly string[]): AskWeb {
  const send = guarded(internalHosts)
  return async ({ url, method = 'GET', headers = {}, body, signal }) => {
    const answer = await send(new URL(url), { method, headers, body, signal })
    return { status: answer.statusCode ?? 0, headers: joined(answer.headers), body: closedWhenLeft(answer) }
  }
}

async function* fetched(
  { url, method = 'GET', headers = {}, body, largestBytes, patienceMs }: OutboundRequest,
  send: Send,
): AsyncIterable<Uint8Array> {
  const target = new URL(url)
  const signal = AbortSignal.timeout(patienceMs)
  const slow = (error: unknown) => (signal.aborted ? new Error(`${target.origin} did not answer within ${patienceMs / 1000} s`) : error)
  const answer = await send(target, { method, headers, body, signal }).catch((error) => Promise.reject(slow(error)))
  const { statusCode = 0 } = answer
  if (statusCode < 200 || statusCode > 299) {
    answer.destroy()
    throw new Error(
      `${url} answered ${statusCode}${statusCode >= 300 && statusCode < 400 ? `, a redirect to ${answer.headers.location ?? 'nowhere'}; give that address` : ''}`,
    )
  }
  let size = 0
  try {
    for await (const part of answer as AsyncIterable<Buffer>) {
      size += part.length
      if (size > largestBytes) throw new Error(`${url} is larger than ${largestBytes} bytes`)
      yield part
    }
  } catch (error) {
    throw slow(error)
  }
}

interface Sending {
  readonly method: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string | undefined
  readonly signal: AbortSignal
}

type Send = (target: URL, sending: Sending) => Promise<http.IncomingMessage>

function guarded(internalHosts: readonly string[]): Send {
  const lookup: LookupFunction = (hostname, options, callback) => {
    dns.lookup(hostname, { ...options, all: true }, (error, addresses) => {
      if (error) return callback(error, '', 0)
      const refused = internalHosts.includes(hostname) ? undefined : addresses.find(({ address }) => isInternal(address))
      if (refused) return callback(internalFault(hostname, refused.address), '', 0)
      const [first] = addresses
      if (options.all) return callback(null, addresses)
      callback(null, first?.address ?? '', first?.family ?? 4)
    })
  }
  return async (target, { method, headers, body, signal }) => {
    const host = target.hostname.replace(/^\[|\]$/g, '')
    // An address that is written as one is not looked up.
    if (isIP(host) && isInternal(host) && !internalHosts.includes(host)) throw internalFault(target.origin, host)
    const { request } = target.protocol === 'https:' ? https : http
    const length = body === undefined ? {} : { 'content-length': String(Buffer.byteLength(body)) }
    return new Promise((resolve, reject) => {
      const sent = request(target, { method, headers: { ...headers, ...length }, lookup, agent: false, signal }, resolve)
      sent.on('error', reject)
      sent.end(body)
    })
  }
}

function joined(headers: http.IncomingHttpHeaders): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(headers).map(([name, value = '']) => [name, Array.isArray(value) ? value.join(', ') : value]))
}

/** Node's own iterator leaves the connection open if it is given up before its first part. */
function closedWhenLeft(answer: http.IncomingMessage): AsyncIterable<Uint8Array> {
  return {
    [Symbol.asyncIterator]() {
      const parts = answer[Symbol.asyncIterator]()
      return {
        next: () => parts.next(),
        async return() {
          answer.destroy()
          return { done: true, value: undefined }
        },
      }
    },
  }
}

function internalFault(name: string, address: string): Error {
  return new Error(`${name} leads to the internal address ${address}; if that is right, add its host to GATEHOUSE_INTERNAL_HOSTS`)
}
