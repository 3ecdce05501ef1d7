// Puts together what shows that somebody's access ended: from what the source said to the last session ended, the last system told
// and the last task done, each with its time. Says of itself whether it is complete.

export interface EvidenceEvent {
  readonly at: Date
  readonly kind: string
  readonly actor: string
  readonly run?: string
  readonly details: Readonly<Record<string, unknown>>
}

export interface EvidenceRun {
  readonly id: string
  readonly source: string
  readonly mode: string
  readonly startedAt: Date
  readonly by: string
  readonly file?: string
  readonly approvedBy?: string
  readonly approvedAt?: Date
}

export interface EvidenceJob {
  readonly id: string
  readonly target: string
  readonly state: 'queued' | 'done' | 'dead'
  readonly attempts: number
  readonly createdAt: Date
  readonly endedAt?: Date
  readonly lastError?: string
  readonly says: string
}

export interface EvidenceTask {
  readonly id: string
  readonly target: string
  readonly title: string
  readonly openedAt: Date
  readonly doneAt?: Date
  readonly doneBy?: string
  readonly note?: string
}

/** One thing that happened, or has not yet. */
export interface EvidenceLine {
  /** Undefined: not yet. */
  readonly at?: Date
  readonly what: 'word' | 'approved' | 'grace' | 'state' | 'sessions' | 'entitlements' | 'told' | 'task'
  readonly text: string
  /** Who or what vouches for it: an event's run, a job, a task. */
  readonly reference: string
}

export interface Evidence {
  readonly state: string
  readonly lines: readonly EvidenceLine[]
  /** Nothing is left to be told or done. */
  readonly complete: boolean
  /** From the first line to the last, in milliseconds; undefined while it is not complete. */
  readonly tookMs?: number
}

export interface EvidenceParts {
  readonly state: string
  readonly events: readonly EvidenceEvent[]
  readonly runs: readonly EvidenceRun[]
  readonly jobs: readonly EvidenceJob[]
  readonly tasks: readonly EvidenceTask[]
}

const ENDS = new Set(['user.suspended', 'user.deprovisioned', 'user.erased'])

/** Of the last time that somebody's access ended. Undefined: it never has. */
export function evidenceOf({ state, events, runs, jobs, tasks }: EvidenceParts): Evidence | undefined {
  const inOrder = [...events].sort((a, b) => a.at.getTime() - b.at.getTime())
  const last = inOrder.findLastIndex(({ kind }) => ENDS.has(kind))
  const end = inOrder[last]
  if (!end) return undefined
  // What came before the last time that they were let in is another story.
  const opened = inOrder
    .slice(0, last)
    .findLast(({ kind }) => kind === 'user.restored' || kind === 'user.created' || kind === 'user.activated')
  const since = opened?.at ?? new Date(0)
  const story = inOrder.filter(({ at, kind }) => at >= since && kind !== 'user.created')
  // Whoever is erased was shut out before, and what was to be done for that is to be done still.
  const ended = story.find(({ kind }) => ENDS.has(kind)) ?? end
  const missing = story.findLast(({ kind, at }) => kind === 'user.missing' && at <= end.at)
  const lines: EvidenceLine[] = []
  const run = runs.find(({ id }) => id === (missing ?? end).run)
  if (run) {
    const file = run.file === undefined ? '' : ` (${run.file})`
    lines.push({
      at: run.startedAt,
      what: 'word',
      text: because(`${run.source} was read${file}, ${run.mode}, by ${run.by}`, (missing ?? end).details.reason),
      reference: run.id,
    })
    if (run.approvedBy)
      lines.push({ at: run.approvedAt ?? run.startedAt, what: 'approved', text: `approved by ${run.approvedBy}`, reference: run.id })
  }
  if (missing)
    lines.push({
      at: missing.at,
      what: 'grace',
      text: missing.details.due === undefined ? 'a grace period began' : `a grace period began, until ${missing.details.due}`,
      reference: missing.run ?? '',
    })
  for (const { at, kind, actor, details, run: by } of story) {
    if (ENDS.has(kind)) {
      lines.push({ at, what: 'state', text: because(`${kind.slice(5)} by ${actor}`, details.reason), reference: by ?? '' })
      const lost = details.lost as readonly string[] | undefined
      if (lost?.length) lines.push({ at, what: 'entitlements', text: `lost ${lost.join(', ')}`, reference: by ?? '' })
    }
    // Who they are may have been settled in another run, which is another story, too.
    if (kind === 'run.approved' && by !== undefined && (by === end.run || by === missing?.run))
      lines.push({ at, what: 'approved', text: `approved by ${actor}`, reference: by ?? '' })
    if (kind === 'session.ended' && at >= ended.at)
      lines.push({
        at,
        what: 'sessions',
        text: `${details.count ?? 'all'} session${details.count === 1 ? '' : 's'} ended, on all nodes`,
        reference: by ?? '',
      })
  }
  if (!lines.some(({ what }) => what === 'sessions'))
    lines.push({ at: end.at, what: 'sessions', text: 'no session was open', reference: end.run ?? '' })
  // What came after they were let in again is another story, too.
  const back = inOrder.slice(last + 1).find(({ kind }) => kind === 'user.restored')?.at
  const isOfThis = (at: Date) => at >= ended.at && (!back || at < back)
  const told = jobs.filter(({ createdAt }) => isOfThis(createdAt))
  for (const job of told) {
    const how =
      job.state === 'done'
        ? (job.lastError ?? `told, at attempt ${job.attempts}`)
        : job.state === 'dead'
          ? `given up: ${job.lastError ?? ''}`
          : `not told yet (${job.attempts} attempts)`
    lines.push({
      ...(job.state === 'done' && job.endedAt ? { at: job.endedAt } : {}),
      what: 'told',
      text: `${job.target}: ${job.says}: ${how}`,
      reference: job.id,
    })
  }
  const asked = tasks.filter(({ openedAt }) => isOfThis(openedAt))
  for (const task of asked) {
    const how = task.doneAt
      ? `done by ${task.doneBy ?? ''}${task.note ? ` (${task.note})` : ''}`
      : `open since ${task.openedAt.toISOString()}`
    lines.push({ ...(task.doneAt ? { at: task.doneAt } : {}), what: 'task', text: `${task.title}: ${how}`, reference: task.id })
  }
  const far = (one: EvidenceLine) => one.at?.getTime() ?? Number.POSITIVE_INFINITY
  // What was written at one moment is told in the order in which it follows.
  const sorted = [...lines].sort(
    (a, b) => (far(a) === far(b) ? 0 : far(a) < far(b) ? -1 : 1) || ORDER.indexOf(a.what) - ORDER.indexOf(b.what),
  )
  const complete = sorted.every(({ at }) => at !== undefined)
  const [first] = sorted
  const final = sorted.at(-1)
  return {
    state,
    lines: sorted,
    complete,
    ...(complete && first?.at && final?.at ? { tookMs: final.at.getTime() - first.at.getTime() } : {}),
  }
}

const ORDER: readonly EvidenceLine['what'][] = ['word', 'approved', 'grace', 'state', 'entitlements', 'sessions', 'told', 'task']

/** The reason goes when somebody is erased. */
function because(what: string, reason: unknown): string {
  return reason === undefined || reason === null ? what : `${what}: ${reason}`
}

/** For an auditor's spreadsheet (RFC 4180). */
export function evidenceCsv({ lines }: Evidence): string {
  const rows = lines.map((one) => [one.at?.toISOString() ?? '', one.what, one.text, one.reference])
  return [['when', 'what', 'text', 'reference'], ...rows].map((cells) => cells.map(csvCell).join(',')).join('\r\n')
}

/** A spreadsheet is not to take a text for a formula. */
function csvCell(cell: string): string {
  return `"${(/^[=+\-@\t\r]/.test(cell) ? `'${cell}` : cell).replaceAll('"', '""')}"`
}
