// An administrator's day at the command line, beside a house that people sign in to: explain, simulate, apply, derive again,
// settle who is who, set by hand, suspend, erase, roll back, redact and change keys.

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { stringify } from 'yaml'
import { findUser } from '../../src/store/console-reads.ts'
import { type Db, openDatabase } from '../../src/store/db.ts'
import { migrateUp } from '../../src/store/migrations.ts'
import { dialects, TEST_KEYS } from '../support/databases.ts'
import { startHouse, type TestHouse } from '../support/house.ts'
import { type Answer, answerXml, keyPair } from '../support/idp.ts'
import { Walker } from '../support/walker.ts'

const bin = fileURLToPath(new URL('../../bin/gatehouse.js', import.meta.url))
const HOUR = 3_600_000

describe('an administrator at the command line', () => {
  let folder: string
  let db: Db
  let house: TestHouse
  let environment: Record<string, string>

  const gatehouse = (...args: string[]) =>
    new Promise<{ code: number; out: string; err: string }>((resolve) => {
      const options = { env: { PATH: process.env.PATH, ...environment } }
      const child = execFile(process.execPath, [bin, ...args], options, (error, out, err) =>
        resolve({ code: error ? Number(error.code) : 0, out, err }),
      )
      child.stdin?.end()
    })
  // biome-ignore lint/suspicious/noExplicitAny: what a command answers is looked into, field by field
  const json = async (...args: string[]): Promise<any> => {
    const { code, out, err } = await gatehouse(...args, '--json')
    assert.equal(code, 0, err || out)
    return JSON.parse(out)
  }
  const file = (name: string, content: string) => {
    const path = join(folder, name)
    writeFileSync(path, content)
    return path
  }
  const person = (name: string, more: Record<string, string | string[]> = {}, nameId = name): Partial<Answer> => ({
    nameId,
    attributes: { email: `${name}@corp.example`, name, department: 'IT', groups: ['staff'], ...more },
  })
  const signIn = async (differing: Partial<Answer>) => house.signIn(new Walker(), differing)
  const counts = async () =>
    Promise.all(['users', 'links', 'source_records', 'user_keys', 'audit_events', 'sign_ins', 'policy_documents', 'runs'].map(house.count))
  const policy = (change: (connection: Record<string, unknown>) => void = () => {}, beside: Record<string, unknown> = {}) => {
    const { metadata, ...rest } = house.connection
    const connection: Record<string, unknown> = { ...rest, metadata }
    change(connection)
    return stringify({ connections: [connection], ...beside })
  }

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'gatehouse-decision-'))
    db = openDatabase({ sqlite: join(folder, 'gatehouse.db') }, TEST_KEYS)
    await migrateUp(db)
    house = await startHouse({ db })
    environment = { GATEHOUSE_DATA_DIR: folder, GATEHOUSE_DATA_KEY: TEST_KEYS.current, GATEHOUSE_BASE_URL: house.baseUrl }
    for (const name of ['ada', 'bob', 'cleo']) assert.equal((await signIn(person(name))).status, 200)
  })
  after(async () => {
    await house?.close()
    await db?.close()
    rmSync(folder, { recursive: true, force: true })
  })

  it('explains what a sign-in would do, writes nothing, and the sign-in does just that', async () => {
    const before = await counts()
    const words = person('ada', { department: 'Finance', groups: ['staff', 'finance'] })
    const response = file('response.xml', answerXml(house.idp.keys, house.answer({ ...words, inResponseTo: '_x' })))
    const explained = await json('explain', '--connection', 'corp', '--assertion', response)
    assert.deepEqual(await counts(), before)
    assert.equal(explained.verified, true)
    assert.equal(explained.match.situation, 'linked')
    assert.deepEqual(
      explained.outcome.attributes.map((one: { attribute: string }) => one.attribute),
      ['department', 'groups'],
    )
    assert.deepEqual(explained.headers[0].headers, { 'X-Remote-User': 'ada', 'X-Remote-Name': 'ada', 'X-Remote-Groups': 'staff;finance' })

    const walker = new Walker()
    assert.equal((await house.signIn(walker, words)).status, 200)
    await walker.get(house.appUrl)
    const got = house.upstream.received.at(-1)?.headers
    for (const [name, value] of Object.entries(explained.headers[0].headers)) assert.equal(got?.[name.toLowerCase()], value)
    const [newest] = await house.db.writer('audit_events').where({ kind: 'user.updated' }).orderBy('id', 'desc').limit(1)
    assert.deepEqual(JSON.parse(newest.details).attributes, explained.outcome.attributes)
  })

  it('explains what has run out, what nobody has signed, and what is only an assertion, and says so', async () => {
    const old = house.answer({ ...person('ada'), now: new Date(house.clock.now.getTime() - 24 * HOUR), inResponseTo: '_x' })
    const expired = await gatehouse('explain', '--connection', 'corp', '--assertion', file('expired.xml', answerXml(house.idp.keys, old)))
    assert.equal(expired.code, 0, expired.err)
    assert.match(expired.out, /could not be used now \(assertion\.expired/)
    assert.match(expired.out, /ok +the assertion’s signature verifies/)
    assert.match(expired.out, /email = «ada@corp\.example»\n +-> email \(attributes\.email\): mapped/)

    const unsigned = answerXml(house.idp.keys, house.answer({ ...person('eve'), sign: 'nothing', inResponseTo: '_x' }))
    const pasted = Buffer.from(unsigned).toString('base64').replace(/.{76}/g, '$&\n')
    const { out, code } = await gatehouse('explain', '--connection', 'corp', '--assertion', file('pasted.txt', pasted))
    assert.equal(code, 0)
    assert.match(out, /NOTHING VOUCHES FOR IT.*signature\.missing/)
    assert.match(out, /a new person would be created/)
    const assertion = /<saml:Assertion .*<\/saml:Assertion>/s.exec(unsigned)?.[0] ?? ''
    const bare = assertion.replace('<saml:Assertion ', '<saml:Assertion xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ')
    assert.equal((await json('explain', '--connection', 'corp', '--assertion', file('bare.xml', bare))).outcome.change, 'create')

    const strangers = await keyPair('stranger')
    const forged = file('forged.xml', answerXml(strangers, house.answer({ ...person('ada'), inResponseTo: '_x' })))
    assert.equal((await json('explain', '--connection', 'corp', '--assertion', forged)).verified, false)
    assert.equal((await gatehouse('explain', '--connection', 'corp', '--assertion', file('x.txt', 'not a response'))).code, 1)
    assert.equal((await gatehouse('explain', '--connection', 'nowhere', '--assertion', forged)).code, 1)
    assert.equal((await gatehouse('explain')).code, 2)
  })

  it('explains a sign-in that has happened, by its reference', async () => {
    const page = await signIn({ ...person('mallory'), attributes: {} })
    assert.equal(page.status, 403)
    const reference = page.dom.querySelector('.reference')?.text ?? ''
    const explained = await json('explain', '--sign-in', reference)
    assert.equal(explained.outcome.refused.code, 'attribute.missing')
    const [row] = await house.db.writer('sign_ins').where({ reference }).select('id')
    assert.equal((await json('explain', '--sign-in', row.id)).outcome.refused.code, 'attribute.missing')
    assert.equal((await gatehouse('explain', '--sign-in', 'ZZZZ-ZZZZ')).code, 1)
  })

  it('simulates a draft: counts first, then who, and nothing is written', async () => {
    const before = await counts()
    const same = await json('simulate', '--policy', file('same.yaml', policy()))
    assert.deepEqual([same.people.people, same.people.changed, same.people.refused, same.people.collisions], [3, 0, 0, 0])
    assert.equal(same.signIns.tried, same.signIns.sameOutcome, JSON.stringify(same.signInRows))

    const rules = { entitlements: [{ name: 'app.editor', when: "'finance' in groups" }] }
    const draft = policy((connection) => {
      connection.mapping = [
        { to: 'userName', from: 'nameID' },
        { to: 'email', from: 'attributes.email' },
        { to: 'displayName', from: 'upper(first(attributes.name))' },
        { to: 'groups', from: 'attributes.groups' },
      ]
      connection.jit = { create: true, update: true, required: ['email', 'title'] }
    }, rules)
    const { people, rows, signIns } = await json('simulate', '--policy', file('draft.yaml', draft))
    assert.deepEqual([people.changed, people.attributes.displayName, people.blanked, people.gained['app.editor']], [3, 3, 3, 1])
    const ada = rows.find((row: { userName: string }) => row.userName === 'ada')
    assert.deepEqual(ada.attributes[1], { attribute: 'displayName', before: ['ada'], after: ['ADA'] })
    assert.ok(signIns.newlyRefused >= 4, JSON.stringify(signIns))

    const clash = policy((connection) => {
      connection.mapping = [
        { to: 'userName', from: "attributes.department[0] + '-user'" },
        { to: 'email', from: 'attributes.email' },
      ]
    })
    const told = await gatehouse('simulate', '--policy', file('clash.yaml', clash))
    assert.match(told.out, /2 would collide/, told.out)
    assert.match(told.out, /userName would be the same as that of usr_/)
    assert.match(told.out, /Nothing was written/)
    const wrong = await gatehouse('simulate', '--policy', file('wrong.yaml', draft.replace('upper(first', 'shout(first')))
    assert.equal(wrong.code, 2)
    assert.match(wrong.err, /wrong\.yaml:\d+: connections\[0\]\.mapping\[2\]\.from: there is no function shout.*\(at character 1\)/)
    assert.deepEqual(await counts(), before)
  })

  it('derives everybody again without a sign-in, held by its safeguard until somebody approves', async () => {
    const draft = file(
      'department.yaml',
      policy((connection) => {
        connection.mapping = [
          { to: 'userName', from: 'nameID' },
          { to: 'email', from: 'attributes.email' },
          { to: 'displayName', from: 'attributes.name' },
          { to: 'groups', from: 'attributes.groups' },
        ]
      }),
    )
    assert.match((await gatehouse('apply', '-f', draft)).out, /3 people are as the policy before had them/)
    const held = await gatehouse('reapply')
    assert.equal(held.code, 4, held.err)
    assert.match(held.err, /Held, and nobody was changed: 3 of 3 people would lose something/)
    assert.ok((await findUser(db, 'ada'))?.profile.department)
    assert.equal((await gatehouse('reapply', '--approve')).code, 0)
    const ada = await findUser(db, 'ada')
    assert.equal(ada?.profile.department, undefined)
    assert.equal(ada?.profile.email?.policyVersion, 2, 'every value cites the version that made it')
    const again = await json('reapply')
    assert.deepEqual([again.outcome, again.run.counts.changed ?? 0], ['done', 0])
  })

  it('tells versions apart, says who wrote them, and goes back to one', async () => {
    const log = await json('policy', 'log', 'connection', 'corp')
    assert.deepEqual(
      log.versions.map((one: { version: number }) => one.version),
      [2, 1],
    )
    assert.ok(log.versions[0].author.startsWith('operator '))
    const { changes } = await json('policy', 'diff', 'connection', 'corp')
    assert.ok(
      changes.some(
        (one: { path: string; before?: unknown; after?: unknown }) => one.path === 'mapping.department' && one.before && !one.after,
      ),
      JSON.stringify(changes),
    )
    assert.equal((await gatehouse('policy', 'rollback', 'connection', 'corp', '--to', '1')).code, 0)
    assert.equal((await gatehouse('reapply')).code, 0)
    const ada = await findUser(db, 'ada')
    assert.deepEqual([ada?.profile.department?.values, ada?.profile.department?.policyVersion], [['Finance'], 3])
    assert.equal((await gatehouse('policy', 'rollback', 'connection', 'corp', '--to', '99')).code, 1)
    assert.equal((await gatehouse('policy', 'show', 'nothing')).code, 2)
  })

  it('names two people whose values would clash, and changes nothing', async () => {
    const schema = { schema: { attributes: [{ name: 'department', type: 'string', unique: true }] } }
    await signIn(person('dora', { department: 'IT' }))
    const { code, err } = await gatehouse('apply', '-f', file('unique.yaml', stringify(schema)))
    assert.equal(code, 2)
    assert.match(err, /unique\.yaml:\d+: schema\.attributes\[0\]\.unique: department cannot be unique: usr_\S+ and usr_\S+/)
    assert.equal((await gatehouse('policy', 'show', 'schema')).code, 1)
  })

  it('recognises people who come back under other names, and re-links them all at once with the evidence', async () => {
    const rules = policy((connection) => {
      connection.matching = [{ by: ['email'], link: 'auto' }]
    })
    assert.equal((await gatehouse('apply', '-f', file('rules.yaml', rules))).code, 0)
    const people = await house.count('users')
    for (const name of ['bob', 'cleo']) {
      const page = await signIn(person(name, {}, `id-${name}`))
      assert.equal(page.status, 403)
      assert.match(page.body, /under another name/)
    }
    const { cases } = await json('match', 'list')
    const renamed = cases.filter((one: { kind: string }) => one.kind === 'renamed')
    assert.equal(renamed.length, 2)
    const shown = await gatehouse('match', 'relink', '--connection', 'corp')
    assert.match(shown.out, /bob +id-bob +.*the same email/)
    assert.match(shown.out, /Nothing was changed/)
    assert.equal((await json('match', 'relink', '--connection', 'corp', '--yes')).cases.length, 2)
    assert.equal((await signIn(person('bob', {}, 'id-bob'))).status, 200)
    assert.equal(await house.count('users'), people, 'nobody was doubled')
    const bob = await findUser(db, 'id-bob')
    assert.deepEqual(
      bob?.links.map(({ externalId }) => externalId),
      ['id-bob'],
    )
    assert.ok(bob?.events.some(({ kind, details }) => kind === 'user.relinked' && JSON.stringify(details).includes('"before":"bob"')))
  })

  it('sets values by hand where nobody else masters them, and lets people in and out', async () => {
    assert.equal((await gatehouse('user', 'set', 'ada', 'title=Countess', 'phoneNumber=1')).code, 0)
    assert.match((await gatehouse('user', 'show', 'ada')).out, /title +Countess +local v0, by hand/)
    assert.equal((await gatehouse('user', 'set', 'ada', 'shoeSize=7')).code, 2)
    assert.equal((await gatehouse('user', 'set', 'ada', 'title=')).code, 0)
    assert.equal((await findUser(db, 'ada'))?.profile.title, undefined)

    assert.equal((await json('user', 'suspend', 'ada', '--reason', 'on leave')).outcome, 'suspended')
    const out = await signIn(person('ada'))
    assert.equal(out.status, 403)
    assert.match(out.body, /suspended/)
    assert.equal((await gatehouse('user', 'erase', 'ada', '--reason', 'x')).code, 1, 'not from here')
    assert.equal((await json('user', 'restore', 'ada', '--reason', 'back')).outcome, 'active')
    assert.equal((await signIn(person('ada'))).status, 200)
  })

  it('erases somebody for good, and a sign-in does not bring them back', async () => {
    assert.equal((await gatehouse('user', 'deprovision', 'ada', '--reason', 'left')).code, 0)
    assert.equal((await gatehouse('user', 'erase', 'ada', '--reason', 'asked for it')).code, 0)
    const people = await house.count('users')
    const page = await signIn(person('ada'))
    assert.equal(page.status, 403)
    assert.equal(await house.count('users'), people)
    await house.db.writer.raw('pragma wal_checkpoint(truncate)')
    const left = await Promise.all(['users', 'links', 'user_keys', 'audit_events'].map((table) => house.db.writer(table).select()))
    assert.doesNotMatch(JSON.stringify(left), /ada@corp\.example|"ada"/)
    assert.match((await gatehouse('user', 'list', '--state', 'erased')).out, /erased/)
  })

  it('proposes attributes from what was seen', async () => {
    await signIn(person('dora', { employeeID: '42', startDate: '2020-01-31' }))
    const { proposed, seen } = await json('schema', 'discover', '--connection', 'corp')
    assert.deepEqual(proposed.mapping, [
      { to: 'employeeNumber', from: 'attributes.employeeID' },
      { to: 'startDate', from: 'attributes.startDate' },
    ])
    assert.deepEqual(proposed.schema, [{ name: 'startDate', type: 'date', label: 'startDate' }])
    assert.ok(seen.some((one: { name: string; mappedTo?: string }) => one.name === 'groups' && one.mappedTo === 'groups'))
  })

  it('keeps no secret in the clear, forgets an attribute, and changes its key', async () => {
    const kept = async () => {
      const rows = await Promise.all(['source_records', 'sign_in_contents'].map((table) => house.db.writer(table).select()))
      return rows
        .flat()
        .map((row) =>
          Object.values(row)
            .map((cell) => (Buffer.isBuffer(cell) ? cell.toString('latin1') : JSON.stringify(cell)))
            .join(' '),
        )
        .join(' ')
    }
    assert.match(await kept(), /persistent bob|persistent id-bob/, 'the keys of links are')
    assert.doesNotMatch(await kept(), /corp\.example|employeeID/)
    assert.equal((await gatehouse('records', 'redact', 'employeeID', '--connection', 'corp')).code, 2, 'it would come back')
    const redacting = policy((connection) => {
      connection.redact = ['employeeID']
    })
    assert.equal((await gatehouse('apply', '-f', file('redact.yaml', redacting))).code, 0)
    assert.equal((await json('records', 'redact', 'employeeID', '--connection', 'corp')).records, 1)
    await signIn(person('dora', { employeeID: '42' }))
    assert.ok(!(await json('schema', 'discover', '--connection', 'corp')).seen.some((one: { name: string }) => one.name === 'employeeID'))

    const next = 'another key for tests that is long enough'
    environment = { ...environment, GATEHOUSE_DATA_KEY: next, GATEHOUSE_DATA_OTHER_KEY: TEST_KEYS.current }
    assert.ok((await json('records', 'reseal')).resealed > 3)
    assert.equal((await json('records', 'reseal')).resealed, 0)
    const { GATEHOUSE_DATA_OTHER_KEY: _, ...alone } = environment
    environment = alone
    assert.equal((await json('schema', 'discover', '--connection', 'corp')).records, 3)
    environment = { ...environment, GATEHOUSE_DATA_KEY: TEST_KEYS.current }
    const wrong = await gatehouse('schema', 'discover', '--connection', 'corp')
    assert.equal(wrong.code, 1)
    assert.match(wrong.err, /encrypted with another key/)
  })
})

describe('what a sign-in leaves behind', () => {
  it('is no response where none is to be kept, and entitlements for the app', async () => {
    const house = await startHouse({
      environment: { GATEHOUSE_KEEP_RESPONSES_DAYS: '0' },
      policy: (file) => {
        file.entitlements = [{ name: 'app.editor', when: "'finance' in groups", administrator: false }]
        file.apps[0]?.headers.push({ name: 'X-Remote-Entitlements', from: 'user.entitlements' })
      },
    })
    try {
      const walker = new Walker()
      const attributes = { email: 'ada@corp.example', groups: ['finance'] }
      assert.equal((await house.signIn(walker, { attributes })).status, 200)
      await walker.get(house.appUrl)
      assert.equal(house.upstream.received.at(-1)?.headers['x-remote-entitlements'], 'app.editor')
      assert.equal((await house.signIn(new Walker(), { attributes: {}, nameId: 'nobody' })).status, 403)
      assert.equal((await house.post(new Walker(), house.answer({ inResponseTo: '_never' }))).status, 403)
      assert.equal(await house.count('sign_in_contents'), 0)
      assert.equal(await house.count('source_records'), 1)
    } finally {
      await house.close()
    }
  })

  it('is no sensitive value in events, look-ups or the log', async () => {
    const house = await startHouse({
      policy: (file) => {
        file.schema = { attributes: [{ name: 'nationalId', type: 'string', sensitive: true }] }
        const [corp] = file.connections
        corp?.mapping.push({ to: 'nationalId', from: 'attributes.nid', strength: 'follow', when: 'inherit', absent: 'keep', empty: 'keep' })
      },
    })
    try {
      const attributes = (nid: string | string[]) => ({ email: 'ada@corp.example', nid })
      for (const nid of ['SECRET-1', 'SECRET-2']) await house.signIn(new Walker(), { attributes: attributes(nid) })
      await house.signIn(new Walker(), { attributes: attributes(['SECRET-3', 'SECRET-4']) })
      const kept = await Promise.all(['audit_events', 'sign_ins', 'match_cases'].map((table) => house.db.writer(table).select()))
      assert.doesNotMatch(JSON.stringify(kept) + house.log.join(), /SECRET/)
      assert.match(JSON.stringify(kept), /nationalId.*\(hidden\)/)
    } finally {
      await house.close()
    }
  })
})

for (const dialect of dialects) {
  describe(`a policy that changes while people sign in, on ${dialect}`, () => {
    it('keeps nobody out, and finds everybody by what the newest asks for', async () => {
      const house = await startHouse({ dialect })
      try {
        const people = Array.from({ length: 24 }, (_, i) => `p${i}`)
        const change = async (round: number) => {
          const by = round % 2 ? ['department'] : ['email']
          await house.apply({ connections: [{ ...house.connection, matching: [{ by, link: 'ask' }] }] })
        }
        const [pages] = await Promise.all([
          Promise.all(
            people.map((name) =>
              house.signIn(new Walker(), { nameId: name, attributes: { email: `${name}@corp.example`, department: name, name } }),
            ),
          ),
          (async () => {
            for (let round = 0; round < 7; round++) await change(round)
          })(),
        ])
        assert.deepEqual(
          pages.map(({ status }) => status),
          people.map(() => 200),
        )
        await change(1)
        const keys = await house.db.writer('user_keys').where({ name: 'department' }).pluck('value')
        assert.deepEqual([...keys].sort(), [...people].sort())
      } finally {
        await house.close()
      }
    })
  })
}
