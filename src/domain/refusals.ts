// The closed list of expected "no"s. A refusal is a value, never thrown: its code is for machines, its title and
// sentence are bland and public, its detail is private and goes on the sign-in record alone.
// Whatever concerns verification shares one sentence, so that the outside learns nothing from it.

/** Who can put it right. */
export type Remedy = 'person' | 'administrator' | 'identity-provider'

interface RefusalKind {
  /** The HTTP status a door answers with. */
  readonly status: 400 | 403 | 413
  readonly title: string
  readonly sentence: string
  readonly remedy: Remedy
}

const unverified = (remedy: Remedy, status: 400 | 403 | 413 = 403): RefusalKind => ({
  status,
  title: 'Sign-in could not be completed',
  sentence: 'The answer from your identity provider could not be accepted.',
  remedy,
})

const notLoggedOut = (remedy: Remedy): RefusalKind => ({
  status: 400,
  title: 'Signing out could not be completed',
  sentence: 'The message from your identity provider could not be accepted, so nothing was ended because of it.',
  remedy,
})

const stale: RefusalKind = {
  status: 403,
  title: 'This sign-in has run out',
  sentence: 'This sign-in was not finished in time, was finished already, or was begun in another browser. Please start again.',
  remedy: 'person',
}

const kinds = {
  // What was posted is not a SAML response at all.
  'response.missing': unverified('identity-provider', 400),
  'response.too-large': unverified('identity-provider', 413),
  'response.not-base64': unverified('identity-provider', 400),
  'response.not-xml': unverified('identity-provider', 400),
  'response.not-saml': unverified('identity-provider', 400),
  // It is one, but nothing vouches for it.
  'signature.missing': unverified('identity-provider'),
  'signature.invalid': unverified('identity-provider'),
  'signature.algorithm': unverified('identity-provider'),
  // Fewer signatures than the connection demands.
  'signature.minimum': unverified('administrator'),
  // One code, one sentence and one way through for whatever goes wrong in decrypting.
  'encryption.failed': unverified('identity-provider'),
  // Vouched for, but not for us, not now, or not again.
  'assertion.malformed': unverified('identity-provider'),
  'assertion.issuer': unverified('administrator'),
  'assertion.audience': unverified('administrator'),
  'assertion.destination': unverified('administrator'),
  'assertion.recipient': unverified('administrator'),
  'assertion.not-yet-valid': unverified('identity-provider'),
  'assertion.expired': stale,
  // We asked for a certain kind of sign-in, or a fresh one, and got another.
  'assertion.authn-context': unverified('identity-provider'),
  'assertion.authn-instant': unverified('identity-provider'),
  'assertion.replayed': stale,
  'assertion.unsolicited': {
    status: 403,
    title: 'Please start from the app',
    sentence: 'This connection does not accept sign-ins that begin at the identity provider. Please open the app and sign in from there.',
    remedy: 'person',
  },
  'connection.draft': unverified('administrator', 400),
  // Artifact resolution: the identity provider did not give us what it had announced.
  'artifact.unresolved': unverified('identity-provider'),
  // A message of single logout that nothing vouches for, or that is not meant for us, not now, or not again.
  'logout.malformed': notLoggedOut('identity-provider'),
  'logout.signature': notLoggedOut('identity-provider'),
  'logout.issuer': notLoggedOut('administrator'),
  'logout.destination': notLoggedOut('administrator'),
  'logout.expired': notLoggedOut('person'),
  'logout.replayed': notLoggedOut('person'),
  'logout.unsolicited': notLoggedOut('person'),
  'request.unknown': stale,
  'request.other-browser': stale,
  // The identity provider itself said no (SAML core 2.0, section 3.2.2.2).
  'idp.authentication-failed': {
    status: 403,
    title: 'Your identity provider did not sign you in',
    sentence: 'It could not confirm who you are. Check your user name and password there and try again.',
    remedy: 'person',
  },
  'idp.denied': {
    status: 403,
    title: 'Your identity provider did not sign you in',
    sentence: 'It answered that you may not use this application. Its administrator can grant you access.',
    remedy: 'identity-provider',
  },
  'idp.no-passive': {
    status: 403,
    title: 'Your identity provider needs to see you first',
    sentence: 'It could not sign you in without asking you something. Please start again.',
    remedy: 'person',
  },
  'idp.no-authn-context': {
    status: 403,
    title: 'Your identity provider did not sign you in',
    sentence: 'It could not sign you in in the way that is demanded here, for example with a second factor.',
    remedy: 'identity-provider',
  },
  'idp.no-name-id': {
    status: 403,
    title: 'Your identity provider did not sign you in',
    sentence: 'It could not give the kind of name for you that is asked for here.',
    remedy: 'administrator',
  },
  'idp.other': {
    status: 403,
    title: 'Your identity provider did not sign you in',
    sentence: 'It reported a problem of its own or did not understand our request.',
    remedy: 'identity-provider',
  },
  // We know what was said; the policy says no.
  'subject.missing': unverified('identity-provider'),
  'subject.transient': {
    status: 403,
    title: 'Sign-in could not be completed',
    sentence: 'Your identity provider sent a name for you that changes every time, so we cannot recognise you.',
    remedy: 'administrator',
  },
  'attribute.missing': {
    status: 403,
    title: 'Something about you is missing',
    sentence: 'Your identity provider did not send everything that is needed to give you access.',
    remedy: 'identity-provider',
  },
  'attribute.value': {
    status: 403,
    title: 'Something about you cannot be used',
    sentence: 'Your identity provider sent a value about you that cannot be used here.',
    remedy: 'administrator',
  },
  // Said of an import alone, where nobody is waiting for an answer.
  'lifecycle.left-before': unverified('administrator'),
  'lifecycle.unknown': unverified('administrator'),
  'jit.create-off': {
    status: 403,
    title: 'You do not have an account here yet',
    sentence: 'Your identity provider knows you, but nobody has set up an account for you here.',
    remedy: 'administrator',
  },
  'match.unlinked': {
    status: 403,
    title: 'An account with your name exists already',
    sentence: 'It is not connected with this way of signing in, and it is not joined by itself. An administrator can look into it.',
    remedy: 'administrator',
  },
  'match.disputed': {
    status: 403,
    title: 'We cannot tell which account is yours',
    sentence: 'Several accounts here could be yours. An administrator has to say which one it is.',
    remedy: 'administrator',
  },
  'match.renamed': {
    status: 403,
    title: 'You come under another name than before',
    sentence:
      'Your identity provider calls you something else than it used to. An administrator has to confirm that you are the same person.',
    remedy: 'administrator',
  },
  'subject.outside': {
    status: 403,
    title: 'Sign-in could not be completed',
    sentence: 'Your identity provider named somebody whom it may not sign in here.',
    remedy: 'administrator',
  },
  // The mapping could not be carried out on what was said.
  'mapping.failed': {
    status: 403,
    title: 'Something about you cannot be used',
    sentence: 'What your identity provider sent about you could not be understood here.',
    remedy: 'administrator',
  },
  'attribute.taken': {
    status: 403,
    title: 'Something about you belongs to somebody else',
    sentence: 'Your identity provider sent a value about you that another account here already has.',
    remedy: 'administrator',
  },
  // An administrator's edit, or a client's, of what another source masters.
  'attribute.mastered': {
    status: 403,
    title: 'This value is kept elsewhere',
    sentence: 'Another system is the master of this value, so it can only be changed there.',
    remedy: 'administrator',
  },
  'user.staged': {
    status: 403,
    title: 'Your account is not open yet',
    sentence: 'An account has been prepared for you, and it has not been opened yet.',
    remedy: 'administrator',
  },
  'user.suspended': {
    status: 403,
    title: 'Your access is suspended',
    sentence: 'Your account here is suspended, so you cannot sign in for now. Your administrator can tell you more.',
    remedy: 'administrator',
  },
  'user.erased': {
    status: 403,
    title: 'Your access has ended',
    sentence: 'Your account here was closed for good. If you think this is a mistake, ask your administrator.',
    remedy: 'administrator',
  },
  'user.deprovisioned': {
    status: 403,
    title: 'Your access has ended',
    sentence:
      'Your account here has been closed, so signing in does not open it again. If you think this is a mistake, ask your administrator.',
    remedy: 'administrator',
  },
} as const satisfies Record<string, RefusalKind>

export type RefusalCode = keyof typeof kinds

export interface Refusal {
  readonly refused: true
  readonly code: RefusalCode
  /** For administrators only. */
  readonly detail: string
  /** Where two things were compared: what would have been right, and what came. For administrators only. */
  readonly expected?: string
  readonly came?: string
}

export function refuse(code: RefusalCode, detail: string, compared: { expected?: string; came?: string } = {}): Refusal {
  return { refused: true, code, detail, ...compared }
}

export function isRefusal(outcome: unknown): outcome is Refusal {
  return typeof outcome === 'object' && outcome !== null && (outcome as Refusal).refused === true
}

export function kindOf(code: RefusalCode): RefusalKind {
  return kinds[code]
}

export const refusalCodes = Object.keys(kinds) as RefusalCode[]
