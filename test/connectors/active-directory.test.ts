// The LDAP connector with an Active Directory: Samba's domain controller.

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { Attribute, Change, Client } from 'ldapts'
import { connect, type LdapAsk } from '../../src/connectors/ldap/connection.ts'
import { ldapConnector } from '../../src/connectors/ldap/ldap.ts'
import { remainder } from '../../src/connectors/ldap/ranges.ts'
import type { LdapSettings } from '../../src/domain/documents/source.ts'
import type { Connector, FeedLimits, FeedRow } from '../../src/flows/feed-ports.ts'
import { missingSamba, type Samba, startSamba } from '../support/samba.ts'
import { collect, connectorContract, failsAs } from './contract.ts'

const LIMITS: FeedLimits = { rows: 100_000, columns: 200, rowBytes: 1024 * 1024, patienceMs: 20_000 }
const CROWD = 40
/** More than a page of the server, and more than it gives of a list where it gives lists in parts. */
const CONTACTS = 1_600

const PASSWORD = 'Only-for-tests-2'

const never = () => new AbortController().signal
const login = (number: number) => `p${number}`

let samba: Samba

const unit = (name: string) => `OU=${name},${samba.base}`
const nameOf = (number: number) => `CN=Person ${number},${unit('People')}`

async function fill(client: Client): Promise<void> {
  for (const name of ['People', 'Groups', 'Contacts']) await client.add(unit(name), { objectClass: ['organizationalUnit'] })
  for (let i = 0; i < CROWD; i++) await addPerson(client, nameOf(i), login(i))
  const group = (name: string, member: string[]) =>
    client.add(`CN=${name},${unit('Groups')}`, { objectClass: ['group'], sAMAccountName: name, member })
  await group('crew', [nameOf(1), nameOf(2)])
  await group('fleet', [`CN=crew,${unit('Groups')}`, nameOf(3)])
  await group('house', [`CN=Domain Users,CN=Users,${samba.base}`])
}

async function addPerson(client: Client, dn: string, uid: string): Promise<void> {
  await client.add(dn, [
    new Attribute({ type: 'objectClass', values: ['user'] }),
    new Attribute({ type: 'sAMAccountName', values: [uid] }),
    new Attribute({ type: 'mail', values: [`${uid}@corp.example`] }),
    new Attribute({ type: 'unicodePwd', values: [Buffer.from(`"${PASSWORD}"`, 'utf16le')] }),
    new Attribute({ type: 'userAccountControl', values: ['512'] }),
  ])
}

function settingsFor(settings: Partial<LdapSettings> = {}): LdapSettings {
  return {
    url: samba.ldapsUrl,
    ca: samba.certificate,
    startTls: false,
    plaintext: false,
    bind: { dn: samba.administrator.dn, password: { env: 'GATEHOUSE_SOURCE_DIRECTORY' } },
    base: unit('People'),
    filter: '(objectClass=user)',
    scope: 'sub',
    vendor: 'active-directory',
    pageSize: 15,
    ...settings,
  }
}

function askFor(settings: Partial<LdapSettings> = {}, password = samba.administrator.password): LdapAsk {
  return { settings: settingsFor(settings), secrets: () => password, limits: LIMITS }
}

const connectorFor = (settings: Partial<LdapSettings> = {}, password?: string) => ldapConnector(askFor(settings, password))

const GROUPS = { filter: '(objectClass=group)', name: 'cn', nested: true }

const replace = (dn: string, type: string, value: string) =>
  samba.asAdministrator((client) =>
    client.modify(dn, new Change({ operation: 'replace', modification: new Attribute({ type, values: [value] }) })),
  )

async function people(connector: Connector): Promise<Map<string, FeedRow>> {
  const { rows } = await collect(await connector.readFull(never()))
  return new Map(rows.map((row) => [row.attributes.sAMAccountName?.[0] ?? '', row]))
}

async function changes(connector: Connector, cursor: string | undefined): Promise<readonly FeedRow[]> {
  return (await collect((await connector.readChanges?.(cursor ?? assert.fail(), never())) ?? assert.fail())).rows
}

const cursorOf = async (connector: Connector) => (await collect(await connector.readFull(never()))).cursor

describe('the LDAP connector with an Active Directory', { skip: missingSamba() }, () => {
  before(async () => {
    samba = await startSamba()
    await samba.asAdministrator(fill)
  })
  after(() => samba?.stop())

  connectorContract('LDAP, Active Directory', async () => {
    const connector = connectorFor({ groups: { ...GROUPS, base: unit('Groups') } })
    const all = await people(connectorFor())
    const keyOf = (number: number) => all.get(login(number))?.attributes.objectGUID?.[0] ?? assert.fail()
    return {
      connector,
      key: 'objectGUID',
      people: [...all.values()].map(({ attributes }) => attributes.objectGUID?.[0] ?? ''),
      attribute: 'mail',
      async change() {
        await replace(nameOf(7), 'title', 'Captain')
        return keyOf(7)
      },
      async remove() {
        await samba.asAdministrator((client) => client.del(nameOf(8)))
        return keyOf(8)
      },
      groups: ['crew', 'fleet', 'house'],
      misbehaving: [
        {
          name: 'refuses the password',
          connector: () => connectorFor({}, 'Not-the-one-1'),
          fails: ['denied'],
        },
        {
          name: 'wants an encrypted connection',
          connector: () => connectorFor({ url: samba.url }),
          fails: ['misconfigured'],
        },
        {
          name: 'wants somebody to sign in',
          connector: () => {
            const { bind: _, ...settings } = settingsFor()
            return ldapConnector({ ...askFor(), settings })
          },
          fails: ['denied'],
        },
      ],
      secret: samba.administrator.password,
      close: async () => undefined,
    }
  })

  it('finds out by itself what it is', async () => {
    const connector = connectorFor({ vendor: 'auto', base: samba.base, groups: { ...GROUPS, base: unit('Groups') }, pageSize: 1_000 })
    const said = await connector.test(never())
    assert.match(said, /^Active Directory \(Samba.*encrypted; signed in as administrator@CORP\.EXAMPLE; /)
    assert.match(
      said,
      /the filter finds \d+ \(references.*; below OU=Groups,.* the filter for groups finds 3; with ldap\.vendor: active-directory/,
    )
    assert.equal(connector.changesShowLeavers, false)
    assert.equal(connectorFor().changesShowLeavers, true)
    assert.deepEqual([...(await people(connectorFor({ vendor: 'auto' }))).keys()].sort(), [...(await people(connectorFor())).keys()].sort())
  })

  it('encrypts later, too', async () => {
    assert.match(await connectorFor({ url: samba.url, startTls: true }).test(never()), /, encrypted;/)
  })

  it('tells identifiers as the directory writes them itself', async () => {
    const { objectGUID = [], objectSid = [], dn = [] } = (await people(connectorFor())).get(login(11))?.attributes ?? {}
    for (const identifier of [`<GUID=${objectGUID[0]}>`, `<SID=${objectSid[0]}>`]) {
      const found = await samba.asAdministrator((client) => client.search(identifier, { scope: 'base', attributes: ['cn'] }))
      assert.deepEqual(
        found.searchEntries.map((entry) => entry.dn),
        dn,
      )
    }
  })

  it('says who is disabled, locked, locked no longer, and over', async () => {
    await replace(nameOf(12), 'userAccountControl', '514')
    await replace(samba.base, 'lockoutThreshold', '2')
    for (let i = 0; i < 2; i++) {
      const client = new Client({ url: samba.ldapsUrl, tlsOptions: { ca: samba.certificate } })
      await assert.rejects(client.bind(`${login(13)}@CORP.EXAMPLE`, 'wrong'))
      await client.unbind()
    }
    // 2019, and the domain unlocks after half an hour.
    await replace(nameOf(14), 'lockoutTime', '132000000000000000')
    await replace(nameOf(15), 'accountExpires', '132000000000000000')
    const found = await people(connectorFor())
    const state = (number: number) => found.get(login(number))?.attributes.accountState
    assert.deepEqual([11, 12, 13, 14, 15].map(state), [['active'], ['disabled'], ['locked'], ['active'], ['disabled']])
    await assert.rejects(
      collect(
        await connectorFor(
          { bind: { dn: `${login(12)}@CORP.EXAMPLE`, password: { env: 'GATEHOUSE_SOURCE_DIRECTORY' } } },
          PASSWORD,
        ).readFull(never()),
      ),
      (error) => failsAs(['denied'], PASSWORD)(error) && /the account is disabled/.test((error as Error).message),
    )
  })

  it('tells the groups of each, the primary one among them, and those that it is in', async () => {
    const found = await people(connectorFor({ groups: { ...GROUPS, base: samba.base } }))
    assert.deepEqual(found.get(login(1))?.attributes.groups, ['Domain Users', 'Users', 'crew', 'fleet', 'house'])
    assert.deepEqual(found.get(login(3))?.attributes.groups, ['Domain Users', 'Users', 'fleet', 'house'])
    const flat = await people(connectorFor({ groups: { ...GROUPS, base: samba.base, nested: false } }))
    assert.deepEqual(flat.get(login(1))?.attributes.groups, ['Domain Users', 'crew'])
    assert.deepEqual(flat.get(login(4))?.attributes.groups, ['Domain Users'])
  })

  it('reads large groups, in parts where there are parts', async () => {
    const contact = (number: number) => `CN=Contact ${number},${unit('Contacts')}`
    const big = `CN=big,${unit('Contacts')}`
    await samba.asAdministrator(async (client) => {
      // Not one after the other: that takes twice as long.
      for (let i = 0; i < CONTACTS; i += 100)
        await Promise.all(Array.from({ length: 100 }, (_, j) => client.add(contact(i + j), { objectClass: ['contact'] })))
      await client.add(big, {
        objectClass: ['group'],
        sAMAccountName: 'big',
        member: Array.from({ length: CONTACTS }, (_, i) => contact(i)),
      })
    })
    const connector = connectorFor({
      base: unit('Contacts'),
      filter: '(objectClass=contact)',
      pageSize: 1_000,
      groups: { ...GROUPS, base: unit('Contacts') },
    })
    const { rows } = await collect(await connector.readFull(never()))
    assert.equal(rows.filter(({ attributes }) => attributes.groups?.join() === 'big').length, CONTACTS)
    const connection = await connect(askFor(), never())
    const rest: string[] = []
    for await (const values of remainder(connection, big, { name: 'member', from: 1_500 }, CONTACTS)) rest.push(...values)
    connection.close()
    assert.equal(rest.length, CONTACTS - 1_500)
  })

  it('brings those who are in a group that has changed, by name or as their primary one', async () => {
    const connector = connectorFor({ groups: { ...GROUPS, base: samba.base } })
    const cursor = await cursorOf(connector)
    await replace(`CN=fleet,${unit('Groups')}`, 'description', 'All ships')
    const some = await changes(connector, cursor)
    assert.deepEqual(some.map(({ attributes }) => attributes.sAMAccountName?.[0]).sort(), [1, 2, 3].map(login))
    await replace(`CN=house,${unit('Groups')}`, 'description', 'Everybody')
    const everybody = await changes(connector, cursor)
    assert.equal(everybody.length, (await people(connector)).size)
    assert.equal(new Set(everybody.map(({ place }) => place)).size, everybody.length, 'each once')
  })

  it('shows who was deleted, and never somebody else who has the login now', async () => {
    const connector = connectorFor()
    const before = await people(connector)
    const cursor = await cursorOf(connector)
    await samba.asAdministrator(async (client) => {
      await client.del(nameOf(20))
      await client.del(nameOf(21))
      await addPerson(client, `CN=Another,${unit('People')}`, login(21))
    })
    const rows = await changes(connector, cursor)
    const gone = new Map(rows.filter((row) => row.gone).map(({ attributes }) => [attributes.objectGUID?.[0], attributes]))
    const was = (number: number) => before.get(login(number))?.attributes ?? assert.fail()
    assert.deepEqual([...gone.keys()].sort(), [20, 21].map((number) => was(number).objectGUID?.[0]).sort())
    assert.deepEqual(gone.get(was(20).objectGUID?.[0])?.sAMAccountName, [login(20)])
    assert.deepEqual(gone.get(was(20).objectGUID?.[0])?.objectSid, was(20).objectSid)
    assert.equal(gone.get(was(21).objectGUID?.[0])?.sAMAccountName, undefined)
    assert.deepEqual(
      rows.filter((row) => !row.gone).map(({ attributes }) => attributes.sAMAccountName),
      [[login(21)]],
    )
    assert.ok(
      (await changes(connectorFor({ vendor: 'auto' }), cursor)).every((row) => !row.gone),
      'only where it was said beforehand',
    )
  })

  it('reads changes for an account that may not see who was deleted', async () => {
    const cursor = await cursorOf(connectorFor())
    await samba.asAdministrator((client) => client.del(nameOf(22)))
    await replace(nameOf(23), 'title', 'Captain')
    const ordinary = { dn: `${login(24)}@CORP.EXAMPLE`, password: { env: 'GATEHOUSE_SOURCE_DIRECTORY' } }
    const rows = await changes(connectorFor({ bind: ordinary }, PASSWORD), cursor)
    assert.ok(rows.some(({ attributes }) => attributes.sAMAccountName?.[0] === login(23)))
    assert.ok(rows.every((row) => !row.gone))
  })

  it('does not take a cursor of another domain controller, or of one that was set back', async () => {
    const [, number = '', copy = ''] = /^usn:(\d+):(.+)$/.exec((await cursorOf(connectorFor())) ?? '') ?? []
    assert.match(copy, /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/)
    for (const other of [
      `usn:${number}:00000000-0000-0000-0000-000000000000`,
      `usn:${BigInt(number) + 1_000_000n}:${copy}`,
      'time:20260101000000Z',
    ])
      await assert.rejects(changes(connectorFor(), other), failsAs(['changed']), other)
  })
})
