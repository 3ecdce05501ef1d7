// The LDAP connector, with OpenLDAP's own server and with one that misbehaves.

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import fc from 'fast-check'
import { Attribute, Change, Client } from 'ldapts'
import { accountStateOf } from '../../src/connectors/ldap/account-state.ts'
import { filterOf } from '../../src/connectors/ldap/filters.ts'
import { ldapConnector } from '../../src/connectors/ldap/ldap.ts'
import { Frames, readMessage } from '../../src/connectors/ldap/messages.ts'
import { foldName } from '../../src/connectors/ldap/names.ts'
import { type Entry, entryOf, guidText, sidText } from '../../src/connectors/ldap/values.ts'
import type { LdapSettings } from '../../src/domain/documents/source.ts'
import { type Connector, FeedFailure, type FeedLimits, type FeedRow } from '../../src/flows/feed-ports.ts'
import {
  type MisbehavingLdap,
  messageBytes,
  one,
  onSearch,
  PEOPLE,
  type Script,
  SUFFIX,
  startMisbehavingLdap,
  WAYS,
} from '../support/misbehaving-ldap.ts'
import { missing } from '../support/peers.ts'
import { keyFor, type Slapd, startSlapd } from '../support/slapd.ts'
import { collect, connectorContract, failsAs, type Misbehaviour } from './contract.ts'

const GROUPS = `ou=groups,${SUFFIX}`
const PASSWORD = 'only for tests: reader'
const LIMITS: FeedLimits = { rows: 100_000, columns: 200, rowBytes: 256 * 1024, patienceMs: 10_000 }

const never = () => new AbortController().signal

function connectorFor(settings: Partial<LdapSettings> & Pick<LdapSettings, 'url'>, limits: Partial<FeedLimits> = {}): Connector {
  return ldapConnector({
    settings: {
      startTls: false,
      plaintext: false,
      bind: { dn: `cn=reader,${SUFFIX}`, password: { env: 'GATEHOUSE_SOURCE_DIRECTORY' } },
      base: SUFFIX,
      filter: '(objectClass=inetOrgPerson)',
      scope: 'sub',
      vendor: 'auto',
      pageSize: 500,
      ...settings,
    },
    secrets: () => PASSWORD,
    limits: { ...LIMITS, ...limits },
  })
}

const everybody = async (connector: Connector) => (await collect(await connector.readFull(never()))).rows

/** A row by its login. */
async function person(connector: Connector, uid: string): Promise<FeedRow> {
  const found = (await everybody(connector)).find(({ attributes }) => attributes.uid?.[0] === uid)
  assert.ok(found, `${uid} is read`)
  return found
}

// --- OpenLDAP ---------------------------------------------------------------------------------------------------------------

interface LdifEntry {
  readonly dn: string
  readonly [attribute: string]: string | readonly string[]
}

function ldif(entries: readonly LdifEntry[]): string {
  const line = (name: string, value: string) => `${name}:: ${Buffer.from(value).toString('base64')}\n`
  return entries
    .map(({ dn, ...attributes }) =>
      [line('dn', dn), ...Object.entries(attributes).flatMap(([name, values]) => [values].flat().map((value) => line(name, value)))].join(
        '',
      ),
    )
    .join('\n')
}

const CROWD = 1_200
const uuid = (number: number) => `00000000-0000-4000-8000-${String(number).padStart(12, '0')}`
const crowd = (number: number) => `p${String(number).padStart(4, '0')}`

/** Last changed a second after the one before: what was changed last is what comes twice. */
function inetOrgPerson(number: number, uid: string, more: Omit<LdifEntry, 'dn'> & { dn?: string } = {}): LdifEntry {
  const at = new Date(Date.UTC(2025, 0, 1, 0, 0, number)).toISOString().replace(/[-:T]|\.000/g, '')
  const { dn = `uid=${uid},${PEOPLE}`, ...attributes } = more
  return {
    dn,
    objectClass: 'inetOrgPerson',
    uid,
    cn: `Person ${number}`,
    sn: `${number}`,
    mail: `${uid}@corp.example`,
    entryUUID: uuid(number),
    createTimestamp: at,
    modifyTimestamp: at,
    ...attributes,
  }
}

const SPECIAL: readonly LdifEntry[] = [
  inetOrgPerson(2001, 'locked', { pwdAccountLockedTime: '000001010000Z' }),
  inetOrgPerson(2002, 'locked-later', { pwdAccountLockedTime: '20250301000000Z' }),
  inetOrgPerson(2003, 'over', { pwdEndTime: '20200101000000Z' }),
  inetOrgPerson(2004, 'odd', { dn: `cn=Jörg \\"J\\" O'Neil\\, Ada+uid=odd,${PEOPLE}`, cn: `Jörg "J" O'Neil, Ada` }),
  inetOrgPerson(2005, 'rich', {
    mail: ['z@corp.example', 'a@corp.example', 'M@corp.example'],
    'description;lang-de': 'viel',
    jpegPhoto: '\u0000\u0001',
    userPassword: 'only for tests: rich',
  }),
  inetOrgPerson(2006, 'unlucky', { userPassword: 'only for tests: unlucky' }),
]

const group = (name: string, objectClass: string, attributes: Omit<LdifEntry, 'dn'>): LdifEntry => ({
  dn: `cn=${name},${GROUPS}`,
  objectClass,
  cn: name,
  createTimestamp: '20250101000000Z',
  modifyTimestamp: '20250101000000Z',
  ...attributes,
})

const CONTENT = ldif([
  { dn: SUFFIX, objectClass: ['dcObject', 'organization'], dc: 'corp', o: 'Corp' },
  ...['people', 'groups', 'public'].map((ou) => ({ dn: `ou=${ou},${SUFFIX}`, objectClass: 'organizationalUnit', ou })),
  { dn: `ou=elsewhere,${SUFFIX}`, objectClass: ['referral', 'extensibleObject'], ref: 'ldap://127.0.0.1:1/ou=elsewhere,dc=other' },
  ...['reader', 'limited'].map((cn) => ({ dn: `cn=${cn},${SUFFIX}`, objectClass: ['person'], cn, sn: cn, userPassword: PASSWORD })),
  {
    dn: `cn=policy,${SUFFIX}`,
    objectClass: ['device', 'pwdPolicy'],
    cn: 'policy',
    pwdAttribute: 'userPassword',
    pwdLockout: 'TRUE',
    pwdMaxFailure: '1',
  },
  ...Array.from({ length: CROWD }, (_, i) => inetOrgPerson(i, crowd(i))),
  ...SPECIAL,
  { dn: `cn=Public,ou=public,${SUFFIX}`, objectClass: 'person', cn: 'Public', sn: 'Public' },
  group('crew', 'groupOfNames', {
    // As people write names: another case, spaces, another escape.
    member: [`UID=p0001, OU=People, ${SUFFIX.toUpperCase()}`, `uid=odd+cn=J\\C3\\B6rg \\"J\\" O'Neil\\2C Ada,${PEOPLE}`],
  }),
  group('fleet', 'groupOfNames', { member: [`cn=crew,${GROUPS}`, `cn=admirals,${GROUPS}`, `uid=${crowd(3)},${PEOPLE}`] }),
  group('admirals', 'groupOfNames', { member: `cn=fleet,${GROUPS}` }),
  group('guild', 'groupOfUniqueNames', { uniqueMember: [`uid=${crowd(4)},${PEOPLE}`, `uid=${crowd(5)},${PEOPLE}#'0101'B`] }),
  group('unix', 'posixGroup', { gidNumber: '100', memberUid: [crowd(4), 'nobody-of-that-name'] }),
])

const RULES = [
  `limits dn.exact="cn=limited,${SUFFIX}" size=500 size.prtotal=700`,
  'limits * size=500 size.prtotal=unlimited',
  `access to dn.subtree="ou=public,${SUFFIX}" by * read`,
  `access to * by dn.exact="cn=reader,${SUFFIX}" read by dn.exact="cn=limited,${SUFFIX}" read by * auth`,
]

const slapd = () => startSlapd({ suffix: SUFFIX, content: CONTENT, rules: RULES, policy: `cn=policy,${SUFFIX}` })

const replaced = (type: string, value: string) =>
  new Change({ operation: 'replace', modification: new Attribute({ type, values: [value] }) })

connectorContract(
  'LDAP, OpenLDAP',
  async () => {
    const server = await slapd()
    const { misbehaving, stop } = misbehaviours()
    const groups = { base: GROUPS, filter: '(objectClass=*)', name: 'cn', nested: true }
    return {
      connector: connectorFor({ url: server.url, groups: { ...groups, filter: '(!(objectClass=organizationalUnit))' } }),
      key: 'entryUUID',
      people: [...Array.from({ length: CROWD }, (_, i) => uuid(i)), ...SPECIAL.map(({ entryUUID }) => entryUUID as string)],
      attribute: 'mail',
      async change() {
        await server.asAdministrator((client) => client.modify(`uid=${crowd(7)},${PEOPLE}`, replaced('title', 'Captain')))
        return uuid(7)
      },
      groups: ['crew', 'fleet', 'admirals', 'guild', 'unix'],
      misbehaving,
      secret: PASSWORD,
      async close() {
        await server.stop()
        await stop()
      },
    }
  },
  { skip: missing('slapd') },
)

describe('the LDAP connector with OpenLDAP', { skip: missing('slapd') }, () => {
  let server: Slapd
  const open = (settings: Partial<LdapSettings> = {}, limits: Partial<FeedLimits> = {}) =>
    connectorFor({ url: server.url, base: PEOPLE, ...settings }, limits)
  const withGroups = (nested: boolean, settings: Partial<LdapSettings> = {}) => {
    const filter = '(|(objectClass=groupOfNames)(objectClass=groupOfUniqueNames)(objectClass=posixGroup))'
    return open({ groups: { base: GROUPS, filter, name: 'cn', nested }, ...settings })
  }
  const fails = (connector: Connector, code: FeedFailure['code'], words: RegExp) =>
    assert.rejects(everybody(connector), (error) => failsAs([code], PASSWORD)(error) && words.test((error as Error).message))

  before(async () => {
    server = await slapd()
  })
  after(() => server?.stop())

  it('goes beyond what the server gives at once, in pages', async () => {
    const { batches } = await open().readFull(never())
    const sizes: number[] = []
    for await (const { rows } of batches) sizes.push(rows.length)
    assert.deepEqual(sizes, [500, 500, CROWD + SPECIAL.length - 1_000])
  })

  it('names the limit of the server that it cannot get beyond', async () => {
    const bind = { dn: `cn=limited,${SUFFIX}`, password: { env: 'GATEHOUSE_SOURCE_DIRECTORY' } }
    await fails(open({ bind }), 'too-large', /size limit/)
  })

  it('encrypts, from the start or later, and says so', async () => {
    for (const settings of [{ url: server.ldapsUrl }, { startTls: true }]) {
      const connector = open({ ...settings, ca: server.certificate })
      assert.match(await connector.test(never()), /OpenLDAP answers at .*, encrypted; signed in as dn:cn=reader/)
      assert.equal((await everybody(connector)).length, CROWD + SPECIAL.length)
    }
  })

  it('trusts only whom ldap.ca vouches for, and only for its own name', async () => {
    const { certificate: stranger } = await keyFor('127.0.0.1')
    for (const ca of [{}, { ca: stranger }]) {
      await fails(open({ url: server.ldapsUrl, ...ca }), 'misconfigured', /cannot be trusted/)
      await fails(open({ startTls: true, ...ca }), 'misconfigured', /cannot be trusted/)
    }
    const otherName = server.ldapsUrl.replace('127.0.0.1', 'localhost')
    await fails(open({ url: otherName, ca: server.certificate }), 'misconfigured', /made for another name/)
  })

  it('tells what is wrong with the credentials, the base, the filter, and the address', async () => {
    const bind = { dn: `cn=nobody,${SUFFIX}`, password: { env: 'GATEHOUSE_SOURCE_DIRECTORY' } }
    await fails(open({ bind }), 'denied', /sign in as cn=nobody.*password is wrong/)
    await fails(open({ base: `ou=nowhere,${SUFFIX}` }), 'misconfigured', /ou=nowhere.*no such entry/)
    await fails(open({ base: 'not a name' }), 'misconfigured', /distinguished name/)
    await fails(open({ filter: '(&(uid=x)' }), 'misconfigured', /ldap\.filter is not a filter/)
    await fails(open({ url: 'ldap://127.0.0.1:1' }), 'unreachable', /ECONNREFUSED/)
    await fails(open({ url: server.url.replace('ldap:', 'ldaps:') }), 'unreachable', /ldaps:/)
  })

  it('reads without signing in where that is allowed', async () => {
    const connector = ldapConnector({
      settings: {
        url: server.url,
        startTls: false,
        plaintext: false,
        base: `ou=public,${SUFFIX}`,
        filter: '(objectClass=person)',
        scope: 'one',
        vendor: 'auto',
        pageSize: 10,
      },
      secrets: () => assert.fail('no secret is needed'),
      limits: LIMITS,
    })
    assert.deepEqual(
      (await everybody(connector)).map(({ attributes }) => attributes.cn),
      [['Public']],
    )
    assert.match(await connector.test(never()), /nobody is signed in/)
  })

  it('passes over references to other servers, and does not go where it is referred to', async () => {
    assert.match(
      await open({ base: SUFFIX, pageSize: 2_000, filter: '(uid=p0001)' }).test(never()),
      /the filter finds 1 \(references to other servers are passed over: 1\)/,
    )
    assert.equal((await everybody(open({ base: SUFFIX }))).length, CROWD + SPECIAL.length)
    await fails(open({ base: `ou=elsewhere,${SUFFIX}` }), 'misconfigured', /refers to another one, ldap:\/\/127\.0\.0\.1:1\//)
  })

  it('gives what is text, sorted, and never a password', async () => {
    const { attributes, place } = await person(open(), 'rich')
    assert.equal(place, `uid=rich,${PEOPLE}`)
    assert.deepEqual(attributes.mail, ['M@corp.example', 'a@corp.example', 'z@corp.example'])
    assert.deepEqual(attributes['description;lang-de'], ['viel'])
    assert.deepEqual(attributes.dn, [place])
    assert.deepEqual(Object.keys(attributes), Object.keys(attributes).sort())
    for (const name of ['jpegPhoto', 'userPassword', 'pwdHistory']) assert.equal(attributes[name], undefined, name)
    await fails(open({ attributes: ['uid', 'userpassword'] }), 'misconfigured', /userpassword, which is a secret/)
    await fails(open({ attributes: ['userCertificate;binary'] }), 'misconfigured', /which is not text/)
  })

  it('asks for what the document lists, and what tells people apart', async () => {
    const connector = open({ attributes: ['UID', 'title'], filter: '(uid=p0001)' })
    const { columns, batches } = await connector.readFull(never())
    const { rows } = await collect({ columns, batches })
    assert.deepEqual(
      { ...rows[0]?.attributes },
      {
        UID: ['p0001'],
        accountState: ['active'],
        dn: [`uid=p0001,${PEOPLE}`],
        entryUUID: [uuid(1)],
        title: [],
      },
    )
    assert.ok(Object.keys(rows[0]?.attributes ?? {}).every((name) => columns?.includes(name)))
  })

  it('understands filters as people write them', async () => {
    const filter = '(&\n  (objectClass=inetOrgPerson)\n  (cn=J\\c3\\b6rg*)\n)'
    assert.equal((await everybody(open({ filter }))).length, 1)
  })

  it('says whose account is locked, and whose time is over', async () => {
    const connector = open({ filter: '(&(objectClass=person)(!(uid=p*)))' })
    const states = new Map((await everybody(connector)).map(({ attributes }) => [attributes.uid?.[0], attributes.accountState?.[0]]))
    assert.deepEqual(Object.fromEntries(states), {
      locked: 'locked',
      'locked-later': 'locked',
      over: 'disabled',
      odd: 'active',
      rich: 'active',
      unlucky: 'active',
    })
  })

  it('sees a lock after a wrong password among the changes', async () => {
    const { cursor = '' } = await collect(await open().readFull(never()))
    const client = new Client({ url: server.url })
    await assert.rejects(client.bind(`uid=unlucky,${PEOPLE}`, 'wrong'))
    await client.unbind()
    const { rows } = await collect((await open().readChanges?.(cursor, never())) ?? assert.fail())
    const unlucky = rows.find(({ attributes }) => attributes.uid?.[0] === 'unlucky')
    assert.deepEqual(unlucky?.attributes.accountState, ['locked'])
    assert.ok(rows.length < 20)
  })

  it('tells the groups of each, through groups within groups that go in a circle', async () => {
    const groupsOf = async (nested: boolean) =>
      new Map((await everybody(withGroups(nested))).map(({ attributes }) => [attributes.uid?.[0], attributes.groups]))
    const nested = await groupsOf(true)
    assert.deepEqual(nested.get(crowd(1)), ['admirals', 'crew', 'fleet'])
    assert.deepEqual(nested.get('odd'), ['admirals', 'crew', 'fleet'])
    assert.deepEqual(nested.get(crowd(3)), ['admirals', 'fleet'])
    assert.deepEqual(nested.get(crowd(4)), ['guild', 'unix'])
    assert.deepEqual(nested.get(crowd(5)), ['guild'])
    assert.deepEqual(nested.get(crowd(6)), [])
    const flat = await groupsOf(false)
    assert.deepEqual(flat.get(crowd(1)), ['crew'])
    assert.deepEqual(flat.get(crowd(3)), ['fleet'])
    const sizes: [string, number][] = []
    for await (const some of withGroups(true).readGroups?.(never()) ?? [])
      sizes.push(...some.map((one) => [one.name, one.members] as [string, number]))
    assert.deepEqual(Object.fromEntries(sizes), { crew: 2, fleet: 3, admirals: 1, guild: 2, unix: 2 })
  })

  it('brings those who are in a group that has changed, whether their names can be searched for or not', async () => {
    for (const [vendor, newcomer] of [
      ['openldap', 9],
      ['other', 10],
    ] as const) {
      const connector = withGroups(true, { vendor })
      const { cursor = '' } = await collect(await connector.readFull(never()))
      const member = new Attribute({ type: 'member', values: [`uid=${crowd(newcomer)},${PEOPLE}`] })
      await server.asAdministrator((client) => client.modify(`cn=crew,${GROUPS}`, new Change({ operation: 'add', modification: member })))
      const { rows } = await collect((await connector.readChanges?.(cursor, never())) ?? assert.fail())
      const found = new Map(rows.map(({ attributes }) => [attributes.uid?.[0], attributes.groups]))
      assert.deepEqual(found.get(crowd(newcomer)), ['admirals', 'crew', 'fleet'])
      for (const uid of [crowd(1), 'odd']) assert.ok(found.has(uid), `${uid} is in it, too`)
      assert.equal(found.has(crowd(3)), false, 'who is in another group is not meant')
      assert.equal(rows.length, found.size, 'each once')
    }
  })

  it('does not take a cursor of another kind of directory', async () => {
    const changes = async (cursor: string) => collect((await open().readChanges?.(cursor, never())) ?? assert.fail())
    for (const cursor of ['usn:12:somewhere', 'time:yesterday', ''])
      await assert.rejects(changes(cursor), failsAs(['changed'], PASSWORD), cursor)
  })

  it('is told when it is no Active Directory, although the document says so', async () => {
    await fails(open({ vendor: 'active-directory' }), 'misconfigured', /no Active Directory/)
  })

  it('passes over a row that is too large, and leaves the others', async () => {
    const { rows, faults } = await collect(await open({ filter: '(|(uid=rich)(uid=p0001))' }, { columns: 10 }).readFull(never()))
    assert.deepEqual(
      rows.map(({ attributes }) => attributes.uid),
      [[crowd(1)]],
    )
    assert.deepEqual(
      faults.map(({ place }) => place),
      [`uid=rich,${PEOPLE}`],
    )
    const small = await collect(await open({ filter: '(uid=p0001)' }, { rowBytes: 100 }).readFull(never()))
    assert.match(small.faults[0]?.why ?? '', /100 are allowed/)
  })
})

// --- misbehaving ------------------------------------------------------------------------------------------------------------

const scripted = { base: SUFFIX, filter: '(objectClass=*)', pageSize: 2 } as const
function misbehaviours(): { misbehaving: readonly Misbehaviour[]; stop(): Promise<void> } {
  const servers: MisbehavingLdap[] = []
  const misbehaving = WAYS.map(({ name, script, fails, settings }) => ({
    name,
    fails,
    async connector() {
      const server = await startMisbehavingLdap(script)
      servers.push(server)
      const patienceMs = fails.includes('too-slow') ? 200 : LIMITS.patienceMs
      return connectorFor({ url: server.url, ...scripted, ...settings }, { patienceMs })
    },
  }))
  return {
    misbehaving,
    async stop() {
      for (const server of servers) await server.stop()
    },
  }
}

describe('the LDAP connector with a server that does as it is told', () => {
  let server: MisbehavingLdap | undefined
  const start = async (script: Script, settings: Partial<LdapSettings> = {}) => {
    server = await startMisbehavingLdap(script)
    return connectorFor({ url: server.url, ...scripted, ...settings })
  }
  const stop = async () => {
    await server?.stop()
    server = undefined
  }

  it('goes on after an empty page that is not the last one (RFC 2696)', async () => {
    const connector = await start(
      onSearch(({ cookie }, answer) => {
        if (cookie === '1') answer.done({ cookie: '2' })
        else {
          answer.entry(one(cookie === '2' ? 'b' : 'a'))
          answer.done({ cookie: cookie === '2' ? '' : '1' })
        }
        return true
      }),
    )
    assert.deepEqual(
      (await everybody(connector)).map(({ attributes }) => attributes.uid?.[0]),
      ['a', 'b'],
    )
    await stop()
  })

  it('fetches what Active Directory holds back of a long list, of people and of groups', async () => {
    const lists: Readonly<Record<string, readonly string[]>> = {
      proxyAddresses: Array.from({ length: 7 }, (_, i) => `smtp:${i}@corp.example`),
      member: Array.from({ length: 8 }, (_, i) => `uid=${i},${PEOPLE}`),
    }
    const AT_MOST = 3
    const part = (name: string, from: number) => {
      const values = (lists[name] ?? []).slice(from, from + AT_MOST)
      const last = from + AT_MOST >= (lists[name] ?? []).length
      return { [`${name};range=${from}-${last ? '*' : from + AT_MOST - 1}`]: [...values] }
    }
    const groups = { base: GROUPS, filter: '(objectClass=group)', name: 'cn', nested: true }
    const connector = await start(
      ({ kind, base, attributes }, answer) => {
        if (kind !== 'search' || base === '') return false
        const [, wanted = '', from = '0'] = /^(\w+);range=(\d+)-\*$/.exec(attributes[0] ?? '') ?? []
        const dn = base === GROUPS ? `cn=all,${GROUPS}` : base === SUFFIX ? one('7').dn : base
        if (wanted) answer.entry({ dn, attributes: part(wanted, Number(from)) })
        else if (base === GROUPS) answer.entry({ dn, attributes: { cn: ['all'], member: [], ...part('member', 0) } })
        else answer.entry(one('7', part('proxyAddresses', 0)))
        answer.done()
        return true
      },
      { groups },
    )
    const [row] = await everybody(connector)
    assert.deepEqual(row?.attributes.proxyAddresses, lists.proxyAddresses)
    assert.deepEqual(row?.attributes.groups, ['all'], 'the last of the members')
    for await (const some of connector.readGroups?.(never()) ?? []) assert.equal(some[0]?.members, 8)
    await stop()
  })

  it('gives up at once when it is told to, and leaves no connection behind', async () => {
    const stopping = new AbortController()
    const connector = await start(
      onSearch(() => {
        stopping.abort()
        return true
      }),
    )
    await assert.rejects(async () => collect(await connector.readFull(stopping.signal)), failsAs(['cancelled'], PASSWORD))
    while (server?.connections.open) await new Promise(setImmediate)
    await stop()
  })

  it('gives up between two pages, too, and while a connection is being encrypted', async () => {
    const endless = onSearch(({ cookie }, answer) => {
      answer.entry(one(`a${cookie}`))
      answer.done({ cookie: String(Number(cookie) + 1) })
      return true
    })
    const stopping = new AbortController()
    const { batches } = await (await start(endless)).readFull(stopping.signal)
    await batches.next()
    stopping.abort()
    await assert.rejects(batches.next(), failsAs(['cancelled'], PASSWORD))
    await stop()
    server = await startMisbehavingLdap(() => true)
    const silent = connectorFor({ url: server.url.replace('ldap:', 'ldaps:') }, { patienceMs: 100 })
    await assert.rejects(silent.test(never()), failsAs(['too-slow'], PASSWORD))
    await stop()
  })

  it('leaves no connection behind when it is left in the middle, and opens none again', async () => {
    const connector = await start(
      onSearch(({ cookie }, answer) => {
        answer.entry(one(`a${cookie}`))
        answer.done({ cookie: String(Number(cookie) + 1) })
        return true
      }),
    )
    const { batches } = await connector.readFull(never())
    await batches.next()
    await batches.return({})
    while (server?.connections.open) await new Promise(setImmediate)
    assert.equal(server?.connections.total, 1)
    await stop()
  })

  it('sends no password in the clear, and none that is empty', async () => {
    const asked = (settings: Partial<LdapSettings>, password = PASSWORD) =>
      ldapConnector({
        settings: {
          url: 'ldap://directory.example',
          startTls: false,
          plaintext: false,
          bind: { dn: 'cn=reader', password: { env: 'GATEHOUSE_SOURCE_DIRECTORY' } },
          filter: '(objectClass=*)',
          base: SUFFIX,
          scope: 'sub',
          vendor: 'auto',
          pageSize: 10,
          ...settings,
        },
        secrets: () => password,
        limits: LIMITS,
      })
    const refused = (connector: Connector, words: RegExp) =>
      assert.rejects(
        connector.test(never()),
        (error) => failsAs(['misconfigured'], PASSWORD)(error) && words.test((error as Error).message),
      )
    await refused(asked({}), /in the clear/)
    await refused(asked({ url: 'ldaps://directory.example' }, ''), /GATEHOUSE_SOURCE_DIRECTORY is empty/)
    await refused(asked({ url: 'ldaps://directory.example', startTls: true }), /encrypted from the start/)
    await refused(asked({ url: 'ldap://reader:secret@directory.example' }), /must not hold a name/)
  })
})

// --- what is read, without a server -------------------------------------------------------------------------------------------

describe('what a directory says', () => {
  it('is the same name, however it is written (RFC 4514)', () => {
    const same = [
      ['uid=ada,dc=corp', 'UID=Ada, DC=CORP'],
      ['cn=Lovelace\\, Ada,dc=corp', 'cn=Lovelace\\2C Ada,dc=corp', 'cn="Lovelace, Ada",dc=corp', 'CN=lovelace\\,  ada;DC=corp'],
      ['cn=J\\C3\\B6rg,dc=corp', 'cn=Jörg,dc=corp', 'cn=#04054a c3b67267,dc=corp'.replace(' ', '')],
      ['cn=a+uid=b,dc=corp', 'uid=b + cn=a , dc=corp'],
      ['cn=a\\ ,dc=corp', 'cn=a\\20,dc=corp'],
      ['cn=a\\+b\\=c\\#,dc=corp', 'cn=a\\2Bb=c#,dc=corp'],
    ]
    for (const [first = '', ...others] of same) {
      for (const other of others) assert.equal(foldName(other), foldName(first), other)
      assert.equal(foldName(foldName(first)), foldName(first), 'a folded name stays as it is')
    }
    assert.notEqual(foldName('cn=a\\,b,dc=corp'), foldName('cn=a,b,dc=corp'))
    for (const no of ['', 'ada', 'cn=a,', 'cn="a', 'cn=a\\']) assert.equal(foldName(no), no)
  })

  it('is an identifier of Active Directory ([MS-DTYP])', () => {
    assert.equal(guidText(Buffer.from('60f3f99271d668439107d0454052f1fc', 'hex')), '92f9f360-d671-4368-9107-d0454052f1fc')
    assert.equal(guidText(Buffer.alloc(15)), undefined)
    assert.equal(sidText(Buffer.from('010100000000000512000000', 'hex')), 'S-1-5-18')
    assert.equal(sidText(Buffer.from('0102ffffffffffff2000000021020000', 'hex')), 'S-1-0xffffffffffff-32-545')
    assert.equal(sidText(Buffer.from('0102000000000005', 'hex')), undefined)
  })

  it('is whether an account may be used', () => {
    const now = new Date('2026-01-01T00:00:00Z')
    const state = (attributes: Record<string, string>) =>
      accountStateOf(
        entryOf({
          kind: 'entry',
          id: 1,
          dn: 'cn=a',
          attributes: Object.entries(attributes).map(([description, value]) => ({ description, values: [Buffer.from(value)] })),
        }) satisfies Entry,
        now,
      )
    const computed = 'msDS-User-Account-Control-Computed'
    const fileTime = (at: string) => String(BigInt(Date.parse(at)) * 10_000n + 116_444_736_000_000_000n)
    const table: readonly [Record<string, string>, string][] = [
      [{}, 'active'],
      [{ userAccountControl: '512' }, 'active'],
      [{ userAccountControl: '514' }, 'disabled'],
      [{ userAccountControl: '512', lockoutTime: '0' }, 'active'],
      [{ userAccountControl: '512', lockoutTime: '132000000000000000' }, 'locked'],
      [{ userAccountControl: '512', lockoutTime: '132000000000000000', [computed]: '0' }, 'active'],
      [{ userAccountControl: '512', lockoutTime: '132000000000000000', [computed]: '16' }, 'locked'],
      [{ userAccountControl: '514', [computed]: '16' }, 'disabled'],
      [{ userAccountControl: '512', accountExpires: '0' }, 'active'],
      [{ userAccountControl: '512', accountExpires: '9223372036854775807' }, 'active'],
      [{ userAccountControl: '512', accountExpires: fileTime('2025-12-31T23:59:59Z') }, 'disabled'],
      [{ userAccountControl: '512', accountExpires: fileTime('2026-01-01T00:00:01Z') }, 'active'],
      [{ nsAccountLock: 'TRUE' }, 'disabled'],
      [{ nsAccountLock: 'false' }, 'active'],
      [{ pwdAccountLockedTime: '000001010000Z' }, 'locked'],
      [{ pwdAccountTmpLockoutEnd: '20260101000001Z' }, 'locked'],
      [{ pwdAccountTmpLockoutEnd: '20251231235959Z' }, 'active'],
      [{ pwdStartTime: '20260101010000+0030' }, 'disabled'],
      [{ pwdStartTime: '20260101003000+0030' }, 'active'],
    ]
    for (const [attributes, expected] of table) assert.equal(state(attributes), expected, JSON.stringify(attributes))
  })

  it('is a filter, or is refused', () => {
    assert.equal(filterOf('(cn=J\\c3\\b6rg)', 'ldap.filter').toString(), '(cn=Jörg)')
    assert.equal(filterOf('(&\n (a=b )\n (!(c=d)) )', 'ldap.filter').toString(), '(&(a=b )(!(c=d)))')
    for (const no of ['(&)', '((a=b))', '(a=b)(c=d)', '(a=b))', '(objectGUID=\\80)'])
      assert.throws(() => filterOf(no, 'ldap.filter'), failsAs(['misconfigured']), no)
  })

  it('fails by name, whatever bytes come and however they are cut', () => {
    const good = messageBytes(2, 0x64, (writer) => {
      writer.writeString('uid=ada')
      writer.startSequence()
      writer.startSequence()
      writer.writeString('uid')
      writer.startSequence(0x31)
      writer.writeString('ada')
      writer.endSequence()
      writer.endSequence()
      writer.endSequence()
    })
    const read = (bytes: Buffer, cuts: readonly number[]) => {
      const frames = new Frames(1_000)
      const found: string[] = []
      try {
        const edges = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length]
        for (let i = 1; i < edges.length; i++) {
          frames.push(bytes.subarray(edges[i - 1], edges[i]))
          for (let frame = frames.next(); frame; frame = frames.next()) found.push(readMessage(frame).kind)
        }
      } catch (error) {
        assert.ok(error instanceof FeedFailure, String(error))
      }
      return found
    }
    fc.assert(fc.property(fc.array(fc.nat()), (cuts) => assert.deepEqual(read(Buffer.concat([good, good]), cuts), ['entry', 'entry'])))
    fc.assert(
      fc.property(fc.nat(good.length - 1), fc.nat(255), fc.array(fc.nat()), (at, byte, cuts) => {
        const bad = Buffer.from(good)
        bad[at] = byte
        read(bad, cuts)
      }),
    )
    fc.assert(fc.property(fc.uint8Array(), (bytes) => void read(Buffer.from(bytes), [])))
  })
})
