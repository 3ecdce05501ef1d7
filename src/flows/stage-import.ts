// Reads a source to its end and makes a plan of what it says: what would become of whom, and why. Changes nobody. The feed is
// judged as a whole before anything may follow from it: its health, and how many people would be harmed.

import { bare } from '../domain/bare.ts'
import { withoutRedacted } from '../domain/decide.ts'
import { type FeedCounts, healthOf } from '../domain/feed-health.ts'
import { identify } from '../domain/matching.ts'
import type { ExternalId } from '../domain/model.ts'
import { type Planned, WITHOUT_EFFECT } from '../domain/plan.ts'
import type { ImportSource, Policy } from '../domain/policy.ts'
import { isRefusal } from '../domain/refusals.ts'
import { heldByHarm } from '../domain/safeguard.ts'
import type { ImportRules, SourcePolicy } from '../domain/source-policy.ts'
import { settleContested } from './contested.ts'
import { type Connector, type FeedBatch, FeedFailure, type FeedRow } from './feed-ports.ts'
import type { ImportDetails, ImportReads, ImportRun, Imports, KnownSubject, PlanRow } from './import-ports.ts'
import { type Named, type PlannedPart, Planner, Sums } from './plan-feed.ts'
import type { Mint, Transactions, Tx } from './ports.ts'
import { readFeed } from './read-feed.ts'
import { Seen, Twice } from './seen.ts'

export type StagePorts = Transactions & { imports: Imports; importReads: ImportReads; mint: Mint }

export interface StageImport {
  readonly run: ImportRun
  readonly source: ImportSource & { readonly policy: SourcePolicy & { readonly imports: ImportRules } }
  readonly policy: Policy
  readonly connector: Connector
  /** Undefined: everybody. */
  readonly since: string | undefined
  readonly clock: () => Date
  readonly stop: AbortSignal
  /** Writes how far it is, in the transaction; throws where the run is somebody else's, or was stopped. */
  readonly keep: (tx: Tx, run: ImportRun) => Promise<void>
  readonly onProgress: (run: ImportRun) => void
}

/** So many rows are one part. */
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
  private readonly planner: Planner
  private readonly seen = new Seen()
  private readonly claimed = new Twice()
  private readonly sums: Sums
  private readonly attributes = bare<number>()
  private readonly doubled = new Map<string, string[]>()
  private meant = 0
  /** Rows of which it cannot be told whom they mean. */
  private nameless = 0
  private seq = 0
  private run: ImportRun
  private writing: Promise<void> = Promise.resolve()

  private constructor(ports: StagePorts, ask: StageImport, { digest, people, sums, planner }: StagingBegun) {
    this.ports = ports
    this.ask = ask
    this.digest = digest
    this.people = people
    this.sums = sums
    this.planner = planner
    this.run = ask.run
  }

  static async begin(ports: StagePorts, ask: StageImport): Promise<Staging> {
    const { importReads } = ports
    const { run, source, policy, clock } = ask
    const remembers = await importReads.remembersStrangers(source.id)
    const sums = new Sums()
    return new Staging(ports, ask, {
      digest: await importReads.digester(),
      people: await importReads.countSubjects(source.id),
      sums,
      planner: new Planner(ports, { run: run.id, source: source.policy, policy, clock, remembers, sums }),
    })
  }

  /** Reads what each row is about, and asks who of them is known. */
  look({ rows, faults, done, total }: FeedBatch): Looked {
    const bad: Unusable[] = [...faults]
    this.nameless += faults.length
    this.sums.count('faults', faults.length)
    const named = this.identified(rows, bad)
    const known = this.ports.importReads.known(
      this.ask.source.id,
      named.map(({ externalId: { key }, digest }) => ({ key, digest })),
      this.ask.policy.revision,
    )
    // Told where it is awaited.
    known.catch(() => {})
    return { named, bad, known, read: { done, ...(total === undefined ? {} : { total }) } }
  }

  async take({ named, bad, known: asked, read }: Looked): Promise<void> {
    const more: PlanRow[] = bad.map(({ place, why, code }) => this.unusable(place, why, code))
    const known = await asked
    const open: Named[] = []
    for (const [at, row] of named.entries()) {
      const subject = known.get(at)
      if (subject && !this.seen.mark(subject.number)) {
        this.double(row.externalId, row.place)
        more.push(this.twice(row))
      } else if (subject?.same && !row.gone) this.sums.count('unchanged')
      else open.push({ ...row, known: subject !== undefined })
    }
    const { rows, claims } = await this.plan(open)
    await this.write([...more, ...rows], claims, read)
  }

  private async plan(rows: readonly Named[]): Promise<PlannedPart> {
    const part = await this.planner.plan(rows, this.seq + 1)
    this.seq += part.rows.length
    return part
  }

  /** Reads what each row is about. What is not meant, or cannot be used, ends here. */
  private identified(rows: readonly FeedRow[], bad: Unusable[]): readonly Named[] {
    const { source } = this.ask
    const { only } = source.policy.imports
    const named: Named[] = []
    for (const { place, attributes, gone } of rows) {
      this.sums.count('rows')
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
      named.push({ place, externalId, digest, said: kept, gone: gone === true, known: false })
    }
    return named
  }

  private passes(attributes: FeedRow['attributes'], place: string, bad: Unusable[]): boolean {
    const { only } = this.ask.source.policy.imports
    try {
      const meant = only?.expression.run({ attributes: new Map(Object.entries(attributes)), nameID: '' })
      if (meant !== true) this.sums.count('passed')
      return meant === true
    } catch (error) {
      const { absent, message } = error as Error & { absent?: boolean }
      if (absent === undefined) throw error
      // What it asks about is not there: that is not what it says yes to.
      if (absent) this.sums.count('passed')
      else {
        this.nameless++
        bad.push({ place, why: `only: ${only?.text}: ${message}` })
      }
      return false
    }
  }

  private unusable(place: string, why: string, code?: Planned['code']): PlanRow {
    this.sums.count('refused')
    const planned = { ...WITHOUT_EFFECT, decision: 'refused', why, ...(code ? { code } : {}) } as const
    return { seq: ++this.seq, externalId: { key: '', value: '' }, place, planned, status: 'refused' }
  }

  private twice({ externalId, place }: Named): PlanRow {
    this.sums.count('refused')
    return {
      seq: ++this.seq,
      externalId,
      place,
      planned: { ...WITHOUT_EFFECT, decision: 'refused', why: `the same key came before in this feed` },
      status: 'refused',
    }
  }

  private double({ value }: ExternalId, place: string): void {
    const places = this.doubled.get(value)
    if (places && places.length < MOST_PLACES) places.push(place)
    else if (!places && this.doubled.size < MOST_DOUBLED) this.doubled.set(value, [place])
  }

  /** One part after the other; the next is planned while this one is written. */
  private async write(rows: readonly PlanRow[], claims: PlannedPart['claims'], read?: Looked['read']): Promise<void> {
    await this.writing
    for (const [claim] of claims) this.claimed.note(claim)
    const { keep, onProgress } = this.ask
    const run: ImportRun = { ...this.run, counts: { ...this.sums.counts }, details: { ...this.run.details, ...(read ? { read } : {}) } }
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
    if (this.seq > BATCH) await this.ports.inTransaction((tx) => this.ports.imports.grew(tx, 'plan'))
    await settleContested(this.ports, {
      run: this.run,
      suspects: this.claimed.suspects,
      size: BATCH,
      keep: this.ask.keep,
      sums: this.sums,
      onDoubled: (key, places) => this.doubled.set(key, places.slice(0, MOST_PLACES)),
    })
    const { counts, harmed } = this.sums
    const feed: FeedCounts = {
      rows: counts.rows ?? 0,
      meant: this.meant,
      faults: counts.faults ?? 0,
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
    const harm = heldByHarm(this.people.present, harmed, safeguards).map((why) => ({ code: 'safeguard' as const, why }))
    const details: ImportDetails = {
      ...this.run.details,
      people: this.people.present,
      harmed,
      feed,
      ...(cursor === undefined ? {} : { cursorAfter: cursor }),
      ...(leaversUnknown ? { leaversUnknown } : {}),
      ...(health.length || harm.length ? { causes: [...health, ...harm] } : {}),
    }
    this.run = { ...this.run, counts, details }
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
      const gone = subjects.filter(({ number, user }) => !this.seen.has(number) && this.planner.renamed.get(user) !== 'moved')
      for (let i = 0; i < gone.length; i += BATCH) {
        const rows = gone.slice(i, i + BATCH).map(
          ({ externalId }): Named => ({
            place: 'not in the feed',
            externalId,
            digest: '',
            said: {},
            gone: true,
            known: true,
          }),
        )
        const plan = await this.plan(rows)
        // A line that could not be read may have been theirs.
        await this.write(
          plan.rows.map((row) => this.unsure(row)),
          [],
        )
      }
    }
  }

  private unsure(row: PlanRow): PlanRow {
    const { user } = row.planned
    const asked = user !== undefined && this.planner.renamed.get(user) === 'asked'
    if (row.status !== 'approved' || !row.planned.harms.includes('leavers') || (!this.nameless && !asked)) return row
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
      const isOld = (row: PlanRow, at: number) =>
        this.planner.unknownGone.has(row.externalId.key) || this.seen.has(known.get(at)?.number ?? -1)
      const named = rows.flatMap((row, at): Named | readonly Named[] => {
        if (isOld(row, at)) return []
        const { externalId, place, said = {}, gone, digest = '' } = row
        return { place, externalId, digest, said, gone: gone === true, known: known.has(at) }
      })
      const plan = await this.plan(named)
      const again = plan.rows.map((row) => this.unsure(row))
      await this.write([...again, ...rows.filter(isOld).map((row) => this.overtaken(row))], plan.claims)
    }
  }

  /** Takes the place of a row that waits in an earlier run. */
  private overtaken({ externalId, place }: PlanRow): PlanRow {
    const planned = { ...WITHOUT_EFFECT, decision: 'passed', why: 'the source has taken back what was waiting' } as const
    return { seq: ++this.seq, externalId, place, planned, status: 'passed' }
  }
}

interface StagingBegun {
  readonly digest: (text: string) => string
  readonly people: { readonly all: number; readonly present: number }
  readonly sums: Sums
  readonly planner: Planner
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

const SUBJECTS = 5_000
const MOST_DOUBLED = 1_000
const MOST_PLACES = 5
