// Decides what an app is told about a person, header by header, and which headers a client may therefore never send.

import type { Profile, User } from './model.ts'

export type HeaderPath = { readonly root: 'id' } | { readonly root: 'entitlements' } | { readonly root: 'attribute'; readonly name: string }

export interface HeaderRow {
  readonly name: string
  /** As the administrator wrote it: `user.userName`, `user.id`. */
  readonly from: string
  readonly path: HeaderPath
}

/** `user.id`, `user.entitlements` or `user.<attribute>`; undefined: not a path. Whether the attribute exists is the policy's question. */
export function parseHeaderPath(text: string): HeaderPath | undefined {
  if (text === 'user.id') return { root: 'id' }
  if (text === 'user.entitlements') return { root: 'entitlements' }
  const name = /^user\.([A-Za-z][A-Za-z0-9]*)$/.exec(text)?.[1]
  return name === undefined ? undefined : { root: 'attribute', name }
}

/** Names that we set ourselves on the way to an app, or that would change what the app or a proxy makes of the request. */
const ALWAYS_OURS = new Set([
  'connection',
  'content-length',
  'cookie',
  'forwarded',
  'host',
  'keep-alive',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-port',
  'x-forwarded-proto',
])

/** A header that the configuration may not claim. */
export function isReservedHeader(name: string): boolean {
  return ALWAYS_OURS.has(foldHeaderName(name))
}

/**
 * One form for every spelling that some server down the line may take for the same header: CGI, WSGI and PHP fold case
 * and turn `-` (some of them every other sign) into `_`.
 */
export function foldHeaderName(name: string): string {
  return name.toLowerCase().replace(/[^a-z0-9]/g, '-')
}

/**
 * The headers for one user, in the rows' order; a row without a value is left out. Several values are joined with `;`,
 * and a `;` or `\` inside a value is escaped with `\`. Values are UTF-8.
 */
export function identityHeaders(rows: readonly HeaderRow[], user: User): readonly (readonly [name: string, value: string])[] {
  const headers: [string, string][] = []
  for (const row of rows) {
    const value = headerValue(row.path, user)
    if (value !== undefined) headers.push([row.name, value])
  }
  return headers
}

function headerValue(path: HeaderPath, user: User): string | undefined {
  if (path.root === 'id') return user.id
  const values = path.root === 'entitlements' ? user.grants.map(({ name }) => name) : valuesOf(user.profile, path.name)
  if (!values.length) return undefined
  const joined = values.length === 1 ? values[0] : values.map((value) => value.replace(/[\\;]/g, '\\$&')).join(';')
  // A value that came in with a line break may not become a second header.
  return joined?.replace(/\p{Cc}+/gu, ' ')
}

function valuesOf(profile: Profile, attribute: string): readonly string[] {
  return profile[attribute]?.values ?? []
}
