// Decides whether metadata that was fetched again may take the place of what is in force. New keys and addresses from where
// the administrator pointed apply; another name, or less than there was, waits for a person. Pure: no clock, no network.

import type { IdentityProvider, LogoutEndpoints } from './identity-provider.ts'

export interface MetadataChange {
  /** Certificates, base64 of the DER. */
  readonly addedKeys: readonly string[]
  readonly removedKeys: readonly string[]
  /** `single sign-on over HTTP-Redirect: https://old -> https://new` */
  readonly endpoints: readonly string[]
  /** Why it does not apply by itself; empty when it may. */
  readonly held: readonly string[]
  /** False when nothing that matters is different. */
  readonly moved: boolean
}

export interface FetchedMetadata {
  readonly idp: IdentityProvider
  /** How many entities the file held; undefined when that was never counted. */
  readonly entities?: number | undefined
}

export function compareMetadata(before: FetchedMetadata, after: FetchedMetadata): MetadataChange {
  const [old, fresh] = [before.idp, after.idp]
  const addedKeys = fresh.certificates.filter((one) => !old.certificates.includes(one))
  const removedKeys = old.certificates.filter((one) => !fresh.certificates.includes(one))
  const held: string[] = []
  if (old.entityId !== fresh.entityId) held.push(`its entityID was ${old.entityId} and is now ${fresh.entityId}`)
  const endpoints: string[] = []
  const [was, is] = [endpointsOf(old), endpointsOf(fresh)]
  for (const name of new Set([...was.keys(), ...is.keys()])) {
    const [from, to] = [was.get(name), is.get(name)]
    if (from === to) continue
    endpoints.push(`${name}: ${from ?? '(none)'} -> ${to ?? '(none)'}`)
    if (to === undefined) held.push(`it no longer has ${name}`)
  }
  const [many, few] = [before.entities ?? 0, after.entities ?? 0]
  if (many >= 2 && few < many / 2) held.push(`the file had ${many} entities and now has ${few}`)
  const asked = old.wantsSignedRequests !== fresh.wantsSignedRequests
  return {
    addedKeys,
    removedKeys,
    endpoints,
    held,
    moved: asked || addedKeys.length + removedKeys.length + endpoints.length > 0 || old.entityId !== fresh.entityId,
  }
}

function endpointsOf({ singleSignOn, singleLogout, artifactResolution }: IdentityProvider): Map<string, string> {
  const all: [string, string | undefined][] = [
    ['single sign-on over HTTP-Redirect', singleSignOn.redirect],
    ['single sign-on over HTTP-POST', singleSignOn.post],
    ['single logout over HTTP-Redirect', logout(singleLogout, 'redirect')],
    ['single logout over HTTP-POST', logout(singleLogout, 'post')],
    ...(artifactResolution ?? []).map(({ index, location }): [string, string] => [`artifact resolution ${index}`, location]),
  ]
  return new Map(all.filter((one): one is [string, string] => one[1] !== undefined))
}

function logout(endpoints: LogoutEndpoints | undefined, binding: 'redirect' | 'post'): string | undefined {
  const endpoint = endpoints?.[binding]
  return endpoint && [endpoint.location, endpoint.responseLocation].filter(Boolean).join(', answers to ')
}

const HOUR = 3_600_000
const DAY = 24 * HOUR

/**
 * When to look again: as long as the metadata says it may be kept, at least an hour and at most a day, and well before it
 * runs out (SAML metadata 2.0, section 2.3.2).
 */
export function nextLook({ cacheSeconds, validUntil }: IdentityProvider, now: Date): Date {
  const kept = cacheSeconds === undefined ? DAY : cacheSeconds * 1000
  const left = validUntil === undefined ? DAY : (new Date(validUntil).getTime() - now.getTime()) / 2
  return new Date(now.getTime() + Math.max(HOUR, Math.min(DAY, kept, left)))
}

/** After a fetch that failed. */
export function nextTry(now: Date): Date {
  return new Date(now.getTime() + HOUR)
}

/** How often a signature under an unknown key may make us look: anybody can send such a signature. */
export const RESCUE_EVERY_MS = 10 * 60_000
