// Plans a feed, part by part: what would become of each of its rows, and why. Writes nothing, and adds up what the plan comes to.

import { NOBODY } from '../domain/deciding.ts'
import { licencesOf } from '../domain/entitlements.ts'
import type { RunId, UserId } from '../domain/ids.ts'
import type { Key } from '../domain/keys.ts'
import type { ExternalId } from '../domain/model.ts'
import { type Planned, planned } from '../domain/plan.ts'
import type { Policy } from '../domain/policy.ts'
import { isRefusal } from '../domain/refusals.ts'
import type { Harm } from '../domain/safeguard.ts'
import type { ImportRules, SourcePolicy } from '../domain/source-policy.ts'
import { sparing } from './answering.ts'
import { type ClaimKind, claiming } from './claims.ts'
import { type Decided, decideRows, type RowToDecide, type SeatsMeant } from './decide-rows.ts'
import type { FeedRow } from './feed-ports.ts'
import type { ImportCounts, ImportReads, PlanRow } from './import-ports.ts'
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

export interface PlannedPart {
  readonly rows: readonly PlanRow[]
  /** What the rows want to have alone in this feed. */
  readonly claims: readonly (readonly [claim: number, seq: number])[]
}

export interface PlanFeed {
  readonly run: RunId
  readonly source: SourcePolicy & { readonly imports: ImportRules }
  readonly policy: Policy
  readonly clock: () => Date
  /** Whether there is more to know of somebody than that nobody is linked to them. */
  readonly remembers: boolean
  /** What the rows come to is added. */
  readonly sums: Sums
}

export class Planner {
  /** Whom a row has moved to another name, and whom a person has to say that of. */
  readonly renamed = new Map<UserId, 'moved' | 'asked'>()
  /** Keys that the source takes back without anybody here being linked to them. */
  readonly unknownGone = new Set<string>()
  private readonly ports: { readonly importReads: ImportReads; readonly mint: Mint }
  private readonly ask: PlanFeed
  private readonly claimOf: (kind: ClaimKind, text: string) => number
  private readonly matchingKeys: ReadonlySet<string>
  private readonly seats: SeatsMeant = new Map()
  private readonly licensed: boolean

  constructor(ports: Planner['ports'], ask: PlanFeed) {
    this.ports = ports
    this.ask = ask
    this.claimOf = claiming(ports.mint.secret())
    this.matchingKeys = new Set(ask.source.matching.map(({ key }) => key.name))
    this.licensed = licencesOf(ask.policy.entitlements).size > 0
  }

  /** @param first the number of the part's first row in the plan */
  async plan(rows: readonly Named[], first: number): Promise<PlannedPart> {
    if (!rows.length) return { rows: [], claims: [] }
    const { sums } = this.ask
    const plan: PlanRow[] = []
    const claims: [number, number][] = []
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
        this.noteRenamed(found.decision)
      } else if (!row.gone) sums.count('unchanged')
      // Of somebody who has left before, nothing is said anew.
      else if (!row.known) {
        sums.count('passed')
        this.unknownGone.add(key)
      }
    }
    return { rows: plan, claims }
  }

  private async ignored(strangers: readonly Named[]): Promise<ReadonlySet<string>> {
    if (!this.ask.remembers || !strangers.length) return NO_KEYS
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
          ({ about }, place) => (!this.ask.remembers && about === 'subject' && !(rows[place] as Named).known ? NOBODY : undefined),
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

  private noteRenamed({ outcome, explanation }: Decided['decision']): void {
    if (!isRefusal(outcome)) {
      if (outcome.link?.replaces) this.renamed.set(outcome.user.id, 'moved')
    } else if (outcome.code === 'match.renamed') {
      for (const { user } of explanation.match?.candidates ?? []) if (!this.renamed.has(user)) this.renamed.set(user, 'asked')
    }
  }
}

/** What rows come to, added up. */
export class Sums {
  readonly counts: { -readonly [Name in keyof ImportCounts]: number } = {}
  readonly harmed: Record<Harm, number> = { leavers: 0, blanked: 0, memberships: 0, moved: 0 }

  count(name: keyof ImportCounts, by = 1): void {
    if (by) this.counts[name] = (this.counts[name] ?? 0) + by
  }

  tally({ decision, harms }: Pick<Planned, 'decision' | 'harms'>, by = 1): void {
    this.count(decision, by)
    for (const harm of harms) this.harmed[harm] += by
  }
}

function keyText({ name, value }: Key): string {
  return `${name} ${value}`
}

const NO_KEYS: ReadonlySet<string> = new Set()
