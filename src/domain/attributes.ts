// The profile's attributes, in the vocabulary of SCIM's core and enterprise user (RFC 7643, sections 4.1 and 4.3),
// flattened to names that a mapping row and a header row can say.

export interface AttributeDefinition {
  readonly name: string
  readonly label: string
  readonly type: 'string' | 'list'
  /** No two users may hold the same value, compared by `foldKey`. */
  readonly unique?: true
}

const definitions: readonly AttributeDefinition[] = [
  { name: 'userName', label: 'User name', type: 'string', unique: true },
  { name: 'displayName', label: 'Display name', type: 'string' },
  { name: 'givenName', label: 'Given name', type: 'string' },
  { name: 'familyName', label: 'Family name', type: 'string' },
  { name: 'email', label: 'E-mail address', type: 'string' },
  { name: 'phoneNumber', label: 'Telephone', type: 'string' },
  { name: 'title', label: 'Job title', type: 'string' },
  { name: 'department', label: 'Department', type: 'string' },
  { name: 'division', label: 'Division', type: 'string' },
  { name: 'organization', label: 'Organisation', type: 'string' },
  { name: 'costCenter', label: 'Cost centre', type: 'string' },
  { name: 'employeeNumber', label: 'Employee number', type: 'string' },
  { name: 'preferredLanguage', label: 'Language', type: 'string' },
  { name: 'locale', label: 'Locale', type: 'string' },
  { name: 'timezone', label: 'Time zone', type: 'string' },
  { name: 'groups', label: 'Groups', type: 'list' },
]

const byName = new Map(definitions.map((definition) => [definition.name, definition]))

export const attributeNames: readonly string[] = definitions.map((definition) => definition.name)

export function attributeNamed(name: string): AttributeDefinition | undefined {
  return byName.get(name)
}

/** The form two values are compared in: NFKC, trimmed, lower case without regard to locale. */
export function foldKey(value: string): string {
  return value.normalize('NFKC').trim().toLowerCase()
}
