// /console/imports: the sources, what their last run came to, and forms that begin one: with a file, or from where the source is.

import { changesShowLeavers, readsChanges } from '../../domain/documents/source.ts'
import type { RunId } from '../../domain/ids.ts'
import type { ImportSource } from '../../domain/policy.ts'
import type { BeginWork } from '../../flows/background-ports.ts'
import { outcomeOf, type RunLine } from '../import-words.ts'
import { type AtConsole, type ConsoleDoor, notOurs } from './door.ts'
import { named, type RunPageDeps } from './runs.ts'
import { receiveUpload, type Upload } from './upload.ts'

export interface ImportPageDeps {
  readonly begin: BeginWork
  readonly newRunId: () => RunId
  readonly listRuns: (which: { source?: string; limit: number }) => Promise<readonly RunLine[]>
  readonly sourceState: (
    source: ImportSource,
  ) => Promise<{ readonly nextFullAt?: Date; readonly nextIncrementalAt?: Date; readonly hasCursor: boolean; readonly people: number }>
  /** Keeps what is uploaded until it is imported. */
  readonly keepUpload: Upload
  readonly findUser: RunPageDeps['findUser']
}

export function importPages(door: ConsoleDoor, deps: ImportPageDeps): void {
  door.get('/console/imports', async (at) => {
    const sources = []
    for (const source of at.policy.imports.values()) {
      const [last] = await deps.listRuns({ source: source.name, limit: 1 })
      sources.push({
        name: source.name,
        kind: source.spec.kind,
        inForce: source.policy !== undefined,
        faults: at.policy.faults.filter(({ kind, name }) => kind === 'source' && name === source.name).map(({ message }) => message),
        takesFile: source.spec.kind === 'csv',
        hasPlace: source.spec.kind !== 'csv' || source.spec.csv.file !== undefined,
        folder: source.spec.kind === 'csv' ? source.spec.csv.folder : undefined,
        changes: readsChanges(source.spec),
        changesShowLeavers: changesShowLeavers(source.spec),
        leavers: source.spec.lifecycle.leavers,
        approve: source.spec.approve,
        ...(last ? { last: { run: last.run, outcome: outcomeOf(last.run), by: await named(last.run.actor, deps) } } : {}),
        ...(await deps.sourceState(source)),
      })
    }
    await at.page('imports', { sources })
  })

  door.post('/console/imports/:source', async (at) => {
    const source = await sourceOf(at)
    if (!source) return
    const { mode, plan } = at.request.body
    const run = deps.newRunId()
    await deps.begin(
      { what: 'import', run, source: source.name, mode: mode === 'incremental' ? 'incremental' : 'full', planOnly: plan === 'on' },
      at.actor,
    )
    at.to(`/console/runs/${run}`)
  })

  door.postStream('/console/imports/:source/file', async (at) => {
    const source = await sourceOf(at)
    if (!source) return
    const received = await receiveUpload(at.request, at.holds, deps.keepUpload)
    if (received === 'forged') return at.problem(notOurs)
    if (typeof received === 'string')
      return at.problem({ status: 400, title: 'That file cannot be taken', sentence: received, code: 'upload' })
    const run = deps.newRunId()
    const { file, planOnly } = received
    await deps.begin({ what: 'import', run, source: source.name, mode: 'full', planOnly, file }, at.actor)
    at.to(`/console/runs/${run}`)
  })
}

async function sourceOf(at: AtConsole): Promise<ImportSource | undefined> {
  const source = at.policy.imports.get(String(at.request.params.source))
  if (source?.policy) return source
  const why = source
    ? 'Something in its document does not fit any more, so it is out of force; «gatehouse doctor» says what.'
    : 'There is no source of that name (any more).'
  await at.problem({ status: source ? 409 : 404, title: 'This source cannot be imported', sentence: why, code: 'source' })
  return undefined
}
