// One suite for both databases: what the store promises the flows.

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { metadataReader } from '../../src/app/metadata-reader.ts'
import { mint } from '../../src/app/mint.ts'
import { outbound } from '../../src/app/outbound.ts'
import { portsOf } from '../../src/app/ports.ts'
import { decide } from '../../src/domain/decide.ts'
import type { Known } from '../../src/domain/deciding.ts'
import { parsePolicyFile } from '../../src/domain/documents.ts'
import type { Actor } from '../../src/domain/events.ts'
import type { RunId, SourceId, UserId } from '../../src/domain/ids.ts'
import type { SourceRecord } from '../../src/domain/model.ts'
import { compilePolicy, type Policy } from '../../src/domain/policy.ts'
import { isRefusal } from '../../src/domain/refusals.ts'
import { answering } from '../../src/flows/answering.ts'
import { applyPolicy } from '../../src/flows/apply-policy.ts'
import type { SignIn, Tx } from '../../src/flows/ports.ts'
import { sweepExpired } from '../../src/flows/sweep-expired.ts'
import { NOTHING_INSECURE } from '../../src/http/saml/names.ts'
import { findSignIn, findUser, listUsers } from '../../src/store/console-reads.ts'
import { forgetDone } from '../../src/store/erase.ts'
import { gateReads } from '../../src/store/gate-reads.ts'
import { policyReader } from '../../src/store/policies.ts'
import { findToken } from '../../src/store/tokens.ts'
import { inside } from '../../src/store/transactions.ts'
import { dialects, type TestDatabase, testDatabase } from '../support/databases.ts'
import { standardPolicy } from '../support/house.ts'
import { keyPair, metadataXml } from '../support/idp.ts'
import { documentsOf, PERSISTENT } from '../support/world.ts'

const NOW = new Date('2026-03-01T12:00:00.000Z')
const LONG_AGO = new Date('2025-01-01T00:00:00Z')
const LATER = new Date('2026-03-01T13:00:00.000Z')
const actor: Actor = { kind: 'operator', name: 'test' }

for (const dialect of dialects) {
  describe(`the store on ${dialect}`, () => {
    let database: TestDatabase
    let ports: ReturnType<typeof portsOf>
    let corp: SourceId
    let policy: Policy

    before(async () => {
      database = await testDatabase(dialect)
      ports = portsOf(database.db)
      corp = mint.id('src', NOW)
      await database.db.writer('sources').insert({ id: corp, kind: 'saml', name: 'corp' })
      const documents = documentsOf({
        connections: [
          {
            name: 'corp',
            kind: 'saml',
            jit: { create: true, update: true },
            matching: [{ by: ['email'], link: 'auto' }],
            mapping: [
              { to: 'userName', from: 'attributes.uid' },
              { to: 'email', from: 'attributes.mail' },
              { to: 'groups', from: 'attributes.groups' },
            ],
          },
        ],
      })
      policy = compilePolicy(
        1,
        documents.map((one) => ({ ...one, source: corp })),
      )
    })
    after(() => database?.close())

    const say = (subject: string, attributes: Record<string, string[]>): SourceRecord => ({
      source: corp,
      nameId: { value: subject, format: PERSISTENT },
      attributes,
      aliases: { mail: 'urn:x' },
      observedAt: NOW,
    })
    const consider = (tx: Tx, said: SourceRecord) => {
      const source = policy.sources.get(corp)
      assert.ok(source)
      return answering(ports.users, tx, decide(said, { source, policy, fresh: mint.id('usr', NOW) }))
    }
    const settle = async (tx: Tx, said: SourceRecord) => {
      const { outcome } = await consider(tx, said)
      assert.ok(!isRefusal(outcome), JSON.stringify(outcome))
      await ports.users.commit(tx, outcome, { actor, now: NOW })
      return outcome
    }
    const subject = async (said: SourceRecord) => {
      const externalId = { key: `${PERSISTENT} ${said.nameId?.value}`, value: '' }
      return (await ports.inTransaction((tx) => ports.users.answer(tx, { about: 'subject', source: corp, externalId }))) as Known
    }

    it('gives back a user and a record exactly as they were committed', async () => {
      const said = say('Zoë', { uid: ['zoë'], groups: ['a;b', '"c"', "d'e", '\\', '東京'] })
      const created = await ports.inTransaction((tx) => settle(tx, said))
      const known = await subject(said)
      assert.deepEqual(known.linked, { ...created.user, version: 1, stateBy: 'operator test' })
      assert.deepEqual(JSON.parse(JSON.stringify(known.records)), JSON.parse(JSON.stringify([created.record])))
      assert.ok(known.records[0]?.observedAt instanceof Date)
      assert.equal((await ports.inTransaction((tx) => settle(tx, said))).kind, 'unchanged')
    })

    it('finds the holder of a user name in any letter case, composed or not', async () => {
      await ports.inTransaction((tx) => settle(tx, say('renée', { uid: ['Ren\u00e9e'] })))
      const { outcome } = await ports.inTransaction((tx) => consider(tx, say('other', { uid: ['RENE\u0301E'] })))
      assert.ok(isRefusal(outcome) && outcome.code === 'match.unlinked', JSON.stringify(outcome))
      assert.equal((await findUser(database.db, 'rene\u0301e'))?.userName, 'Ren\u00e9e')
    })

    it('writes nothing of a transaction that throws', async () => {
      const before = await database.db.writer('users').count({ n: '*' })
      await assert.rejects(
        ports.inTransaction(async (tx) => {
          await settle(tx, say('rolled back', { uid: ['rolled-back'] }))
          throw new Error('no')
        }),
        /no/,
      )
      assert.deepEqual(await database.db.writer('users').count({ n: '*' }), before)
    })

    it('asks several questions of one transaction, one after the other', async () => {
      const warnings: string[] = []
      const note = ({ message }: Error) => warnings.push(message)
      process.on('warning', note)
      const answers = await database.db.inTransaction((tx) =>
        Promise.all(['a', 'b', 'c'].map((text) => inside(tx)('sources').first(inside(tx).raw(`'${text}' as text`)))),
      )
      const failed = database.db.inTransaction((tx) =>
        Promise.allSettled([inside(tx).raw('select id from nowhere'), inside(tx)('sources').first('id')]).then(([first]) => {
          if (first?.status === 'rejected') throw first.reason
        }),
      )
      await assert.rejects(failed, /nowhere/)
      // Warnings are told in a turn of their own.
      await new Promise((resolve) => setImmediate(resolve))
      process.off('warning', note)
      assert.deepEqual(answers, [{ text: 'a' }, { text: 'b' }, { text: 'c' }])
      assert.deepEqual(warnings, [])
    })

    it('looks for erased people among however many whose tasks are done at once', async () => {
      const many = Array.from({ length: 70_000 }, (_, i) => `usr_${i}` as UserId)
      await database.db.inTransaction((tx) => forgetDone(inside(tx), many))
    })

    it('looks again when another transaction was first', async () => {
      const outcomes = await Promise.all(
        Array.from({ length: 8 }, () => ports.inTransaction((tx) => settle(tx, say('race', { uid: ['race'] })))),
      )
      assert.equal(new Set(outcomes.map((outcome) => outcome.user.id)).size, 1)
      assert.deepEqual(outcomes.map((outcome) => outcome.kind).sort(), ['create', ...Array(7).fill('unchanged')])
    })

    it('lets an assertion be claimed once', async () => {
      const claim = { connection: corp, id: '_once', expiresAt: LATER }
      const claims = await Promise.all(Array.from({ length: 5 }, () => ports.inTransaction((tx) => ports.assertions.claim(tx, claim))))
      assert.equal(claims.filter(Boolean).length, 1)
    })

    it('hands a request out once, and only to whom it fits', async () => {
      const request = {
        id: '_r1',
        connection: corp,
        browserHash: 'b'.repeat(43),
        returnTo: 'http://x/',
        entryHash: 'e'.repeat(43),
        passive: false,
        createdAt: NOW,
        expiresAt: LATER,
      }
      await ports.inTransaction((tx) => ports.requests.keep(tx, request))
      const take = (differing = {}) =>
        ports.inTransaction((tx) =>
          ports.requests.take(tx, { id: '_r1', connection: corp, browserHash: request.browserHash, now: NOW, ...differing }),
        )
      assert.equal(await take({ browserHash: 'c'.repeat(43) }), undefined)
      assert.equal(await take({ now: LATER }), undefined, 'half-open: at its end it is over')
      const taken = await Promise.all([take(), take(), take()])
      assert.deepEqual(taken.filter(Boolean), [request])
    })

    it('ends sessions for every host, and tells the gate at once', async () => {
      const { user } = await ports.inTransaction((tx) => settle(tx, say('guest', { uid: ['guest'] })))
      const session = {
        id: mint.id('ses', NOW),
        user: user.id,
        connection: corp,
        signIn: mint.id('sgn', NOW),
        openedAt: NOW,
        expiresAt: LATER,
      }
      await ports.inTransaction(async (tx) => {
        await ports.sessions.open(tx, session, { secretHash: 'k1'.padEnd(43, 'x'), host: 'gate' })
        assert.ok(await ports.sessions.addKey(tx, session.id, { secretHash: 'k2'.padEnd(43, 'x'), host: 'app' }))
      })
      const ask = gateReads(database.db)
      const question = (key: string, host: string, now = NOW) => ask({ secretHash: key.padEnd(43, 'x'), host, now })
      const answers = await Promise.all([
        question('k1', 'gate'),
        question('k2', 'app'),
        question('k2', 'gate'),
        question('no', 'gate'),
        ask({ secretHash: undefined, host: 'gate', now: NOW }),
      ])
      assert.deepEqual(
        answers.map((answer) => answer.session?.user.id),
        [user.id, user.id, undefined, undefined, undefined],
      )
      assert.equal((await question('k1', 'gate', LATER)).session, undefined)
      assert.equal(await ports.inTransaction((tx) => ports.sessions.end(tx, { user: user.id })), 1)
      assert.equal((await question('k1', 'gate')).session, undefined)
      assert.equal((await question('k2', 'app')).session, undefined)
      assert.equal(await ports.inTransaction((tx) => ports.sessions.addKey(tx, session.id, { secretHash: 'k3', host: 'late' })), false)
    })

    it('sweeps what has run out and nothing else', async () => {
      const record: SignIn = {
        id: mint.id('sgn', LONG_AGO),
        reference: mint.reference(),
        at: LONG_AGO,
        flow: 'sign-in',
        steps: [],
        outcome: 'refused',
        code: 'response.missing',
        address: '::1',
      }
      await ports.inTransaction(async (tx) => {
        await ports.signIns.record(tx, record)
        await ports.assertions.claim(tx, { connection: corp, id: '_old', expiresAt: NOW })
        await ports.assertions.claim(tx, { connection: corp, id: '_new', expiresAt: LATER })
      })
      assert.equal((await findSignIn(database.db, record.reference))?.code, 'response.missing')
      await sweepExpired(ports, { now: NOW, keepSignInsDays: 90, keepResponsesDays: 7, keepPlansDays: 30 })
      assert.equal(await findSignIn(database.db, record.reference), undefined)
      const left = await database.db.writer('assertions_used').whereIn('assertion_id', ['_old', '_new']).pluck('assertion_id')
      assert.deepEqual(left, ['_new'])
    })

    it('searches user names as they are typed, wildcards included', async () => {
      await ports.inTransaction((tx) => settle(tx, say('percent', { uid: ['100%_sure'] })))
      assert.deepEqual(
        (await listUsers(database.db, { search: '0%_S', limit: 10 })).map((user) => user.userName),
        ['100%_sure'],
      )
      assert.deepEqual(await listUsers(database.db, { search: '%%', limit: 10 }), [])
    })

    it('keeps a token’s hash while it is in force', async () => {
      const token = {
        id: mint.id('tok', NOW),
        name: 'help desk',
        mayWrite: false,
        secretHash: 't'.repeat(43),
        createdAt: NOW,
        expiresAt: LATER,
      }
      await ports.inTransaction((tx) => ports.tokens.keep(tx, token))
      assert.deepEqual(await findToken(database.db, token.secretHash, NOW), token)
      assert.equal(await findToken(database.db, token.secretHash, LATER), undefined)
      assert.equal(await ports.inTransaction((tx) => ports.tokens.revoke(tx, token.id, NOW)), true)
      assert.equal(await ports.inTransaction((tx) => ports.tokens.revoke(tx, token.id, NOW)), false)
      assert.equal(await findToken(database.db, token.secretHash, NOW), undefined)
    })

    it('keeps every version of a policy document, and a source under its name', async () => {
      const xml = metadataXml('https://idp.example', 'https://idp.example/sso', [(await keyPair()).certificate])
      const apply = async (change: (content: ReturnType<typeof standardPolicy>) => void, prune = false) => {
        const content = standardPolicy(xml, 'app.example', 'http://127.0.0.1:9')
        change(content)
        const parsed = parsePolicyFile(content)
        assert.ok('file' in parsed)
        const result = await applyPolicy(
          { ...ports, metadata: metadataReader({ folder: '.', outbound: outbound([]), allow: NOTHING_INSECURE, clock: () => NOW }) },
          { file: parsed.file, ownHost: 'gate', actor, now: NOW, prune, dryRun: false },
        )
        assert.ok('applied' in result, JSON.stringify(result))
        return result.applied.map(({ name, outcome }) => `${name} ${outcome}`)
      }
      const reader = policyReader(database.db)
      assert.deepEqual(await apply(() => {}), ['corp created', 'legacy created'])
      const first = await reader.inForce()
      assert.equal(first.connections.get('corp')?.id, corp, 'the source was there before')
      assert.deepEqual(await apply(() => {}), ['corp unchanged', 'legacy unchanged'])
      assert.equal(await reader.inForce(), first, 'nothing is compiled again for nothing')
      assert.deepEqual(
        await apply((content) => {
          for (const one of content.connections) one.idpInitiated = true
        }),
        ['corp changed', 'legacy unchanged'],
      )
      assert.equal((await reader.inForce()).connections.get('corp')?.version, 2)
      assert.deepEqual(
        await apply((content) => {
          content.connections = []
        }, true),
        ['legacy unchanged', 'corp removed'],
      )
      assert.equal((await reader.inForce()).connections.size, 0)
      assert.deepEqual(await apply(() => {}), ['corp created', 'legacy unchanged'])
      assert.deepEqual(
        [(await reader.inForce()).connections.get('corp')?.id, (await reader.inForce()).connections.get('corp')?.version],
        [corp, 4],
      )
      const events = await database.db.writer('audit_events').where({ kind: 'policy.changed' }).pluck('actor_name')
      assert.deepEqual(new Set(events), new Set(['test']))
    })

    it('finds rows that claim the same, among a few or among all, and forgets the claims', async () => {
      const run = 'run_claims' as RunId
      const big = 2 ** 50 - 1
      for (const among of [[7, big, 99], undefined]) {
        await ports.inTransaction(async (tx) => {
          await ports.imports.addClaims(tx, run, [
            [7, 1],
            [8, 1],
            [big, 2],
          ])
          await ports.imports.addClaims(tx, run, [
            [9, 1001],
            [7, 1002],
            [big, 1003],
            [7, 1004],
          ])
        })
        const found = await ports.inTransaction((tx) => ports.imports.takeContested(tx, run, among))
        assert.deepEqual(
          new Map(found.map(({ claim, seqs }) => [claim, seqs])),
          new Map([
            [7, [1, 1002, 1004]],
            [big, [2, 1003]],
          ] as const),
        )
        assert.deepEqual(await ports.inTransaction((tx) => ports.imports.takeContested(tx, run, undefined)), [])
      }
    })

    it('refuses what the schema forbids', async () => {
      await assert.rejects(
        ports.inTransaction((tx) =>
          inside(tx)('leavings').insert({
            user_id: 'usr_nobody' as UserId,
            source_id: corp,
            external_key: 'k',
            to_state: 'suspended',
            reason: 'left',
            since: NOW,
            due_at: NOW,
          }),
        ),
      )
    })
  })
}
