// Sends a person with a session to where they wanted to go. Gatehouse's own pages are a redirect away; an app's host needs
// a key of its own first, which it fetches with a ticket.

import type { Policy } from '../domain/policy.ts'
import { returnAddress } from '../domain/return-address.ts'
import type { TicketGrant } from '../flows/enter-app.ts'

export interface ReturnDeps {
  readonly baseUrl: URL
  readonly issueTicket: (grant: TicketGrant) => Promise<string>
  readonly clock: () => Date
}

/** An app is served by the same scheme as Gatehouse itself. */
export function appOrigin(baseUrl: URL, host: string): string {
  return new URL(`${baseUrl.protocol}//${host}`).origin
}

/** Undefined: the address is not one of ours. Without one asked for, the person's own page. */
export function readReturnTo(asked: unknown, policy: Policy, baseUrl: URL): URL | undefined {
  if (asked !== undefined && typeof asked !== 'string') return undefined
  const origins = policy.apps.map((app) => appOrigin(baseUrl, app.host))
  return returnAddress(asked || '/me', baseUrl.origin, origins)
}

/** @returns the address to redirect to */
export async function wayBack(
  deps: ReturnDeps,
  { session, returnTo, entryHash }: { session: TicketGrant['session']; returnTo: URL; entryHash?: string | undefined },
): Promise<string> {
  // Without an entry the app's host will find no session and send the browser here again, this time with one.
  if (returnTo.origin === deps.baseUrl.origin || !entryHash) return returnTo.href
  const ticket = await deps.issueTicket({ session, returnTo, entryHash, now: deps.clock() })
  return `${returnTo.origin}/.gatehouse/enter?ticket=${ticket}`
}
