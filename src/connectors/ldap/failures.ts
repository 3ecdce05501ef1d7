// Says in plain words why a directory would not answer: the result codes of RFC 4511 (appendix A), the errors of a connection, and
// what to do about either. Names no secret, and repeats of the server's own words a line at most.

import { FeedFailure, type FeedFailureCode } from '../../flows/feed-ports.ts'
import type { ResultMessage } from './messages.ts'

const SUCCESS = 0
const REFERRAL = 10
export const NO_SUCH_OBJECT = 32
const INVALID_CREDENTIALS = 49
const INSUFFICIENT_ACCESS = 50

/** A result that is not a success. */
export class Refused extends FeedFailure {
  readonly result: number
  constructor(code: FeedFailureCode, message: string, result: number) {
    super(code, message)
    this.result = result
  }
}

const ENCRYPT = 'the server insists on an encrypted connection: write ldaps:// or startTls: true'

const MEANINGS: Readonly<Record<number, readonly [FeedFailureCode, string]>> = {
  // What Active Directory says to whoever has not signed in.
  1: ['denied', 'the server wants somebody to sign in first, or could not do it'],
  2: ['malformed', 'the server did not understand the question'],
  3: ['too-slow', 'the server gave up after its own time limit'],
  4: [
    'too-large',
    'the server gives no more entries than its size limit allows: raise it for the account that ldap.bind names (OpenLDAP: limits … size.prtotal=unlimited)',
  ],
  7: ['misconfigured', 'the server does not accept a name and a password'],
  8: ['misconfigured', ENCRYPT],
  11: ['too-large', 'the search goes beyond a limit that the server’s administrator has set'],
  12: ['misconfigured', 'the server has no paged results (RFC 2696), and nobody can be read without leaving somebody out'],
  13: ['misconfigured', ENCRYPT],
  16: ['misconfigured', 'the server has no such attribute'],
  17: ['misconfigured', 'the server knows no such attribute'],
  18: ['misconfigured', 'the server cannot compare that attribute in that way: look at the filter'],
  21: ['misconfigured', 'a value has not the form that its attribute asks for: look at the filter'],
  32: ['misconfigured', 'there is no such entry, or the account may not see it: look at the base'],
  34: ['misconfigured', 'that is not a distinguished name'],
  48: ['denied', 'the server does not let this account sign in with a password'],
  49: ['denied', 'the name or the password is wrong'],
  50: ['denied', 'the account has no right to it'],
  51: ['unreachable', 'the server is busy'],
  52: ['unreachable', 'the server is shutting down, or not ready'],
  53: ['misconfigured', 'the server is not willing to do it'],
  54: ['misconfigured', 'the directory refers in a circle'],
}

/** @param doing what was asked for, like `search below dc=example` */
export function refusal(result: ResultMessage, doing: string): Refused | undefined {
  if (result.code === SUCCESS) return undefined
  if (result.code === REFERRAL) {
    const to = result.referrals[0]
    return new Refused(
      'misconfigured',
      `${doing}: the server refers to another one${to ? `, ${line(to)}` : ''}; referrals are not followed: write that server in ldap.url, or a base that this one holds`,
      REFERRAL,
    )
  }
  const [code, meaning] = MEANINGS[result.code] ?? (['malformed', `the server answers with result ${result.code}`] as const)
  const why = result.code === INVALID_CREDENTIALS ? reasonOf(result.diagnostic) : undefined
  const said = line(result.diagnostic)
  return new Refused(code, `${doing}: ${why ?? meaning}${said ? ` (${said})` : ''}`, result.code)
}

export function wrongAnswer(doing: string): FeedFailure {
  return new FeedFailure('malformed', `${doing}: the server gave another answer than the question asks for`)
}

/** What Active Directory means by `data 52e` ([MS-ERREF] section 2.2, in hexadecimal). */
const REASONS: Readonly<Record<string, string>> = {
  '525': 'there is no such account',
  '52e': 'the name or the password is wrong',
  '530': 'the account may not sign in at this time',
  '531': 'the account may not sign in from here',
  '532': 'the password of the account has run out',
  '533': 'the account is disabled',
  '701': 'the account has run out',
  '773': 'the account has to change its password first',
  '775': 'the account is locked',
}

function reasonOf(diagnostic: string): string | undefined {
  const found = /\bdata ([0-9a-f]{3})\b/i.exec(diagnostic)?.[1]
  return found === undefined ? undefined : REASONS[found.toLowerCase()]
}

const UNTRUSTED = /^(CERT_|UNABLE_TO_|DEPTH_ZERO_|SELF_SIGNED_|ERR_TLS_CERT_ALTNAME_INVALID|HOSTNAME_MISMATCH|INVALID_CA|INVALID_PURPOSE)/
const NOT_TLS = /^(ERR_SSL_|EPROTO)/

/** An error of the connection, before or after it stood. */
export function connectionFailure(error: NodeJS.ErrnoException, server: string): FeedFailure {
  if (error instanceof FeedFailure) return error
  const code = error.code ?? ''
  if (UNTRUSTED.test(code)) {
    const why = code === 'ERR_TLS_CERT_ALTNAME_INVALID' ? 'it was made for another name' : `${line(error.message)}`
    return new FeedFailure(
      'misconfigured',
      `the certificate of ${server} cannot be trusted: ${why}; ldap.ca names the authority that vouches for it`,
      { cause: error },
    )
  }
  if (NOT_TLS.test(code))
    return new FeedFailure('misconfigured', `no encrypted connection to ${server}: it does not speak TLS there, or not the same`, {
      cause: error,
    })
  return new FeedFailure('unreachable', `no connection to ${server}: ${code || line(error.message)}`, { cause: error })
}

const LONGEST = 200

/** One line of somebody else’s words. */
export function line(words: string): string {
  const plain = words.replace(/[\p{Cc}\p{Cf}\s]+/gu, ' ').trim()
  return plain.length > LONGEST ? `${plain.slice(0, LONGEST)}…` : plain
}

/** It is not there, or not for this account to see; servers do not tell which. */
export function isRefusedSight(error: unknown): boolean {
  return error instanceof Refused && (error.result === NO_SUCH_OBJECT || error.result === INSUFFICIENT_ACCESS)
}
