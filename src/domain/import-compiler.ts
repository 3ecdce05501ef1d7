// Compiles the document of a source that people are imported from: what it shares with connections, and what may follow from an
// import without a person looking.

import { readsChanges, type SourceSpec } from './documents/source.ts'
import type { SourceId } from './ids.ts'
import type { LifecycleRules, WantedState } from './lifecycle.ts'
import type { Safeguards } from './safeguard.ts'
import { foldKey, type Schema } from './schema.ts'
import {
  attributesOf,
  compileRow,
  compileSource,
  type Refuse,
  type SourceFault,
  type SourceLanguages,
  type SourceRules,
} from './source-compiler.ts'
import type { ImportRules, SourcePolicy } from './source-policy.ts'

export interface Compiling {
  readonly id: SourceId
  readonly version: number
  readonly spec: SourceSpec
  readonly schema: Schema
  readonly languages: SourceLanguages
}

export function compileImport({ id, version, spec, schema, languages }: Compiling): {
  readonly policy: SourcePolicy
  readonly faults: SourceFault[]
} {
  const rules = rulesOf(spec)
  const compiled = compileSource({ id, version, spec: rules, schema, languages })
  const faults: SourceFault[] = [...compiled.faults.filter(({ segments: [first] }) => first !== 'jit')]
  const refused: Refuse = (segments, message): undefined => {
    faults.push({ segments, message })
  }
  if (spec.lifecycle.erase !== undefined && spec.lifecycle.leavers !== 'deprovision' && !spec.lifecycle.state?.deprovisioned.length)
    refused(['lifecycle', 'erase'], 'nobody is deprovisioned by this source, so nobody would ever be erased')
  const { policy } = compiled
  for (const { to, reads } of policy.mapping) {
    const what = reads.nameID ? 'nameID' : reads.session ? 'session' : undefined
    const row = spec.mapping.findIndex((one) => one.to === to.name)
    if (what) refused(['mapping', row, 'from'], `only a sign-in has ${what}; of a row of ${spec.name} there are its attributes`)
  }
  const timed = (['full', 'incremental'] as const).find((kind) => spec.schedule[kind] !== undefined)
  if (timed && spec.kind === 'csv' && spec.csv.file === undefined)
    refused(
      ['schedule', timed],
      'nothing says which file to read then: give csv.file (csv.folder is looked at all the time, and needs no schedule)',
    )
  if (spec.schedule.incremental !== undefined && !readsChanges(spec))
    refused(
      ['schedule', 'incremental'],
      `${spec.name} cannot be asked what has changed${SAYS_SO[spec.kind] ? ` (${SAYS_SO[spec.kind]} is not there)` : ''}; schedule full runs`,
    )
  const imports = importRules(spec, policy, rules, languages, refused)
  const carriesLifecycle = spec.lifecycle.leavers !== 'nothing' || imports.state !== undefined
  return { faults, policy: { ...policy, carriesLifecycle, imports } }
}

/** By which field a source can be asked. */
const SAYS_SO: Readonly<Partial<Record<SourceSpec['kind'], string>>> = {
  sql: 'sql.changedBy',
  scim: 'scim.changes',
  rest: 'rest.changedSince',
}

/** A connection says these of sign-ins; of an import they follow. */
function rulesOf(spec: SourceSpec): SourceRules {
  const { name, kind, subjects, matching, linking, when, mapping, groups, redact, approve, key } = spec
  const jit = {
    create: approve.new !== 'never',
    update: true,
    required: [],
    staged: 'refuse',
    suspended: 'refuse',
    deprovisioned: 'refuse',
  } as const
  return {
    name,
    kind,
    ...(subjects === undefined ? {} : { subjects }),
    externalId: `attributes.${key}`,
    jit: { ...jit, required: [] },
    matching,
    linking,
    when,
    mapping,
    ...(groups ? { groups } : {}),
    redact,
  }
}

function importRules(spec: SourceSpec, policy: SourcePolicy, rules: SourceRules, languages: SourceLanguages, refused: Refuse): ImportRules {
  const { lifecycle, approve, safeguard, feed } = spec
  const only = spec.only === undefined ? undefined : languages.groups.compile(spec.only, ['bool', 'dyn'])
  if (only && 'message' in only) refused(['only'], `${only.message} (at character ${only.at + 1})`)
  const state = stateOf(spec, rules, languages, refused)
  const figure = (own: { share?: number | undefined; count?: number | undefined } | undefined) => ({
    share: own?.share ?? safeguard.share,
    count: own?.count ?? safeguard.count,
  })
  const safeguards: Safeguards = {
    leavers: figure(safeguard.leavers),
    blanked: figure(safeguard.blanked),
    memberships: figure(safeguard.memberships),
    moved: figure(safeguard.moved),
  }
  const expression = only && !('message' in only) ? only : undefined
  const read = [
    spec.key,
    ...policy.mapping.flatMap(({ reader }) => attributesOf(reader)),
    ...attributesOf(policy.groups?.read),
    ...attributesOf(state?.row.reader),
    ...(expression?.reads.attributes?.names ?? []),
  ]
  const kept: LifecycleRules = {
    newcomers: lifecycle.new,
    leavers: lifecycle.leavers,
    graceDays: lifecycle.grace,
    returns: lifecycle.returns,
  }
  return {
    key: spec.key,
    ...(expression && spec.only !== undefined ? { only: { text: spec.only, expression } } : {}),
    lifecycle: kept,
    ...(state ? { state } : {}),
    ...(lifecycle.erase === undefined ? {} : { eraseDays: lifecycle.erase }),
    approve,
    safeguards,
    smallest: feed.smallest,
    needed: [...new Set(read)],
  }
}

/** Directories and SCIM servers say it themselves. */
const ACCOUNT_STATE = { from: 'attributes.accountState', suspended: ['disabled', 'locked'], deprovisioned: [] }

function stateOf(spec: SourceSpec, rules: SourceRules, languages: SourceLanguages, refused: Refuse): ImportRules['state'] {
  const says = spec.kind === 'ldap' || spec.kind === 'scim'
  const given = spec.lifecycle.state ?? (says ? { ...ACCOUNT_STATE, active: undefined } : undefined)
  if (!given) return undefined
  const { from, active, suspended, deprovisioned } = given
  const words = new Map<string, WantedState>()
  for (const [state, said] of [
    ['active', active ?? []],
    ['suspended', suspended],
    ['deprovisioned', deprovisioned],
  ] as const) {
    for (const word of said) {
      const key = foldKey(word)
      if (words.has(key)) refused(['lifecycle', 'state', state], `«${word}» cannot mean both ${words.get(key)} and ${state}`)
      words.set(key, state)
    }
  }
  if (!suspended.length && !deprovisioned.length) refused(['lifecycle', 'state'], 'say which words mean suspended, or deprovisioned')
  const row = compileRow(
    { to: 'state', from, strength: 'follow', when: 'always', absent: 'clear', empty: 'clear' },
    { name: 'state', label: 'State', type: 'string' },
    rules,
    languages,
    (_field, message) => refused(['lifecycle', 'state', 'from'], message),
  )
  return row && { row, words, otherwise: active ? undefined : 'active' }
}
