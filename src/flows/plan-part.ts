// Plans a part of a feed: what would become of each of its rows, and why. Writes nothing; what the plan as a whole has to know of the
// part comes with it.

import type { Known } from '../domain/deciding.ts'
import type { RunId, UserId } from '../domain/ids.ts'
import { type Key, keyName } from '../domain/keys.ts'
import type { ExternalId } from '../domain/model.ts'
import { type PlanDecision, type Planned, planned } from '../domain/plan.ts'
import type { Policy } from '../domain/policy.ts'
import { isRefusal } from '../domain/refusals.ts'
import type { Harm } from '../domain/safeguard.ts'
import type { ImportRules, SourcePolicy } from '../domain/source-policy.ts'
import { sparing } from './answering.ts'
import { type ClaimKind, claiming } from './claims.ts'
import { type Decided, decideRows, type RowToDecide, type SeatsMeant } from './decide-rows.ts'
import type { FeedRow } from './feed-ports.ts'
import type { ImportReads, PlanRow } from './import-ports.ts'
import type { Mint } from './ports.ts'

/** A row of a feed of which it is known whom it means. */
export interface Named {
  readonly place: string
  readonly externalId: ExternalId
  readonly digest: string
  readonly said: FeedRow['attributes']
  readonly gone: boolean
  /** The source has named them before. */
  readonly known: boolean
}

export interface FeedPart {
  /** The number of its first row in the plan. */
  readonly first: number
  readonly rows: readonly Named[]
}

/** What holds for all parts of one feed. */
export interface WholeFeed {
  /** Of what must be there once in it. */
  readonly salt: string
  /** Whether there is more to know of somebody than that nobody is linked to them. */
  readonly remembers: boolean
}

export interface PlannedPart {
  readonly rows: readonly PlanRow[]
  readonly claims: readonly (readonly [claim: number, seq: number])[]
  readonly counts: Counts
  readonly harmed: Readonly<Record<Harm, number>>
  /** Whom a row has moved to another name, and whom a person has to say that of. */
  readonly renamed: ReadonlyMap<UserId, 'moved' | 'asked'>
  /** Keys that the source takes back without anybody here being linked to them. */
  readonly unknownGone: readonly string[]
}

type Counts = Readonly<Partial<Record<PlanDecision | Counted, number>>>
type Counted = 'ignored' | 'rows' | 'faults'

export interface PlannerAsk {
  readonly run: RunId
  readonly source: SourcePolicy & { readonly imports: ImportRules }
  readonly policy: Policy
  readonly clock: () => Date
}

export class Planner {
  private readonly ports: { readonly importReads: ImportReads; readonly mint: Mint }
  private readonly ask: PlannerAsk
  private readonly remembers: boolean
  private readonly claimOf: (kind: ClaimKind, text: string) => number
  private readonly matchingKeys: ReadonlySet<string>
  private readonly seats: SeatsMeant = new Map()
  private readonly licensed: boolean

  constructor(ports: Planner['ports'], ask: PlannerAsk, { salt, remembers }: WholeFeed) {
    this.ports = ports
    this.ask = ask
    this.remembers = remembers
    this.claimOf = claiming(salt)
    this.matchingKeys = new Set(ask.source.matching.map(({ by }) => keyName(by)))
    this.licensed = ask.policy.entitlements.rules.some(({ seats }) => seats !== undefined)
  }

  async plan({ first, rows }: FeedPart): Promise<PlannedPart> {
    const sums = new Sums()
    const plan: PlanRow[] = []
    const claims: [number, number][] = []
    const renamed = new Map<UserId, 'moved' | 'asked'>()
    const unknownGone: string[] = []
    const part = { rows: plan, claims, counts: sums.counts, harmed: sums.harmed, renamed, unknownGone }
    if (!rows.length) return part
    const decided = await this.inHalves(rows)
    const ignored = await this.ignored(rows.filter((row, at) => !row.known && decided[at] && !row.gone))
    for (const [at, row] of rows.entries()) {
      const found = decided[at]
      const { key } = row.externalId
      if (!row.known && ignored.has(key)) sums.count('ignored')
      else if (found) {
        const made = this.row(first + plan.length, row, found, claims)
        sums.tally(made.planned)
        plan.push(made)
        noteRenamed(renamed, found.decision)
      } else {
        if (!row.gone) sums.count('unchanged')
        // Of somebody who has left before, nothing is said anew.
        else if (!row.known) {
          sums.count('passed')
          unknownGone.push(key)
        }
      }
    }
    return part
  }

  private async ignored(strangers: readonly Named[]): Promise<ReadonlySet<string>> {
    if (!this.remembers || !strangers.length) return NO_KEYS
    return this.ports.importReads.ignored(
      this.ask.source.id,
      strangers.map(({ externalId: { key } }) => key),
    )
  }

  /** While the one half waits for the database, the other is thought about. Seats are given in order. */
  private async inHalves(rows: readonly Named[]): Promise<readonly (Decided | undefined)[]> {
    if (this.licensed || rows.length < 2) return this.decided(rows, () => {})
    const middle = Math.ceil(rows.length / 2)
    let later: Promise<readonly (Decided | undefined)[]> | undefined
    const begin = () => {
      later ??= this.decided(rows.slice(middle), () => {})
      return later
    }
    const first = await this.decided(rows.slice(0, middle), () => {
      begin().catch(() => {})
    })
    return [...first, ...(await begin())]
  }

  private decided(rows: readonly Named[], onAsked: () => void): Promise<readonly (Decided | undefined)[]> {
    const { run, source, policy, clock } = this.ask
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
        source,
        policy,
        run,
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

  private row(seq: number, row: Named, { decision, before }: Decided, claims: [number, number][]): PlanRow {
    const made = planned(decision, this.ask.source.imports)
    const { outcome } = decision
    // A subject that is on file was marked already.
    if (!row.known) claims.push([this.claimOf('subject', row.externalId.key), seq])
    if (!isRefusal(outcome) && outcome.keys) {
      for (const key of outcome.keys) {
        if (key.unique) claims.push([this.claimOf('unique', keyText(key)), seq])
        else if (outcome.kind === 'create' && this.matchingKeys.has(key.name)) claims.push([this.claimOf('matching', keyText(key)), seq])
      }
    }
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
}

/** What rows come to, added up. */
export class Sums {
  readonly counts: Record<string, number> = {}
  readonly harmed: Record<Harm, number> = { leavers: 0, blanked: 0, memberships: 0, moved: 0 }

  count(name: PlanDecision | Counted, by = 1): void {
    if (by) this.counts[name] = (this.counts[name] ?? 0) + by
  }

  tally({ decision, harms }: Pick<Planned, 'decision' | 'harms'>, by = 1): void {
    this.count(decision, by)
    for (const harm of harms) this.harmed[harm] += by
  }

  add({ counts, harmed }: Pick<PlannedPart, 'counts' | 'harmed'>): void {
    for (const [name, by] of Object.entries(counts)) this.count(name as PlanDecision, by)
    for (const [harm, by] of Object.entries(harmed)) this.harmed[harm as Harm] += by
  }
}

function noteRenamed(renamed: Map<UserId, 'moved' | 'asked'>, { outcome, explanation }: Decided['decision']): void {
  if (!isRefusal(outcome)) {
    if (outcome.link?.replaces) renamed.set(outcome.user.id, 'moved')
  } else if (outcome.code === 'match.renamed') {
    for (const { user } of explanation.match?.candidates ?? []) if (!renamed.has(user)) renamed.set(user, 'asked')
  }
}

function keyText({ name, value }: Key): string {
  return `${name} ${value}`
}

const NOBODY: Known = { records: [] }
const NO_KEYS: ReadonlySet<string> = new Set()
