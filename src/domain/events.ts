// The catalogue of audit events: every kind that can be written, each with what it means. Closed: a flow that has
// something new to say adds a line here first.

import type { RunId, SignInId, SourceId, TokenId, UserId } from './ids.ts'

/** Who did it. Every write has one. */
export type Actor =
  | { readonly kind: 'connection'; readonly id: SourceId; readonly name: string }
  | { readonly kind: 'source'; readonly id: SourceId; readonly name: string }
  | { readonly kind: 'token'; readonly id: TokenId; readonly name: string }
  | { readonly kind: 'operator'; readonly name: string }
  | { readonly kind: 'user'; readonly id: UserId }
  | { readonly kind: 'system'; readonly name: string }

export const eventCatalogue = {
  'user.created': 'A person was seen for the first time, and was tied to what the source calls them.',
  'user.updated': 'A person’s profile changed.',
  'user.activated': 'A person who was known ahead of time was let in.',
  'user.suspended': 'A person was shut out for a while: sessions closed, entitlements kept.',
  'user.restored': 'A person who had been suspended or deprovisioned was let in again.',
  'user.deprovisioned': 'A person’s access ended: sessions closed, entitlements gone, sign-ins refused from now on.',
  'user.erased': 'All that was known of a person was deleted; a tombstone keeps them from coming back by accident.',
  'user.linked': 'A person who was here was tied to a subject of a source.',
  'user.relinked': 'A person whom a source knows by another name now was tied to that one.',
  'match.opened': 'Somebody could not be told from the people who are here, and waits for a person to decide.',
  'match.settled': 'A person has decided who somebody is.',
  'user.missing': 'A source does not name a person any more; what follows from it waits for the end of the grace period.',
  'user.undone': 'What an import had made of a person was taken back.',
  'session.opened': 'A person signed in.',
  'session.ended': 'A session ended before its time.',
  'session.logout': 'An identity provider ended a person’s sessions by single logout.',
  'metadata.applied': 'An identity provider’s metadata had changed, and the change took effect.',
  'metadata.held': 'An identity provider’s metadata had changed in a way that waits for an administrator.',
  'policy.changed': 'A connection or an app was created or changed.',
  'policy.removed': 'A connection or an app was taken out of use.',
  'run.started': 'People began to be derived again, or imported.',
  'run.held': 'A run would have changed more than its safeguards let pass, and waits for a person.',
  'run.planned': 'An import has found out what it would change.',
  'run.approved': 'A person has looked at what an import would change, and lets it go ahead.',
  'run.finished': 'A run came to its end.',
  'run.failed': 'A run could not read its source, and has changed nobody.',
  'run.cancelled': 'A person has stopped a run.',
  'task.opened': 'Something has to be done by hand in a system that cannot be asked.',
  'task.done': 'A person says that it has been done.',
  'job.delivered': 'A system was told that somebody’s access has changed.',
  'job.dead': 'A system could not be told, and nobody tries any more until a person says so.',
  'coverage.warned': 'A person whom no feed stands behind has not signed in for long.',
  'records.redacted': 'An attribute was deleted from all that was kept of a source.',
  'records.sealed': 'What is kept of sources was encrypted with the current key.',
  'token.created': 'An API token was made.',
  'token.revoked': 'An API token was withdrawn.',
} as const

export type EventKind = keyof typeof eventCatalogue

/** An audit event as it is drafted; the store adds its id. */
export interface AuditEvent {
  readonly kind: EventKind
  readonly at: Date
  readonly actor: Actor
  readonly user?: UserId
  readonly source?: SourceId
  readonly signIn?: SignInId
  readonly token?: TokenId
  readonly run?: RunId
  /** Names and numbers, never secrets or assertions. */
  readonly details?: Readonly<Record<string, unknown>>
}

/** `connection corp`, `operator ada`: for lists and tables. */
export function actorName(actor: Actor): string {
  return actor.kind === 'user' ? `user ${actor.id}` : `${actor.kind} ${actor.name}`
}
