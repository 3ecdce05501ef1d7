// What an administrator has said about one source: whom it means, what it may do, and how its words are read. Compiled, so
// that a decision looks nothing up twice.

import { nameOnFile } from './attribute-names.ts'
import type { Expression } from './expressions.ts'
import type { GroupsPolicy } from './groups.ts'
import type { SourceId } from './ids.ts'
import type { LifecycleRules, Revival, WantedState } from './lifecycle.ts'
import type { MappingRow, SourcePath } from './mapping.ts'
import type { Linking, MatchingRule } from './matching.ts'
import type { RecordOnFile } from './model.ts'
import type { Safeguards } from './safeguard.ts'

export interface Jit extends Revival {
  /** May a sign-in create somebody who is not here yet? */
  readonly create: boolean
  /** May a sign-in change the profile of somebody who is? */
  readonly update: boolean
  /** Profile attributes without which nobody comes in. */
  readonly required: readonly string[]
}

export interface SourcePolicy {
  readonly id: SourceId
  readonly name: string
  /** `saml`; `csv`, `ldap`, `sql`, `scim` or `rest` for what is imported; `local` for what administrators set by hand. */
  readonly kind: string
  /** Of this source's document; every value of a profile cites it. */
  readonly version: number
  /** Whom it may speak of: on the external id. */
  readonly subjects?: { readonly text: string; readonly matches: (externalId: string) => boolean }
  readonly externalId: SourcePath
  readonly jit: Jit
  /** Whether its word may change somebody's lifecycle state. */
  readonly carriesLifecycle: boolean
  readonly matching: readonly MatchingRule[]
  readonly linking: Linking
  /** In the order in which the rows build on one another. */
  readonly mapping: readonly MappingRow[]
  /** The attributes that expressions read; `all` where that is only known when they run. */
  readonly reads: { readonly names: readonly string[]; readonly all: boolean; readonly user: boolean; readonly session: boolean }
  /** What expressions see as `source`, and as `user` before any row has made anything. */
  readonly asSource: { readonly name: string; readonly kind: string }
  readonly nobody: Readonly<Record<string, unknown>>
  readonly groups?: GroupsPolicy
  /** Attributes that are not kept. */
  readonly redact: ReadonlySet<string>
  /** Of a source that people are imported from. */
  readonly imports?: ImportRules
}

/** What may follow from an import, and what has to be looked at first. */
export interface ImportRules {
  /** The attribute that is the external id. */
  readonly key: string
  /** Rows that this is not true of are passed over. */
  readonly only?: { readonly text: string; readonly expression: Expression }
  readonly lifecycle: LifecycleRules
  /** The row that says what somebody's access is to be, and what its values mean. Folded. */
  readonly state?: {
    readonly row: MappingRow
    readonly words: ReadonlyMap<string, WantedState>
    readonly otherwise: WantedState | undefined
  }
  /** Days after which somebody whom this source has deprovisioned is erased. */
  readonly eraseDays?: number
  readonly approve: Approvals
  readonly safeguards: Safeguards
  /** Below this share of the usual number of rows, the feed is not believed. */
  readonly smallest: number
  /** The attributes without which nothing that follows would be right. */
  readonly needed: readonly string[]
}

/** Which changes go ahead by themselves. */
export interface Approvals {
  readonly new: 'auto' | 'ask' | 'never'
  /** Somebody who is here already and is linked by a rule. */
  readonly exact: 'auto' | 'ask'
  readonly update: 'auto' | 'ask'
  readonly leaver: 'auto' | 'ask'
}

/** What administrators set by hand is a source like any other: its subjects are our users. */
export const LOCAL = 'src_local' as SourceId

/** Whether anything in this source's policy reads an attribute of a record. Of a source that is out of force, everything may be read again. */
export function isRead(policy: SourcePolicy | undefined, record: RecordOnFile, attribute: string): boolean {
  if (!policy || policy.kind === 'local') return true
  const { mapping, groups, externalId } = policy
  const reads = (asked: string) => asked === attribute || nameOnFile(record, asked) === attribute
  if (externalId.root === 'attributes' && reads(externalId.name)) return true
  if (mapping.some(({ reads: { names } }) => names === undefined || names.some(reads))) return true
  const from = groups?.read
  if (!from) return false
  if ('path' in from) return from.path.root === 'attributes' && reads(from.path.name)
  const { attributes } = from.expression.reads
  return attributes !== undefined && (attributes.all || attributes.names.some(reads))
}
