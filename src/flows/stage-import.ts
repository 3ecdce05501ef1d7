// Reads a source to its end and makes a plan of what it says: what would become of whom, and why. Changes nobody. The feed is
// judged as a whole before anything may follow from it: its health, and how many people would be harmed.

import { bare } from '../domain/bare.ts'
import { withoutRedacted } from '../domain/decide.ts'
import type { Known } from '../domain/deciding.ts'
import type { Actor } from '../domain/events.ts'
import { type FeedCounts, healthOf } from '../domain/feed-health.ts'
import type { UserId } from '../domain/ids.ts'
import type { Key } from '../domain/keys.ts'
import { keyName } from '../domain/keys.ts'
import { identify } from '../domain/matching.ts'
import type { ExternalId } from '../domain/model.ts'
import { type Planned, planned } from '../domain/plan.ts'
import type { ImportSource, Policy } from '../domain/policy.ts'
import { isRefusal, refuse } from '../domain/refusals.ts'
import { type Harm, heldByHarm } from '../domain/safeguard.ts'
import type { ImportRules, SourcePolicy } from '../domain/source-policy.ts'
import { sparing } from './answering.ts'
import { CLAIMS, type ClaimKind, claiming, kindOf } from './claims.ts'
import { type Decided, decideRows, type RowToDecide, type SeatsMeant } from './decide-rows.ts'
import { type Connector, type FeedBatch, FeedFailure, type FeedRow } from './feed-ports.ts'
import type { ImportCounts, ImportDetails, ImportReads, ImportRun, Imports, KnownSubject, PlanRow } from './import-ports.ts'
import type { Audit, Mint, Transactions, Tx, Users } from './ports.ts'
import { readFeed } from './read-feed.ts'
import { Seen, Twice } from './seen.ts'

export type StagePorts = Transactions & { imports: Imports; importReads: ImportReads; users: Users; audit: Audit; mint: Mint }

export interface StageImport {
  readonly run: ImportRun
  readonly source: ImportSource & { readonly policy: SourcePolicy & { readonly imports: ImportRules } }
  readonly policy: Policy
  readonly connector: Connector
  /** Undefined: everybody. */
  readonly since: string | undefined
  readonly actor: Actor
  readonly clock: () => Date
  readonly stop: AbortSignal
  /** Writes how far it is, in the transaction; throws where the run is somebody else's, or was stopped. */
  readonly keep: (tx: Tx, run: ImportRun) => Promise<void>
  readonly onProgress: (run: ImportRun) => void
}

/** So many rows are decided together. */
const BATCH = 500

/** @returns the run as it was left: still running, with what holds it */
export async function stageImport(ports: StagePorts, ask: StageImport): Promise<ImportRun> {
  const { connector, since, stop, source } = ask
  const { feed } = source.spec
  const staging = await Staging.begin(ports, ask)
  const most = { rows: feed.rows, ms: feed.minutes * 60_000, patienceMs: feed.patience * 1000 }
  let cutOff: string | undefined
  let cursor: string | undefined
  let columns: readonly string[] | undefined
  try {
    const reading = await readFeed({ connector, since, most, size: BATCH, stop })
    columns = reading.columns
    const upcoming = async () => {
      const step = await reading.batches.next()
      return step.done ? step.value : staging.look(step.value)
    }
    for (let batch = await upcoming(); ; ) {
      if (!('named' in batch)) {
        cursor = batch.cursor
        break
      }
      // The next rows are read and looked up while these are decided and written.
      const next = upcoming()
      next.catch(() => {})
      await staging.take(batch)
      batch = await next
    }
  } catch (error) {
    // Nobody can be said to be missing from what ends in the middle; that it does is for a person to see.
    if (!(error instanceof FeedFailure) || error.code !== 'cut-off') throw error
    cutOff = error.message
  }
  return staging.end({ columns, cutOff, cursor })
}

class Staging {
  private readonly ports: StagePorts
  private readonly ask: StageImport
  private readonly digest: (text: string) => string
  private readonly people: { readonly all: number; readonly present: number }
  private readonly seen = new Seen()
  private readonly claimOf: (kind: ClaimKind, text: string) => number
  private readonly claimed = new Twice()
  private readonly counts: Record<string, number> = {}
  private readonly attributes = bare<number>()
  /** Whom a row has moved to another name, and whom a person has to say that of. */
  private readonly renamed = new Map<UserId, 'moved' | 'asked'>()
  private readonly harmed: Record<Harm, number> = { leavers: 0, blanked: 0, memberships: 0, moved: 0 }
  private readonly doubled = new Map<string, string[]>()
  private readonly matchingKeys: ReadonlySet<string>
  private readonly seats: SeatsMeant = new Map()
  /** Whom the source takes back without anybody here being linked to them. */
  private readonly unknownGone = new Set<string>()
  private meant = 0
  /** Rows of which it cannot be told whom they mean. */
  private nameless = 0
  private seq = 0
  /** Whether there is more to know of somebody than that nobody is linked to them. */
  private readonly remembers: boolean
  private readonly licensed: boolean
  private run: ImportRun
  private writing: Promise<void> = Promise.resolve()

  private constructor(
    ports: StagePorts,
    ask: StageImport,
    { digest, people, remembers }: { digest: (text: string) => string; people: { all: number; present: number }; remembers: boolean },
  ) {
    this.ports = ports
    this.ask = ask
    this.digest = digest
    this.people = people
    this.remembers = remembers
    this.claimOf = claiming(ports.mint.secret())
    this.licensed = ask.policy.entitlements.rules.some(({ seats }) => seats !== undefined)
    this.run = ask.run
    this.matchingKeys = new Set(ask.source.policy.matching.map(({ by }) => keyName(by)))
  }

  static async begin(ports: StagePorts, ask: StageImport): Promise<Staging> {
    const { importReads } = ports
    return new Staging(ports, ask, {
      digest: await importReads.digester(),
      people: await importReads.countSubjects(ask.source.id),
      remembers: await importReads.remembersStrangers(ask.source.id),
    })
  }

  /** Reads what each row is about, and asks who of them is known. */
  look({ rows, faults, done, total }: FeedBatch): Looked {
    const bad: Unusable[] = [...faults]
    this.nameless += faults.length
    this.count('faults', faults.length)
    const named = this.identified(rows, bad)
    const known = this.ports.importReads.known(this.ask.source.id, named, this.ask.policy.revision)
    // Told where it is awaited.
    known.catch(() => {})
    return { named, bad, known, read: { done, ...(total === undefined ? {} : { total }) } }
  }

  async take({ named, bad, known: asked, read }: Looked): Promise<void> {
    const planned: PlanRow[] = bad.map(({ place, why, code }) => this.unusable(place, why, code))
    const known = await asked
    const open: Named[] = []
    for (const [at, row] of named.entries()) {
      const subject = known.get(at)
      if (subject && !this.seen.mark(subject.number)) {
        this.double(row.externalId, row.place)
        planned.push(this.twice(row))
      } else if (subject?.same && !row.gone) this.count('unchanged', 1)
      else open.push({ ...row, known: subject !== undefined })
    }
    const claims: [number, number][] = []
    planned.push(...(await this.decided(open, claims)))
    await this.write(planned, claims, read)
  }

  /** Reads what each row is about. What is not meant, or cannot be used, ends here. */
  private identified(rows: readonly FeedRow[], bad: Unusable[]): readonly Named[] {
    const { source } = this.ask
    const { only } = source.policy.imports
    const named: Named[] = []
    for (const { place, attributes, gone } of rows) {
      this.count('rows', 1)
      for (const name in attributes)
        if ((attributes[name] as readonly string[]).length) this.attributes[name] = (this.attributes[name] ?? 0) + 1
      const passes = only && !gone ? this.passes(attributes, place, bad) : true
      if (!passes) continue
      const said = { source: source.id, attributes, aliases: {}, observedAt: this.run.startedAt }
      const externalId = identify(said, source.policy)
      if (isRefusal(externalId)) {
        this.nameless++
        bad.push({ place, why: externalId.detail, code: externalId.code })
        continue
      }
      this.meant++
      // What the source says is the same if all of it is, mapped or not.
      const digest = this.digest(JSON.stringify(attributes))
      const kept = source.policy.redact.size ? withoutRedacted(said, source.policy).attributes : attributes
      named.push({ place, externalId, key: externalId.key, digest, said: kept, gone: gone === true, known: false })
    }
    return named
  }

  private passes(attributes: FeedRow['attributes'], place: string, bad: Unusable[]): boolean {
    const { only } = this.ask.source.policy.imports
    try {
      const meant = only?.expression.run({ attributes: new Map(Object.entries(attributes)), nameID: '' })
      if (meant !== true) this.count('passed', 1)
      return meant === true
    } catch (error) {
      const { absent, message } = error as Error & { absent?: boolean }
      if (absent === undefined) throw error
      // What it asks about is not there: that is not what it says yes to.
      if (absent) this.count('passed', 1)
      else {
        this.nameless++
        bad.push({ place, why: `only: ${only?.text}: ${message}` })
      }
      return false
    }
  }

  private async decided(rows: readonly Named[], claims: [number, number][]): Promise<readonly PlanRow[]> {
    if (!rows.length) return []
    const { source } = this.ask
    const decided = await this.inHalves(rows)
    const unlinked = this.remembers ? rows.filter((row, at) => !row.known && decided[at] && !row.gone) : []
    const ignored = await this.ports.importReads.ignored(
      source.id,
      unlinked.map(({ key }) => key),
    )
    const plan: PlanRow[] = []
    for (const [at, row] of rows.entries()) {
      const found = decided[at]
      if (!row.known && ignored.has(row.key)) this.count('ignored', 1)
      else if (!found) {
        this.count(row.gone ? 'passed' : 'unchanged', 1)
        if (row.gone && !row.known) this.unknownGone.add(row.key)
      } else plan.push(this.row(row, found, claims))
    }
    return plan
  }

  /** While the one half waits for the database, the other is thought about. Seats are given in order. */
  private async inHalves(rows: readonly Named[]): Promise<readonly (Decided | undefined)[]> {
    if (this.licensed || rows.length < 2) return this.halfDecided(rows, () => {})
    const middle = Math.ceil(rows.length / 2)
    let later: Promise<readonly (Decided | undefined)[]> | undefined
    const begin = () => {
      later ??= this.halfDecided(rows.slice(middle), () => {})
      return later
    }
    const first = await this.halfDecided(rows.slice(0, middle), () => {
      begin().catch(() => {})
    })
    return [...first, ...(await begin())]
  }

  private halfDecided(rows: readonly Named[], onAsked: () => void): Promise<readonly (Decided | undefined)[]> {
    const { source, policy, clock } = this.ask
    const now = clock()
    return decideRows(
      rows.map(
        (row): RowToDecide => ({
          externalId: row.externalId,
          said: row.gone ? undefined : row.said,
          fresh: this.ports.mint.id('usr', now),
        }),
      ),
      {
        source: source.policy,
        policy,
        run: this.run.id,
        now,
        seats: this.seats,
        askAll: sparing(
          (questions) => {
            const asked = this.ports.importReads.answerAll(questions)
            onAsked()
            return asked
          },
          // That nobody is linked to them was asked before, and there is no more to know.
          ({ about }, place) => (!this.remembers && about === 'subject' && !(rows[place] as Named).known ? NOBODY : undefined),
        ),
      },
    )
  }

  private row(row: Named, { decision, before }: Decided, claims: [number, number][]): PlanRow {
    const { source } = this.ask
    const made = planned(decision, source.policy.imports)
    const seq = ++this.seq
    const { outcome } = decision
    // A subject that is on file was marked already.
    if (!row.known) claims.push([this.claimOf('subject', row.key), seq])
    if (!isRefusal(outcome) && outcome.keys) {
      for (const key of outcome.keys) {
        if (key.unique) claims.push([this.claimOf('unique', keyText(key)), seq])
        else if (outcome.kind === 'create' && this.matchingKeys.has(key.name)) claims.push([this.claimOf('matching', keyText(key)), seq])
      }
    }
    this.tally(made)
    this.noteRenamed(decision)
    const { externalId, place, said, gone, digest } = row
    const planRow: { -readonly [Field in keyof PlanRow]: PlanRow[Field] } = { seq, externalId, place, planned: made, status: made.status }
    if (gone) planRow.gone = true
    else {
      planRow.said = said
      planRow.digest = digest
    }
    if (before && made.writes) planRow.before = before
    return planRow
  }

  private noteRenamed({ outcome, explanation }: Decided['decision']): void {
    if (!isRefusal(outcome)) {
      if (outcome.link?.replaces) this.renamed.set(outcome.user.id, 'moved')
    } else if (outcome.code === 'match.renamed') {
      for (const { user } of explanation.match?.candidates ?? []) if (!this.renamed.has(user)) this.renamed.set(user, 'asked')
    }
  }

  private tally({ decision, harms }: Planned, by = 1): void {
    this.count(decision, by)
    for (const harm of harms) this.harmed[harm] += by
  }

  private unusable(place: string, why: string, code?: Planned['code']): PlanRow {
    this.count('refused', 1)
    const planned = { ...EMPTY, decision: 'refused', why, ...(code ? { code } : {}) } as const
    return { seq: ++this.seq, externalId: { key: '', value: '' }, place, planned, status: 'refused' }
  }

  private twice({ externalId, place }: Named): PlanRow {
    this.count('refused', 1)
    return {
      seq: ++this.seq,
      externalId,
      place,
      planned: { ...EMPTY, decision: 'refused', why: `the same key came before in this feed` },
      status: 'refused',
    }
  }

  private double({ value }: ExternalId, place: string): void {
    const places = this.doubled.get(value)
    if (places && places.length < MOST_PLACES) places.push(place)
    else if (!places && this.doubled.size < MOST_DOUBLED) this.doubled.set(value, [place])
  }

  private count(name: string, by: number): void {
    if (by) this.counts[name] = (this.counts[name] ?? 0) + by
  }

  /** One batch after the other; the next is decided while this one is written. */
  private async write(
    rows: readonly PlanRow[],
    claims: readonly (readonly [number, number])[],
    read?: { done: number; total?: number },
  ): Promise<void> {
    await this.writing
    for (const [claim] of claims) this.claimed.note(claim)
    const { keep, onProgress } = this.ask
    const run: ImportRun = { ...this.run, counts: { ...this.counts }, details: { ...this.run.details, ...(read ? { read } : {}) } }
    this.run = run
    this.writing = this.ports.inTransaction(async (tx) => {
      if (rows.length) await this.ports.imports.addRows(tx, run.id, rows)
      if (claims.length) await this.ports.imports.addClaims(tx, run.id, claims)
      await keep(tx, run)
    })
    // Told where it is awaited.
    this.writing.catch(() => {})
    onProgress(run)
  }

  async end({
    columns,
    cutOff,
    cursor,
  }: {
    columns: readonly string[] | undefined
    cutOff: string | undefined
    cursor: string | undefined
  }): Promise<ImportRun> {
    await this.writing
    const { mode } = this.run
    const leaversUnknown = cutOff === undefined ? undefined : 'the feed is cut off, so nobody can be said to be missing from it'
    if (mode === 'full' && !leaversUnknown) await this.missing()
    else if (mode === 'incremental') await this.stillWaiting()
    await this.writing
    await this.contested()
    const feed: FeedCounts = {
      rows: this.counts.rows ?? 0,
      meant: this.meant,
      faults: this.counts.faults ?? 0,
      attributes: this.attributes,
    }
    const { usual } = await this.ports.importReads.usual(this.ask.source.id)
    const doubled = [...this.doubled].map(([key, places]) => ({ key, places }))
    const { needed, smallest, only, safeguards } = this.ask.source.policy.imports
    const { subjects } = this.ask.source.policy
    const filter = only?.text ?? subjects?.text
    const health = healthOf(
      { mode, counts: feed, columns, doubled, usual, ...(cutOff === undefined ? {} : { cutOff }) },
      { needed, smallest, ...(filter === undefined ? {} : { filter }) },
    )
    const harm = heldByHarm(this.people.present, this.harmed, safeguards).map((why) => ({ code: 'safeguard' as const, why }))
    const details: ImportDetails = {
      ...this.run.details,
      people: this.people.present,
      harmed: this.harmed,
      feed,
      ...(cursor === undefined ? {} : { cursorAfter: cursor }),
      ...(leaversUnknown ? { leaversUnknown } : {}),
      ...(health.length || harm.length ? { causes: [...health, ...harm] } : {}),
    }
    this.run = { ...this.run, counts: this.counts as ImportCounts, details }
    return this.run
  }

  /** Whoever the source knew and did not name. */
  private async missing(): Promise<void> {
    const { source } = this.ask
    if (this.seen.size >= this.people.all) return
    for (let after = 0; ; ) {
      const subjects = await this.ports.importReads.subjects(source.id, after, SUBJECTS)
      const last = subjects.at(-1)
      if (!last) return
      after = last.number
      // Whoever comes under another name has not left under the old one.
      const gone = subjects.filter(({ number, user }) => !this.seen.has(number) && this.renamed.get(user) !== 'moved')
      for (let i = 0; i < gone.length; i += BATCH) {
        const rows = gone.slice(i, i + BATCH).map(
          ({ externalId }): Named => ({
            place: 'not in the feed',
            externalId,
            key: externalId.key,
            digest: '',
            said: {},
            gone: true,
            known: true,
          }),
        )
        const plan = await this.decided(rows, [])
        // A line that could not be read may have been theirs.
        await this.write(
          plan.map((row) => this.unsure(row)),
          [],
        )
      }
    }
  }

  private unsure(row: PlanRow): PlanRow {
    const { user } = row.planned
    const asked = user !== undefined && this.renamed.get(user) === 'asked'
    if (row.status !== 'approved' || (!this.nameless && !asked)) return row
    const unread = `${this.nameless} row${this.nameless === 1 ? '' : 's'} could not be read, and one may be theirs`
    const why = `${row.planned.why}; but ${asked ? 'somebody under another name may be them' : unread}`
    return { ...row, status: 'waiting', planned: { ...row.planned, why } }
  }

  /** Rows of earlier runs that wait and that this feed does not name: matched again, because people may have come meanwhile. */
  private async stillWaiting(): Promise<void> {
    const { source, policy } = this.ask
    for await (const rows of this.ports.importReads.waiting(source.id, this.run.id)) {
      const asked = rows.map(({ externalId: { key }, digest = '' }) => ({ key, digest }))
      const known = await this.ports.importReads.known(source.id, asked, policy.revision)
      // What comes to nothing has left no row: it is what the source says now, all the same.
      const isOld = (row: PlanRow, at: number) => this.unknownGone.has(row.externalId.key) || this.seen.has(known.get(at)?.number ?? -1)
      const named = rows.flatMap((row, at): Named | readonly Named[] => {
        if (isOld(row, at)) return []
        const { externalId, place, said = {}, gone, digest = '' } = row
        return { place, externalId, key: externalId.key, digest, said, gone: gone === true, known: known.has(at) }
      })
      const claims: [number, number][] = []
      const plan = await this.decided(named, claims)
      await this.write([...plan, ...rows.filter(isOld).map((row) => this.overtaken(row))], claims)
    }
  }

  /** Takes the place of a row that waits in an earlier run. */
  private overtaken({ externalId, place }: PlanRow): PlanRow {
    const planned = { ...EMPTY, decision: 'passed', why: 'the source has taken back what was waiting' } as const
    return { seq: ++this.seq, externalId, place, planned, status: 'refused' }
  }

  /** Two rows of one feed that would be one person, or would take the same unique value. */
  private async contested(): Promise<void> {
    const { imports, importReads } = this.ports
    const groups = await this.ports.inTransaction((tx) => imports.takeContested(tx, this.run.id, this.claimed.suspects))
    const rewritten = new Map<number, PlanRow>()
    const inOrder = groups
      .map(({ claim, seqs }) => ({ kind: kindOf(claim), seqs }))
      .sort((a, b) => CLAIMS.indexOf(a.kind) - CLAIMS.indexOf(b.kind))
    for (const { kind, seqs } of inOrder) {
      const rows = (await importReads.rowsAt(this.run.id, seqs)).map((row) => rewritten.get(row.seq) ?? row)
      // A row that cannot be used contests nothing.
      const alive = rows.filter(({ planned: { decision } }) => decision !== 'refused' || kind === 'subject')
      if (alive.length < 2) continue
      if (kind === 'subject') {
        if (new Set(alive.map(({ externalId: { key } }) => key)).size > 1) continue
        const [first] = alive
        if (first)
          this.doubled.set(
            first.externalId.value,
            alive.slice(0, MOST_PLACES).map(({ place }) => place),
          )
      }
      const told = alive.slice(0, MOST_PLACES).map(({ place }) => place)
      const places = `${told.join(' and ')}${alive.length > told.length ? ` and ${alive.length - told.length} more` : ''}`
      for (const row of alive) rewritten.set(row.seq, this.contestedRow(row, kind, places))
    }
    const rows = [...rewritten.values()]
    for (let i = 0; i < rows.length; i += BATCH)
      await this.ports.inTransaction(async (tx) => {
        await imports.rewrite(tx, this.run.id, rows.slice(i, i + BATCH))
        await this.ask.keep(tx, this.run)
      })
  }

  private contestedRow(row: PlanRow, kind: ClaimKind, places: string): PlanRow {
    const { status: _, ...made } = { ...row.planned, status: 'waiting' as const }
    this.tally({ ...made, status: 'waiting' }, -1)
    const planned = { ...EMPTY, ...(made.label === undefined ? {} : { label: made.label }) }
    if (kind === 'matching') {
      this.count('disputed', 1)
      const { code, detail: why } = refuse('match.disputed', `${places} of this feed look like the same person`)
      return { ...row, planned: { ...planned, decision: 'disputed', why, code }, status: 'waiting' }
    }
    this.count('refused', 1)
    const why =
      kind === 'subject' ? `${places} have the same key` : `${places} of this feed would have the same value of an attribute that is unique`
    return {
      ...row,
      planned: { ...planned, decision: 'refused', why, ...(kind === 'unique' ? { code: 'attribute.taken' as const } : {}) },
      status: 'refused',
    }
  }
}

interface Named {
  readonly place: string
  readonly externalId: ExternalId
  readonly key: string
  readonly digest: string
  readonly said: FeedRow['attributes']
  readonly gone: boolean
  /** The source has named them before. */
  readonly known: boolean
}

interface Unusable {
  readonly place: string
  readonly why: string
  readonly code?: Planned['code']
}

interface Looked {
  readonly named: readonly Named[]
  readonly bad: readonly Unusable[]
  readonly known: Promise<ReadonlyMap<number, KnownSubject>>
  readonly read: { readonly done: number; readonly total?: number }
}

const NOBODY: Known = { records: [] }
const EMPTY = { attributes: [], gained: [], lost: [], candidates: [], harms: [], writes: false } as const
const SUBJECTS = 5_000
const MOST_DOUBLED = 1_000
const MOST_PLACES = 5

function keyText({ name, value }: Key): string {
  return `${name} ${value}`
}
