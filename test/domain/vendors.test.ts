// What identity providers of each vendor send, under a policy of the kind that is written for them, makes exactly this profile.

import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { NameId, User } from '../../src/domain/model.ts'
import { isRefusal } from '../../src/domain/refusals.ts'
import { type Attributes, NOW, policyOf, says, World } from '../support/world.ts'

interface Statement {
  readonly note: string
  readonly connection: string
  /** As in a policy file. */
  readonly policy: unknown
  /** One after the other, in one world. */
  readonly signIns: readonly SignIn[]
}

interface SignIn {
  /** Left out: the statement's. */
  readonly connection?: string
  readonly nameId: NameId
  readonly aliases?: Readonly<Record<string, string>>
  readonly attributes: Attributes
  readonly expect: {
    /** The kind of change, or the code of the refusal. */
    readonly outcome: string
    /** The whole of it. After a refusal: of the first user, as it still stands. */
    readonly profile?: Values
    readonly entitlements?: readonly string[]
    /** The how-manieth user to have been created. */
    readonly user?: number
    /** Part of a refusal's reason. */
    readonly detail?: string
    /** Part of why memberships are held; left out: they are not. */
    readonly held?: string
    readonly passedOver?: readonly string[]
  }
}

type Values = Readonly<Record<string, readonly string[]>>

const folder = new URL('../fixtures/attribute-statements/', import.meta.url)
const names = readdirSync(fileURLToPath(folder)).sort()
const HOUR = 3_600_000

describe('attribute statements', () => {
  it('are there of every vendor', () => {
    const vendors = new Set(names.map((name) => name.split(/[-.]/)[0]))
    const known = ['adfs', 'entra', 'google', 'jumpcloud', 'keycloak', 'okta', 'onelogin', 'pingfederate', 'shibboleth']
    assert.deepEqual([...vendors].sort(), known)
  })

  for (const name of names) {
    const statement: Statement = JSON.parse(readFileSync(new URL(name, folder), 'utf8'))
    it(statement.note, () => {
      const world = new World(policyOf(statement.policy))
      for (const [at, signIn] of statement.signIns.entries()) judge(world, statement, signIn, `sign-in ${at + 1}`)
    })
  }
})

function judge(world: World, statement: Statement, signIn: SignIn, place: string): void {
  const { connection = statement.connection, nameId, aliases = {}, attributes, expect } = signIn
  const observedAt = new Date(NOW.getTime() + statement.signIns.indexOf(signIn) * HOUR)
  const said = says(connection, attributes, { nameId, aliases, observedAt })
  const before = new Map(world.users)
  const { outcome, explanation } = world.hear(said)
  if (isRefusal(outcome)) {
    assert.equal(outcome.code, expect.outcome, `${place}: ${outcome.detail}`)
    assert.ok(expect.detail, `${place}: a refusal has a detail to look for`)
    assert.ok(outcome.detail.includes(expect.detail), `${place}: ${outcome.detail}`)
    assert.deepEqual(world.users, before, place)
    const [first] = world.users.values()
    if (expect.profile) assert.deepEqual(first && valuesOf(first), expect.profile, place)
    return
  }
  const { kind, user } = outcome
  assert.equal(kind, expect.outcome, place)
  assert.deepEqual(valuesOf(user), expect.profile, place)
  assert.deepEqual(
    user.grants.map((grant) => grant.name),
    expect.entitlements ?? [],
    place,
  )
  if (expect.user !== undefined) assert.equal(user.id, `usr_${expect.user}`, place)
  const { held = '', passedOver } = explanation.groups ?? {}
  assert.ok(expect.held === undefined ? held === '' : held.includes(expect.held), `${place}: held: ${held}`)
  if (expect.passedOver) assert.deepEqual(passedOver, expect.passedOver, place)
}

function valuesOf({ profile }: User): Values {
  return Object.fromEntries(Object.entries(profile).map(([attribute, { values }]) => [attribute, values]))
}
