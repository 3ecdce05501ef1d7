// Keeps the latest word of a source, attribute by attribute, so that a profile can be derived again later.
// What a source leaves out stays on file, marked as no longer present: absent never erases.

import type { AttributeOnFile, ExternalId, RecordOnFile, SourceRecord } from './model.ts'

export function remember(onFile: RecordOnFile | undefined, said: SourceRecord, externalId: ExternalId): RecordOnFile {
  const attributes: Record<string, AttributeOnFile> = Object.create(null)
  for (const [name, old] of Object.entries(onFile?.attributes ?? {})) attributes[name] = { ...old, present: false }
  for (const [name, values] of Object.entries(said.attributes)) {
    const old = attributes[name]
    const since = old && sameValues(old.values, values) ? old.since : said.observedAt
    attributes[name] = { values, since, present: true }
  }
  return {
    source: said.source,
    externalId,
    ...(said.nameId
      ? { nameId: { ...said.nameId, since: onFile?.nameId?.value === said.nameId.value ? onFile.nameId.since : said.observedAt } }
      : {}),
    attributes,
    aliases: { ...onFile?.aliases, ...said.aliases },
    observedAt: said.observedAt,
  }
}

/** Says the same, attribute by attribute; when it was said last plays no part. */
export function sameRecord(a: RecordOnFile, b: RecordOnFile): boolean {
  const names = Object.keys(b.attributes)
  if (names.length !== Object.keys(a.attributes).length || a.nameId?.value !== b.nameId?.value || a.nameId?.format !== b.nameId?.format)
    return false
  const aliases = Object.keys(b.aliases)
  if (aliases.length !== Object.keys(a.aliases).length || aliases.some((alias) => a.aliases[alias] !== b.aliases[alias])) return false
  return names.every((name) => {
    const was = a.attributes[name]
    const is = b.attributes[name]
    return was !== undefined && is !== undefined && was.present === is.present && sameValues(was.values, is.values)
  })
}

/** Equal in order and letter; the order of a list is part of what was said. */
export function sameValues(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((value, i) => value === b[i])
}
