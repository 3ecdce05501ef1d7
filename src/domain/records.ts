// Keeps the latest word of a source, attribute by attribute, so that a profile can be derived again later.
// What a source leaves out, or says is empty, stays on file with a mark: nothing is erased here.

import { bare } from './bare.ts'
import type { AttributeOnFile, ExternalId, RecordOnFile, Said, SourceRecord } from './model.ts'

export function remember(onFile: RecordOnFile | undefined, said: SourceRecord, externalId: ExternalId): RecordOnFile {
  const attributes = bare<AttributeOnFile>()
  if (onFile) {
    for (const name in onFile.attributes) {
      const old = onFile.attributes[name] as AttributeOnFile
      if (!(name in said.attributes)) attributes[name] = old.state === 'absent' ? old : { ...old, state: 'absent' }
    }
  }
  for (const name in said.attributes) {
    const values = said.attributes[name] as readonly string[]
    attributes[name] = next(onFile?.attributes[name], values, said, onFile !== undefined)
  }
  // By assignment: this is made for every sign-in and every row of an import, and spreading costs more than all of it.
  const record: { -readonly [Field in keyof RecordOnFile]: RecordOnFile[Field] } = {
    source: said.source,
    externalId,
    attributes,
    aliases: onFile ? { ...onFile.aliases, ...said.aliases } : said.aliases,
    observedAt: said.observedAt,
  }
  const { nameId, session, via } = said
  if (nameId) {
    const since = onFile?.nameId?.value === nameId.value ? onFile.nameId.since : said.observedAt
    record.nameId = { value: nameId.value, format: nameId.format, since }
  }
  if (session) record.session = session
  if (onFile?.groups) record.groups = onFile.groups
  if (via) record.via = via
  return record
}

type Writable<Thing> = { -readonly [Field in keyof Thing]: Thing[Field] }

function word(values: readonly string[], since: Date, via: Said['via']): Writable<Said> {
  return via === undefined ? { values, since } : { values, since, via }
}

const NOTHING: readonly string[] = []

function next(old: AttributeOnFile | undefined, values: readonly string[], said: SourceRecord, known: boolean): AttributeOnFile {
  if (old?.state === 'present' && sameValues(old.values, values)) return old
  const hasAny = values.some((value) => value.trim() !== '')
  if (old && !hasAny) return old.state === 'empty' ? old : { ...old, state: 'empty' }
  if (old && sameValues(old.values, values)) return { ...old, state: 'present' }
  const fresh: Writable<AttributeOnFile> = Object.assign(word(hasAny ? values : NOTHING, said.observedAt, said.via), {
    state: hasAny ? ('present' as const) : ('empty' as const),
  })
  // What was said first is kept once it is no longer what is said.
  if (old) fresh.first = old.first === undefined ? word(old.values, old.since, old.via) : old.first
  else if (known) fresh.first = null
  return fresh
}

/** The memberships that this word comes to. */
export function withGroups(record: RecordOnFile, groups: readonly string[]): RecordOnFile {
  return { ...record, groups }
}

/** Says the same, attribute by attribute; when it was said last plays no part, nor how the person signed in. */
export function sameRecord(a: RecordOnFile, b: RecordOnFile): boolean {
  if (a.nameId?.value !== b.nameId?.value || a.nameId?.format !== b.nameId?.format || a.externalId.key !== b.externalId.key) return false
  if (a.missingSince?.getTime() !== b.missingSince?.getTime() || !sameValues(a.groups ?? [], b.groups ?? [])) return false
  let count = 0
  for (const name in b.attributes) {
    count++
    const was = a.attributes[name]
    const is = b.attributes[name]
    if (was === is) continue
    if (was === undefined || is === undefined || was.state !== is.state || !sameValues(was.values, is.values)) return false
  }
  for (const _ in a.attributes) count--
  if (count !== 0) return false
  for (const alias in b.aliases) if (a.aliases[alias] !== b.aliases[alias]) return false
  return true
}

/** How the person signed in; it counts only where a row reads it. */
export function sameSession({ session: a }: RecordOnFile, { session: b }: RecordOnFile): boolean {
  return a?.authnContext === b?.authnContext && a?.authnInstant === b?.authnInstant
}

/** Equal in order and letter; the order of a list is part of what was said. */
export function sameValues(a: readonly string[], b: readonly string[]): boolean {
  if (a === b) return true
  if (a.length !== b.length) return false
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false
  return true
}
