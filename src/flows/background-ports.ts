// Long work that is begun by somebody who does not wait for it: it runs apart from the process that serves, and is looked at through
// the database.

import type { Actor } from '../domain/events.ts'
import type { RunId } from '../domain/ids.ts'

export type LongWork =
  | {
      readonly what: 'import'
      readonly run: RunId
      readonly source: string
      readonly mode: 'full' | 'incremental'
      readonly planOnly: boolean
      /** A file of ours, which is deleted afterwards, and what it was called where it came from. */
      readonly file?: { readonly path: string; readonly name: string }
    }
  | { readonly what: 'approve'; readonly run: RunId; readonly decision?: string }
  | { readonly what: 'undo'; readonly run: RunId }

/** Resolves once it has begun. */
export type BeginWork = (work: LongWork, actor: Actor) => Promise<void>
