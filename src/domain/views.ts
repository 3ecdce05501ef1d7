// What a row finds in a record, and what expressions see of it. Absent, present-but-empty and present are three cases, and each
// row says what the first two mean to it.

import { nameOnFile } from './attribute-names.ts'
import { celValue, LONGEST_TEXT } from './expressions.ts'
import type { MappingRow } from './mapping.ts'
import type { AttributeOnFile, RecordOnFile, Said } from './model.ts'
import type { AttributeDefinition } from './schema.ts'
import type { SourcePolicy } from './source-policy.ts'

export type Origin = Pick<Said, 'since' | 'via'>

export interface Found {
  readonly outcome: 'mapped' | 'kept' | 'empty' | 'absent'
  readonly values: readonly string[]
  readonly origin: Origin | undefined
}

export type Keeping = Pick<MappingRow, 'when' | 'absent' | 'empty'>

export const NOTHING: readonly string[] = []
export const ABSENT: Found = { outcome: 'absent', values: NOTHING, origin: undefined }

/** The three cases, as the row wants them. */
export function inEffect(attribute: AttributeOnFile, { when, absent, empty }: Keeping): Found {
  const { state, values, first } = attribute
  if (when === 'create' && first !== undefined) {
    if (first === null) return ABSENT
    return { outcome: first.values.length ? 'kept' : 'empty', values: first.values, origin: first }
  }
  if (state === 'present') return { outcome: 'mapped', values, origin: attribute }
  const keeps = when === 'create' || (state === 'empty' ? empty : absent) === 'keep'
  return keeps && values.length ? { outcome: 'kept', values, origin: attribute } : state === 'empty' ? EMPTY : ABSENT
}

const EMPTY: Found = { outcome: 'empty', values: NOTHING, origin: undefined }

interface View {
  readonly inputs: Readonly<Record<string, unknown>>
  readonly longest: number
  /** An attribute with a value that no expression is to work on. */
  readonly tooLong: string | undefined
}

const NO_SESSION = { authnContext: '', authnInstant: '' }

/** What expressions see of one record: one view for each way in which rows may want the three cases, made when first asked for. */
export class Views {
  private readonly made: (View | undefined)[] = []
  private user: Record<string, unknown> | undefined
  private readonly record: RecordOnFile
  private readonly policy: SourcePolicy

  constructor(record: RecordOnFile, policy: SourcePolicy) {
    this.record = record
    this.policy = policy
    if (policy.reads.user) this.user = { ...policy.nobody }
  }

  /** What a row has made, for the rows that build on it. */
  put(to: AttributeDefinition, values: readonly string[]): void {
    if (this.user) this.user[to.name] = celValue(to.type, values)
  }

  of(keeping: Keeping): View {
    const key = (keeping.when === 'create' ? 4 : 0) + (keeping.absent === 'keep' ? 2 : 0) + (keeping.empty === 'keep' ? 1 : 0)
    const made = this.made[key]
    if (made) return made
    const { record, policy } = this
    // Maps, because an identity provider may call an attribute `constructor`.
    const attributes = new Map<string, readonly string[]>()
    let longest = 0
    let tooLong: string | undefined
    const take = (asked: string, name: string | undefined) => {
      if (name === undefined) return
      const word = inEffect(record.attributes[name] as AttributeOnFile, keeping)
      if (word.outcome === 'absent') return
      const { values } = word
      attributes.set(asked, values)
      if (values.length > longest) longest = values.length
      for (const value of values) if (value.length > LONGEST_TEXT) tooLong = name
    }
    if (policy.reads.all) for (const name in record.attributes) take(name, name)
    for (const asked of policy.reads.names) take(asked, nameOnFile(record, asked))
    const { nameId, session = NO_SESSION } = record
    const view: View = {
      longest,
      tooLong,
      inputs: {
        attributes,
        nameID: nameId?.value ?? '',
        session: { authnContext: session.authnContext, authnInstant: session.authnInstant, nameIDFormat: nameId?.format ?? '' },
        source: policy.asSource,
        user: this.user,
      },
    }
    this.made[key] = view
    return view
  }
}
