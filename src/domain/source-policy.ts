// What an administrator has said about one source: whom it means, what it may do, and how its words are read.

import type { SourceId } from './ids.ts'
import type { MappingRow, SourcePath } from './mapping.ts'

export interface Jit {
  /** May a sign-in create somebody who is not here yet? */
  readonly create: boolean
  /** May a sign-in change the profile of somebody who is? */
  readonly update: boolean
  /** Profile attributes without which nobody comes in. */
  readonly required: readonly string[]
}

export interface SourcePolicy {
  readonly id: SourceId
  readonly name: string
  /** Of this source's document; every value of a profile cites it. */
  readonly version: number
  readonly externalId: SourcePath
  readonly jit: Jit
  readonly mapping: readonly MappingRow[]
}
