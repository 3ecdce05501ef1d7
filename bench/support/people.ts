// People as an identity provider describes them, twelve attributes each, and a policy of twenty rows that reads them.

import type { SourceId } from '../../src/domain/ids.ts'
import type { SourceRecord } from '../../src/domain/model.ts'
import { PERSISTENT, sourceId } from '../../test/support/world.ts'

export const LOOKUPS = {
  divisions: { ENG: 'Engineering', FIN: 'Finance', HR: 'Human Resources', OPS: 'Operations', SAL: 'Sales', MKT: 'Marketing' },
  countries: { DE: 'Germany', FR: 'France', NL: 'Netherlands', ES: 'Spain', PL: 'Poland', US: 'United States' },
  timezones: { DE: 'Europe/Berlin', FR: 'Europe/Paris', NL: 'Europe/Amsterdam', ES: 'Europe/Madrid', PL: 'Europe/Warsaw' },
}

/** Twelve expressions, seven plain paths and the groups. */
export const ROWS = [
  { to: 'userName', from: 'nameID' },
  { to: 'email', from: 'lower(trim(first(attributes.mail)))' },
  { to: 'givenName', from: 'attributes.givenName' },
  { to: 'familyName', from: 'attributes.sn' },
  {
    to: 'displayName',
    from: "has(attributes.displayName) ? trim(first(attributes.displayName)) : user.givenName + ' ' + user.familyName",
  },
  { to: 'nickName', from: "lower(split(first(attributes.mail), '@')[0])" },
  { to: 'title', from: 'attributes.title' },
  { to: 'department', from: 'attributes.department' },
  { to: 'division', from: "lookup('divisions', split(first(attributes.department), '-')[0], 'Other')" },
  { to: 'organization', from: "lookup('countries', upper(first(attributes.c)), 'Elsewhere')" },
  { to: 'costCenter', from: "split(first(attributes.department), '-')[1]" },
  { to: 'employeeNumber', from: 'attributes.employeeNumber' },
  { to: 'userType', from: "first(attributes.employeeNumber).startsWith('9') ? 'contractor' : 'employee'" },
  { to: 'phoneNumber', from: "replace(first(attributes.telephoneNumber), ' ', '')" },
  { to: 'manager', from: "lower(capture(first(attributes.manager), '^uid=([^,]+),'))" },
  { to: 'locality', from: 'attributes.l' },
  { to: 'country', from: 'upper(trim(first(attributes.c)))' },
  { to: 'timezone', from: "lookup('timezones', upper(first(attributes.c)), 'Etc/UTC')" },
  { to: 'preferredLanguage', from: "'lang-de' in attributes.memberOf ? 'de' : 'en'" },
  { to: 'groups', from: 'attributes.memberOf' },
]

/** @param metadata where the connection's metadata is; left out where nothing reads it */
export function peoplePolicy(
  rows: readonly { readonly to: string; readonly from: string }[],
  metadata?: { file: string } | { xml: string },
) {
  return {
    lookups: LOOKUPS,
    connections: [
      {
        name: 'corp',
        kind: 'saml',
        ...(metadata ? { metadata } : {}),
        jit: { create: true, update: true, required: ['email'] },
        matching: [{ by: ['email'], link: 'ask' }],
        mapping: rows,
      },
    ],
  }
}

const GIVEN = ['Ada', 'Grace', 'Alan', 'Edsger', 'Barbara', 'Donald', 'Frances', 'Tony', 'Radia', 'Leslie', 'Margaret']
const FAMILY = [
  'Lovelace',
  'Hopper',
  'Turing',
  'Dijkstra',
  'Liskov',
  'Knuth',
  'Allen',
  'Hoare',
  'Perlman',
  'Lamport',
  'Hamilton',
  'Wirth',
  'Naur',
]
const DIVISIONS = Object.keys(LOOKUPS.divisions)
const COUNTRIES = Object.keys(LOOKUPS.countries)
const TOWNS = ['Berlin', 'Paris', 'Amsterdam', 'Madrid', 'Warszawa', 'Boston']
const TITLES = ['Engineer', 'Senior Engineer', 'Analyst', 'Controller', 'Account Manager']

const one = (list: readonly string[], number: number) => list[number % list.length] as string

function attributesOf(number: number): Record<string, string[]> {
  const [given, family] = [one(GIVEN, number), one(FAMILY, number)]
  return {
    mail: [`${given}.${family}.${number}@Corp.Example`],
    givenName: [given],
    sn: [`${family} ${number}`],
    displayName: [`${given} ${family}`],
    department: [`${one(DIVISIONS, number)}-${1000 + (number % 400)}`],
    title: [one(TITLES, number)],
    telephoneNumber: [`+49 30 ${100_000 + number}-${number % 90}`],
    employeeNumber: [String(number % 20 === 0 ? 900_000 + number : 100_000 + number)],
    manager: [`uid=${one(GIVEN, number + 3)}.${number % 500},ou=people,dc=corp,dc=example`],
    l: [one(TOWNS, number)],
    c: [one(COUNTRIES, number).toLowerCase()],
    memberOf: ['staff', 'vpn', `floor-${number % 7}`, `team-${number % 200}`, number % 2 ? 'lang-de' : 'lang-en'],
  }
}

/** As a sign-in brings it. @param changed that attribute says something else than it would: a number from 0 to 11 */
export function personSays(
  number: number,
  { source = sourceId('corp'), now, changed }: { source?: SourceId; now: Date; changed?: number },
): SourceRecord {
  const usual = attributesOf(number)
  const other = attributesOf(number + 1)
  const attributes: Record<string, string[]> = Object.create(null)
  for (const [index, name] of Object.keys(usual).entries()) {
    // New strings, none of them known to the engine from another record.
    attributes[name] = ((index === changed ? other : usual)[name] ?? []).map((value) => Buffer.from(value).toString('utf8'))
  }
  return {
    source,
    nameId: { value: `f81d4fae-7dec-11d0-${String(number).padStart(12, '0')}`, format: PERSISTENT },
    attributes,
    aliases: {},
    session: { authnContext: 'urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport', authnInstant: now.toISOString() },
    observedAt: new Date(now),
  }
}
