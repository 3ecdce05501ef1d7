// People, records and links in memory, for tests of the decision: answers what it asks, and keeps what it decides. Only what
// a decision table needs; what the databases promise is tested on the databases.

import assert from 'node:assert/strict'
import { type Decision, decide, decideAgain, decideEdit } from '../../src/domain/decide.ts'
import { conclude, type Known, type Question } from '../../src/domain/deciding.ts'
import { type DocumentInForce, parsePolicyFile, singlesOf } from '../../src/domain/documents.ts'
import type { SourceId, UserId } from '../../src/domain/ids.ts'
import { keysOf } from '../../src/domain/keys.ts'
import type { Holder } from '../../src/domain/matching.ts'
import type { ExternalId, RecordOnFile, SourceRecord, User } from '../../src/domain/model.ts'
import { compilePolicy, type Policy } from '../../src/domain/policy.ts'
import { isRefusal, type Refusal } from '../../src/domain/refusals.ts'
import { baseSchema } from '../../src/domain/schema.ts'
import type { Change } from '../../src/domain/settle.ts'

export const PERSISTENT = 'urn:oasis:names:tc:SAML:2.0:nameid-format:persistent'
/** For changes of state, where no other system plays a part. */
export const NO_TARGETS = { targets: [], schema: baseSchema }
export const NOW = new Date('2026-02-01T08:00:00Z')

const idp = {
  entityId: 'https://idp.example/metadata',
  singleSignOn: { redirect: 'https://idp.example/sso' },
  certificates: [],
  wantsSignedRequests: false,
}

/** The documents of a policy file's content; each connection's source is `src_` and its name. */
export function documentsOf(content: unknown, version = 1): readonly DocumentInForce[] {
  const parsed = parsePolicyFile(content)
  assert.ok('file' in parsed, JSON.stringify(parsed))
  const { file } = parsed
  return [
    ...singlesOf(file).map((document) => ({ document, version })),
    ...file.connections.map((spec) => ({
      document: { kind: 'connection' as const, name: spec.name, spec, idp },
      version,
      source: sourceId(spec.name),
    })),
    ...file.sources.map((spec) => ({ document: { kind: 'source' as const, name: spec.name, spec }, version, source: sourceId(spec.name) })),
    ...file.apps.map((spec) => ({ document: { kind: 'app' as const, name: spec.name, spec }, version })),
  ]
}

/** Compiled, and without a fault. */
export function policyOf(content: unknown, revision = 1): Policy {
  const policy = compilePolicy(revision, documentsOf(content, revision))
  assert.deepEqual(policy.faults, [])
  return policy
}

export function sourceId(name: string): SourceId {
  return `src_${name}` as SourceId
}

export type Attributes = Readonly<Record<string, string | readonly string[]>>

export function says(
  connection: string,
  attributes: Attributes,
  differing: Partial<SourceRecord> & { subject?: string } = {},
): SourceRecord {
  const { subject = 'n-1', ...rest } = differing
  return {
    source: sourceId(connection),
    nameId: { value: subject, format: PERSISTENT },
    attributes: Object.fromEntries(
      Object.entries(attributes).map(([name, values]) => [name, typeof values === 'string' ? [values] : values]),
    ),
    aliases: {},
    observedAt: NOW,
    ...rest,
  }
}

export class World {
  policy: Policy
  readonly users = new Map<UserId, User>()
  /** `source key` -> the user, and what was said. */
  readonly links = new Map<string, { readonly user: UserId; readonly source: SourceId; readonly externalId: ExternalId }>()
  readonly records = new Map<string, RecordOnFile>()
  readonly seats = new Map<string, number>()
  readonly settledAsNew = new Set<string>()
  private made = 0

  constructor(policy: Policy) {
    this.policy = policy
  }

  /** Decides, and keeps what was decided. */
  hear(said: SourceRecord, { explain = false }: { explain?: boolean } = {}): Decision {
    const decision = this.consider(said, { explain })
    if (!isRefusal(decision.outcome)) this.keep(decision.outcome)
    return decision
  }

  /** Decides, and keeps nothing. */
  consider(said: SourceRecord, { explain = false, policy = this.policy }: { explain?: boolean; policy?: Policy } = {}): Decision {
    const source = policy.sources.get(said.source)
    assert.ok(source, `no source ${said.source}`)
    const fresh = `usr_${this.made + 1}` as UserId
    return conclude(decide(said, { source, policy, fresh, explain }), (question) => this.answer(question))
  }

  edit(id: UserId, edits: Readonly<Record<string, readonly string[] | null>>): Change | Refusal {
    const outcome = conclude(decideEdit(this.person(id), edits, { policy: this.policy, now: NOW }), (question) => this.answer(question))
    if (!isRefusal(outcome)) this.keep(outcome)
    return outcome
  }

  again(id: UserId, policy = this.policy): Change | Refusal {
    return conclude(decideAgain(this.person(id), policy, NOW), (question) => this.answer(question))
  }

  person(id: UserId): Known & { readonly linked: User } {
    const user = this.users.get(id)
    assert.ok(user, `nobody is ${id}`)
    const keys = [...this.links].filter(([, link]) => link.user === id).map(([key]) => key)
    return { linked: user, records: keys.flatMap((key) => this.records.get(key) ?? []) }
  }

  /** Changes somebody as a test needs them. */
  put(user: User): void {
    this.users.set(user.id, user)
  }

  keep(change: Change): void {
    const { user, record, link, entitled } = change
    if (change.kind === 'create') this.made++
    this.users.set(user.id, user)
    for (const [name, by] of Object.entries(entitled.seats)) this.seats.set(name, (this.seats.get(name) ?? 0) + by)
    if (!record) return
    const { source, externalId } = record
    if (link?.replaces) {
      this.links.delete(`${source} ${link.replaces.key}`)
      this.records.delete(`${source} ${link.replaces.key}`)
    }
    const key = `${source} ${externalId.key}`
    this.links.set(key, { user: user.id, source, externalId })
    this.records.set(key, record)
  }

  answer(question: Question): unknown {
    switch (question.about) {
      case 'subject': {
        const key = `${question.source} ${question.externalId.key}`
        const link = this.links.get(key)
        return link ? this.person(link.user) : { records: [], settledAsNew: this.settledAsNew.has(key) }
      }
      case 'user':
        return this.person(question.user)
      case 'holders':
        return question.keys.flatMap((key) =>
          [...this.users.values()]
            .filter((user) => keysOf(user.profile, this.policy.keys).some((one) => one.name === key.name && one.value === key.value))
            .map((user): Holder => {
              const links = [...this.links.values()].filter((link) => link.user === user.id && link.source === question.source)
              return { key, user, links: links.map(({ externalId }) => externalId) }
            }),
        )
      case 'seats':
        return this.seats
    }
  }
}

/** CSV with a heading; a cell in double quotes may hold commas. */
export function readTable(text: string): readonly Readonly<Record<string, string>>[] {
  const [heading = [], ...rows] = text
    .trim()
    .split('\n')
    .map((line) => [...`,${line}`.matchAll(/,(?:"([^"]*)"|([^",]*))/g)].map((cell) => (cell[1] ?? cell[2] ?? '').trim()))
  return rows.map((cells) => Object.fromEntries(heading.map((column, i) => [column, cells[i] ?? ''])))
}
