// Whatever a source says one time after the other: everybody is as a simple model says, the same feed twice changes nobody, what is
// taken back is as it was, and who reads only what has changed comes to the same.

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import fc from 'fast-check'
import type { ImportRun } from '../../src/flows/import-ports.ts'
import { countsOf, hr, Importing } from '../support/imports.ts'

const FREELY = {
  safeguard: { share: 1, count: 1_000_000 },
  feed: { smallest: 0 },
  lifecycle: { leavers: 'deprovision', returns: 'revive' },
}

/** A user name of their own, an address that several may have: two of the same address are told apart by nobody but a person. */
const BY_NUMBER = hr({
  ...FREELY,
  mapping: [
    { to: 'userName', from: 'attributes.employeeNumber' },
    { to: 'email', from: 'attributes.email', empty: 'clear' },
    { to: 'department', from: 'attributes.department', empty: 'clear' },
  ],
})
/** The address is the user name, and so one person's. */
const BY_ADDRESS = hr({ ...FREELY })

interface Edit {
  readonly who: number
  readonly says: { readonly email: string; readonly department: string } | 'nothing any more'
}

interface Step {
  readonly edits: readonly Edit[]
  readonly mode: 'full' | 'incremental'
  readonly takenBack: boolean
}

const edit: fc.Arbitrary<Edit> = fc.record({
  who: fc.nat({ max: 5 }),
  says: fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({ email: fc.constantFrom('', 'a@x', 'b@x', 'c@x', 'd@x'), department: fc.constantFrom('', 'Law', 'Sales') }),
    },
    { weight: 1, arbitrary: fc.constant('nothing any more' as const) },
  ),
})
const steps = (mode: fc.Arbitrary<Step['mode']>): fc.Arbitrary<readonly Step[]> =>
  fc.array(fc.record({ edits: fc.array(edit, { maxLength: 5 }), mode, takenBack: fc.boolean() }), { minLength: 1, maxLength: 6 })

interface Person {
  readonly email: string
  readonly department: string
  readonly state: 'active' | 'deprovisioned'
  /** Shut out by hand: no feed lets them in. */
  readonly byHand?: true
}

type People = ReadonlyMap<string, Person>

/**
 * What becomes of everybody when all is approved that can be.
 * @param gone whom the source itself calls gone: of them nothing is asked
 */
function imported(
  people: People,
  feed: ReadonlyMap<string, { readonly email: string; readonly department: string }>,
  gone: ReadonlySet<string> = new Set(),
): People {
  const after = new Map<string, Person>()
  // Whoever alone has the address of a newcomer may be called something else from now on, and has not left until a person says so.
  const sameAddress = (one: Person) => [...people.values()].filter(({ email }) => email === one.email).length
  const isAskedAbout = (one: Person) =>
    one.email !== '' && sameAddress(one) === 1 && [...feed].some(([key, { email }]) => !people.has(key) && email === one.email)
  for (const [key, person] of people) {
    const says = feed.get(key)
    if (!says && !gone.has(key) && isAskedAbout(person)) after.set(key, person)
    else if (!says) after.set(key, { ...person, state: 'deprovisioned' })
    else after.set(key, { ...person, ...says, state: person.byHand ? person.state : 'active' })
  }
  const newcomers = [...feed].filter(([key]) => !people.has(key))
  for (const [key, says] of newcomers) {
    const same = ({ email }: { readonly email: string }) => email !== '' && email === says.email
    const looksLike = [...people.values()].some(same) || newcomers.some(([other, one]) => other !== key && same(one))
    if (!looksLike) after.set(key, { ...says, state: 'active' })
  }
  return after
}

describe('imports, one after the other', () => {
  let at: Importing
  let world = 0

  const fresh = (source: Record<string, unknown>) => {
    before(async () => {
      at = await Importing.open('sqlite', { sources: [source] })
    })
    after(() => at?.close())
  }
  /** Nobody is here, and nobody ever was. */
  const nobody = async () => {
    world++
    at.people.clear()
    for (const table of EMPTIED) await at.db.writer(table).delete()
  }
  const key = (who: number) => `W${world}-${who}`
  const apply = (edits: readonly Edit[]) => {
    for (const { who, says } of edits) {
      if (says === 'nothing any more') at.drop(key(who))
      else at.put(key(who), says)
    }
  }
  const feed = () => new Map([...at.people].map(([name, { email = '', department = '' }]) => [name, { email, department }]))
  const run = async (mode: Step['mode'] = 'full'): Promise<ImportRun> => {
    at.later(1)
    const met = await at.run({ mode, approved: true })
    assert.ok(met.state === 'done' || met.state === 'waiting', JSON.stringify(met))
    return met
  }
  const whole = async () => {
    const [users, links, open, claims] = await Promise.all([
      at.db.read((knex) => knex('users').select('id', 'user_name', 'state', 'profile', 'grants')),
      at.db.read((knex) => knex('links').select('user_id', 'external_id')),
      at.db.read((knex) => knex('runs').where({ state: 'running' })),
      at.db.read((knex) => knex('import_claims').limit(1)),
    ])
    assert.deepEqual([open, claims], [[], []])
    const pages = await Promise.all(users.map(({ id }) => at.user(id)))
    return new Map(
      pages
        .map(({ id, userName, state, profile }) => {
          const linked = links.filter((one) => one.user_id === id).map((one) => one.external_id)
          const values = Object.fromEntries(Object.entries(profile).map(([name, value]) => [name, value.values]))
          return [userName, { state, linked, values }] as const
        })
        .sort(([a], [b]) => (a < b ? -1 : 1)),
    )
  }
  const asModel = async (): Promise<People> =>
    new Map(
      [...(await whole())].map(([name, { state, values }]) => {
        const { email: [email = ''] = [], department: [department = ''] = [] } = values
        return [name, { email, department, state: state as Person['state'] }]
      }),
    )
  const plainly = (people: People) =>
    [...people]
      .map(([name, { email, department, state }]) => [name, email, department, state])
      .sort(([a = ''], [b = '']) => (a < b ? -1 : 1))
  const writes = (met: ImportRun) => {
    return met.counts.applied ?? 0
  }
  /** The same again and again, until nobody is changed by it any more. */
  const settle = async () => {
    for (let i = 0; i < 8; i++) {
      const met = await run()
      if (!writes(met)) return met
    }
    throw new assert.AssertionError({ message: 'the same feed changes people without end' })
  }
  /** What was done, as it was before. */
  const takeBack = async (made: ImportRun, was: Awaited<ReturnType<typeof whole>>) => {
    at.later(1)
    const undone = await at.undo(made.id)
    if (undone.outcome === 'refused') {
      assert.equal(made.counts.applied ?? 0, 0, undone.why)
      return
    }
    assert.ok(undone.outcome === 'undone')
    assert.deepEqual(undone.left, [])
    assert.deepEqual(await whole(), was)
  }

  describe('of people with a user name of their own', () => {
    fresh(BY_NUMBER)

    it('leave everybody as a simple model says, and as they were when they are taken back', async () => {
      await fc.assert(
        fc.asyncProperty(steps(fc.constant('full')), async (all) => {
          await nobody()
          let people: People = new Map()
          for (const { edits, takenBack } of all) {
            apply(edits)
            const was = await whole()
            const made = await run()
            const then = imported(people, feed())
            assert.deepEqual(plainly(await asModel()), plainly(then))
            if (!takenBack) people = then
            else {
              await takeBack(made, was)
              // Somebody has shut them out again, and it is not the source that lets them in then.
              const shut = [...people].map(([name, person]): [string, Person] => {
                const returned = person.state === 'deprovisioned' && then.get(name)?.state === 'active'
                return [name, returned ? { ...person, byHand: true } : person]
              })
              people = new Map(shut)
            }
          }
        }),
        { numRuns: 40 },
      )
    })

    it('change nobody when the same comes again', async () => {
      await fc.assert(
        fc.asyncProperty(steps(fc.constant('full')), async (all) => {
          await nobody()
          for (const { edits } of all) {
            apply(edits)
            await run()
          }
          const { counts } = await settle()
          const here = await asModel()
          const known = [...at.people.keys()].filter((name) => here.has(name)).length
          assert.deepEqual([counts.unchanged ?? 0, counts.disputed ?? 0], [known, at.people.size - known])
          const before = await whole()
          assert.deepEqual(countsOf(await run()), countsOf({ counts } as ImportRun))
          assert.deepEqual(await whole(), before)
        }),
        { numRuns: 25 },
      )
    })

    it('come to the same where only what has changed is read', async () => {
      await fc.assert(
        fc.asyncProperty(steps(fc.constantFrom('full', 'incremental')), async (all) => {
          await nobody()
          let people: People = new Map()
          await run()
          for (const { edits, mode } of all) {
            const before = [...at.people.keys()]
            apply(edits)
            await run(mode)
            const gone = mode === 'incremental' ? before.filter((name) => !at.people.has(name)) : []
            people = imported(people, feed(), new Set(gone))
            assert.deepEqual(plainly(await asModel()), plainly(people), mode)
          }
        }),
        { numRuns: 40, examples: [[GONE_WHILE_WAITING]] },
      )
    })
  })

  describe('of people whose address is their user name', () => {
    fresh(BY_ADDRESS)

    it('change nobody when the same comes again, and leave everybody as they were when they are taken back', async () => {
      await fc.assert(
        fc.asyncProperty(steps(fc.constant('full')), async (all) => {
          await nobody()
          for (const { edits, takenBack } of all) {
            apply(edits)
            const was = await whole()
            const made = await run()
            if (takenBack) await takeBack(made, was)
          }
          await settle()
          const before = await whole()
          assert.equal(writes(await run()), 0)
          assert.deepEqual(await whole(), before)
          const named = new Set([...at.people.values()].map(({ email }) => email))
          for (const { state, linked, values } of before.values()) {
            const isNamed = linked.some((name) => at.people.has(name)) || values.email?.some((email) => named.has(email))
            assert.ok(state !== 'active' || isNamed, `${linked} is in the feed, or somebody with their address is`)
          }
        }),
        { numRuns: 40, examples: [[SAID_AGAIN]] },
      )
    })
  })
})

/** Somebody looks like somebody else, waits for a person, and is gone from the source before they differ. */
const GONE_WHILE_WAITING: readonly Step[] = [
  { edits: [{ who: 0, says: { email: 'a@x', department: '' } }], mode: 'full', takenBack: false },
  { edits: [{ who: 1, says: { email: 'a@x', department: '' } }], mode: 'full', takenBack: false },
  { edits: [{ who: 0, says: { email: '', department: '' } }], mode: 'full', takenBack: false },
  { edits: [{ who: 1, says: 'nothing any more' }], mode: 'incremental', takenBack: false },
]

/** What was taken back, and then said again as it was before. */
const SAID_AGAIN: readonly Step[] = [
  { edits: [{ who: 0, says: { email: 'a@x', department: 'Law' } }], mode: 'full', takenBack: false },
  { edits: [{ who: 0, says: { email: 'a@x', department: 'Sales' } }], mode: 'full', takenBack: true },
  { edits: [{ who: 0, says: { email: 'a@x', department: 'Law' } }], mode: 'full', takenBack: false },
]

const EMPTIED = [
  'import_rows',
  'import_claims',
  'runs',
  'source_states',
  'leavings',
  'jobs',
  'tasks',
  'user_keys',
  'source_records',
  'links',
  'match_cases',
  'former_names',
  'audit_events',
  'users',
]
