// A person's word on what a run has planned: all of it, one class, or a row, which they may give to somebody who is here, to
// somebody new, or to nobody. Applying still does exactly what is planned then, and leaves out whoever has moved.

import type { Known } from '../domain/deciding.ts'
import { type Actor, type AuditEvent, actorName } from '../domain/events.ts'
import type { RunId, UserId } from '../domain/ids.ts'
import { type PlanDecision, planned } from '../domain/plan.ts'
import type { Policy } from '../domain/policy.ts'
import { applyImport, applyRows } from './apply-import.ts'
import { askedAbout } from './asked-about.ts'
import { decideRows } from './decide-rows.ts'
import { FeedFailure } from './feed-ports.ts'
import type { Holder, ImportRun, PlanRow } from './import-ports.ts'
import type { Cases, Tx } from './ports.ts'
import {
  apply,
  finish,
  holding,
  isLeft,
  isWholePlan,
  type Keep,
  LEASE_MS,
  named,
  POLICY_CHANGED,
  type RunImportPorts,
  type SourceInForce,
} from './run-import.ts'

export type SettlePorts = RunImportPorts & { cases: Cases }

export interface SettleRows {
  readonly run: RunId
  readonly source: SourceInForce
  readonly policy: Policy
  readonly actor: Actor
  readonly holder: Holder
  readonly isGone: (holder: Holder) => boolean
  readonly clock: () => Date
  readonly stop: AbortSignal
  readonly onProgress?: (run: ImportRun) => void
}

export type Settled =
  | { readonly outcome: 'applied'; readonly run: ImportRun }
  /** Why it cannot be. */
  | { readonly outcome: 'refused'; readonly why: string }

/** Everything that waits, or all of one class. Disputed rows are given to somebody one by one. */
export async function approveRun(ports: SettlePorts, ask: SettleRows & { readonly decision?: PlanDecision }): Promise<Settled> {
  const { decision, actor, clock } = ask
  return heldFor(
    ports,
    ask,
    async (run, keep) => {
      const stay = await askedAbout(ports, run.id)
      if (run.state === 'waiting') {
        const details = { ...run.details, approvedBy: actorName(actor), approvedAt: clock().toISOString() }
        let current: ImportRun = { ...run, state: 'running', phase: 'applying', details }
        await ports.inTransaction((tx) => ports.audit.write(tx, [approval(run, decision, actor, clock())]))
        // Whoever approved it before, and was interrupted in that, comes first.
        current = await applyImport(ports, { ...runAsk(ask), source: ask.source.policy, run: current, keep })
        for (let after = 0; ; ) {
          const rows = await ports.importReads.rows(run.id, { after, size: BATCH, status: 'waiting', ...(decision ? { decision } : {}) })
          const last = rows.at(-1)
          if (!last) return finish(ports, runAsk(ask), current)
          after = last.seq
          const meant = rows.filter(
            ({ planned: { decision: planned, user } }) => planned !== 'disputed' && !(planned === 'leaver' && user && stay.has(user)),
          )
          current = await applyRows(ports, { ...runAsk(ask), source: ask.source.policy, run: current, keep }, meant)
        }
      }
      const approved: ImportRun = {
        ...run,
        state: 'running',
        phase: 'applying',
        details: { ...run.details, approvedBy: actorName(actor), approvedAt: clock().toISOString() },
      }
      await ports.inTransaction(async (tx) => {
        await ports.imports.approveAll(tx, run.id, { decision, stay })
        await keep(tx, approved)
        await ports.imports.supersede(tx, approved, clock())
        await ports.audit.write(tx, [approval(run, decision, actor, clock())])
      })
      return apply(ports, runAsk(ask), approved, keep)
    },
    { takesUp: true },
  )
}

const BATCH = 500

function approval(run: ImportRun, decision: PlanDecision | undefined, actor: Actor, at: Date): AuditEvent {
  return { kind: 'run.approved', at, actor, run: run.id, source: run.source, details: { decision: decision ?? 'all' } }
}

export type Pick =
  | { readonly pick: 'yes' }
  | { readonly pick: 'new' }
  | { readonly pick: 'ignore' }
  | { readonly pick: 'user'; readonly user: UserId }

/** One row. Of a run that is held as a whole, no row goes ahead alone. */
export async function settleRow(ports: SettlePorts, ask: SettleRows & { readonly seq: number; readonly pick: Pick }): Promise<Settled> {
  const { seq, pick, source, policy, actor, clock } = ask
  let refused: string | undefined
  const settled = await heldFor(ports, ask, async (run, keep) => {
    const now = clock()
    const release = (tx: Tx, released: ImportRun) => ports.imports.release(tx, released, { holder: ask.holder, now })
    const back = async (why: string) => {
      refused = why
      await ports.inTransaction((tx) => release(tx, run))
      return run
    }
    if (run.state !== 'waiting' && pick.pick !== 'ignore') return back(`the run is ${run.state}; approve it as a whole first`)
    const [row] = await ports.importReads.rowsAt(run.id, [seq])
    if (!row) return back(`there is no row ${seq}`)
    const { decision } = row.planned
    // Of a plan that nothing was done of yet, what would go ahead by itself can be left out, too.
    const isToCome = row.status === 'approved' && run.state !== 'waiting' && decision !== 'unchanged'
    if (row.status !== 'waiting' && !(isToCome && pick.pick === 'ignore')) return back(`row ${seq} does not wait: it is ${row.status}`)
    if (pick.pick === 'yes' && decision === 'disputed') return back('it is disputed: say whom it means (a user), new, or ignore')
    if ((pick.pick === 'user' || pick.pick === 'new') && decision !== 'disputed' && decision !== 'create' && decision !== 'link')
      return back(`it is linked already (${decision}); say yes or ignore`)
    const current: ImportRun = { ...run, state: 'running' }
    if (pick.pick === 'ignore') {
      const { ignored: before = 0, waiting = 0 } = run.counts
      const counts = { ...run.counts, ignored: before + 1, waiting: Math.max(0, waiting - (row.status === 'waiting' ? 1 : 0)) }
      await ports.inTransaction(async (tx) => {
        await ports.imports.setStatus(tx, run.id, [seq], 'ignored')
        if (decision === 'disputed' || decision === 'create') await ignore(ports, tx, { row, source, actor, now })
        await keep(tx, { ...current, counts })
        // A run that is held stays as it was, but for this row.
        if (run.state !== 'waiting') await release(tx, { ...run, counts })
      })
      return run.state === 'waiting' ? finish(ports, runAsk(ask), { ...current, counts }) : { ...run, counts }
    }
    if (pick.pick === 'user') {
      const no = await cannotBe(ports, { row, source, user: pick.user })
      if (no !== undefined) return back(no)
    }
    const chosen = pick.pick === 'user' ? pick.user : 'new'
    const again = pick.pick === 'yes' ? row : await replanned(ports, ask, { ...row, chosen }, now)
    if (again.planned.decision === 'refused' || again.planned.decision === 'disputed') return back(again.planned.why)
    await ports.inTransaction(async (tx) => {
      await ports.imports.rewrite(tx, run.id, [again])
      await ports.audit.write(tx, [pickEvent(run, again, pick, actor, now)])
    })
    const applied = await applyRows(ports, { run: current, source: source.policy, policy, clock, keep, onProgress: () => {} }, [again])
    if ((applied.counts.moved ?? 0) > (run.counts.moved ?? 0))
      refused = 'the person was changed since this was planned; the next run plans it anew'
    return finish(ports, runAsk(ask), applied)
  })
  return refused !== undefined && settled.outcome === 'applied' ? { outcome: 'refused', why: refused } : settled
}

/** Why the row cannot mean this user. */
async function cannotBe(
  ports: SettlePorts,
  { row, source, user }: { row: PlanRow; source: SourceInForce; user: UserId },
): Promise<string | undefined> {
  const [taken, known] = (await ports.importReads.answerAll([
    { about: 'subject', source: source.id, externalId: row.externalId },
    { about: 'user', user },
  ])) as readonly [Known, Known]
  if (!known.linked || known.linked.state === 'erased') return `${user} is not here`
  if (taken.linked && taken.linked.id !== user) return `«${row.externalId.value}» is linked to ${taken.linked.id} already`
  const already = known.records.find((record) => record.source === source.id && record.externalId.key !== row.externalId.key)
  // Whoever looks renamed is given their new name; anybody else would lose theirs by a slip.
  const isRenamed = row.planned.code === 'match.renamed' && row.planned.candidates.some((one) => one.user === user)
  return already && !isRenamed ? `${source.name} knows ${user} as «${already.externalId.value}» already` : undefined
}

function pickEvent(run: ImportRun, { planned: { user }, seq, externalId }: PlanRow, { pick }: Pick, actor: Actor, at: Date): AuditEvent {
  const details = { row: seq, pick, externalId: externalId.value }
  return { kind: 'run.approved', at, actor, run: run.id, source: run.source, ...(user === undefined ? {} : { user }), details }
}

/** The source does not mean anybody who is to be here, in this run and in those to come. */
async function ignore(
  { cases, mint }: SettlePorts,
  tx: Tx,
  { row, source, actor, now }: { row: PlanRow; source: SourceInForce; actor: Actor; now: Date },
): Promise<void> {
  const { candidates, why } = row.planned
  const met = { id: mint.id('cas', now), source: source.id, externalId: row.externalId, kind: 'unlinked' as const, candidates, why }
  await cases.note(tx, met, now)
  await cases.settleSubject(tx, { source: source.id, externalKey: row.externalId.key }, 'ignored', { actor, now })
}

async function replanned(ports: SettlePorts, { source, policy, run }: SettleRows, row: PlanRow, now: Date): Promise<PlanRow> {
  const { externalId, chosen } = row
  const said = row.gone ? undefined : row.said
  const asked = { externalId, said, fresh: ports.mint.id('usr', now), ...(chosen === undefined ? {} : { chosen }) }
  const [decided] = await decideRows([asked], { source: source.policy, policy, run, now, askAll: ports.importReads.answerAll })
  if (!decided) return row
  const { status: _, ...made } = planned(decided.decision, source.policy.imports)
  return { ...row, planned: made, ...(decided.before ? { before: decided.before } : {}) }
}

/**
 * The run is this holder's while `work` lasts.
 * @param takesUp whether it goes on where somebody who approved was interrupted
 */
async function heldFor(
  ports: SettlePorts,
  ask: SettleRows,
  work: (run: ImportRun, keep: Keep) => Promise<ImportRun>,
  { takesUp = false }: { takesUp?: boolean } = {},
): Promise<Settled> {
  const { run: id, source, policy, holder, isGone, clock, stop } = ask
  const now = clock()
  const taken = await ports.inTransaction(async (tx): Promise<ImportRun | string> => {
    const running = await ports.imports.running(tx, source.id)
    const run = await ports.imports.take(tx, id)
    if (run?.kind !== 'import' || run.source !== source.id) return `there is no run ${id} of ${source.name}`
    if (running && !isLeft(running, { now, isGone })) return `${source.name} is being imported (${running.run.id})`
    const before = running?.run.id === id && takesUp ? beforeApproval(run) : run.state
    if (running && (running.run.id !== id || before === 'running'))
      return `${running.run.kind === 'undo' ? 'taking back' : 'an import'} was interrupted (${running.run.id}); import again to take it up`
    if (!['held', 'planned', 'waiting'].includes(before)) return `the run is ${before}, so nothing of it waits`
    if (run.revision !== policy.revision) return POLICY_CHANGED
    await ports.imports.hold(tx, id, { holder, until: new Date(now.getTime() + LEASE_MS) })
    return { ...run, state: before }
  })
  if (typeof taken === 'string') return { outcome: 'refused', why: taken }
  return holding(ports, { run: taken, holder, clock, stop }, async ({ keep }): Promise<Settled> => {
    try {
      return { outcome: 'applied', run: await work(taken, keep) }
    } catch (error) {
      return letGo(ports, ask, taken, error)
    }
  })
}

/** What could not be done is to be done by somebody else, and the run is not to wait for this holder. */
async function letGo(ports: SettlePorts, { clock, holder }: SettleRows, { id, state }: ImportRun, thrown: unknown): Promise<Settled> {
  const current = await ports.importReads.run(id)
  if (current?.state === 'running') {
    const counts = { ...current.counts, waiting: await ports.importReads.count(id, 'waiting') }
    await ports.inTransaction((tx) => ports.imports.release(tx, { ...current, state, counts }, { holder, now: clock() }))
  }
  const error = named(thrown)
  if (!(error instanceof FeedFailure)) throw error
  const run = await ports.importReads.run(id)
  // Stopped: what was done by then stands, and the run says what became of it.
  return error.code === 'cancelled' && run && run.state !== 'running'
    ? { outcome: 'applied', run }
    : { outcome: 'refused', why: error.message }
}

/** What a run was that somebody had begun to approve; running: it was not that. */
function beforeApproval(run: ImportRun): ImportRun['state'] {
  if (isWholePlan(run)) return run.details.causes ? 'held' : 'planned'
  return run.phase === 'applying' ? 'waiting' : 'running'
}

function runAsk(ask: SettleRows) {
  return { ...ask, onProgress: ask.onProgress ?? (() => {}) }
}
