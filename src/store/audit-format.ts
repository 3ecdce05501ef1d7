// How an event's details are written: an import makes a million people with a dozen values each, and each value that there was
// none of before is told by its name alone. What an earlier release wrote at length is read as well.

import { fromJson } from './db.ts'

interface Changed {
  readonly attribute: string
  readonly before: readonly string[]
  readonly after: readonly string[]
}

export type Details = Readonly<Record<string, unknown>>

export function writeDetails(details: Details): string {
  const { attributes } = details
  if (!Array.isArray(attributes)) return JSON.stringify(details)
  const set: [name: string, value: string][] = []
  const rest: Changed[] = []
  for (const one of attributes as readonly Changed[]) {
    const [value] = one.after
    if (!one.before.length && one.after.length === 1 && value !== undefined) set.push([one.attribute, value])
    else rest.push(one)
  }
  // As they are where none is short: whoever reads them by hand is not to be puzzled.
  return JSON.stringify(set.length ? { ...details, attributes: rest.length ? rest : undefined, set: Object.fromEntries(set) } : details)
}

export function readDetails(column: unknown): Details {
  const {
    set,
    attributes = [],
    ...rest
  } = fromJson<Details & { set?: Readonly<Record<string, string>>; attributes?: readonly Changed[] }>(column)
  if (!set) return fromJson<Details>(column)
  const came = Object.entries(set).map(([attribute, value]): Changed => ({ attribute, before: [], after: [value] }))
  return { attributes: [...attributes, ...came].sort((a, b) => (a.attribute < b.attribute ? -1 : 1)), ...rest }
}
