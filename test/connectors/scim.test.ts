// People from SCIM services: what their users look like as attributes, and what becomes of a feed when a service pages oddly.

import assert from 'node:assert/strict'
import { after, afterEach, before, beforeEach, describe, it } from 'node:test'
import { webAsker } from '../../src/app/outbound.ts'
import { attributesOf, jsonOf } from '../../src/connectors/flattening.ts'
import { scimConnector } from '../../src/connectors/scim/scim.ts'
import { userAttributes } from '../../src/connectors/scim/user.ts'
import type { ScimSettings } from '../../src/domain/documents/source.ts'
import type { Connector, FeedLimits } from '../../src/flows/feed-ports.ts'
import * as scripts from '../support/misbehaving-http.ts'
import { type Honest, type Script, startMisbehaving } from '../support/misbehaving-http.ts'
import { type Oddities, type Resource, type ScimServer, type ScimWorld, scimAnswer, startScimServer } from '../support/scim-server.ts'
import { collect, connectorContract, failsAs, type Misbehaviour } from './contract.ts'

const SECRET = 'sesame+opens/everything='
const LIMITS: FeedLimits = { rows: 1_000, columns: 100, rowBytes: 10_000, patienceMs: 20_000 }
const never = () => new AbortController().signal

type Differing = Partial<ScimSettings> & { limits?: Partial<FeedLimits> }

function connect(url: string, { limits, ...differing }: Differing = {}): Connector {
  const settings: ScimSettings = {
    url,
    auth: { bearer: { env: 'GATEHOUSE_SOURCE_TOKEN' } },
    pageSize: 10,
    groups: false,
    changes: false,
    ...differing,
  }
  return scimConnector({ settings, secrets: () => SECRET, limits: { ...LIMITS, ...limits }, ask: webAsker(['localhost', '127.0.0.1']) })
}

function user(n: number): Resource {
  const userName = `user${String(n).padStart(2, '0')}@corp.example`
  return {
    schemas: ['urn:ietf:params:scim:schemas:core:2.0:User'],
    id: `id-${n}`,
    userName,
    name: { givenName: `Given ${n}`, familyName: `Family ${n % 7}` },
    emails: [{ value: userName, type: 'work', primary: true }],
    active: n % 5 !== 0,
    meta: { resourceType: 'User', lastModified: new Date(Date.UTC(2024, 0, 1, 0, n)).toISOString() },
  }
}

const users = (count: number) => Array.from({ length: count }, (_, i) => user(i + 1))

function group(id: string, displayName: string, ...members: readonly Record<string, unknown>[]): Resource {
  return { schemas: ['urn:ietf:params:scim:schemas:core:2.0:Group'], id, displayName, members }
}

const GROUPS = [
  group('g-staff', 'Staff', { value: 'g-office', type: 'Group' }, { value: 'id-3' }),
  group('g-office', 'Office', { value: 'id-1', type: 'User' }, { value: 'id-2' }),
]

async function startWorld(world: ScimWorld): Promise<ScimServer> {
  const server = await startScimServer(world)
  server.allowed.add(`Bearer ${SECRET}`)
  return server
}

connectorContract('a SCIM service', async () => {
  const world: ScimWorld = { users: users(30), groups: GROUPS }
  const server = await startWorld(world)
  const bad = await startMisbehaving()
  const honest: Honest = ({ url }) => scimAnswer({ users: users(30), groups: GROUPS }, url)
  const odd =
    (oddities: Oddities): Honest =>
    ({ url }) =>
      scimAnswer({ users: users(30), groups: [] }, url, oddities)
  const case_ = (name: string, script: Script, fails: Misbehaviour['fails'], differing: Differing = {}, says = honest): Misbehaviour => ({
    name,
    connector: () => connect(bad.play(script, says), differing),
    fails,
  })
  /** Where nothing good comes; and where something does, with short pauses between the tries. */
  const impatient: Differing = { limits: { patienceMs: 400 } }
  const quick: Differing = { limits: { patienceMs: 3_000 } }
  const soon = { headers: { 'retry-after': '0' } }
  const someMore = ({ turn }: scripts.Asked): scripts.Said => ({
    body: { totalResults: 1_000_000, Resources: users(10).map((one) => ({ ...one, id: `${one.id}-${turn}` })) },
  })
  return {
    connector: connect(server.url, { groups: true, changes: true }),
    key: 'userName',
    people: users(30).map(({ userName }) => String(userName)),
    attribute: 'name.familyName',
    groups: ['Staff', 'Office'],
    change: async () => {
      world.users = world.users.map((one) =>
        one.id === 'id-7' ? { ...one, title: 'Boss', meta: { lastModified: '2025-06-01T00:00:00Z' } } : one,
      )
      return 'user07@corp.example'
    },
    misbehaving: [
      case_('hangs before it answers', scripts.hangBeforeHeaders, ['too-slow'], impatient),
      case_('hangs in its answer', scripts.hangInBody, ['too-slow'], impatient),
      case_('breaks off in its answer', scripts.dropInBody, ['cut-off'], quick),
      case_('breaks off before it answers', scripts.dropAtOnce, ['unreachable'], quick),
      case_('breaks off once', scripts.atFirst(scripts.dropInBody), [], quick),
      case_('gives half of its answer', scripts.later(scripts.halfOfTheBody), ['cut-off']),
      case_('repeats the first page', scripts.theSameForever(), ['endless']),
      case_('never comes to an end', scripts.saying(someMore), ['too-large']),
      case_('gives a huge page', scripts.hugePage, ['too-large']),
      case_('gives garbage', scripts.garbage, ['malformed']),
      case_('shows a page to sign in', scripts.signInPage, ['malformed']),
      case_('is no HTTP', scripts.notHttp, ['malformed']),
      case_('is not in UTF-8', scripts.invalidUtf8, ['malformed']),
      case_('gives something else', scripts.saying({ body: { items: [] } }), ['malformed']),
      case_('does not know us', scripts.status(401, { body: { detail: `no such token: ${SECRET}` } }), ['denied']),
      case_('forbids it', scripts.later(scripts.status(403)), ['denied']),
      case_('is not there', scripts.status(404), ['misconfigured']),
      case_('is gone on its third page', scripts.later(scripts.status(404), 2), ['misconfigured']),
      case_(
        'is gone there, and has counted what is on a page',
        scripts.later(scripts.status(404), 2),
        ['misconfigured'],
        {},
        odd({ totalOfPage: true }),
      ),
      case_('is elsewhere', scripts.status(302, { headers: { location: `http://other.example/?t=${SECRET}` } }), ['misconfigured']),
      case_('asks for patience once', scripts.atFirst(scripts.status(429, soon)), []),
      case_('asks for patience that we do not have', scripts.status(429, { headers: { 'retry-after': '3600' } }), ['unreachable']),
      case_('fails twice', scripts.atFirst(scripts.status(500, soon), 2), []),
      case_('always fails', scripts.status(500, soon), ['unreachable']),
      case_('says that there are more', scripts.behave, ['cut-off'], {}, odd({ total: () => 31 })),
      case_('says that there are fewer', scripts.behave, [], {}, odd({ total: () => 3 })),
    ],
    secret: SECRET,
    close: async () => {
      await server.close()
      await bad.close()
    },
  }
})

describe('a user of SCIM as attributes', () => {
  const core = 'urn:ietf:params:scim:schemas:core:2.0:User'
  const enterprise = 'urn:ietf:params:scim:schemas:extension:enterprise:2.0:User'
  const flat = (one: unknown) => {
    const json = jsonOf(Buffer.from(JSON.stringify(one)))
    assert.ok(typeof json === 'object' && json !== null && !Array.isArray(json))
    return { ...attributesOf(userAttributes(json as Parameters<typeof userAttributes>[0]), 'a user', LIMITS) }
  }
  const tables: readonly [string, unknown, Record<string, readonly string[]>][] = [
    [
      'plain attributes by their path',
      { id: '1', externalId: 'e', userName: 'ann', name: { givenName: 'Ann', formatted: null }, nickName: '' },
      { id: ['1'], externalId: ['e'], userName: ['ann'], 'name.givenName': ['Ann'], 'name.formatted': [], nickName: [] },
    ],
    [
      'the primary of several first, and each by its type',
      { emails: [{ value: 'h@x', type: 'home' }, { value: 'w@x', type: 'Work', primary: true }, { value: 'o@x' }] },
      { emails: ['w@x', 'h@x', 'o@x'], 'emails.home': ['h@x'], 'emails.work': ['w@x'] },
    ],
    [
      'addresses by their type',
      {
        addresses: [
          { type: 'work', locality: 'Ulm', country: 'DE', primary: true },
          { type: 'home', locality: 'Graz' },
        ],
      },
      {
        'addresses.locality': ['Ulm', 'Graz'],
        'addresses.country': ['DE'],
        'addresses.work.locality': ['Ulm'],
        'addresses.work.country': ['DE'],
        'addresses.home.locality': ['Graz'],
      },
    ],
    ['groups by their names', { groups: [{ value: 'g1', display: 'Staff', $ref: 'x' }, { value: 'g2' }] }, { groups: ['Staff', 'g2'] }],
    [
      'roles and entitlements by their values',
      { roles: [{ value: 'admin', display: 'Administrator' }], entitlements: ['vpn', 'mail'] },
      { roles: ['admin'], 'roles.display': ['Administrator'], entitlements: ['vpn', 'mail'] },
    ],
    ['nothing as nothing', { emails: [], title: null, phoneNumbers: [{}] }, { emails: [], title: [] }],
    [
      'the enterprise user by short names',
      { [enterprise]: { department: 'R&D', employeeNumber: '007', manager: { value: 'm1', displayName: 'Max', $ref: '../Users/m1' } } },
      { department: ['R&D'], employeeNumber: ['007'], manager: ['m1'], 'manager.displayName': ['Max'] },
    ],
    ['a manager that is only a text', { [enterprise]: { manager: 'm1' } }, { manager: ['m1'] }],
    [
      'attributes under their full names',
      { [`${enterprise}:costCenter`]: '4711', [`${core}:title`]: 'Dr' },
      { costCenter: ['4711'], title: ['Dr'] },
    ],
    [
      'other extensions under their whole name',
      { 'urn:acme:2.0:User': { badge: 12, nested: { level: 3 }, Password: 'p' } },
      { 'urn:acme:2.0:User:badge': ['12'], 'urn:acme:2.0:User:nested.level': ['3'] },
    ],
    [
      'names in other capitals',
      { UserName: 'ann', Emails: [{ Value: 'a@x', Type: 'work', Primary: 'True' }] },
      { userName: ['ann'], emails: ['a@x'], 'emails.work': ['a@x'] },
    ],
    [
      'the time of the last change, and no other meta',
      { meta: { lastModified: '2024-01-01T00:00:00Z', created: 'x', location: 'y' } },
      { 'meta.lastModified': ['2024-01-01T00:00:00Z'] },
    ],
    ['no password, whatever it is called', { password: 'p', Password: 'q', [`${core}:password`]: 'r' }, {}],
    ['no word of its own on the state', { accountState: 'king' }, {}],
  ]
  for (const [name, given, wanted] of tables) {
    it(`has ${name}`, () => assert.deepEqual(flat(given), { accountState: ['active'], ...wanted }))
  }

  for (const [active, said, state] of [
    [true, 'true', 'active'],
    [false, 'false', 'disabled'],
    ['False', 'false', 'disabled'],
    ['TRUE', 'true', 'active'],
  ] as const) {
    it(`reads active: ${JSON.stringify(active)}`, () => assert.deepEqual(flat({ active }), { active: [said], accountState: [state] }))
  }

  it('has its attributes in the same order, whatever order they come in', () => {
    assert.deepEqual(Object.keys(flat({ userName: 'a', id: '1', title: 't' })), Object.keys(flat({ title: 't', id: '1', userName: 'a' })))
  })
})

describe('pages of a SCIM service', () => {
  let server: ScimServer
  const world: ScimWorld = { users: [], groups: [] }
  before(async () => {
    server = await startWorld(world)
  })
  after(() => server.close())
  beforeEach(() => {
    world.users = users(30)
    world.groups = GROUPS
    server.asked.length = 0
  })
  afterEach(() => {
    server.odd = {}
  })
  const ids = async (differing: Differing = {}) => {
    const { rows } = await collect(await connect(server.url, differing).readFull(never()))
    return rows.map(({ place }) => place)
  }
  const everybody = users(30).map(({ id }) => `Users/${id}`)

  for (const [name, oddities] of [
    ['gives fewer than it is asked for', { most: 4 }],
    ['counts from 0', { countsFromZero: true }],
    ['counts what is on the page', { totalOfPage: true }],
    ['gives fewer, and counts those', { totalOfPage: true, most: 4 }],
    ['does not count', { noTotal: true }],
    ['has an error for what is beyond the last', { errorBeyond: true }],
  ] as const satisfies readonly (readonly [string, Oddities])[]) {
    it(`are all read if it ${name}`, async () => {
      server.odd = oddities
      assert.deepEqual((await ids()).toSorted(), everybody.toSorted())
    })
  }

  it('are one if it gives everybody at once, whatever it is asked', async () => {
    server.odd = { ignoresStartIndex: true }
    world.users = users(10)
    assert.equal((await ids()).length, 10)
  })

  it('may be none', async () => {
    world.users = []
    assert.deepEqual(await ids(), [])
  })

  it('miss nobody who moves up because somebody before them is removed', async () => {
    server.odd = { before: (start) => start === 11 && drop('id-2', 'id-5') }
    const drop = (...gone: string[]) => {
      world.users = world.users.filter(({ id }) => !gone.includes(id))
    }
    assert.deepEqual((await ids()).toSorted(), everybody.toSorted())
  })

  it('may grow', async () => {
    server.odd = { before: (start) => start === 21 && grow() }
    const grow = () => {
      world.users = [user(99), ...world.users]
    }
    assert.deepEqual((await ids()).toSorted(), everybody.toSorted())
  })

  it('are given up if people vanish all the time', async () => {
    let there = 1_000
    server.odd = { total: () => there-- }
    await assert.rejects(ids(), failsAs(['changed']))
  })

  it('are asked for with the filter', async () => {
    assert.deepEqual(await ids({ filter: 'userName sw "user1" or userName eq "user30@corp.example"' }), [
      ...everybody.slice(9, 19),
      'Users/id-30',
    ])
    assert.equal(server.asked[0], '/scim/v2/Users?startIndex=1&count=10&filter=userName sw "user1" or userName eq "user30@corp.example"')
  })

  it('are not there for a filter that it does not take, which is named', async () => {
    const refused = connect(server.url, { filter: 'shoeSize gt 40' })
    for (const tried of [() => refused.test(never()), async () => collect(await refused.readFull(never()))]) {
      await assert.rejects(tried, (error) => failsAs(['misconfigured'])(error) && /shoeSize gt 40/.test((error as Error).message))
    }
  })

  it('keep the parameters and the path of the address', async () => {
    await collect(await connect(`${server.url}/?tenant=a%20b`).readFull(never()))
    assert.equal(server.asked[0], '/scim/v2/Users?tenant=a b&startIndex=1&count=10')
  })

  it('have faults for what is no user, and the others stand', async () => {
    world.users = [user(1), { userName: 'nobody' } as unknown as Resource, user(2)]
    const { rows, faults } = await collect(await connect(server.url).readFull(never()))
    assert.deepEqual(
      rows.map(({ place }) => place),
      ['Users/id-1', 'Users/id-2'],
    )
    assert.deepEqual(faults, [{ place: 'entry 2', why: 'it has no id' }])
  })

  for (const [name, limits] of [
    ['a user is larger than a row may be', { rowBytes: 100 }],
    ['a user has more attributes than a row may have', { columns: 3 }],
    ['there are more users than rows may be', { rows: 29 }],
  ] as const) {
    it(`are given up if ${name}`, () => assert.rejects(ids({ limits }), failsAs(['too-large'])))
  }

  it('are told about when it is tried', async () => {
    assert.match(
      await connect(server.url, { groups: true, changes: true }).test(never()),
      /has 30 users; it has 2 groups;.*changed; it supports filters, with at most 200/,
    )
    server.odd = { noServiceProviderConfig: true }
    assert.match(await connect(server.url).test(never()), /has 30 users; it does not say what it can/)
  })
})

describe('groups of a SCIM service', () => {
  const groupsOf = async (groups: readonly Resource[]) => {
    const server = await startWorld({ users: users(3), groups })
    try {
      const connector = connect(server.url, { groups: true })
      const { rows } = await collect(await connector.readFull(never()))
      const found = []
      for await (const some of connector.readGroups?.(never()) ?? []) found.push(...some)
      return { of: rows.map(({ attributes }) => attributes.groups), found }
    } finally {
      await server.close()
    }
  }

  it('are those of everybody within them, and in those within them', async () => {
    const { of, found } = await groupsOf(GROUPS)
    assert.deepEqual(of, [['Office', 'Staff'], ['Office', 'Staff'], ['Staff']])
    assert.deepEqual(found, [
      { id: 'g-staff', name: 'Staff', members: 2 },
      { id: 'g-office', name: 'Office', members: 2 },
    ])
  })

  it('may be within one another', async () => {
    const { of } = await groupsOf([
      group('a', 'A', { value: 'b', type: 'Group' }, { value: 'id-1' }),
      group('b', 'B', { value: 'c' }),
      group('c', 'C', { value: 'a' }, { value: 'c' }, { value: 'id-2' }),
    ])
    assert.deepEqual(of, [['A', 'B', 'C'], ['A', 'B', 'C'], []])
  })

  it('may have no name and no members', async () => {
    const { of, found } = await groupsOf([{ id: 'g' }, group('h', '', { value: 'id-1' })])
    assert.deepEqual(of, [['h'], [], []])
    assert.deepEqual(
      found.map(({ name }) => name),
      ['g', 'h'],
    )
  })

  it('must have an id, because whoever is in it would lose what it gives', async () => {
    await assert.rejects(groupsOf([{ displayName: 'X' } as unknown as Resource]), failsAs(['malformed']))
  })
})

describe('changes of a SCIM service', () => {
  let server: ScimServer
  const world: ScimWorld = { users: [], groups: [] }
  before(async () => {
    server = await startWorld(world)
  })
  after(() => server.close())
  beforeEach(() => {
    world.users = users(3)
    server.asked.length = 0
  })
  const changed = async (cursor: string, differing: Differing = {}) => {
    const { readChanges } = connect(server.url, { changes: true, ...differing })
    assert.ok(readChanges)
    return collect(await readChanges(cursor, never()))
  }

  it('are not read where the document does not say so', async () => {
    const connector = connect(server.url)
    assert.equal(connector.readChanges, undefined)
    assert.equal((await collect(await connector.readFull(never()))).cursor, undefined)
  })

  it('are asked for within the filter', async () => {
    await changed('2024-01-01T00:02:00Z', { filter: 'userName sw "a" or userName sw "b"' })
    assert.equal(
      server.asked[0],
      '/scim/v2/Users?startIndex=1&count=10&filter=(userName sw "a" or userName sw "b") and meta.lastModified ge "2024-01-01T00:02:00Z"',
    )
  })

  it('go on from the newest that was seen', async () => {
    const { rows, cursor } = await changed('2024-01-01T00:02:00Z')
    assert.deepEqual(
      rows.map(({ place }) => place),
      ['Users/id-2', 'Users/id-3'],
    )
    assert.equal(cursor, '2024-01-01T00:03:00.000Z')
  })

  it('go on from where they were if there are none', async () => {
    assert.deepEqual(await changed('2024-05-01T00:00:00Z'), { rows: [], faults: [], cursor: '2024-05-01T00:00:00Z', done: [] })
  })

  it('go on from when we asked if a user changed while we read, or says no time', async () => {
    for (const lastModified of ['2999-01-01T00:00:00Z', undefined, 'yesterday']) {
      world.users = [{ ...user(1), meta: { lastModified } }]
      const { cursor = '' } = await collect(await connect(server.url, { changes: true }).readFull(never()))
      assert.match(cursor, /^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ$/)
      assert.ok(Date.parse(cursor) <= Date.now())
    }
  })
})
