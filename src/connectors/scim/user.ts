// A user of SCIM (RFC 7643) as attributes. A password is never among them, whatever a server gives.

import { flatten, type Gathered, isList, isObject, type Json, type JsonObject, textOf } from '../flattening.ts'

/** Names are the same in capitals (RFC 7643, 2.1); as the schemas write them. */
const WRITTEN = new Map(
  [
    ...['id', 'externalId', 'meta', 'lastModified', 'schemas', 'userName', 'password', 'active', 'displayName', 'nickName', 'title'],
    ...['name', 'formatted', 'familyName', 'givenName', 'middleName', 'honorificPrefix', 'honorificSuffix', 'profileUrl', 'userType'],
    ...['preferredLanguage', 'locale', 'timezone', 'emails', 'phoneNumbers', 'ims', 'photos', 'addresses', 'groups', 'entitlements'],
    ...['roles', 'x509Certificates', 'value', 'display', 'type', 'primary', '$ref', 'streetAddress', 'locality', 'region', 'postalCode'],
    ...['country', 'employeeNumber', 'costCenter', 'organization', 'division', 'department', 'manager'],
  ].map((name) => [name.toLowerCase(), name]),
)

/** Their attributes go by their own names; the second is what SCIM 1.1 called it. */
const SHORT = /^urn:(ietf:params:scim:schemas:(extension:enterprise|core):2\.0:User|scim:schemas:(extension:enterprise|core):1\.0)(:|$)/i

export function userAttributes(user: JsonObject): Gathered {
  const into: Gathered = new Map()
  for (const [name, value] of members(user)) {
    if (name === 'meta') meta(into, value)
    else if (/^urn:/i.test(name)) extension(into, name, value)
    else attribute(into, name, value)
  }
  const [active] = into.get('active') ?? []
  // Microsoft Entra writes "False".
  if (active !== undefined && /^(true|false)$/i.test(active)) into.set('active', [active.toLowerCase()])
  into.set('accountState', [active !== undefined && /^false$/i.test(active) ? 'disabled' : 'active'])
  return into
}

export function members(object: JsonObject): [string, Json][] {
  return Object.entries(object)
    .map(([name, value]): [string, Json] => [WRITTEN.get(name.toLowerCase()) ?? name, value])
    .filter(([name]) => name !== 'schemas' && !/(^|:)password$/i.test(name))
}

function meta(into: Gathered, value: Json): void {
  if (!isObject(value)) return
  for (const [name, inner] of members(value)) if (name === 'lastModified') flatten(into, 'meta.lastModified', inner)
}

/** An object of its attributes, or one attribute under its full name. */
function extension(into: Gathered, urn: string, value: Json): void {
  const short = SHORT.exec(urn)
  const rest = short ? urn.slice(short[0].length) : urn
  if (short && rest) attribute(into, WRITTEN.get(rest.toLowerCase()) ?? rest, value)
  else if (!isObject(value)) flatten(into, urn, value)
  else for (const [name, inner] of members(value)) attribute(into, short ? name : `${urn}:${name}`, inner)
}

function attribute(into: Gathered, name: string, value: Json): void {
  if (isObject(value)) one(into, [name], value)
  else if (!isList(value) || !value.length) flatten(into, name, value)
  else
    for (const element of preferredFirst(value)) {
      if (isObject(element)) one(into, [name, ...typed(name, element)], element)
      else flatten(into, name, element)
    }
}

/** RFC 7643, 2.4: the primary one. */
function preferredFirst(elements: readonly Json[]): readonly Json[] {
  const isPrimary = (element: Json) => isObject(element) && /^true$/i.test(textOf(element.primary) ?? '')
  return [...elements.filter(isPrimary), ...elements.filter((element) => !isPrimary(element))]
}

function typed(name: string, element: JsonObject): readonly string[] {
  const [, type] = members(element).find(([sub]) => sub === 'type') ?? []
  const text = textOf(type)
  return text ? [`${name}.${text.toLowerCase()}`] : []
}

/** Under each of these names: its value as such, and whatever else it has. */
function one(into: Gathered, names: readonly string[], element: JsonObject): void {
  const subs = new Map(members(element))
  // A group is known by its name.
  const isGroup = names[0] === 'groups'
  const value = (isGroup ? subs.get('display') : undefined) ?? subs.get('value')
  for (const name of names) {
    if (value !== undefined) flatten(into, name, value)
    for (const [sub, inner] of subs) {
      const told = ['value', '$ref', 'primary'].includes(sub) || (sub === 'display' && isGroup) || (sub === 'type' && names.length > 1)
      if (!told) flatten(into, `${name}.${sub}`, inner)
    }
  }
}
