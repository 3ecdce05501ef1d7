// The decision: tables that a domain expert can read, and properties that hold for any record.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import type { UserId } from '../../src/domain/ids.ts'
import { type LifecycleState, lifecycleStates, transition } from '../../src/domain/lifecycle.ts'
import { deriveProfile } from '../../src/domain/mastery.ts'
import { UNSPECIFIED } from '../../src/domain/matching.ts'
import { firstValue } from '../../src/domain/model.ts'
import { isRefusal } from '../../src/domain/refusals.ts'
import { LOCAL } from '../../src/domain/source-policy.ts'
import { type Attributes, NOW, policyOf, readTable, says, sourceId, World } from '../support/world.ts'

const THEN = new Date('2026-01-01T08:00:00Z')
const table = (name: string) => readTable(readFileSync(new URL(`./${name}.csv`, import.meta.url), 'utf8'))
const kindOf = ({ outcome }: { outcome: { kind?: string; code?: string } }) => outcome.code ?? outcome.kind

interface Corp {
  readonly jit?: Record<string, unknown>
  readonly mapping?: readonly Record<string, unknown>[]
  readonly more?: Record<string, unknown>
  readonly beside?: Record<string, unknown>
}

const ROWS = [
  { to: 'userName', from: 'attributes.uid' },
  { to: 'email', from: 'attributes.mail' },
]

function corp({ jit = {}, mapping = [], more = {}, beside = {} }: Corp = {}, revision = 1) {
  return policyOf(
    {
      connections: [
        {
          name: 'corp',
          kind: 'saml',
          subjects: '.',
          jit: { create: true, update: true, required: ['email'], ...jit },
          mapping: [...ROWS, ...mapping],
          ...more,
        },
      ],
      ...beside,
    },
    revision,
  )
}

const hears = (world: World, attributes: Attributes, differing: Parameters<typeof says>[2] = {}) =>
  world.hear(says('corp', attributes, differing))

/** `usr_1`, as they are. */
function first(world: World) {
  const user = world.users.get('usr_1' as UserId)
  assert.ok(user)
  return user
}

describe('decide', () => {
  for (const row of table('decisions')) {
    it(`${row.note}`, () => {
      const world = new World(corp())
      if (row['userName held by'] === 'another') {
        const [uid = ''] = (row.says ?? '').split('|')
        hears(world, { uid, mail: 'somebody@else' }, { subject: 'n-2' })
      }
      const id = `usr_${world.users.size + 1}` as UserId
      if (row.known === 'linked') {
        hears(world, { uid: 'ada', mail: 'ada@x' }, { observedAt: THEN })
        world.put({ ...world.person(id).linked, state: row.state as LifecycleState })
      }
      world.policy = corp({ jit: { create: row.create === 'yes', update: row.update === 'yes' } })
      const [uid = '', mail = ''] = (row.says ?? '').split('|')
      assert.equal(kindOf(hears(world, { uid, ...(mail ? { mail } : {}) })), row.outcome)
    })
  }

  it('says for every value who said it, with which sign-in, under which version, and since when', () => {
    const world = new World(corp())
    hears(world, { uid: 'ada', mail: 'ada@x' }, { observedAt: THEN, via: 'sgn_1' as never })
    const { outcome } = hears(world, { uid: 'ada', mail: 'new@x' }, { via: 'sgn_2' as never })
    assert.ok(!isRefusal(outcome))
    assert.deepEqual(outcome.attributes, [{ attribute: 'email', before: ['ada@x'], after: ['new@x'] }])
    const { email, userName } = outcome.user.profile
    assert.deepEqual(email, {
      values: ['new@x'],
      source: sourceId('corp'),
      policyVersion: 1,
      from: 'attributes.mail',
      since: NOW,
      via: 'sgn_2',
    })
    assert.deepEqual([userName?.since, userName?.via], [THEN, 'sgn_1'])
  })

  it('refuses whole, not in part, when a value on file can no longer be used', () => {
    const world = new World(corp())
    hears(world, { uid: 'ada', mail: 'ada@x', dept: ['x', 'y'] })
    world.policy = corp({ mapping: [{ to: 'department', from: 'attributes.dept' }] }, 2)
    const { outcome } = hears(world, { uid: 'ada', mail: 'ada@x' })
    assert.ok(isRefusal(outcome) && outcome.code === 'attribute.value')
    assert.match(outcome.detail, /^corp \(version 2\): department <- attributes\.dept: it takes one value/)
    assert.equal(first(world).revision, 1, 'nothing of it was kept')
  })

  it('refuses a name that no index could hold', () => {
    const world = new World(corp())
    const long = hears(world, { uid: 'u', mail: 'm' }, { nameId: { value: 'n'.repeat(600), format: UNSPECIFIED } })
    assert.equal(kindOf(long), 'attribute.value')
    assert.equal(kindOf(hears(world, { uid: 'u'.repeat(600), mail: 'm' })), 'attribute.value')
  })

  it('refuses a subject that the source may not speak of, and says which it may', () => {
    const world = new World(corp({ more: { subjects: '^[^@]+@corp\\.example$' } }))
    assert.equal(kindOf(hears(world, { uid: 'a', mail: 'm' }, { subject: 'ada@corp.example' })), 'create')
    const { outcome } = hears(world, { uid: 'b', mail: 'm' }, { subject: 'eve@corp.example.evil' })
    assert.ok(isRefusal(outcome) && outcome.code === 'subject.outside')
    assert.deepEqual([outcome.expected, outcome.came], ['^[^@]+@corp\\.example$', 'eve@corp.example.evil'])
  })
})

describe('matching', () => {
  const ATTRIBUTES = ['email', 'givenName', 'familyName', 'department', 'employeeNumber']
  const mapping = [
    { to: 'userName', from: 'nameID' },
    ...ATTRIBUTES.map((name) => ({ to: name, from: `attributes.${name}` })),
    { to: 'groups', from: 'attributes.groups' },
  ]
  const connection = (name: string, more: Record<string, unknown> = {}) => ({
    name,
    kind: 'saml',
    subjects: '.',
    jit: { create: true, update: true },
    mapping,
    ...more,
  })
  const read = (text: string): Record<string, string> =>
    Object.fromEntries(
      text
        .split(' ')
        .filter(Boolean)
        .map((pair) => pair.split('=')),
    )

  for (const { rules = '', linking = '', there = '', says: said = '', situation, outcome, note } of table('matching')) {
    it(`${note}`, () => {
      const matching = rules
        .split(';')
        .filter(Boolean)
        .map((rule) => rule.trim().split(' '))
        .map(([by = '', link]) => ({ by: by.split('+'), link }))
      const { renamed, ...lists } = read(linking)
      const guards = Object.fromEntries(Object.entries(lists).map(([name, value]) => [name, [value]]))
      const corpMore = { matching, linking: { ...guards, ...(renamed ? { renamed } : {}) } }
      const entitlements = [{ name: 'admin', when: "'root' in groups", administrator: true }]
      // The other one was there first, so what it has said stands.
      const world = new World(
        policyOf({ mastery: { rank: ['other', 'corp'] }, connections: [connection('other'), connection('corp', corpMore)], entitlements }),
      )
      for (const person of there.split(';').filter(Boolean)) {
        const [name = '', about = ''] = person.trim().split(': ')
        const { known, state, ...attributes } = read(about)
        const { outcome: made } = world.hear(says(known ? 'corp' : 'other', { ...attributes }, { subject: known ?? name }))
        assert.ok(!isRefusal(made), JSON.stringify(made))
        if (state) world.put({ ...made.user, state: state as LifecycleState })
      }
      const [subject = '', about = ''] = said.split(': ')
      const before = world.users.size
      const decision = world.hear(says('corp', read(about), { subject }))
      assert.equal(decision.explanation.match?.situation, situation)
      assert.ok(decision.explanation.match?.why)
      assert.equal(kindOf(decision), outcome, JSON.stringify(decision.outcome))
      assert.equal(world.users.size, outcome === 'create' ? before + 1 : before)
    })
  }

  it('takes a name that was given up with it when somebody is re-linked', () => {
    const relink = { matching: [{ by: ['email'], link: 'auto' }], linking: { renamed: 'relink' } }
    const world = new World(policyOf({ connections: [connection('corp', relink)] }))
    world.hear(says('corp', { email: 'ada@x', department: 'IT' }, { subject: 'old' }))
    const { outcome, explanation } = world.hear(says('corp', { email: 'ada@x' }, { subject: 'new' }))
    assert.ok(!isRefusal(outcome))
    assert.equal(outcome.link?.replaces?.value, 'old')
    assert.match(explanation.match?.why ?? '', /corp has known them as «old» until now/)
    assert.equal(firstValue(first(world).profile, 'department'), 'IT', 'what was known under the old name is still known')
    assert.equal(world.links.size, 1)
  })

  it('names both where a unique value clashes', () => {
    const schema = { attributes: [{ name: 'badge', type: 'string', unique: true }] }
    const rows = [...mapping, { to: 'badge', from: 'attributes.badge' }]
    const world = new World(policyOf({ schema, connections: [connection('corp', { mapping: rows })] }))
    world.hear(says('corp', { badge: 'B-1' }, { subject: 'ada' }))
    world.hear(says('corp', { badge: 'B-2' }, { subject: 'bob' }))
    const { outcome } = world.hear(says('corp', { badge: 'b-1 ' }, { subject: 'bob' }))
    assert.ok(isRefusal(outcome) && outcome.code === 'attribute.taken')
    assert.match(outcome.detail, /badge of usr_2 .* usr_1/)
    assert.equal(kindOf(world.hear(says('corp', { badge: 'B-2' }, { subject: 'eve' }))), 'match.unlinked')
  })
})

describe('a rule that links by itself', () => {
  const connection = (name: string, more: Record<string, unknown> = {}) => ({
    name,
    kind: 'saml',
    subjects: '.',
    jit: { create: true, update: true },
    mapping: [
      { to: 'userName', from: 'nameID' },
      { to: 'email', from: 'attributes.email' },
      { to: 'department', from: 'attributes.department', strength: 'enforce' },
      { to: 'groups', from: 'attributes.groups' },
    ],
    ...more,
  })
  const byEmail = { matching: [{ by: ['email'], link: 'auto' }] }
  const entitlements = [{ name: 'boss', when: "'admins' in groups", administrator: true }]

  it('sees administrators by what they would hold, not only by what they hold', () => {
    const policies = (rules: object[]) =>
      policyOf({
        mastery: { rank: ['a', 'b'] },
        connections: [connection('a'), connection('b', { ...byEmail, jit: { create: true, update: true, deprovisioned: 'revive' } })],
        entitlements: rules,
      })
    for (const state of ['active', 'deprovisioned'] as const) {
      const world = new World(policies(entitlements))
      world.hear(says('a', { email: 'ann@x', groups: ['admins'] }, { subject: 'ann' }))
      // As after a restoration, or under a rule that is new.
      world.put({ ...first(world), state, grants: [] })
      const { outcome, explanation } = world.hear(says('b', { email: 'ann@x' }, { subject: 'evil' }))
      assert.ok(isRefusal(outcome) && outcome.code === 'match.unlinked', JSON.stringify(outcome))
      assert.match(explanation.match?.candidates[0]?.objection ?? '', /would be an administrator/)
      assert.equal(world.links.size, 1)
    }
  })

  it('lets a source that may not change anybody change nobody at first contact either', () => {
    const quiet = { ...byEmail, jit: { create: false, update: false } }
    const world = new World(policyOf({ mastery: { rank: ['a', 'b'] }, connections: [connection('a'), connection('b', quiet)] }))
    world.hear(says('a', { email: 'ann@x', department: 'IT' }, { subject: 'ann' }))
    const { outcome } = world.hear(says('b', { email: 'ann@x', department: 'evil', groups: ['admins'] }, { subject: 'ann-b' }))
    assert.ok(!isRefusal(outcome), JSON.stringify(outcome))
    assert.deepEqual([outcome.attributes, world.links.size], [[], 2])
    const { profile } = first(world)
    assert.deepEqual([firstValue(profile, 'department'), profile.groups], ['IT', undefined])
  })
})

describe('what is on file', () => {
  it('is not passed by: what is required now, and how somebody signed in where a row reads that', () => {
    const rows = [{ to: 'userType', from: "session.authnContext == 'mfa' ? 'strong' : 'weak'" }]
    const entitlements = [{ name: 'vault', when: "user.userType == 'strong'" }]
    const world = new World(corp({ mapping: rows, beside: { entitlements } }))
    const session = (authnContext: string) => ({ session: { authnContext, authnInstant: '2026-02-01T08:00:00Z' } })
    const words = { uid: 'ada', mail: 'ada@x' }
    hears(world, words, session('mfa'))
    assert.deepEqual(
      first(world).grants.map(({ name }) => name),
      ['vault'],
    )
    hears(world, words, session('password'))
    assert.deepEqual([firstValue(first(world).profile, 'userType'), first(world).grants], ['weak', []])
    world.policy = corp({ mapping: rows, jit: { required: ['department'] }, beside: { entitlements } }, 2)
    world.put({ ...first(world), revision: 2 })
    assert.equal(kindOf(hears(world, words, session('password'))), 'attribute.missing')
  })

  it('keeps groups of every source apart, those set by hand included', () => {
    const world = new World(
      corp({
        jit: { required: [] },
        mapping: [{ to: 'department', from: 'attributes.d', absent: 'clear' }],
        more: { groups: { from: 'attributes.groups', mode: 'sync' } },
      }),
    )
    hears(world, { uid: 'ada', d: 'one', groups: ['a'] })
    world.edit('usr_1' as UserId, { groups: ['b'] })
    assert.deepEqual(first(world).profile.groups?.values, ['a', 'b'])
    hears(world, { uid: 'ada', d: 'two', groups: ['a'] })
    assert.deepEqual(first(world).profile.groups?.values, ['a', 'b'])
    hears(world, { uid: 'ada', groups: ['A'] })
    assert.deepEqual([first(world).profile.groups?.values, first(world).profile.department], [['A', 'b'], undefined])
  })

  it('stays as it is for whoever is known only from sources that are gone', () => {
    const world = new World(corp())
    hears(world, { uid: 'ada', mail: 'ada@x' })
    const before = first(world)
    world.policy = policyOf({}, 2)
    const outcome = world.again('usr_1' as UserId)
    assert.ok(!isRefusal(outcome))
    assert.deepEqual([outcome.kind, outcome.user.profile], ['unchanged', before.profile])
  })

  it('that the schema calls sensitive stays hidden when the schema forgets it', () => {
    const secret = { schema: { attributes: [{ name: 'ssn', type: 'string', sensitive: true }] } }
    const world = new World(corp({ mapping: [{ to: 'ssn', from: 'attributes.ssn' }], beside: secret }))
    hears(world, { uid: 'ada', mail: 'ada@x', ssn: '123-45' })
    world.policy = corp({}, 2)
    const outcome = world.again('usr_1' as UserId)
    assert.ok(!isRefusal(outcome))
    assert.deepEqual(outcome.attributes, [{ attribute: 'ssn', before: ['123-45'], after: [], sensitive: true }])
  })

  it('lacks what is redacted, under whichever name it came', () => {
    const world = new World(corp({ more: { redact: ['ssn'] } }))
    const words = { uid: 'ada', mail: 'ada@x', ssn: '1', 'http://a/ssn': '2', 'http://b/ssn': '3', 'urn:x': '4' }
    const { outcome } = hears(world, words, { aliases: { ssn: 'urn:x' } })
    assert.ok(!isRefusal(outcome))
    assert.deepEqual(Object.keys(outcome.record?.attributes ?? {}), ['uid', 'mail'])
  })
})

describe('mastery', () => {
  for (const { rank = '', list = '', next, hr = '', corp: corpCell = '', local = '', stands, note } of table('mastery')) {
    it(`${note}`, () => {
      const cells = { corp: corpCell, hr }
      const connections = Object.entries(cells).map(([name, cell]) => {
        const [strength] = cell.split(' ')
        const row =
          cell === '-' || cell === 'no row'
            ? []
            : [{ to: 'phoneNumber', from: 'attributes.phone', strength, absent: 'clear', empty: 'clear' }]
        return {
          name,
          kind: 'saml',
          subjects: '.',
          jit: { create: true, update: true },
          mapping: [{ to: 'userName', from: 'nameID' }, ...row],
        }
      })
      const own = list ? { from: list.split(' '), nextIfEmpty: next === 'yes' } : undefined
      const mastery = {
        rank: rank.split(' ').filter(Boolean),
        nextIfEmpty: !own && next === 'yes',
        attributes: own ? { phoneNumber: own } : {},
      }
      const world = new World(policyOf({ mastery, connections }))
      const said = (name: string, cell: string) => {
        const value = cell.split(' ')[1] ?? ''
        return says(name, { phone: value === '(empty)' || value === 'row' ? '' : value }, { subject: 'ada' })
      }
      const heard = Object.entries(cells).filter(([, cell]) => cell !== '-')
      for (const [i, [name, cell]] of heard.entries()) {
        if (i > 0) linkByHand(world, name)
        const { outcome } = world.hear(said(name, cell))
        assert.ok(!isRefusal(outcome), JSON.stringify(outcome))
      }
      if (local) setByHand(world, local)
      const { linked, records } = world.person('usr_1' as UserId)
      for (const order of [records, [...records].reverse()]) {
        const derived = deriveProfile(order, world.policy.sources, world.policy.mastery, { schema: world.policy.schema })
        assert.ok(!isRefusal(derived))
        const value = derived.profile.phoneNumber
        const by = value && world.policy.sources.get(value.source)?.name
        assert.equal(value ? `${value.values[0]} by ${by}` : 'nothing', stands)
      }
      assert.ok(linked)
    })
  }

  /** As a person would, so that two sources know one user. */
  function linkByHand(world: World, name: string): void {
    const externalId = { key: 'urn:oasis:names:tc:SAML:2.0:nameid-format:persistent ada', value: 'ada' }
    world.links.set(`${sourceId(name)} ${externalId.key}`, { user: 'usr_1' as UserId, source: sourceId(name), externalId })
  }

  function setByHand(world: World, value: string): void {
    const externalId = { key: 'usr_1', value: 'usr_1' }
    const record = {
      source: LOCAL,
      externalId,
      attributes: { phoneNumber: { values: [value], since: NOW, state: 'present' as const } },
      aliases: {},
      observedAt: NOW,
    }
    world.links.set(`${LOCAL} usr_1`, { user: 'usr_1' as UserId, source: LOCAL, externalId })
    world.records.set(`${LOCAL} usr_1`, record)
  }

  it('keeps the words that lost, and why', () => {
    const connections = ['hr', 'corp'].map((name) => ({
      name,
      kind: 'saml',
      subjects: '.',
      jit: { create: true, update: true },
      mapping: [
        { to: 'userName', from: 'nameID' },
        { to: 'title', from: 'attributes.title' },
      ],
    }))
    const world = new World(policyOf({ mastery: { rank: ['hr', 'corp'] }, connections }))
    world.hear(says('hr', { title: 'Analyst' }, { subject: 'ada' }))
    linkByHand(world, 'corp')
    world.hear(says('corp', { title: 'Wizard' }, { subject: 'ada' }))
    const { title } = first(world).profile
    assert.deepEqual(title?.values, ['Analyst'])
    assert.deepEqual(title?.lost, [
      { source: sourceId('corp'), from: 'attributes.title', values: ['Wizard'], why: 'by hr: hr is the profile source for it' },
    ])
    const { explanation } = world.consider(says('corp', { title: 'Wizard' }, { subject: 'ada' }), { explain: true })
    assert.deepEqual(
      explanation.verdicts.filter(({ attribute }) => attribute === 'title').map(({ source, verdict }) => `${source} ${verdict}`),
      ['corp blocked', 'hr stands'],
    )
  })

  it('refuses an edit of what is mastered elsewhere, and takes one of what is not', () => {
    const world = new World(corp({ mapping: [{ to: 'title', from: 'attributes.title', strength: 'enforce' }] }))
    hears(world, { uid: 'ada', mail: 'ada@x', title: 'Analyst' })
    const refused = world.edit('usr_1' as UserId, { title: ['Wizard'] })
    assert.ok(isRefusal(refused) && refused.code === 'attribute.mastered')
    assert.match(refused.detail, /title is read-only here: corp \(attributes\.title\) masters it/)
    assert.ok(!isRefusal(world.edit('usr_1' as UserId, { email: ['by-hand@x'], department: ['IT'] })))
    hears(world, { uid: 'ada', mail: 'another@x', title: 'Analyst' })
    assert.deepEqual([firstValue(first(world).profile, 'email'), firstValue(first(world).profile, 'department')], ['by-hand@x', 'IT'])
    assert.ok(!isRefusal(world.edit('usr_1' as UserId, { email: null, department: null })))
    assert.deepEqual([firstValue(first(world).profile, 'email'), first(world).profile.department], ['another@x', undefined])
  })
})

describe('lifecycle', () => {
  for (const { state, jit = '', 'carrier above': above, outcome, becomes, note } of table('lifecycle')) {
    it(`${note}`, () => {
      const leave = Object.fromEntries(
        jit
          .split(' ')
          .filter(Boolean)
          .map((pair) => pair.split('=')),
      )
      const connection = (name: string, more: Record<string, string>) => ({
        name,
        kind: 'saml',
        subjects: '.',
        jit: { create: true, update: true, ...more },
        mapping: [{ to: 'userName', from: 'nameID' }],
      })
      const connections = [connection('corp', leave), connection('hr', { suspended: 'revive' })]
      const world = new World(policyOf({ mastery: { rank: ['hr', 'corp'] }, connections }))
      world.hear(says('corp', {}, { subject: 'ada' }))
      if (above) {
        const key = 'urn:oasis:names:tc:SAML:2.0:nameid-format:persistent ada'
        world.links.set(`${sourceId('hr')} ${key}`, { user: 'usr_1' as UserId, source: sourceId('hr'), externalId: { key, value: 'ada' } })
        world.hear(says('hr', {}, { subject: 'ada' }))
      }
      world.put({ ...first(world), state: state as LifecycleState })
      const decision = world.hear(says('corp', {}, { subject: 'ada' }))
      assert.equal(kindOf(decision), outcome)
      assert.equal(first(world).state, becomes)
      if (!isRefusal(decision.outcome) && state !== 'active')
        assert.match(decision.outcome.transition?.reason ?? '', /signed in through corp/)
    })
  }

  for (const row of table('transitions')) {
    it(`from ${row.from}: ${row.note}`, () => {
      for (const to of lifecycleStates) {
        assert.equal(transition(row.from as LifecycleState, to, 'why') !== undefined, row[to] === 'yes', `${row.from} -> ${to}`)
      }
    })
  }
})

describe('groups and entitlements', () => {
  const grouped = (groups: Record<string, unknown>, beside: Record<string, unknown> = {}) =>
    corp({ jit: { required: [] }, more: { groups }, beside })
  const of = (world: World) => first(world).profile.groups?.values ?? []
  const claim = { from: 'attributes.groups' }

  it('appends what is asserted and listed, and removes nothing', () => {
    const world = new World(grouped({ ...claim, mode: 'append', allow: ['staff', 'finance'] }))
    hears(world, { uid: 'ada', groups: ['STAFF', 'other'] })
    assert.deepEqual(of(world), ['staff'])
    hears(world, { uid: 'ada', groups: ['finance'] })
    assert.deepEqual(of(world), ['staff', 'finance'])
    hears(world, { uid: 'ada', groups: [] })
    assert.deepEqual(of(world), ['staff', 'finance'])
  })

  it('takes no notice of the order in which they are sent', () => {
    const world = new World(grouped({ ...claim, mode: 'sync' }))
    hears(world, { uid: 'ada', groups: ['staff', 'finance'] })
    const { outcome } = hears(world, { uid: 'ada', groups: ['finance', 'staff'] })
    assert.ok(!isRefusal(outcome))
    assert.deepEqual([outcome.kind, of(world)], ['unchanged', ['staff', 'finance']])
  })

  it('synchronises listed groups, and holds what a missing claim says nothing of', () => {
    const world = new World(grouped({ ...claim, mode: 'sync', allow: ['staff', 'finance'] }))
    hears(world, { uid: 'ada', groups: ['staff', 'finance'] })
    hears(world, { uid: 'ada', groups: ['staff'] })
    assert.deepEqual(of(world), ['staff'])
    const { explanation } = hears(world, { uid: 'ada' })
    assert.deepEqual([of(world), explanation.groups?.held], [['staff'], 'attributes.groups is absent'])
    hears(world, { uid: 'ada', groups: [] })
    assert.deepEqual(of(world), [], 'an empty claim says that there are none')
  })

  it('removes only what is listed when the way of taking groups changes', () => {
    const world = new World(grouped({ ...claim, mode: 'append' }))
    hears(world, { uid: 'ada', groups: ['staff', 'club'] })
    world.policy = grouped({ ...claim, mode: 'sync', allow: ['staff'] })
    hears(world, { uid: 'ada', groups: [] })
    assert.deepEqual(of(world), ['club'])
  })

  it('assigns the listed groups to everybody, and nothing where groups are none of its business', () => {
    const world = new World(grouped({ mode: 'assign', allow: ['partners'] }))
    hears(world, { uid: 'ada', groups: ['staff'] })
    assert.deepEqual(of(world), ['partners'])
    world.policy = grouped({ mode: 'none' })
    hears(world, { uid: 'ada', groups: ['staff'], mail: 'x' })
    assert.deepEqual(of(world), [])
  })

  it('gives roles by groups and attributes, and takes them back with them', () => {
    const entitlements = [
      { name: 'app.editor', when: "'finance' in groups" },
      { name: 'app.boss', when: "user.email.endsWith('@boss.example') && !('finance' in groups)" },
    ]
    const world = new World(grouped({ ...claim, mode: 'sync' }, { entitlements }))
    hears(world, { uid: 'ada', mail: 'ada@boss.example', groups: ['finance'] })
    assert.deepEqual(
      first(world).grants.map(({ name }) => name),
      ['app.editor'],
    )
    const { outcome } = hears(world, { uid: 'ada', mail: 'ada@boss.example', groups: [] })
    assert.ok(!isRefusal(outcome))
    assert.deepEqual([outcome.entitled.gained, outcome.entitled.lost], [['app.boss'], ['app.editor']])
  })

  it('counts seats: whoever has one keeps it, others wait, and get it once it is free', () => {
    const licence = (seats: number) => ({ entitlements: [{ name: 'app.pro', when: "'pro' in groups", seats }] })
    const world = new World(grouped({ ...claim, mode: 'sync' }, licence(1)))
    const sign = (who: string, groups: string[]) => world.hear(says('corp', { uid: who, groups }, { subject: who }))
    sign('ada', ['pro'])
    const { outcome } = sign('bob', ['pro'])
    assert.ok(!isRefusal(outcome), 'nobody is kept out for want of a licence')
    assert.deepEqual([outcome.user.grants, outcome.user.waiting], [[], ['app.pro']])
    assert.equal(world.seats.get('app.pro'), 1)
    assert.deepEqual(
      first(world).grants.map(({ name }) => name),
      ['app.pro'],
    )
    sign('ada', [])
    assert.equal(world.seats.get('app.pro'), 0)
    const again = sign('bob', ['pro'])
    assert.ok(!isRefusal(again.outcome))
    assert.deepEqual([again.outcome.entitled.gained, again.outcome.user.waiting], [['app.pro'], []])
    world.policy = grouped({ ...claim, mode: 'sync' }, licence(0))
    assert.deepEqual(
      [...world.users.values()][1]?.grants.map(({ name }) => name),
      ['app.pro'],
      'fewer seats take nobody’s away',
    )
  })
})

describe('properties', () => {
  const value = fc.string({ minLength: 1, maxLength: 12 }).filter((text) => text.trim() === text && !/\p{Cc}/u.test(text))
  const values = value.map((one) => [one])
  const groups = fc.array(fc.constantFrom('staff', 'finance', 'club'), { maxLength: 3 })
  const statement = fc.record({ uid: values, mail: values, phone: values, title: values, groups }, { requiredKeys: ['uid', 'mail'] })
  const row = (to: string, from: string, more: object = {}) => ({ to, from, ...more })
  const strength = fc.constantFrom('fill', 'follow', 'enforce')
  const when = fc.constantFrom('create', 'always', 'inherit')
  const wide = (more: object = {}) =>
    corp({
      mapping: [row('phoneNumber', 'attributes.phone', more), row('title', "'T: ' + attributes.title[0]", more)],
      more: { groups: { from: 'attributes.groups', mode: 'sync' } },
      beside: { entitlements: [{ name: 'app.editor', when: "'finance' in groups" }] },
    })
  const styles = fc.record({ strength, when })

  it('the same record twice changes nothing', () => {
    fc.assert(
      fc.property(statement, styles, (attributes, style) => {
        const world = new World(wide(style))
        hears(world, attributes, { observedAt: THEN })
        const { outcome } = hears(world, attributes)
        assert.ok(!isRefusal(outcome))
        assert.deepEqual([outcome.kind, outcome.userMoved, outcome.recordMoved, outcome.link], ['unchanged', false, false, undefined])
      }),
    )
  })

  it('a value is never erased because the source left it out', () => {
    fc.assert(
      fc.property(statement, statement, styles, (one, two, style) => {
        const world = new World(wide(style))
        hears(world, one, { observedAt: THEN })
        const before = first(world).profile
        hears(world, two)
        for (const attribute of Object.keys(before)) {
          // An empty claim of groups is not a missing one.
          if (attribute !== 'groups') assert.ok(first(world).profile[attribute], attribute)
        }
      }),
    )
  })

  it('the result does not depend on the order in which sources spoke', () => {
    const policy = policyOf({
      mastery: { rank: ['b', 'a'], attributes: { phoneNumber: { from: ['a', 'b'], nextIfEmpty: true } } },
      connections: ['a', 'b'].map((name) => ({
        name,
        kind: 'saml',
        subjects: '.',
        jit: { create: true, update: true },
        mapping: [
          ...ROWS,
          row('phoneNumber', 'attributes.phone'),
          row('title', 'attributes.title', { strength: name === 'a' ? 'enforce' : 'fill' }),
        ],
        groups: { from: 'attributes.groups', mode: 'append' },
      })),
    })
    fc.assert(
      fc.property(statement, statement, (one, two) => {
        const profiles = (['a', 'b'] as const).map((begins) => {
          const world = new World(policy)
          const other = begins === 'a' ? 'b' : 'a'
          const words = { a: one, b: two }
          world.hear(says(begins, words[begins], { subject: 'x' }))
          const [link] = world.links.values()
          assert.ok(link)
          world.links.set(`${sourceId(other)} ${link.externalId.key}`, { ...link, source: sourceId(other) })
          const { outcome } = world.hear(says(other, words[other], { subject: 'x' }))
          assert.ok(!isRefusal(outcome), JSON.stringify(outcome))
          return outcome.user.profile
        })
        assert.deepEqual(profiles[0], profiles[1])
      }),
    )
  })

  it('no path revives the deprovisioned unless it is allowed', () => {
    const leave = fc.record({ staged: fc.constantFrom('refuse', 'activate'), suspended: fc.constantFrom('refuse', 'revive') })
    fc.assert(
      fc.property(statement, statement, leave, fc.boolean(), fc.boolean(), (one, two, allowed, create, update) => {
        const world = new World(wide())
        hears(world, one)
        world.put({ ...first(world), state: 'deprovisioned', grants: [] })
        world.policy = corp(
          {
            jit: { create, update, required: [], ...allowed },
            more: { matching: [{ by: ['email'], link: 'auto' }], linking: { renamed: 'relink' } },
          },
          2,
        )
        hears(world, two)
        hears(world, { ...two, mail: one.mail }, { subject: 'another name' })
        world.edit('usr_1' as UserId, { title: ['x'] })
        const again = world.again('usr_1' as UserId)
        if (!isRefusal(again)) world.keep(again)
        assert.equal(first(world).state, 'deprovisioned')
        assert.deepEqual(first(world).grants, [])
      }),
    )
  })

  it('what is worked out from what has changed is what is worked out from all of it', () => {
    const all = (more: object) => [
      row('nickName', 'first(attributes.phone) + user.email', more),
      row('title', 'attributes.title', { ...more, order: 1 }),
      row('title', 'attributes.phone', { ...more, order: 2, default: 'none' }),
      row('division', "attributes.exists(name, name == 'phone') ? 'a' : 'b'", more),
    ]
    const cleared = fc.record({ absent: fc.constantFrom('keep', 'clear'), empty: fc.constantFrom('keep', 'clear'), when })
    fc.assert(
      fc.property(statement, fc.array(statement, { minLength: 1, maxLength: 3 }), cleared, (one, more, style) => {
        const world = new World(corp({ mapping: all(style) }))
        hears(world, one, { observedAt: THEN })
        for (const next of more) hears(world, next)
        const { linked, records } = world.person('usr_1' as UserId)
        const whole = deriveProfile(records, world.policy.sources, world.policy.mastery, { schema: world.policy.schema })
        assert.ok(!isRefusal(whole))
        const values = (profile: typeof linked.profile) =>
          Object.fromEntries(Object.entries(profile).map(([name, { values: all }]) => [name, all]))
        assert.deepEqual(values(linked.profile), values(whole.profile))
      }),
    )
  })

  it('what is explained is what is then done', () => {
    fc.assert(
      fc.property(statement, statement, styles, (one, two, style) => {
        const world = new World(wide(style))
        hears(world, one, { observedAt: THEN })
        const explained = world.consider(says('corp', two), { explain: true })
        const done = hears(world, two)
        assert.deepEqual(explained.outcome, done.outcome)
      }),
    )
  })

  it('the policy in force, tried again, changes nobody', () => {
    fc.assert(
      fc.property(fc.array(statement, { maxLength: 4 }), styles, (all, style) => {
        const world = new World(wide(style))
        for (const one of all) hears(world, one)
        if (!world.users.size) return
        const outcome = world.again('usr_1' as UserId, { ...world.policy, revision: -1 })
        assert.ok(!isRefusal(outcome))
        assert.deepEqual([outcome.kind, outcome.attributes, outcome.userMoved], ['unchanged', [], false])
      }),
    )
  })
})

describe('identify', () => {
  const keyOf = (value: string, format: string) => {
    const { outcome, explanation } = new World(corp()).consider(says('corp', { uid: 'u', mail: 'm' }, { nameId: { value, format } }))
    return isRefusal(outcome) ? outcome.code : explanation.externalId?.key
  }
  const email = 'urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress'
  const persistent = 'urn:oasis:names:tc:SAML:2.0:nameid-format:persistent'

  it('takes no notice of letter case in addresses, however they are labelled', () => {
    assert.equal(keyOf('Ada@Corp.example', email), keyOf('ada@corp.example', email))
    assert.equal(keyOf('Ada@Corp.example', UNSPECIFIED), keyOf('ada@corp.example', UNSPECIFIED))
  })
  it('keeps letter case in persistent identifiers, which may be base64', () => {
    assert.notEqual(keyOf('aGVsbG8=', persistent), keyOf('AGVSBG8=', persistent))
  })
  it('does not take one format for another', () => {
    assert.notEqual(keyOf('ada', persistent), keyOf('ada', UNSPECIFIED))
  })
  it('refuses a name that changes every time', () => {
    assert.equal(keyOf('_x', 'urn:oasis:names:tc:SAML:2.0:nameid-format:transient'), 'subject.transient')
  })
  it('takes a chosen attribute instead', () => {
    const world = new World(corp({ more: { externalId: 'attributes.uid' } }))
    const nameId = { value: '_x', format: 'urn:oasis:names:tc:SAML:2.0:nameid-format:transient' }
    const { outcome, explanation } = hears(world, { uid: 'E-77', mail: 'm' }, { nameId })
    assert.ok(!isRefusal(outcome))
    assert.equal(explanation.externalId?.value, 'E-77')
    assert.equal(kindOf(hears(world, { mail: 'm' })), 'subject.missing')
  })
})
