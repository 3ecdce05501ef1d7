// What the flows need of the world, in the domain's words. store/ and the doors satisfy these; nothing here knows how.
// Whatever writes takes a Tx, so that a flow cannot write outside the transaction it owns.

import type { NameQualifiers } from '../domain/assertion.ts'
import type { Known, Question } from '../domain/deciding.ts'
import type { MetadataSpec } from '../domain/documents/connection.ts'
import type { DocumentInForce, DocumentKind, PolicyDocument } from '../domain/documents.ts'
import type { Entitled } from '../domain/entitlements.ts'
import type { Actor, AuditEvent } from '../domain/events.ts'
import type { IdentityProvider } from '../domain/identity-provider.ts'
import type { CaseId, Id, RunId, SessionId, SignInId, SourceId, TokenId, UserId } from '../domain/ids.ts'
import type { KeyKind } from '../domain/keys.ts'
import type { Transition } from '../domain/lifecycle.ts'
import type { Candidate } from '../domain/matching.ts'
import type { ExternalId, NameId, RecordOnFile, SourceRecord, User } from '../domain/model.ts'
import type { RefusalCode, Remedy } from '../domain/refusals.ts'
import type { Change } from '../domain/settle.ts'
import type { Step } from '../domain/steps.ts'

declare const open: unique symbol
/** An open transaction. Only `inTransaction` hands one out. */
export interface Tx {
  readonly [open]: true
}

export interface Transactions {
  /**
   * Commits what `work` wrote when it returns, nothing when it throws. `work` is called again, from the start, when it
   * lost a race with another transaction; so it must do nothing that a rollback does not undo. Whoever `createsMany` users says so:
   * they are alone at it, and see all whom others have created before.
   */
  inTransaction<Result>(work: (tx: Tx) => Promise<Result>, how?: { readonly createsMany?: boolean }): Promise<Result>
}

/** Ids and secrets; app/ gives the machine's entropy. */
export interface Mint {
  id<Prefix extends string>(prefix: Prefix, now: Date): Id<Prefix>
  reference(): string
  /** 256 bits, base64url. */
  secret(): string
  /** Of a SAML message: an xs:NCName, hence the underscore in front of a secret (SAML core 2.0, section 1.3.4). */
  messageId(): string
}

/** The transaction has lost sight of the database; the same request may succeed a little later. */
export class StoreUnavailable extends Error {
  override readonly name = 'StoreUnavailable'
}

/** Decided under a policy that is not in force any more, in a way that matters. The same may be decided again, under the new one. */
export class PolicyMoved extends Error {
  override readonly name = 'PolicyMoved'
}

// --- users ---------------------------------------------------------------------------------------------------------

/** A change of one user, as `commit` writes it. */
export type UserCommit = Change | StateChange | Relink

/** Another state, and what goes with it. */
export interface StateChange {
  readonly kind: 'state'
  /** As they are afterwards. */
  readonly user: User
  readonly transition: Transition
  readonly entitled: Entitled
}

/** A person has said who it is that a source means. */
export interface Relink {
  readonly kind: 'relink'
  readonly user: User
  readonly source: SourceId
  readonly externalId: ExternalId
  readonly replaces?: ExternalId
  /** What speaks for it. */
  readonly why: string
}

export interface CommitContext {
  readonly actor: Actor
  readonly now: Date
  readonly signIn?: SignInId
  readonly run?: RunId
  /** Of the rows that records were made of. */
  readonly digests?: ReadonlyMap<RecordOnFile, string>
}

/** For the store alone. */
export interface ReadyCommits {
  readonly ready: true
}

export interface Users {
  /** What the decision asks. Whoever an answer is about is held until the end. */
  answer(tx: Tx, question: Question): Promise<unknown>
  /** The same for many, in their order, with few statements. */
  answerAll(tx: Tx, questions: readonly Question[]): Promise<readonly unknown[]>
  /** By id, for a change; holds the row until the end. */
  take(tx: Tx, id: UserId): Promise<(Known & { readonly linked: User }) | undefined>
  /** The only way a user changes: user, keys, link, record, seats and audit events together. */
  commit(tx: Tx, change: UserCommit, context: CommitContext): Promise<void>
  /** The same for many, none of whom is among them twice. */
  commitAll(tx: Tx, ready: ReadyCommits): Promise<void>
  /** What takes time of a commit and no database, done before its transaction. Changes nothing. */
  ready(changes: readonly UserCommit[], context: CommitContext): ReadyCommits
  /** Somebody has signed in through this link. */
  signedIn(tx: Tx, source: SourceId, externalId: ExternalId, now: Date): Promise<void>
  /** Keeps these keys for everybody. Where two users would have the same unique one, says so and is to be rolled back. */
  rekey(tx: Tx, kinds: readonly KeyKind[]): Promise<readonly KeyClash[]>
}

/** Two users with the same value of what is to be unique. */
export interface KeyClash {
  readonly name: string
  readonly value: string
  readonly users: readonly UserId[]
}

export interface Cases {
  /** Opens a case, or says that the one that is open was met again. */
  note(tx: Tx, met: MatchCase, now: Date): Promise<'opened' | 'open'>
  take(tx: Tx, id: CaseId): Promise<OpenCase | undefined>
  /** The same of whichever case there is of a subject. */
  settleSubject(
    tx: Tx,
    subject: { readonly source: SourceId; readonly externalKey: string },
    verdict: CaseVerdict,
    by: { readonly actor: Actor; readonly now: Date },
  ): Promise<void>
  settle(tx: Tx, id: CaseId, verdict: CaseVerdict, by: { readonly actor: Actor; readonly now: Date }): Promise<void>
}

export type CaseVerdict = 'linked' | 'new' | 'ignored'

/** Somebody who could not be told from the people who are here. */
export interface MatchCase {
  readonly id: CaseId
  readonly source: SourceId
  readonly externalId: ExternalId
  readonly kind: 'unlinked' | 'disputed' | 'renamed'
  readonly candidates: readonly Candidate[]
  readonly renamedFrom?: ExternalId
  readonly why: string
}

export interface OpenCase extends MatchCase {
  readonly openedAt: Date
  readonly seenAt: Date
  readonly times: number
  readonly verdict?: CaseVerdict
}

export interface Audit {
  write(tx: Tx, events: readonly AuditEvent[]): Promise<void>
}

// --- signing in ----------------------------------------------------------------------------------------------------

/** An AuthnRequest that was sent and not yet answered. */
export interface SignInRequest {
  /** The AuthnRequest's ID. */
  readonly id: string
  readonly connection: SourceId
  /** Of the secret in the cookie of the browser that began. */
  readonly browserHash: string
  readonly returnTo: string
  /** Of the secret in the app's entry cookie, where an app sent the person. */
  readonly entryHash?: string
  /** The session that this browser has already; it ends when the new one begins. */
  readonly replaces?: SessionId
  /** Sent without letting the identity provider ask anything; a "no" to it is followed by a second request. */
  readonly passive: boolean
  readonly createdAt: Date
  readonly expiresAt: Date
}

export interface SignInRequests {
  keep(tx: Tx, request: SignInRequest): Promise<void>
  /** Takes the one that fits in every respect and has not run out; a second call finds nothing. */
  take(tx: Tx, fits: { id: string; connection: SourceId; browserHash: string; now: Date }): Promise<SignInRequest | undefined>
  /** Whether such a request is open, whoever began it. */
  isOpen(tx: Tx, id: string, connection: SourceId, now: Date): Promise<boolean>
}

export interface Assertions {
  /** False when this connection's assertion was claimed before, on any node. */
  claim(tx: Tx, assertion: { connection: SourceId; id: string; expiresAt: Date }): Promise<boolean>
}

/** One attempt to sign in, or an identity provider's or person's signing out there, and what became of it. */
export interface SignIn {
  readonly flow: 'sign-in' | 'logout'
  readonly id: SignInId
  readonly reference: string
  readonly at: Date
  readonly connection?: { readonly id: SourceId; readonly name: string }
  readonly outcome: 'accepted' | 'refused'
  readonly code?: RefusalCode
  readonly detail?: string
  readonly remedy?: Remedy
  readonly user?: UserId
  /** Whom the source meant, as far as that was verified. */
  readonly subject?: string | undefined
  /** The peer's network address. */
  readonly address: string
  /** What was checked, in order. */
  readonly steps: readonly Step[]
}

export interface SignIns {
  record(tx: Tx, signIn: SignIn): Promise<void>
  /** Encrypted, for as long as is configured. */
  keepContent(tx: Tx, signIn: SignInId, connection: SourceId, content: SignInContent): Promise<void>
}

/** What was sent, so that it can be explained and tried again. */
export interface SignInContent {
  /** base64, as it was posted. */
  readonly response?: string
  /** What it says, once that was verified. */
  readonly said?: SourceRecord
}

// --- sessions ------------------------------------------------------------------------------------------------------

export interface Session {
  readonly id: SessionId
  readonly user: UserId
  readonly connection: SourceId
  readonly signIn: SignInId
  readonly nameId?: NameId
  readonly nameQualifiers?: NameQualifiers
  readonly sessionIndex?: string
  readonly openedAt: Date
  readonly expiresAt: Date
}

/** One host's key to a session. The secret is in that host's cookie and nowhere else. */
export interface SessionKey {
  readonly secretHash: string
  readonly host: string
}

/** A key to be fetched once, by the app's host, for the browser that the app had sent. */
export interface Ticket {
  readonly secretHash: string
  readonly session: SessionId
  readonly host: string
  readonly entryHash: string
  readonly returnTo: string
  readonly sessionExpiresAt: Date
  readonly expiresAt: Date
}

export interface Sessions {
  /** With the key of the host where it was opened. */
  open(tx: Tx, session: Session, key: SessionKey): Promise<void>
  /** Another host's key to a session that is open; false when it has ended meanwhile. */
  addKey(tx: Tx, session: SessionId, key: SessionKey): Promise<boolean>
  /** For a change; undefined when it has ended. */
  take(tx: Tx, session: SessionId): Promise<Session | undefined>
  /** Those that a connection's logout request means: by name, and by index where it gives any. */
  named(tx: Tx, who: LogoutSubject): Promise<readonly { readonly id: SessionId; readonly user: UserId }[]>
  /** How many were open, however many hosts had keys. Ended means gone for every host and every node with the commit. */
  end(tx: Tx, which: { readonly session: SessionId } | { readonly user: UserId }): Promise<number>
  keepTicket(tx: Tx, ticket: Ticket): Promise<void>
  takeTicket(tx: Tx, fits: { secretHash: string; host: string; entryHash: string; now: Date }): Promise<Ticket | undefined>
}

/** Whom an identity provider signs out. No index means all of the person's sessions. */
export interface LogoutSubject {
  readonly connection: SourceId
  readonly nameId: NameId
  readonly sessionIndexes: readonly string[]
}

/** A LogoutRequest that we have sent and that is not answered yet. The session is over already. */
export interface SentLogout {
  readonly id: string
  readonly connection: SourceId
  readonly user: UserId
  readonly expiresAt: Date
}

export interface SentLogouts {
  keep(tx: Tx, logout: SentLogout): Promise<void>
  take(tx: Tx, fits: { id: string; connection: SourceId; now: Date }): Promise<SentLogout | undefined>
}

// --- policy and tokens ---------------------------------------------------------------------------------------------

export interface PolicyDocuments {
  /** All that is in force, for a change; nobody else changes policy until the end. */
  takeAll(tx: Tx): Promise<readonly DocumentInForce[]>
  /** One version, in force or not; undefined where there is none, or it took the document out of force. */
  version(tx: Tx, which: { kind: DocumentKind; name: string; version: number }): Promise<PolicyDocument | undefined>
  /** A new version of the document; the source of a connection is made with the first one. */
  put(tx: Tx, document: PolicyDocument, by: { actor: Actor; now: Date; source: SourceId }): Promise<SourceId | undefined>
  /** Takes it out of force; its versions and its source stay. */
  remove(tx: Tx, which: { kind: DocumentKind; name: string }, by: { actor: Actor; now: Date }): Promise<void>
}

/** What is kept of what sources have said, whole or encrypted with an older key. */
export interface Kept {
  /** Deletes an attribute from all records of a source, and every response that may hold it. */
  redact(tx: Tx, source: SourceId, attribute: string): Promise<{ readonly records: number; readonly responses: number }>
  /**
   * Takes out of the next few records that have not changed since `before` what nobody reads. How many were looked at; 0: none is left.
   * @param read whether the policy reads this attribute of that record
   */
  trim(
    tx: Tx,
    ask: { readonly before: Date; readonly most: number; readonly read: (record: RecordOnFile, attribute: string) => boolean },
  ): Promise<number>
  /** Encrypts the next few with the current key; 0: all are. */
  reseal(tx: Tx, most: number): Promise<number>
}

export interface MetadataReader {
  /** Fetches and reads an identity provider's metadata; the string says in plain words why it cannot. */
  read(where: MetadataSpec): Promise<{ idp: IdentityProvider; xml: string; entities: number } | string>
}

/** What became of looking at a connection's metadata the last time. */
export interface MetadataState {
  readonly nextAt: Date
  readonly checkedAt?: Date
  readonly outcome?: 'unchanged' | 'applied' | 'held' | 'failed'
  /** Fingerprints and addresses, old and new; or why it failed or is held. */
  readonly details?: Readonly<Record<string, unknown>>
  readonly entities?: number
}

export interface MetadataStates {
  find(tx: Tx, connection: SourceId): Promise<MetadataState | undefined>
  /** True for the one node that is to look now; the others wait until `until`. The first call only starts the clock. */
  claimDue(tx: Tx, connection: SourceId, now: Date, until: Date): Promise<boolean>
  /** True once within `everyMs`, on all nodes together. */
  claimRescue(tx: Tx, connection: SourceId, now: Date, everyMs: number): Promise<boolean>
  keep(tx: Tx, connection: SourceId, state: MetadataState): Promise<void>
}

// --- looking, for simulations ----------------------------------------------------------------------------------------

export interface KeyHolder {
  readonly name: string
  readonly value: string
  readonly user: UserId
}

/** One attempt to sign in, with what was sent. */
export interface PastSignIn {
  readonly id: SignInId
  readonly reference: string
  readonly connection: string
  readonly said: SourceRecord
}

// --- runs ----------------------------------------------------------------------------------------------------------

/** A pass over everybody, done in batches, each with the place that it has come to. */
export interface Run {
  readonly id: RunId
  readonly kind: 'reapply'
  readonly state: 'held' | 'running' | 'done' | 'cancelled'
  /** Of the policy that it derives under. */
  readonly revision: number
  readonly cursor?: UserId
  readonly counts: RunCounts
  readonly heldBecause?: string
  readonly startedAt: Date
}

export type RunCounts = Readonly<Record<string, number>>

export interface Runs {
  keep(tx: Tx, run: Run, by: { readonly actor: Actor; readonly now: Date }): Promise<void>
  /** The one of this kind that is under way or held. */
  open(tx: Tx, kind: Run['kind']): Promise<Run | undefined>
  /** The next users, by id, with all that is on file of them; held until the end. */
  batch(
    tx: Tx,
    which: { readonly after: UserId | undefined; readonly derivedBefore: number; readonly size: number },
  ): Promise<readonly (Known & { readonly linked: User })[]>
  /** Says of users that they would be the same under this policy. */
  stamp(tx: Tx, users: readonly UserId[], revision: number): Promise<void>
}

export interface ApiToken {
  readonly id: TokenId
  readonly name: string
  /** May begin, approve and finish things, too. */
  readonly mayWrite: boolean
  readonly secretHash: string
  readonly createdAt: Date
  readonly expiresAt: Date
}

export interface ApiTokens {
  keep(tx: Tx, token: ApiToken): Promise<void>
  /** False when there is no such token in force. */
  revoke(tx: Tx, id: TokenId, now: Date): Promise<boolean>
}

export interface Leftovers {
  /** Deletes what has run out: requests, tickets, claims, sessions; sign-ins, what was sent with them and the rows of plans, older than these. */
  sweep(tx: Tx, now: Date, before: { readonly signIns: Date; readonly responses: Date; readonly plans: Date }): Promise<number>
}
