// Keeps the latest word of a source, attribute by attribute, so that a profile can be derived again later.
// What a source leaves out, or says is empty, stays on file with a mark: nothing is erased here.

import type { AttributeOnFile, ExternalId, RecordOnFile, Said, SourceRecord } from './model.ts'

export function remember(onFile: RecordOnFile | undefined, said: SourceRecord, externalId: ExternalId): RecordOnFile {
  const attributes: Record<string, AttributeOnFile> = Object.create(null)
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
  const { nameId } = said
  return {
    source: said.source,
    externalId,
    ...(nameId ? { nameId: { ...nameId, since: onFile?.nameId?.value === nameId.value ? onFile.nameId.since : said.observedAt } } : {}),
    attributes,
    aliases: onFile ? { ...onFile.aliases, ...said.aliases } : said.aliases,
    ...(said.session ? { session: said.session } : {}),
    ...(onFile?.groups ? { groups: onFile.groups } : {}),
    observedAt: said.observedAt,
    ...(said.via ? { via: said.via } : {}),
  }
}

function next(old: AttributeOnFile | undefined, values: readonly string[], said: SourceRecord, known: boolean): AttributeOnFile {
  const hasAny = values.some((value) => value.trim() !== '')
  const word: Said = { values: hasAny ? values : [], since: said.observedAt, ...(said.via ? { via: said.via } : {}) }
  if (!old) return { ...word, state: hasAny ? 'present' : 'empty', ...(known ? { first: null } : {}) }
  if (!hasAny) return old.state === 'empty' ? old : { ...old, state: 'empty' }
  if (sameValues(old.values, values)) return old.state === 'present' ? old : { ...old, state: 'present' }
  // What was said first is kept once it is no longer what is said.
  const { values: before, since, via } = old
  const first = old.first === undefined ? { values: before, since, ...(via ? { via } : {}) } : old.first
  return { ...word, state: 'present', first }
}

/** Says the same, attribute by attribute; when it was said last plays no part, nor how the person signed in. */
export function sameRecord(a: RecordOnFile, b: RecordOnFile): boolean {
  if (a.nameId?.value !== b.nameId?.value || a.nameId?.format !== b.nameId?.format || a.externalId.key !== b.externalId.key) return false
  if (!sameValues(a.groups ?? [], b.groups ?? [])) return false
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

/** Equal in order and letter; the order of a list is part of what was said. */
export function sameValues(a: readonly string[], b: readonly string[]): boolean {
  if (a === b) return true
  if (a.length !== b.length) return false
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false
  return true
}
