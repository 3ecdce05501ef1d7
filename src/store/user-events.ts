// The audit events that tell of a user's change. Names and numbers, and values of a profile that are not sensitive.

import type { AuditEvent, EventKind } from '../domain/events.ts'
import type { Transition } from '../domain/lifecycle.ts'
import { shownChange } from '../domain/sensitive.ts'
import type { CommitContext, StateChange, UserCommit } from '../flows/ports.ts'

export function eventsOf(change: UserCommit, { actor, now, signIn, run }: CommitContext): readonly AuditEvent[] {
  const common = { at: now, actor, user: change.user.id, ...(signIn ? { signIn } : {}), ...(run ? { run } : {}) }
  if (change.kind === 'relink') {
    const { source, externalId, replaces, why } = change
    const details = { externalId: externalId.value, ...(replaces ? { before: replaces.value } : {}), why }
    return [{ ...common, kind: replaces ? 'user.relinked' : 'user.linked', source, details }]
  }
  if (change.kind === 'state') return [stateEvent(common, change)]
  const events: AuditEvent[] = []
  const { record, link, entitled } = change
  const about = record ? { source: record.source } : {}
  const attributes = change.attributes.map(shownChange)
  const moved = { ...(entitled.gained.length ? { gained: entitled.gained } : {}), ...(entitled.lost.length ? { lost: entitled.lost } : {}) }
  if (change.kind === 'create') {
    // Whom the source means by them is told with it: an import makes a million of these.
    const linked = link && record ? { linked: { externalId: record.externalId.value, why: link.why } } : {}
    events.push({ ...common, ...about, kind: 'user.created', details: { attributes, ...moved, ...linked } })
  }
  const ends = change.transition !== undefined && change.transition.to !== 'active'
  if (change.transition) events.push(stateEvent(common, { transition: change.transition, ...(ends ? { entitled } : {}) }))
  if (link && record && change.kind !== 'create') {
    const { replaces, why } = link
    const details = { externalId: record.externalId.value, ...(replaces ? { before: replaces.value } : {}), why }
    events.push({ ...common, ...about, kind: replaces ? 'user.relinked' : 'user.linked', details })
  }
  // What goes with the end of access is told with it.
  if (change.kind === 'update' && (attributes.length || (Object.keys(moved).length && !ends)))
    events.push({ ...common, ...about, kind: 'user.updated', details: { attributes, ...moved } })
  return events
}

function stateEvent(
  common: Omit<AuditEvent, 'kind'>,
  { transition, entitled }: Pick<StateChange, 'transition'> & Partial<StateChange>,
): AuditEvent {
  const { from, to, reason } = transition
  const lost = entitled?.lost.length ? { lost: entitled.lost } : {}
  return { ...common, kind: STATE_EVENTS[to](from), details: { from, reason, ...lost } }
}

const STATE_EVENTS: Readonly<Record<Transition['to'], (from: Transition['from']) => EventKind>> = {
  active: (from) => (from === 'staged' ? 'user.activated' : 'user.restored'),
  suspended: () => 'user.suspended',
  deprovisioned: () => 'user.deprovisioned',
  erased: () => 'user.erased',
  staged: () => {
    throw new Error('nobody becomes staged')
  },
}
