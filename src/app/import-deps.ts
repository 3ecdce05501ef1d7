// Joins the doors of imports, tasks and coverage to the flows and the store.

import type { Logger } from 'pino'
import { evidenceOf } from '../domain/evidence.ts'
import type { BeginWork } from '../flows/background-ports.ts'
import { cancelImport } from '../flows/cancel-import.ts'
import { finishTasks } from '../flows/finish-tasks.ts'
import type { SourceInForce } from '../flows/run-import.ts'
import { settleRow } from '../flows/settle-rows.ts'
import type { ImportApiDeps } from '../http/api/imports.ts'
import { findUser } from '../store/console-reads.ts'
import { uncovered } from '../store/coverage.ts'
import type { Db } from '../store/db.ts'
import { evidenceParts } from '../store/evidence.ts'
import { listRuns, planRows } from '../store/import-pages.ts'
import type { PolicyReader } from '../store/policies.ts'
import { listTasks } from '../store/tasks.ts'
import { uploads } from './background.ts'
import type { Config } from './config.ts'
import { holder, isGone } from './holder.ts'
import type { portsOf } from './ports.ts'

export interface ImportParts {
  readonly config: Config
  readonly db: Db
  readonly ports: ReturnType<typeof portsOf>
  readonly policies: PolicyReader
  readonly clock: () => Date
  readonly log: Logger
  readonly begin: BeginWork
}

export function importDeps({
  config,
  db,
  ports,
  policies,
  clock,
  begin,
}: ImportParts): Omit<ImportApiDeps, 'policy' | 'clock' | 'findUser'> {
  return {
    begin,
    newRunId: () => ports.mint.id('run', clock()),
    keepUpload: uploads(config.importDir),
    listRuns: (which) => listRuns(db, which),
    planRows: (run, which) => planRows(db, run, which),
    async sourceState({ id }) {
      const [{ cursor, nextFullAt, nextIncrementalAt }, { present }] = [
        await ports.importReads.usual(id),
        await ports.importReads.countSubjects(id),
      ]
      return {
        people: present,
        hasCursor: cursor !== undefined,
        ...(nextFullAt ? { nextFullAt } : {}),
        ...(nextIncrementalAt ? { nextIncrementalAt } : {}),
      }
    },
    async settleRow({ run, source: name, seq, pick, actor }) {
      const policy = await policies.inForce()
      const source = policy.imports.get(name)
      if (!source?.policy?.imports) return { outcome: 'refused', why: `the source ${name} is not in force` }
      const ask = { run, source: source as SourceInForce, policy, actor, holder, isGone, clock, stop: new AbortController().signal }
      return settleRow(ports, { ...ask, seq, pick })
    },
    cancelRun: (ask) => cancelImport(ports, ask),
    listTasks: (which) => listTasks(db, which),
    finishTasks: (ask) => finishTasks(ports, ask),
    listUncovered: (most) => uncovered(db, { most }),
    async evidence(who) {
      const user = await findUser(db, who)
      return user && { id: user.id, userName: user.userName, evidence: evidenceOf(await evidenceParts(db, user.id)) }
    },
  }
}
