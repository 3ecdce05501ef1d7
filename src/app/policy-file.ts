// Reads and writes the declarative YAML file of `apply` and `export`. Faults carry their path and their line.

import { isMap, LineCounter, parseDocument, stringify } from 'yaml'
import { type DocumentInForce, type Fault, listedDocuments, type PolicyFile, parsePolicyFile } from '../domain/documents.ts'

export interface PlacedFault {
  readonly path: string
  readonly message: string
  /** 1-based. */
  readonly line: number | undefined
}

export interface ReadPolicyFile {
  readonly file?: PolicyFile
  readonly faults: readonly PlacedFault[]
  /** Finds the lines of faults that turn up later. */
  readonly place: (faults: readonly Fault[]) => readonly PlacedFault[]
}

export function readPolicyFile(text: string): ReadPolicyFile {
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false })
  const lineOf = (segments: readonly (string | number)[]): number | undefined => {
    // The nearest thing that is there: a missing field is told at its parent's line.
    for (let depth = segments.length; depth >= 0; depth--) {
      const node = depth ? document.getIn(segments.slice(0, depth), true) : document.contents
      const range = (node as { range?: [number, number, number] } | undefined)?.range
      if (range) return lines.linePos(range[0]).line
    }
    return undefined
  }
  const place = (faults: readonly Fault[]) => faults.map(({ path, segments, message }) => ({ path, message, line: lineOf(segments) }))
  if (document.errors.length) {
    return {
      faults: document.errors.map((error) => ({ path: '(YAML)', message: error.message, line: lines.linePos(error.pos[0]).line })),
      place,
    }
  }
  if (!isMap(document.contents) || !document.contents.items.length) {
    const message = `there is nothing in it to apply; write ${Object.values(listedDocuments)
      .map((one) => `«${one}:»`)
      .join(', ')}, or what else is to be in force`
    return { faults: [{ path: '(the whole file)', message, line: 1 }], place }
  }
  const parsed = parsePolicyFile(document.toJS())
  return 'file' in parsed ? { file: parsed.file, faults: [], place } : { faults: place(parsed.faults), place }
}

/** What is in force, so that applying it again changes nothing. */
export function exportPolicy(documents: readonly DocumentInForce[]): PolicyFile {
  const singles = documents.flatMap(({ document: { kind, spec } }) => (kind in listedDocuments ? [] : [[kind, spec]]))
  const lists = Object.entries(listedDocuments).flatMap(([kind, plural]) => {
    const specs = documents.flatMap(({ document }) => (document.kind === kind ? [document.spec] : []))
    // These two have always been there.
    return specs.length || kind === 'connection' || kind === 'app' ? [[plural, specs]] : []
  })
  return { ...Object.fromEntries(singles), ...Object.fromEntries(lists) }
}

export function writePolicyFile(file: PolicyFile): string {
  return writeYaml(file)
}

export function writeYaml(file: unknown): string {
  return stringify(file, { lineWidth: 120, blockQuote: 'literal' })
}
