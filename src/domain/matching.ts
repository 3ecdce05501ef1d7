// Decides whose source record this is. Names what was found and why; writes nothing, asks nothing.
// The situations are those of identity governance: linked, unlinked (one owner found, no link), unmatched, disputed.
// First the durable link. Two accounts are never joined here: an owner that is found by a value is reported, not linked.

import { foldKey } from './attributes.ts'
import type { SourceId, UserId } from './ids.ts'
import { LONGEST_KEY, type Mapped, read, type SourcePath } from './mapping.ts'
import type { ExternalId, NameId, SourceRecord, User } from './model.ts'
import { remember } from './records.ts'
import { type Refusal, refuse } from './refusals.ts'

/** A user who already holds a value that must be unique. */
export interface Owner {
  readonly user: UserId
  readonly attribute: string
}

export type Match =
  | { readonly situation: 'linked'; readonly user: User; readonly why: string }
  | { readonly situation: 'unlinked'; readonly owner: Owner; readonly why: string }
  | { readonly situation: 'disputed'; readonly owners: readonly Owner[]; readonly why: string }
  | { readonly situation: 'unmatched'; readonly why: string }

/** What the store found for a record. */
export interface Found {
  /** The user that (source, external id) is linked to. */
  readonly linked?: User
  /** Whoever holds one of the record's unique values, the linked user included. */
  readonly owners: readonly Owner[]
}

export function match(source: SourceId, externalId: ExternalId, found: Found): Match {
  const others = found.owners.filter((owner) => owner.user !== found.linked?.id)
  const ids = new Set(others.map((owner) => owner.user))
  const [first] = others
  if (found.linked) {
    if (first) {
      return { situation: 'disputed', owners: others, why: `linked to ${found.linked.id}, but ${first.attribute} belongs to ${first.user}` }
    }
    return { situation: 'linked', user: found.linked, why: `${source} knows ${found.linked.id} as «${externalId.value}»` }
  }
  if (!first) return { situation: 'unmatched', why: `nobody is linked to «${externalId.value}» of ${source}` }
  if (ids.size > 1) return { situation: 'disputed', owners: others, why: `${ids.size} users hold its unique values` }
  return { situation: 'unlinked', owner: first, why: `${first.user} holds the same ${first.attribute} but is not linked` }
}

/** The unique values to ask the store about, folded for comparison. */
export function uniqueKeys(mapped: Mapped): readonly { attribute: string; key: string }[] {
  const userName = mapped.values.get('userName')?.values[0]
  return userName === undefined ? [] : [{ attribute: 'userName', key: foldKey(userName) }]
}

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

/** Whom the source means: the NameID with its format, or an attribute the administrator chose. */
export function identify(record: SourceRecord, path: SourcePath): ExternalId | Refusal {
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
  const found = read(remember(undefined, record, { key: '', value: '' }), path)
  const [value, second] = found?.values ?? []
  if (value === undefined || value.trim() === '') return refuse('subject.missing', `externalId: attribute ${path.name} is missing or empty`)
  if (second !== undefined) return refuse('subject.missing', `externalId: attribute ${path.name} has several values`)
  return checked({ key: `attribute ${path.name} ${foldKey(value)}`, value })
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
