// Finds out from the root DSE (RFC 4512 section 5.1) what kind of directory answers, and what it can; and says what has to be asked
// for there, because most of what tells people apart or says whether they are in has to be named to come at all.

import { PagedResultsControl } from 'ldapts'
import type { LdapSettings } from '../../domain/documents/source.ts'
import { FeedFailure } from '../../flows/feed-ports.ts'
import { STATE_OF_ACTIVE_DIRECTORY, STATE_OF_OTHERS } from './account-state.ts'
import type { Connection } from './connection.ts'
import { foldName, isWithin } from './names.ts'
import { readEntry } from './search.ts'
import { type Entry, entryOf, firstValue, guidText, isLeftOut, valuesOf } from './values.ts'

export type Vendor = Exclude<LdapSettings['vendor'], 'auto'>

export interface Directory {
  readonly vendor: Vendor
  /** Object identifiers of controls, extended requests and capabilities that it says it has. */
  readonly offers: ReadonlySet<string>
  readonly root: Entry
}

/** LDAP_CAP_ACTIVE_DIRECTORY_OID, [MS-ADTS] section 3.1.1.3.4.3. */
const ACTIVE_DIRECTORY = '1.2.840.113556.1.4.800'

const ROOT_ATTRIBUTES = [
  'objectClass',
  'supportedControl',
  'supportedExtension',
  'supportedCapabilities',
  'namingContexts',
  'defaultNamingContext',
  'rootDomainNamingContext',
  'forestFunctionality',
  'dsServiceName',
  'highestCommittedUSN',
  'vendorName',
]

export async function directoryOf(connection: Connection, wanted: LdapSettings['vendor']): Promise<Directory> {
  const message = await readEntry(connection, { base: '', attributes: ROOT_ATTRIBUTES, doing: 'ask what kind of directory it is' })
  const root = entryOf(message ?? { kind: 'entry', id: 0, dn: '', attributes: [] })
  const offers = new Set(['supportedControl', 'supportedExtension', 'supportedCapabilities'].flatMap((name) => valuesOf(root, name)))
  const looks = vendorOf(root, offers)
  if (wanted === 'active-directory' && looks !== wanted)
    throw new FeedFailure('misconfigured', `${connection.server} is no Active Directory, as ldap.vendor says; write auto`)
  // A server may hide what it can; then it says so when it is asked to do it.
  if (valuesOf(root, 'supportedControl').length && !offers.has(PagedResultsControl.type))
    throw new FeedFailure(
      'misconfigured',
      `${connection.server} has no paged results (RFC 2696), and nobody can be read without leaving somebody out`,
    )
  return { vendor: wanted === 'auto' ? looks : wanted, offers, root }
}

function vendorOf(root: Entry, offers: ReadonlySet<string>): Vendor {
  if (offers.has(ACTIVE_DIRECTORY) || firstValue(root, 'forestFunctionality') || firstValue(root, 'rootDomainNamingContext'))
    return 'active-directory'
  return valuesOf(root, 'objectClass').some((name) => name.toLowerCase() === 'openldaprootdse') ? 'openldap' : 'other'
}

/** What tells entries apart for ever. */
export const LASTING: Readonly<Record<Vendor, readonly string[]>> = {
  'active-directory': ['objectGUID'],
  openldap: ['entryUUID'],
  other: ['entryUUID', 'nsUniqueId'],
}

/** Whatever the document asks for, these have to be seen. */
const NEEDED: Readonly<Record<Vendor, readonly string[]>> = {
  'active-directory': ['objectSid', 'primaryGroupID', 'uSNChanged', ...STATE_OF_ACTIVE_DIRECTORY],
  openldap: ['uid', 'modifyTimestamp', ...STATE_OF_OTHERS],
  other: ['uid', 'modifyTimestamp', ...STATE_OF_OTHERS],
}

/** Where the document names none: all that are the user's, and these that are the server's. Never `+`: old passwords are among those. */
const USUAL: Readonly<Record<Vendor, readonly string[]>> = {
  'active-directory': ['*'],
  openldap: ['*', 'createTimestamp', 'memberOf'],
  other: ['*', 'createTimestamp', 'memberOf'],
}

export function attributesToAskFor({ vendor }: Directory, wanted: LdapSettings['attributes']): readonly string[] {
  for (const name of wanted ?? []) {
    const why = isLeftOut(name)
    if (why) throw new FeedFailure('misconfigured', `ldap.attributes names ${name}, which is ${why}; it is not read`)
  }
  return [...new Set([...(wanted ?? USUAL[vendor]), ...LASTING[vendor], ...NEEDED[vendor]])]
}

/** The part of the tree that holds the base, as the server divides it. */
export function namingContextOf({ root }: Directory, base: string): string | undefined {
  const within = foldName(base)
  const holding = valuesOf(root, 'namingContexts').filter((name) => isWithin(within, foldName(name)))
  return holding.sort((a, b) => b.length - a.length)[0] ?? firstValue(root, 'defaultNamingContext')
}

/**
 * Which copy of the directory this is: update sequence numbers mean nothing to another one, nor after this one was restored
 * ([MS-ADTS] section 3.1.1.1.9: the invocation id changes then).
 */
export async function copyOf(connection: Connection, { root }: Directory): Promise<string | undefined> {
  const service = firstValue(root, 'dsServiceName')
  if (service === undefined) return undefined
  const settings = await readEntry(connection, {
    base: service,
    attributes: ['invocationId'],
    doing: 'ask which copy of the directory it is',
  })
  const id = settings?.attributes.find(({ description }) => description.toLowerCase() === 'invocationid')?.values[0]
  return (id && guidText(id)) ?? foldName(service)
}
