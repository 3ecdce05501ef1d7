// The profile's attributes: a base set in the vocabulary of SCIM's core and enterprise user (RFC 7643, sections 4.1 and
// 4.3), flattened to names that a mapping row and a header row can say, and what an administrator has added. Says what a
// value of each type looks like, and turns what a source wrote into that form or into a fault.

export const attributeTypes = ['string', 'boolean', 'integer', 'date', 'list', 'reference'] as const
export type AttributeType = (typeof attributeTypes)[number]

export interface AttributeDefinition {
  readonly name: string
  readonly label: string
  /**
   * Values are kept as text: `true` or `false`; an integer in decimal, from -2^53+1 to 2^53-1; a date as YYYY-MM-DD; a
   * reference as the user name or id of another user, which is looked up when it is shown.
   */
  readonly type: AttributeType
  /** Nobody is let in, or created, without a value. */
  readonly required?: boolean | undefined
  /** No two users may hold the same value, compared by `foldKey`. */
  readonly unique?: boolean | undefined
  /** Hidden from audit events and from whoever does not ask to see it. */
  readonly sensitive?: boolean | undefined
  /** The only values there are; written in any letter case, kept as they are listed. */
  readonly values?: readonly string[] | undefined
}

const text = (name: string, label: string): AttributeDefinition => ({ name, label, type: 'string' })

const base: readonly AttributeDefinition[] = [
  { name: 'userName', label: 'User name', type: 'string', required: true, unique: true },
  text('displayName', 'Display name'),
  text('nickName', 'Nickname'),
  text('honorificPrefix', 'Title before the name'),
  text('givenName', 'Given name'),
  text('middleName', 'Middle name'),
  text('familyName', 'Family name'),
  text('honorificSuffix', 'Suffix after the name'),
  text('email', 'E-mail address'),
  text('phoneNumber', 'Telephone'),
  text('mobileNumber', 'Mobile telephone'),
  text('profileUrl', 'Profile page'),
  text('title', 'Job title'),
  text('userType', 'Kind of user'),
  text('department', 'Department'),
  text('division', 'Division'),
  text('organization', 'Organisation'),
  text('costCenter', 'Cost centre'),
  text('employeeNumber', 'Employee number'),
  { name: 'manager', label: 'Manager', type: 'reference' },
  text('streetAddress', 'Street'),
  text('locality', 'Town'),
  text('region', 'Region'),
  text('postalCode', 'Postal code'),
  text('country', 'Country'),
  text('preferredLanguage', 'Language'),
  text('locale', 'Locale'),
  text('timezone', 'Time zone'),
  { name: 'groups', label: 'Groups', type: 'list' },
]

/** Memberships are kept by source, so this one follows rules of its own (groups.ts). */
export const GROUPS = 'groups'

export type Schema = ReadonlyMap<string, AttributeDefinition>

export const baseSchema: Schema = new Map(base.map((definition) => [definition.name, definition]))

/** With what an administrator has added, or has said more of: an attribute of the base set keeps its type. */
export function extendSchema(added: readonly AttributeDefinition[]): Schema {
  const schema = new Map(baseSchema)
  for (const one of added) schema.set(one.name, { ...schema.get(one.name), ...one })
  return schema
}

/** The form two values are compared in: NFKC, trimmed, lower case without regard to locale. */
export function foldKey(value: string): string {
  // What is plain already stays as it is under NFKC.
  return isPlain(value) ? value.toLowerCase() : value.normalize('NFKC').trim().toLowerCase()
}

/** Values longer than this (in UTF-16 code units) are refused: nothing about a person needs them. */
const LONGEST_VALUE = 4096
/** For what is looked up by: the most that any database's index holds, in the widest characters. */
export const LONGEST_KEY = 512
/** So many values of one attribute; a person in more groups than this is a mistake. */
export const MOST_VALUES = 10_000

/**
 * The values as a profile keeps them: trimmed, blank ones left out, each in the form of its type. A fault says in plain
 * words what is wrong with which value; a sensitive one is not repeated.
 */
export function normaliseValues(
  definition: AttributeDefinition,
  values: readonly string[],
): readonly string[] | { readonly fault: string } {
  // Nearly always there is one value with nothing to do to it.
  const [only] = values
  if (
    values.length === 1 &&
    only !== undefined &&
    definition.type === 'string' &&
    !definition.values &&
    !definition.unique &&
    isPlain(only)
  )
    return values
  const kept: string[] = []
  for (const value of values) {
    const trimmed = value.trim()
    if (trimmed === '') continue
    const normal = normalise(definition, trimmed)
    if (typeof normal !== 'string') return normal
    kept.push(normal)
  }
  if (definition.type !== 'list' && kept.length > 1) return { fault: `it takes one value, and there are ${kept.length}` }
  if (kept.length > MOST_VALUES) return { fault: `there are ${kept.length} values; it takes ${MOST_VALUES} at most` }
  return kept
}

/** Printable ASCII without white space around it; whatever else there is takes the long way. */
function isPlain(value: string): boolean {
  const { length } = value
  if (length === 0 || length > LONGEST_VALUE || value.charCodeAt(0) === SPACE || value.charCodeAt(length - 1) === SPACE) return false
  for (let i = 0; i < length; i++) {
    const code = value.charCodeAt(i)
    if (code < SPACE || code > TILDE) return false
  }
  return true
}

const SPACE = 0x20
const TILDE = 0x7e

function normalise(definition: AttributeDefinition, value: string): string | { readonly fault: string } {
  const longest = definition.unique ? LONGEST_KEY : LONGEST_VALUE
  if (value.length > longest || (definition.unique && foldKey(value).length > longest))
    return { fault: `a value has more than ${longest} characters` }
  if (!value.isWellFormed()) return { fault: 'a value holds half a character' }
  // Control characters would break out of a header line further down.
  if (/\p{Cc}/u.test(value)) return { fault: 'a value holds a control character' }
  const shown = definition.sensitive ? 'the value (sensitive, not shown)' : `«${value.slice(0, 80)}»`
  const typed = ofType(definition.type, value)
  if (typed === undefined) return { fault: `${shown} is not ${inWords[definition.type]}` }
  if (!definition.values) return typed
  const key = foldKey(typed)
  const listed = definition.values.find((one) => foldKey(one) === key)
  return listed ?? { fault: `${shown} is not one of ${definition.values.join(', ')}` }
}

const inWords: Readonly<Record<AttributeType, string>> = {
  string: 'text',
  list: 'text',
  reference: 'the name of a user',
  boolean: 'true or false',
  integer: 'a whole number',
  date: 'a date (YYYY-MM-DD, or with a time and a zone)',
}

const YES = new Set(['true', '1', 'yes'])
const NO = new Set(['false', '0', 'no'])

function ofType(type: AttributeType, value: string): string | undefined {
  switch (type) {
    case 'string':
    case 'list':
    case 'reference':
      return value
    case 'boolean': {
      // Entra ID writes "False".
      const folded = value.toLowerCase()
      return YES.has(folded) ? 'true' : NO.has(folded) ? 'false' : undefined
    }
    case 'integer': {
      const number = /^[+-]?\d{1,16}$/.test(value) ? Number(value) : Number.NaN
      return Number.isSafeInteger(number) ? String(number) : undefined
    }
    case 'date':
      return readDay(value)
  }
}

/** A day, or the day in UTC of a moment (ISO 8601). */
function readDay(value: string): string | undefined {
  const found = /^(\d{4})-(\d\d)-(\d\d)(?:T\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:\d\d))?$/.exec(value)
  if (!found) return undefined
  const [year = 0, month = 0, day = 0] = found.slice(1, 4).map(Number)
  // JavaScript turns the 30th of February into a day in March.
  const written = new Date(Date.UTC(year, month - 1, day))
  if (written.getUTCMonth() !== month - 1 || written.getUTCDate() !== day) return undefined
  if (value.length === 10) return value
  const moment = new Date(value)
  return Number.isNaN(moment.getTime()) ? undefined : moment.toISOString().slice(0, 10)
}
