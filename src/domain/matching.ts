// Decides whose source record this is. Names what was found and why; writes nothing, asks nothing.
// The situations are those of identity governance: linked; unlinked (one owner found, no link); unmatched; disputed (several
// could be meant); gone (linked to somebody who was erased). First the durable link, then rules in their order, a tier each.
// Two accounts are joined here only where a rule says auto and no guard objects; everything else is a person's to settle.

import { nameIn } from './attribute-names.ts'
import type { UserId } from './ids.ts'
import { type Key, type KeyKind, keyOf, SAME_NAME } from './keys.ts'
import type { Mapped, SourcePath } from './mapping.ts'
import type { ExternalId, Grant, NameId, SourceRecord, User } from './model.ts'
import { type Refusal, refuse } from './refusals.ts'
import { foldKey, LONGEST_KEY } from './schema.ts'
import type { SourcePolicy } from './source-policy.ts'

/** One tier. auto: one owner is linked at once; ask: a person decides; never: whoever is found stands in the way. */
export interface MatchingRule {
  readonly by: readonly string[]
  readonly key: KeyKind
  readonly link: 'auto' | 'ask' | 'never'
}

/** Whom `link: auto` may touch. Administrators never. */
export interface Linking {
  /** Only members of one of these. Folded. */
  readonly groups: ReadonlySet<string> | undefined
  /** Only those whose e-mail address on file is in one of these. Folded. */
  readonly domains: ReadonlySet<string> | undefined
  /** The source's word on these alone may link; rules by others ask. */
  readonly trusted: ReadonlySet<string> | undefined
  /** What becomes of somebody who comes back under another external id. */
  readonly renamed: 'ask' | 'relink'
}

/** Somebody who has a key that was asked for. */
export interface Holder {
  readonly key: Key
  readonly user: User
  /** What the asking source knows them as. */
  readonly links: readonly ExternalId[]
}

export interface Candidate {
  readonly user: UserId
  /** The attributes that agree. */
  readonly by: string
  readonly certainty: 'exact' | 'partial'
  /** What the source has known them as until now. */
  readonly knownAs?: string
  /** Why no rule may link them by itself. */
  readonly objection?: string
}

export type Match =
  | { readonly situation: 'linked'; readonly user: User; readonly why: string }
  | {
      readonly situation: 'unlinked'
      readonly user: User
      readonly verdict: 'link' | 'relink' | 'ask' | 'never'
      /** The link that a returning person has had; `relink` replaces it. */
      readonly renamedFrom?: ExternalId
      readonly candidates: readonly Candidate[]
      readonly why: string
    }
  | { readonly situation: 'disputed'; readonly candidates: readonly Candidate[]; readonly why: string }
  | { readonly situation: 'unmatched'; readonly candidates: readonly Candidate[]; readonly why: string }
  | { readonly situation: 'gone'; readonly user: User; readonly why: string }

export type Situation = Match['situation']

/** Of somebody whom the source knows already. */
export function linkedMatch(source: SourcePolicy, externalId: ExternalId, user: User): Match {
  const knows = `${source.name} knows ${user.id} as «${externalId.value}»`
  return user.state === 'erased' ? { situation: 'gone', user, why: `${knows}, who was erased` } : { situation: 'linked', user, why: knows }
}

/** The keys that the rules ask for, with the names of all for the explanation. */
export function matchingKeys({ matching }: SourcePolicy, mapped: Mapped): readonly Key[] {
  const valueIn = (attribute: string) => mapped.values.get(attribute)?.values[0]
  const keys: Key[] = []
  const ask = (kind: KeyKind) => {
    const key = keys.some(({ name }) => name === kind.name) ? undefined : keyOf(kind, valueIn)
    if (key) keys.push(key)
  }
  for (const { key } of matching) ask(key)
  ask(SAME_NAME)
  return keys
}

/** @param holders whoever has one of `matchingKeys` */
export function match(source: SourcePolicy, externalId: ExternalId, holders: readonly Holder[], administrators: Administrators): Match {
  const nobody = `nobody is linked to «${externalId.value}» of ${source.name}`
  const tried: string[] = []
  for (const rule of source.matching) {
    const inWords = rule.by.join(' and ')
    const found = holders.filter(({ key, user }) => key.name === rule.key.name && user.state !== 'erased')
    const [one] = found
    if (!one) {
      tried.push(inWords)
      continue
    }
    const candidates = found.map((holder) => candidateOf(holder, inWords, 'exact'))
    if (found.length > 1) {
      const who = found
        .slice(0, 5)
        .map(({ user }) => user.id)
        .join(', ')
      return { situation: 'disputed', candidates, why: `${nobody}; ${found.length} users have the same ${inWords}: ${who}` }
    }
    return unlinked(source, rule, one, candidates, administrators, `${nobody}; ${one.user.id} has the same ${inWords}`)
  }
  const partial = holders.filter(({ key, user }) => key.name === SAME_NAME.name && user.state !== 'erased')
  const seen = partial.length ? `; ${partial.length === 1 ? 'somebody has' : `${partial.length} have`} the same given and family name` : ''
  const why = `${nobody}${tried.length ? `, and nobody has the same ${tried.join(', or the same ')}` : ''}${seen}`
  return { situation: 'unmatched', candidates: partial.map((holder) => candidateOf(holder, 'given and family name', 'partial')), why }
}

function candidateOf({ user, links }: Holder, by: string, certainty: Candidate['certainty']): Candidate {
  const [known] = links
  return { user: user.id, by, certainty, ...(known ? { knownAs: known.value } : {}) }
}

/** The entitlements whose holders count as administrators. */
export type Administrators = ReadonlySet<string>

function unlinked(
  source: SourcePolicy,
  { by, link }: MatchingRule,
  { user, links }: Holder,
  candidates: readonly Candidate[],
  administrators: Administrators,
  found: string,
): Match {
  const { linking } = source
  const objection = objectionTo(source, by, user, administrators)
  const answer = (verdict: 'link' | 'relink' | 'ask' | 'never', why: string, renamedFrom?: ExternalId): Match => ({
    situation: 'unlinked',
    user,
    verdict,
    candidates: objection === undefined ? candidates : candidates.map((one) => ({ ...one, objection })),
    why: `${found}; ${why}`,
    ...(renamedFrom ? { renamedFrom } : {}),
  })
  const [known] = links
  const renamed = known ? `${source.name} has known them as «${known.value}» until now` : ''
  if (link === 'never') return answer('never', known ? `${renamed}, and the rule says link: never` : 'the rule says link: never')
  if (known) {
    if (link === 'ask') return answer('ask', `${renamed}, and the rule says link: ask`, known)
    if (objection) return answer('ask', `${renamed}, but ${objection}`, known)
    if (linking.renamed === 'ask') return answer('ask', `${renamed}, and linking.renamed is ask`, known)
    return answer('relink', renamed, known)
  }
  if (link === 'ask') return answer('ask', 'the rule says link: ask')
  return objection ? answer('ask', objection) : answer('link', 'the rule says link: auto')
}

/** Why a rule may not link by itself; undefined: it may. */
function objectionTo(
  { name, linking }: SourcePolicy,
  by: readonly string[],
  user: User,
  administrators: Administrators,
): string | undefined {
  const holds = user.grants.find((grant: Grant) => administrators.has(grant.name))
  if (holds) return `they are an administrator (${holds.name}), and administrators are never linked by a rule`
  const distrusted = linking.trusted && by.find((attribute) => !linking.trusted?.has(attribute))
  if (distrusted) return `${name} is not trusted to say ${distrusted} (linking.trusted)`
  const { groups, domains } = linking
  if (groups && !(user.profile.groups?.values ?? []).some((one) => groups.has(foldKey(one)))) {
    return 'they are in none of the groups of linking.groups'
  }
  const domain =
    foldKey(user.profile.email?.values[0] ?? '')
      .split('@')
      .at(-1) ?? ''
  if (domains && !domains.has(domain)) return `their address is in none of the domains of linking.domains`
  return undefined
}

// --- whom the source means -------------------------------------------------------------------------------------------------

const FORMAT = 'urn:oasis:names:tc:SAML:'
const TRANSIENT = `${FORMAT}2.0:nameid-format:transient`
export const UNSPECIFIED = `${FORMAT}1.1:nameid-format:unspecified`

/** Formats whose values name a mailbox or an account, where letter case means nothing (SAML core 2.0, section 8.3). */
const CASELESS = new Set([
  `${FORMAT}1.1:nameid-format:emailAddress`,
  `${FORMAT}1.1:nameid-format:X509SubjectName`,
  `${FORMAT}1.1:nameid-format:WindowsDomainQualifiedName`,
  `${FORMAT}2.0:nameid-format:kerberos`,
])

/** Whom the source means: the NameID with its format, or an attribute the administrator chose; and whether it may. */
export function identify(record: SourceRecord, policy: SourcePolicy): ExternalId | Refusal {
  const found = externalIdOf(record, policy.externalId, policy.imports ? 'key' : 'externalId')
  if (!('key' in found) || !policy.subjects || policy.subjects.matches(found.value)) return found
  const compared = { expected: policy.subjects.text, came: found.value }
  return refuse('subject.outside', `«${found.value}» is not among the subjects of ${policy.name}: ${policy.subjects.text}`, compared)
}

/** @param field what the document calls it */
function externalIdOf(record: SourceRecord, path: SourcePath, field: 'key' | 'externalId'): ExternalId | Refusal {
  if (path.root === 'nameID') {
    if (!record.nameId) return refuse('subject.missing', 'the assertion names nobody: it has no NameID')
    if (record.nameId.format === TRANSIENT) {
      return refuse(
        'subject.transient',
        'the NameID is transient; set externalId to a lasting attribute, or ask the identity provider for a persistent NameID',
      )
    }
    return checked({ key: nameIdKey(record.nameId), value: record.nameId.value })
  }
  const name = nameIn(record, path.name)
  const values = (name === undefined ? undefined : record.attributes[name]) ?? []
  const [value, second] = path.index === undefined ? values : [values[path.index]]
  if (value === undefined || value.trim() === '') return refuse('subject.missing', `${field}: attribute ${path.name} is missing or empty`)
  if (second !== undefined) return refuse('subject.missing', `${field}: attribute ${path.name} has several values`)
  return checked({ key: `attribute ${path.name} ${foldKey(value)}`, value: value.trim() })
}

function checked(externalId: ExternalId): ExternalId | Refusal {
  return externalId.key.length > LONGEST_KEY
    ? refuse('attribute.value', `the external id is longer than ${LONGEST_KEY} characters`)
    : externalId
}

/** Case counts in persistent identifiers (they may be base64) and does not in addresses, however they are labelled. */
function nameIdKey({ value, format }: NameId): string {
  const caseless = CASELESS.has(format) || (format === UNSPECIFIED && value.includes('@'))
  return `${format} ${caseless ? foldKey(value) : value}`
}
