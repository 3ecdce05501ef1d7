// Carries a session from Gatehouse's own host to an app's. Cookies are host-only, so the app's host gets a key of its
// own by a ticket: usable once, for a minute, at that host, by the browser that the app had sent (its entry cookie).

import type { SessionId } from '../domain/ids.ts'
import type { Mint, Sessions, Transactions } from './ports.ts'
import { hashSecret } from './secrets.ts'

const TICKET_SECONDS = 60

export interface TicketGrant {
  readonly session: { readonly id: SessionId; readonly expiresAt: Date }
  readonly returnTo: URL
  readonly entryHash: string
  readonly now: Date
}

export interface EnteredApp {
  /** For the cookie of the app's host. */
  readonly secret: string
  readonly returnTo: string
  /** Of the session. */
  readonly expiresAt: Date
}

type Ports = Transactions & { sessions: Sessions; mint: Mint }

/** @returns the ticket's secret, for the address that the browser is sent to */
export async function issueTicket(ports: Ports, grant: TicketGrant): Promise<string> {
  const secret = ports.mint.secret()
  await ports.inTransaction((tx) =>
    ports.sessions.keepTicket(tx, {
      secretHash: hashSecret(secret),
      session: grant.session.id,
      sessionExpiresAt: grant.session.expiresAt,
      host: grant.returnTo.host,
      entryHash: grant.entryHash,
      returnTo: grant.returnTo.href,
      expiresAt: new Date(grant.now.getTime() + TICKET_SECONDS * 1000),
    }),
  )
  return secret
}

/** Undefined: not a ticket for this host and this browser, or used, or run out. */
export async function enterApp(
  ports: Ports,
  { ticket, entrySecret, host, now }: { ticket: string; entrySecret: string; host: string; now: Date },
): Promise<EnteredApp | undefined> {
  return ports.inTransaction(async (tx) => {
    const fits = { secretHash: hashSecret(ticket), entryHash: hashSecret(entrySecret), host, now }
    const taken = await ports.sessions.takeTicket(tx, fits)
    if (!taken) return undefined
    const secret = ports.mint.secret()
    const added = await ports.sessions.addKey(tx, taken.session, { secretHash: hashSecret(secret), host })
    if (!added) return undefined
    return { secret, returnTo: taken.returnTo, expiresAt: taken.sessionExpiresAt }
  })
}
