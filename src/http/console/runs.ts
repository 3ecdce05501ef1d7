// /console/runs: imports as they were planned and applied, the rows that wait for a person, and forms to approve, give, ignore,
// stop and take back.

import type { Actor } from '../../domain/events.ts'
import type { RunId, UserId } from '../../domain/ids.ts'
import { type PlanDecision, planDecisions, type RowStatus, rowStatuses } from '../../domain/plan.ts'
import type { BeginWork } from '../../flows/background-ports.ts'
import type { ImportRun, PlanRow } from '../../flows/import-ports.ts'
import type { Pick, Settled } from '../../flows/settle-rows.ts'
import { type RunLine, rowJson, runJson, shareDone } from '../import-words.ts'
import type { AtConsole, ConsoleDoor } from './door.ts'

export interface RowsAsked {
  readonly after: number
  readonly limit: number
  readonly status?: RowStatus
  readonly decision?: PlanDecision
}

export interface RunPageDeps {
  readonly begin: BeginWork
  readonly listRuns: (which: { source?: string; id?: RunId; limit: number }) => Promise<readonly RunLine[]>
  readonly planRows: (run: ImportRun, which: RowsAsked) => Promise<readonly PlanRow[]>
  readonly settleRow: (ask: { run: RunId; source: string; seq: number; pick: Pick; actor: Actor }) => Promise<Settled>
  readonly cancelRun: (ask: { run: RunId; actor: Actor; now: Date }) => Promise<ImportRun | string>
  readonly findUser: (who: string) => Promise<{ readonly id: string; readonly userName: string } | undefined>
}

const RUNS = 50
const ROWS = 50
/** Looks, a second apart. */
const MOST_TRIES = 10

export function runPages(door: ConsoleDoor, deps: RunPageDeps): void {
  const runOf = async (at: AtConsole): Promise<RunLine | undefined> => {
    const [found] = await deps.listRuns({ id: String(at.request.params.run) as RunId, limit: 1 })
    if (!found)
      await at.problem({
        status: 404,
        title: 'There is no such run',
        sentence: 'It may not have begun yet: reload the page in a moment.',
        code: 'no-run',
      })
    return found
  }

  door.get('/console/runs', async (at) => at.page('runs', { runs: (await deps.listRuns({ limit: RUNS })).map(shown) }))

  door.get('/console/runs/:run', async (at) => {
    const [found] = await deps.listRuns({ id: String(at.request.params.run) as RunId, limit: 1 })
    // It runs apart from this process and may need a moment to begin.
    if (!found) return at.page('run-begins', { run: at.request.params.run })
    const { run } = found
    // What was asked for is done by another process, which may need a moment to begin.
    const tries = Number(at.request.query.begun ?? 0)
    const begins = run.state !== 'running' && tries > 0 && tries < MOST_TRIES
    const again =
      run.state === 'running'
        ? { refresh: 2, refreshTo: at.request.path }
        : begins
          ? { refresh: 1, refreshTo: `${at.request.path}?begun=${tries + 1}` }
          : {}
    const opens = ['held', 'planned', 'waiting'].includes(run.state)
    const told = { ...shown(found), by: await named(run.actor, deps) }
    await at.page('run', { run: told, again, begins, opens, undoable: isUndoable(run) })
  })

  door.get('/console/runs/:run/rows', async (at) => {
    const found = await runOf(at)
    if (!found) return
    const asked = rowsAsked(at.request.query)
    const rows = await deps.planRows(found.run, asked)
    await at.page('run-rows', {
      run: shown(found),
      rows: rows.map((row) => rowJson(row, at.policy.schema, false)),
      asked,
      more: rows.length === asked.limit ? rows.at(-1)?.seq : undefined,
      decisions: planDecisions,
      statuses: rowStatuses,
      said: undefined,
    })
  })

  door.post('/console/runs/:run/approve', async (at) => {
    const found = await runOf(at)
    if (!found) return
    const decision = planDecisions.find((one) => one === at.request.body.decision)
    await deps.begin({ what: 'approve', run: found.run.id, ...(decision ? { decision } : {}) }, at.actor)
    at.to(`/console/runs/${found.run.id}?begun=1`)
  })

  door.post('/console/runs/:run/cancel', async (at) => {
    const found = await runOf(at)
    if (!found) return
    const result = await deps.cancelRun({ run: found.run.id, actor: at.actor, now: at.now })
    if (typeof result === 'string')
      return at.problem({ status: 409, title: 'Nothing was stopped', sentence: `${result}.`, code: 'run-state' })
    at.to(`/console/runs/${found.run.id}`)
  })

  door.post('/console/runs/:run/undo', async (at) => {
    const found = await runOf(at)
    if (!found) return
    await deps.begin({ what: 'undo', run: found.run.id }, at.actor)
    at.to(`/console/runs/${found.run.id}?begun=1`)
  })

  door.post('/console/runs/:run/rows/:row', async (at) => {
    const found = await runOf(at)
    if (!found) return
    const { pick, who } = at.request.body
    const meant = await readPick(pick, who, deps)
    if (typeof meant === 'string') return at.problem({ status: 400, title: 'Nothing was done', sentence: meant, code: 'pick' })
    const settled = await deps.settleRow({
      run: found.run.id,
      source: found.source,
      seq: Number(at.request.params.row),
      pick: meant,
      actor: at.actor,
    })
    if (settled.outcome === 'refused')
      return at.problem({ status: 409, title: 'Nothing was done', sentence: `${settled.why}.`, code: 'row-state' })
    at.to(`/console/runs/${found.run.id}/rows?status=waiting`)
  })
}

/** A string: why not. */
export async function readPick(pick: unknown, who: unknown, deps: Pick_<'findUser'>): Promise<Pick | string> {
  if (pick === 'yes' || pick === 'new' || pick === 'ignore') return { pick }
  if (pick !== 'user' || typeof who !== 'string' || !who.trim()) return 'Say yes, new, ignore, or which user it is.'
  const user = await deps.findUser(who.trim())
  return user ? { pick: 'user', user: user.id as UserId } : `Nobody here is called «${who.trim()}».`
}

type Pick_<Name extends keyof RunPageDeps> = { readonly [One in Name]: RunPageDeps[One] }

/** Whoever is a user, by what people call them. */
export async function named(actor: string, deps: Pick_<'findUser'>): Promise<string> {
  const [, id] = /^user (usr_\w+)$/.exec(actor) ?? []
  return (id !== undefined && (await deps.findUser(id))?.userName) || actor
}

/** Of a query: a page of rows. */
export function rowsAsked(query: Readonly<Record<string, unknown>>): RowsAsked {
  const status = rowStatuses.find((one) => one === query.status)
  const decision = planDecisions.find((one) => one === query.decision)
  const after = Number(query.after ?? 0)
  const limit = Number(query.limit ?? ROWS)
  return {
    after: Number.isSafeInteger(after) && after > 0 ? after : 0,
    limit: Number.isSafeInteger(limit) ? Math.min(Math.max(limit, 1), 500) : ROWS,
    ...(status ? { status } : {}),
    ...(decision ? { decision } : {}),
  }
}

function isUndoable({ kind, state, counts, details }: ImportRun): boolean {
  return kind === 'import' && state !== 'running' && (counts.applied ?? 0) > 0 && details.undoneBy === undefined
}

function shown({ run, source }: RunLine) {
  return { ...runJson(run, source), share: shareDone(run) }
}
