// Finds what an administrator calls an attribute in what a source has sent. Sources name the same thing in many ways:
// plainly, by a friendly name beside the real one, by an OID (X.500, eduPerson), or by an address whose last part is the name.

import type { AttributeOnFile, RecordOnFile } from './model.ts'

/** LDAP's and eduPerson's names of the OIDs that SAML uses (RFC 4519, RFC 2798, eduPerson 202208). */
const OIDS: Readonly<Record<string, string>> = {
  uid: '0.9.2342.19200300.100.1.1',
  mail: '0.9.2342.19200300.100.1.3',
  mobile: '0.9.2342.19200300.100.1.41',
  cn: '2.5.4.3',
  sn: '2.5.4.4',
  c: '2.5.4.6',
  l: '2.5.4.7',
  st: '2.5.4.8',
  street: '2.5.4.9',
  o: '2.5.4.10',
  ou: '2.5.4.11',
  title: '2.5.4.12',
  postalCode: '2.5.4.17',
  telephoneNumber: '2.5.4.20',
  givenName: '2.5.4.42',
  departmentNumber: '2.16.840.1.113730.3.1.2',
  employeeNumber: '2.16.840.1.113730.3.1.3',
  employeeType: '2.16.840.1.113730.3.1.4',
  preferredLanguage: '2.16.840.1.113730.3.1.39',
  displayName: '2.16.840.1.113730.3.1.241',
  eduPersonAffiliation: '1.3.6.1.4.1.5923.1.1.1.1',
  eduPersonPrincipalName: '1.3.6.1.4.1.5923.1.1.1.6',
  eduPersonEntitlement: '1.3.6.1.4.1.5923.1.1.1.7',
  eduPersonScopedAffiliation: '1.3.6.1.4.1.5923.1.1.1.9',
  eduPersonTargetedID: '1.3.6.1.4.1.5923.1.1.1.10',
  eduPersonOrcid: '1.3.6.1.4.1.5923.1.1.1.16',
  isMemberOf: '1.3.6.1.4.1.5923.1.5.1.1',
  schacHomeOrganization: '1.3.6.1.4.1.25178.1.2.9',
}

interface Named {
  readonly attributes: Readonly<Record<string, unknown>>
  /** A source's second names for its attributes (SAML's FriendlyName), friendly -> name. */
  readonly aliases: Readonly<Record<string, string>>
}

/**
 * The name that the source uses. Its own names go first: a friendly name is a courtesy and may not displace a real one.
 * Undefined where there is nothing of the kind, and where the last part of several addresses would fit.
 */
export function nameIn(named: Named, asked: string): string | undefined {
  return pick(named, asked, isThere)
}

/** The same in what is on file: a name that the source still uses goes before one that it has given up. */
export function nameOnFile(record: Pick<RecordOnFile, 'attributes' | 'aliases'>, asked: string): string | undefined {
  const exact = record.attributes[asked]
  if (exact && exact.state !== 'absent') return asked
  return pick(record, asked, inUse) ?? pick(record, asked, isThere)
}

type Fits = (attribute: unknown) => boolean
const isThere: Fits = (attribute) => attribute !== undefined
const inUse: Fits = (attribute) => attribute !== undefined && (attribute as AttributeOnFile).state !== 'absent'

function pick({ attributes, aliases }: Named, asked: string, fits: Fits): string | undefined {
  const has = (name: string | undefined) => name !== undefined && Object.hasOwn(attributes, name) && fits(attributes[name])
  if (has(asked)) return asked
  const friendly = Object.hasOwn(aliases, asked) ? aliases[asked] : undefined
  if (has(friendly)) return friendly
  const oid = Object.hasOwn(OIDS, asked) ? `urn:oid:${OIDS[asked]}` : undefined
  if (has(oid)) return oid
  let found: string | undefined
  for (const name in attributes) {
    if (!name.endsWith(asked) || name.charCodeAt(name.length - asked.length - 1) !== SLASH || !fits(attributes[name])) continue
    if (found !== undefined) return undefined
    found = name
  }
  return found
}

const SLASH = 0x2f

/** Whether two ways of writing a name could mean one attribute: as they are, by OID, or by the last part of an address. */
export function couldBeSame(a: string, b: string): boolean {
  if (a === b) return true
  const forms = (name: string) => [name, Object.hasOwn(OIDS, name) ? `urn:oid:${OIDS[name]}` : name, name.slice(name.lastIndexOf('/') + 1)]
  const others = new Set(forms(b))
  return forms(a).some((one) => others.has(one))
}

/** Every name that could be meant by one of these: for leaving things out, where one too many does no harm. */
export function namesMeant(named: Named, asked: Iterable<string>): ReadonlySet<string> {
  const found = new Set<string>()
  for (const one of asked) {
    for (const name in named.attributes) if (couldBeSame(name, one)) found.add(name)
    const friendly = Object.hasOwn(named.aliases, one) ? named.aliases[one] : undefined
    if (friendly !== undefined) found.add(friendly)
  }
  return found
}

/** What people would call it: for tables and proposals. */
export function plainName({ aliases }: { aliases: Readonly<Record<string, string>> }, name: string): string {
  const friendly = Object.keys(aliases).find((alias) => aliases[alias] === name)
  if (friendly) return friendly
  const oid = name.startsWith('urn:oid:') ? Object.keys(OIDS).find((one) => OIDS[one] === name.slice(8)) : undefined
  return oid ?? /[^/]+$/.exec(name)?.[0] ?? name
}
