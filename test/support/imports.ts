// A database with a policy in it, a source in memory whose people a test can change, and a clock: for imports from their beginning
// to their end, as the command line and the worker run them.

import assert from 'node:assert/strict'
import { metadataReader } from '../../src/app/metadata-reader.ts'
import { mint } from '../../src/app/mint.ts'
import { outbound } from '../../src/app/outbound.ts'
import { portsOf } from '../../src/app/ports.ts'
import { type MemoryPeople, memoryConnector } from '../../src/connectors/memory/memory.ts'
import { decide } from '../../src/domain/decide.ts'
import { parsePolicyFile } from '../../src/domain/documents.ts'
import type { Actor } from '../../src/domain/events.ts'
import type { RunId, UserId } from '../../src/domain/ids.ts'
import type { PlanDecision } from '../../src/domain/plan.ts'
import { isRefusal } from '../../src/domain/refusals.ts'
import { answering } from '../../src/flows/answering.ts'
import { applyPolicy } from '../../src/flows/apply-policy.ts'
import type { Connector } from '../../src/flows/feed-ports.ts'
import type { ImportRun } from '../../src/flows/import-ports.ts'
import { type RunImport, runImport, type SourceInForce } from '../../src/flows/run-import.ts'
import { approveRun, type Pick, settleRow } from '../../src/flows/settle-rows.ts'
import { undoImport } from '../../src/flows/undo-import.ts'
import { NOTHING_INSECURE } from '../../src/http/saml/names.ts'
import { findUser, listUsers } from '../../src/store/console-reads.ts'
import { planRows } from '../../src/store/import-pages.ts'
import { policyReader } from '../../src/store/policies.ts'
import { type Dialect, type TestDatabase, testDatabase } from './databases.ts'
import { PERSISTENT } from './world.ts'

export const OPERATOR: Actor = { kind: 'operator', name: 'test' }

/** What the sample in the documentation says, and what a test says otherwise. */
export function hr(more: Record<string, unknown> = {}) {
  return {
    name: 'hr',
    kind: 'csv',
    key: 'employeeNumber',
    lifecycle: { leavers: 'deprovision' },
    approve: { new: 'auto', exact: 'auto', update: 'auto', leaver: 'auto' },
    safeguard: { share: 0.2, count: 50 },
    matching: [{ by: ['email'], link: 'auto' }],
    mapping: [
      { to: 'userName', from: 'attributes.email' },
      { to: 'email', from: 'attributes.email' },
      { to: 'department', from: 'attributes.department', empty: 'clear' },
    ],
    ...more,
  }
}

const CORP = {
  name: 'corp',
  kind: 'saml',
  subjects: '.',
  jit: { create: true, update: true },
  mapping: [
    { to: 'userName', from: 'attributes.mail' },
    { to: 'email', from: 'attributes.mail' },
    { to: 'displayName', from: 'attributes.name' },
  ],
}

export type Row = Readonly<Record<string, string>>

export class Importing {
  now = new Date('2026-05-01T08:00:00.000Z')
  /** Employee number -> row; a test changes it as the source would change. */
  readonly people = new Map<string, Row>()
  private changed = 0
  private readonly changes = new Map<string, number>()
  private readonly gone = new Map<string, number>()
  readonly database: TestDatabase
  readonly ports: ReturnType<typeof portsOf>

  private constructor(database: TestDatabase) {
    this.database = database
    this.ports = portsOf(database.db)
  }

  static async open(dialect: Dialect, policy: Record<string, unknown> = { sources: [hr()], connections: [CORP] }): Promise<Importing> {
    const importing = new Importing(await testDatabase(dialect))
    await importing.apply(policy)
    return importing
  }

  close(): Promise<void> {
    return this.database.close()
  }

  get db() {
    return this.database.db
  }

  async apply(content: Record<string, unknown>): Promise<void> {
    const parsed = parsePolicyFile({ connections: [CORP], ...content })
    assert.ok('file' in parsed, JSON.stringify(parsed))
    const metadata = metadataReader({ folder: '.', outbound: outbound([]), allow: NOTHING_INSECURE, clock: () => this.now })
    const result = await applyPolicy(
      { ...this.ports, metadata },
      { file: parsed.file, ownHost: 'localhost', dryRun: false, prune: false, actor: OPERATOR, now: this.now },
    )
    assert.ok('applied' in result, JSON.stringify(result))
  }

  policy() {
    return policyReader(this.db).inForce()
  }

  put(key: string, row: Row): void {
    this.people.set(key, { employeeNumber: key, ...row })
    this.changes.set(key, ++this.changed)
    this.gone.delete(key)
  }

  /** `1` … `count`, each with an address of its own. */
  putMany(count: number, row: (number: number) => Row = () => ({ department: 'Sales' })): void {
    for (let i = 1; i <= count; i++) this.put(`E${i}`, { email: `e${i}@corp.example`, ...row(i) })
  }

  drop(key: string): void {
    this.people.delete(key)
    this.gone.set(key, ++this.changed)
  }

  /** Days later. */
  later(days: number): void {
    this.now = new Date(this.now.getTime() + days * 86_400_000)
  }

  private feed(): MemoryPeople {
    const attributes = (row: Row) =>
      Object.fromEntries(Object.entries(row).map(([name, value]) => [name, value === '' ? [] : value.split('|')]))
    const rows = [...this.people].map(([key, row]) => ({
      place: `row of ${key}`,
      attributes: attributes(row),
      changed: this.changes.get(key) ?? 0,
    }))
    const gone = [...this.gone].map(([key, changed]) => ({
      place: `row of ${key}`,
      attributes: { employeeNumber: [key] },
      gone: true as const,
      changed,
    }))
    return { rows: [...rows, ...gone] }
  }

  async source(name = 'hr'): Promise<SourceInForce> {
    const source = (await this.policy()).imports.get(name)
    assert.ok(source?.policy?.imports, `${name} is in force`)
    return source as SourceInForce
  }

  async ask(more: Partial<RunImport> = {}): Promise<RunImport> {
    return {
      source: await this.source(),
      policy: await this.policy(),
      connector: memoryConnector(() => this.feed()),
      mode: 'full',
      planOnly: false,
      approved: false,
      actor: OPERATOR,
      holder: 'here 1 test',
      isGone: () => false,
      clock: () => this.now,
      stop: new AbortController().signal,
      ...more,
    }
  }

  async run(more: Partial<RunImport> = {}): Promise<ImportRun> {
    const end = await runImport(this.ports, await this.ask(more))
    assert.ok(end.outcome === 'ended', end.outcome)
    return end.run
  }

  reading(connector: Connector): Promise<ImportRun> {
    return this.run({ connector })
  }

  private async settling(run: RunId) {
    const { source, policy, actor, holder, isGone, clock, stop } = await this.ask()
    return { run, source, policy, actor, holder, isGone, clock, stop }
  }

  async approve(run: RunId, decision?: PlanDecision) {
    return approveRun(this.ports, { ...(await this.settling(run)), ...(decision ? { decision } : {}) })
  }

  async settle(run: RunId, seq: number, pick: Pick) {
    return settleRow(this.ports, { ...(await this.settling(run)), seq, pick })
  }

  async undo(run: RunId, planOnly = false) {
    return undoImport(this.ports, { ...(await this.settling(run)), planOnly })
  }

  async rows(run: RunId, decision?: PlanDecision) {
    const found = await this.ports.importReads.run(run)
    assert.ok(found)
    return planRows(this.db, found, { after: 0, limit: 10_000, ...(decision ? { decision } : {}) })
  }

  /** Somebody comes through the identity provider. */
  async signIn(mail: string, name = 'Somebody', { decided = async () => {} }: { decided?: () => Promise<void> } = {}): Promise<UserId> {
    const policy = await this.policy()
    const source = [...policy.sources.values()].find((one) => one.name === 'corp')
    assert.ok(source)
    const said = {
      source: source.id,
      nameId: { value: mail, format: PERSISTENT },
      attributes: { mail: [mail], name: [name] },
      aliases: {},
      observedAt: this.now,
    }
    return this.ports.inTransaction(async (tx) => {
      const { outcome } = await answering(this.ports.users, tx, decide(said, { source, policy, fresh: mint.id('usr', this.now) }))
      assert.ok(!isRefusal(outcome), JSON.stringify(outcome))
      await decided()
      await this.ports.users.commit(tx, outcome, { actor: { kind: 'connection', id: source.id, name: 'corp' }, now: this.now })
      if (outcome.record) await this.ports.users.signedIn(tx, source.id, outcome.record.externalId, this.now)
      return outcome.user.id
    })
  }

  async user(name: string) {
    const user = await findUser(this.db, name)
    assert.ok(user, `nobody is called ${name}`)
    return user
  }

  async users() {
    return listUsers(this.db, { limit: 10_000 })
  }
}

/** Those that are not nought. */
export function countsOf({ counts }: ImportRun): Record<string, number> {
  return Object.fromEntries(Object.entries(counts).filter(([name, count]) => count && name !== 'rows'))
}

/** All that is kept of people, row for row. */
export async function people({ db }: Importing): Promise<string> {
  const tables = ['users', 'user_keys', 'links', 'source_records', 'former_names', 'leavings', 'jobs', 'tasks', 'sessions']
  const kept = await Promise.all(tables.map((table) => db.writer(table).select('*')))
  const usual = await db.writer('source_states').whereNotNull('usual').select('*')
  const told = await db.writer('audit_events').whereLike('kind', 'user.%').select('*')
  return JSON.stringify([...kept, usual, told].map((rows: unknown[]) => rows.map((row) => JSON.stringify(row)).sort()))
}
