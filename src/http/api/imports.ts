// /api/v1/sources, /runs, /tasks, /coverage, /users/{who}/evidence: what an administrator does on the console, for programs. Looking
// takes any token; beginning, approving or finishing anything takes one that may write.

import express, { type Request, type Response, type Router } from 'express'
import { changesShowLeavers, readsChanges } from '../../domain/documents/source.ts'
import type { Actor } from '../../domain/events.ts'
import type { RunId, TaskId } from '../../domain/ids.ts'
import { planDecisions } from '../../domain/plan.ts'
import type { Policy } from '../../domain/policy.ts'
import { quietDays } from '../../flows/watch-coverage.ts'
import type { ImportPageDeps } from '../console/imports.ts'
import { type RunPageDeps, readPick, rowsAsked } from '../console/runs.ts'
import type { WorkPageDeps } from '../console/work.ts'
import { rowJson, runJson } from '../import-words.ts'
import { sendJson } from '../pages.ts'
import { notFound, type Problem, sendProblem } from '../problem.ts'
import type { TokenHolder } from './lookups.ts'

export type ImportApiDeps = ImportPageDeps &
  RunPageDeps &
  WorkPageDeps & { readonly policy: () => Promise<Policy>; readonly clock: () => Date }

const mayNotWrite: Problem = {
  status: 403,
  title: 'This token is for looking',
  sentence: 'Make one with «gatehouse token create NAME --write» for this.',
  code: 'read-only-token',
}

const bad = (sentence: string): Problem => ({ status: 400, title: 'That cannot be done', sentence, code: 'bad-request' })
const conflict = (sentence: string): Problem => ({ status: 409, title: 'That cannot be done now', sentence, code: 'conflict' })

export function importApi(router: Router, deps: ImportApiDeps): void {
  const json = express.json({ limit: 65_536 })
  const writing =
    (work: (request: Request, response: Response, actor: Actor) => Promise<void>) =>
    async (request: Request, response: Response): Promise<void> => {
      const token = response.locals.token as TokenHolder
      if (!token.mayWrite) return sendProblem(request, response, mayNotWrite)
      await work(request, response, { kind: 'token', id: token.id, name: token.name })
    }
  const runOf = async (request: Request) => {
    const [found] = await deps.listRuns({ id: String(request.params.run) as RunId, limit: 1 })
    return found
  }

  router.get('/api/v1/sources', async (request, response) => {
    const { imports } = await deps.policy()
    const sources = []
    for (const source of imports.values()) {
      const { people, nextFullAt, nextIncrementalAt } = await deps.sourceState(source)
      const [last] = await deps.listRuns({ source: source.name, limit: 1 })
      sources.push({
        name: source.name,
        kind: source.spec.kind,
        inForce: source.policy !== undefined,
        people,
        readsChanges: readsChanges(source.spec),
        changesShowLeavers: changesShowLeavers(source.spec),
        nextFullAt,
        nextIncrementalAt,
        lastRun: last && runJson(last.run, last.source),
      })
    }
    sendJson(request, response, 200, { sources })
  })

  router.post(
    '/api/v1/sources/:source/runs',
    (request, response, next) => (request.is('text/csv') ? next() : json(request, response, next)),
    writing(async (request, response, actor) => {
      const { imports } = await deps.policy()
      const source = imports.get(String(request.params.source))
      if (!source?.policy) return sendProblem(request, response, source ? conflict('The source is out of force.') : notFound)
      const isFile = Boolean(request.is('text/csv'))
      if (isFile && source.spec.kind !== 'csv')
        return sendProblem(request, response, bad(`A source of kind ${source.spec.kind} takes no file.`))
      const asked = isFile ? request.query : (request.body ?? {})
      const mode = asked.mode ?? 'full'
      if (mode !== 'full' && mode !== 'incremental') return sendProblem(request, response, bad('mode is full or incremental.'))
      if (isFile && mode !== 'full') return sendProblem(request, response, bad('A file is everybody: mode is full.'))
      const run = deps.newRunId()
      const kept = isFile ? await deps.keepUpload(request) : undefined
      const planOnly = asked.planOnly === true || asked.planOnly === 'true'
      await deps.begin(
        { what: 'import', run, source: source.name, mode, planOnly, ...(kept ? { file: { path: kept.path, name: 'upload.csv' } } : {}) },
        actor,
      )
      response.setHeader('Location', `/api/v1/runs/${run}`)
      sendJson(request, response, 202, {
        run,
        source: source.name,
        mode,
        detectsLeavers: mode === 'full' || changesShowLeavers(source.spec),
      })
    }),
  )

  router.get('/api/v1/runs', async (request, response) => {
    const source = typeof request.query.source === 'string' ? { source: request.query.source } : {}
    const runs = await deps.listRuns({ ...source, limit: rowsAsked(request.query).limit })
    sendJson(request, response, 200, { runs: runs.map((one) => runJson(one.run, one.source)) })
  })

  router.get('/api/v1/runs/:run', async (request, response) => {
    const found = await runOf(request)
    if (!found) return sendProblem(request, response, notFound)
    sendJson(request, response, 200, runJson(found.run, found.source))
  })

  router.get('/api/v1/runs/:run/rows', async (request, response) => {
    const found = await runOf(request)
    if (!found) return sendProblem(request, response, notFound)
    const asked = rowsAsked(request.query)
    const rows = await deps.planRows(found.run, asked)
    const { schema } = await deps.policy()
    const next = rows.length === asked.limit ? { next: rows.at(-1)?.seq } : {}
    sendJson(request, response, 200, { rows: rows.map((row) => rowJson(row, schema, false)), ...next })
  })

  router.post(
    '/api/v1/runs/:run/:verb',
    json,
    writing(async (request, response, actor) => {
      const found = await runOf(request)
      if (!found) return sendProblem(request, response, notFound)
      const { run, source } = found
      const { verb } = request.params
      if (verb === 'cancel') {
        const result = await deps.cancelRun({ run: run.id, actor, now: deps.clock() })
        if (typeof result === 'string') return sendProblem(request, response, conflict(`${result}.`))
        return sendJson(request, response, 200, runJson(result, source))
      }
      if (verb !== 'approve' && verb !== 'undo') return sendProblem(request, response, notFound)
      if (verb === 'approve' && !['held', 'planned', 'waiting'].includes(run.state))
        return sendProblem(request, response, conflict(`The run is ${run.state}.`))
      const decision = planDecisions.find((one) => one === request.body?.decision)
      await deps.begin(
        verb === 'approve' ? { what: 'approve', run: run.id, ...(decision ? { decision } : {}) } : { what: 'undo', run: run.id },
        actor,
      )
      sendJson(request, response, 202, { run: run.id, [verb]: 'begun' })
    }),
  )

  router.post(
    '/api/v1/runs/:run/rows/:row',
    json,
    writing(async (request, response, actor) => {
      const found = await runOf(request)
      if (!found) return sendProblem(request, response, notFound)
      const pick = await readPick(request.body?.pick, request.body?.who, deps)
      if (typeof pick === 'string') return sendProblem(request, response, bad(pick))
      const settled = await deps.settleRow({ run: found.run.id, source: found.source, seq: Number(request.params.row), pick, actor })
      if (settled.outcome === 'refused') return sendProblem(request, response, conflict(`${settled.why}.`))
      sendJson(request, response, 200, runJson(settled.run, found.source))
    }),
  )

  router.get('/api/v1/tasks', async (request, response) => {
    const after = typeof request.query.after === 'string' ? { after: request.query.after } : {}
    sendJson(request, response, 200, {
      tasks: await deps.listTasks({ done: request.query.all === 'true', limit: rowsAsked(request.query).limit, ...after }),
    })
  })

  router.post(
    '/api/v1/tasks/:task/done',
    json,
    writing(async (request, response, actor) => {
      const note = typeof request.body?.note === 'string' ? { note: request.body.note } : {}
      const done = await deps.finishTasks({ ids: [String(request.params.task) as TaskId], ...note, actor, now: deps.clock() })
      if (!done.length) return sendProblem(request, response, conflict('There is no such open task.'))
      sendJson(request, response, 200, { done: done.map(({ id }) => id) })
    }),
  )

  router.get('/api/v1/coverage', async (request, response) => {
    const people = (await deps.listUncovered(rowsAsked(request.query).limit)).map((one) => ({ ...one, days: quietDays(one, deps.clock()) }))
    sendJson(request, response, 200, { people })
  })

  router.get('/api/v1/users/:who/evidence', async (request, response) => {
    const found = await deps.evidence(String(request.params.who))
    if (!found?.evidence) return sendProblem(request, response, notFound)
    sendJson(request, response, 200, { user: found.id, userName: found.userName, ...found.evidence })
  })
}
