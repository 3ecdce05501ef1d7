// One suite for both databases: what the store promises the decision. Keys, seats, cases, runs, tombstones, encryption.

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { metadataReader } from '../../src/app/metadata-reader.ts'
import { mint } from '../../src/app/mint.ts'
import { outbound } from '../../src/app/outbound.ts'
import { portsOf } from '../../src/app/ports.ts'
import { type Decision, decide } from '../../src/domain/decide.ts'
import type { Known } from '../../src/domain/deciding.ts'
import { parsePolicyFile } from '../../src/domain/documents.ts'
import type { Actor } from '../../src/domain/events.ts'
import type { CaseId, SourceId, UserId } from '../../src/domain/ids.ts'
import { isRefusal } from '../../src/domain/refusals.ts'
import type { Change } from '../../src/domain/settle.ts'
import { answering } from '../../src/flows/answering.ts'
import { applyPolicy } from '../../src/flows/apply-policy.ts'
import { changeState } from '../../src/flows/change-state.ts'
import { trimRecords } from '../../src/flows/look-after-records.ts'
import { PolicyMoved } from '../../src/flows/ports.ts'
import { reapplyPolicy } from '../../src/flows/reapply-policy.ts'
import { settleCase } from '../../src/flows/settle-case.ts'
import { surveyPeople } from '../../src/flows/survey-people.ts'
import { NOTHING_INSECURE } from '../../src/http/saml/names.ts'
import { listCases } from '../../src/store/cases.ts'
import { findUser } from '../../src/store/console-reads.ts'
import { openDatabase } from '../../src/store/db.ts'
import { policyReader } from '../../src/store/policies.ts'
import { countStale, everybody } from '../../src/store/runs.ts'
import { lookingAnswer, seatsTaken, uniqueHolders } from '../../src/store/simulation-reads.ts'
import { dialects, TEST_KEYS, type TestDatabase, testDatabase } from '../support/databases.ts'
import { type Attributes, NO_TARGETS, PERSISTENT, NOW as SAID, says } from '../support/world.ts'

const NOW = new Date('2026-03-01T12:00:00.000Z')
const actor: Actor = { kind: 'operator', name: 'test' }

for (const dialect of dialects) {
  describe(`the decision's store on ${dialect}`, () => {
    let database: TestDatabase
    let ports: ReturnType<typeof portsOf>

    const content = (more: Record<string, unknown> = {}, beside: Record<string, unknown> = {}) => ({
      schema: { attributes: [{ name: 'badge', type: 'string', unique: true }] },
      connections: [
        {
          name: 'corp',
          kind: 'saml',
          subjects: '.',
          jit: { create: true, update: true },
          matching: [{ by: ['email'], link: 'ask' }],
          mapping: [
            { to: 'userName', from: 'attributes.uid' },
            { to: 'email', from: 'attributes.mail' },
            { to: 'badge', from: 'attributes.badge' },
            { to: 'department', from: 'attributes.department' },
          ],
          groups: { from: 'attributes.groups', mode: 'sync' },
          ...more,
        },
      ],
      entitlements: [{ name: 'app.pro', when: "'pro' in groups", seats: 2 }],
      ...beside,
    })
    const apply = async (what: unknown) => {
      const parsed = parsePolicyFile(what)
      assert.ok('file' in parsed, JSON.stringify(parsed))
      const metadata = metadataReader({ folder: '.', outbound: outbound([]), allow: NOTHING_INSECURE, clock: () => NOW })
      const ask = { file: parsed.file, ownHost: 'gate', actor, now: NOW, prune: false, dryRun: false }
      return applyPolicy({ ...ports, metadata }, ask)
    }
    const policy = () => policyReader(database.db).inForce()
    const hear = async (attributes: Attributes, subject: string): Promise<Decision> => {
      const inForce = await policy()
      const source = [...inForce.sources.values()].find(({ name }) => name === 'corp')
      assert.ok(source)
      const said = { ...says('corp', attributes, { subject }), source: source.id }
      return ports.inTransaction(async (tx) => {
        const decision = await answering(ports.users, tx, decide(said, { source, policy: inForce, fresh: mint.id('usr', NOW) }))
        if (!isRefusal(decision.outcome)) await ports.users.commit(tx, decision.outcome, { actor, now: NOW })
        return decision
      })
    }
    const change = async (attributes: Attributes, subject: string): Promise<Change> => {
      const { outcome } = await hear(attributes, subject)
      assert.ok(!isRefusal(outcome), JSON.stringify(outcome))
      return outcome
    }
    const rows = (table: string) => database.db.writer(table).select()

    before(async () => {
      database = await testDatabase(dialect)
      ports = portsOf(database.db)
      assert.ok('applied' in (await apply(content())))
    })
    after(() => database?.close())

    it('never gives away more seats than there are, whoever comes at once', async () => {
      const names = ['s1', 's2', 's3', 's4', 's5', 's6']
      const outcomes = await Promise.all(names.map((name) => change({ uid: name, groups: ['pro'] }, name)))
      assert.equal(outcomes.filter(({ user }) => user.grants.length === 1).length, 2)
      assert.deepEqual([...(await seatsTaken(database.db))], [['app.pro', 2]])
      const [holder] = outcomes.filter(({ user }) => user.grants.length)
      const [waits] = outcomes.filter(({ user }) => user.waiting.length)
      assert.ok(holder && waits)
      await changeState(ports, { user: holder.user.id, policy: NO_TARGETS, to: 'deprovisioned', reason: 'left', actor, now: NOW })
      assert.equal((await seatsTaken(database.db)).get('app.pro'), 1, 'a leaver frees a seat')
      const name = waits.user.profile.userName?.values[0] as string
      assert.deepEqual((await change({ uid: name, groups: ['pro'] }, name)).entitled.gained, ['app.pro'])
    })

    it('holds a unique value for one person, whoever comes first', async () => {
      const outcomes = await Promise.all(['u1', 'u2', 'u3'].map((name) => hear({ uid: name, badge: 'B-7' }, name)))
      const refused = outcomes.flatMap(({ outcome }) => (isRefusal(outcome) ? [outcome] : []))
      assert.equal(refused.length, 2)
      for (const one of refused) assert.match(one.detail, /holds the same badge/)
      const holders = await uniqueHolders(database.db)([{ name: 'badge', value: 'b-7' }])
      assert.equal(holders.length, 1)
    })

    it('lets a person settle who somebody is: this one, or somebody new', async () => {
      await change({ uid: 'ada', mail: 'ada@x' }, 'ada')
      const inForce = await policy()
      const source = [...inForce.sources.values()].find(({ name }) => name === 'corp')
      assert.ok(source)
      const meet = async (subject: string) => {
        const decision = await hear({ uid: `${subject}-name`, mail: 'ADA@x' }, subject)
        const { outcome, explanation } = decision
        assert.ok(isRefusal(outcome) && outcome.code === 'match.renamed', JSON.stringify(outcome))
        const { externalId, match } = explanation
        assert.ok(externalId && match)
        const { candidates, renamedFrom, why } = match
        const met = { id: mint.id('cas', NOW), source: source.id, externalId, kind: 'renamed' as const, candidates, why }
        await ports.inTransaction((tx) => ports.cases.note(tx, { ...met, ...(renamedFrom ? { renamedFrom } : {}) }, NOW))
        const open = (await listCases(database.db, { all: false, limit: 9 })).find((one) => one.externalId.value === subject)
        assert.ok(open)
        return open
      }
      const first = await meet('ada-2')
      assert.deepEqual(await settleCase(ports, { id: first.id, settlement: { verdict: 'new' }, actor, now: NOW }), { outcome: 'settled' })
      assert.equal((await change({ uid: 'ada-2-name', mail: 'ADA@x' }, 'ada-2')).kind, 'create')
      assert.deepEqual(await listCases(database.db, { all: false, limit: 9 }), [])
      const events = await database.db.writer('audit_events').where({ kind: 'match.settled' }).select('actor_name')
      assert.deepEqual(events, [{ actor_name: 'test' }])
    })

    it('keeps a tombstone and nothing else of whoever was erased', async () => {
      const { user } = await change({ uid: 'forget-me', mail: 'forget@x', badge: 'F-1' }, 'forget-subject')
      await changeState(ports, { user: user.id, policy: NO_TARGETS, to: 'deprovisioned', reason: 'left', actor, now: NOW })
      const erased = await changeState(ports, { user: user.id, policy: NO_TARGETS, to: 'erased', reason: 'asked', actor, now: NOW })
      assert.equal(erased.outcome, 'changed')
      const left = JSON.stringify(await Promise.all(['users', 'links', 'user_keys', 'audit_events', 'match_cases'].map(rows)))
      assert.doesNotMatch(left, /forget/)
      const { outcome, explanation } = await hear({ uid: 'forget-me', mail: 'forget@x' }, 'forget-subject')
      assert.ok(isRefusal(outcome) && outcome.code === 'user.erased')
      assert.equal(explanation.match?.situation, 'gone')
      assert.equal(
        (await changeState(ports, { user: user.id, policy: NO_TARGETS, to: 'active', reason: 'no', actor, now: NOW })).outcome,
        'impossible',
      )
      assert.equal((await change({ uid: 'forget-me', badge: 'F-1' }, 'another')).kind, 'create', 'what was theirs is free')
    })

    it('keeps whoever was erased from coming back under a name that they once had, whatever the key is now', async () => {
      const subjects = { about: 'subject', source: '' as SourceId } as const
      const { user } = await change({ uid: 'former', mail: 'former@x' }, 'former-1')
      const inForce = await policy()
      const source = [...inForce.sources.values()].find(({ name }) => name === 'corp')?.id as SourceId
      const id = (value: string) => ({ key: `${PERSISTENT} ${value}`, value })
      const relink = { kind: 'relink', user, source, externalId: id('former-2'), replaces: id('former-1'), why: 'a test' } as const
      await ports.inTransaction((tx) => ports.users.commit(tx, relink, { actor, now: NOW }))
      for (const to of ['deprovisioned', 'erased'] as const)
        await changeState(ports, { user: user.id, policy: NO_TARGETS, to, reason: 'left', actor, now: NOW })
      const keys = { current: 'a third key that is long enough too', other: TEST_KEYS.current }
      const opened = openDatabase(database.location, keys)
      try {
        while ((await opened.inTransaction((tx) => ports.kept.reseal(tx, 500))) > 0);
        const alone = openDatabase(database.location, { current: keys.current })
        for (const name of ['former-1', 'former-2']) {
          const known = (await lookingAnswer(alone)({ ...subjects, source, externalId: id(name) })) as Known
          assert.equal(known.linked?.state, 'erased', name)
        }
        await alone.close()
      } finally {
        // Back to the key that the rest of the suite opens with.
        const back = openDatabase(database.location, { current: TEST_KEYS.current, other: keys.current })
        while ((await back.inTransaction((tx) => ports.kept.reseal(tx, 500))) > 0);
        await back.close()
        await opened.close()
      }
    })

    it('lets one of two who claim to be the same person be it, and not both', async () => {
      const { user } = await change({ uid: 'claimed', mail: 'claimed@x' }, 'claimed-1')
      const inForce = await policy()
      const source = [...inForce.sources.values()].find(({ name }) => name === 'corp')?.id as SourceId
      const settled: string[] = []
      for (const name of ['claimed-2', 'mallory']) {
        const { explanation } = await hear({ uid: `${name}-x`, mail: 'claimed@x' }, name)
        const { externalId, match } = explanation
        assert.ok(externalId && match?.renamedFrom, name)
        const { candidates, renamedFrom, why } = match
        const met = { id: mint.id('cas', NOW), source, externalId, kind: 'renamed' as const, candidates, renamedFrom, why }
        await ports.inTransaction((tx) => ports.cases.note(tx, met, NOW))
        settled.push(met.id)
      }
      const outcomes = []
      for (const id of settled) {
        outcomes.push(await settleCase(ports, { id: id as CaseId, settlement: { verdict: 'linked', user: user.id }, actor, now: NOW }))
      }
      assert.deepEqual(
        outcomes.map(({ outcome }) => outcome),
        ['settled', 'refused'],
      )
      assert.deepEqual(
        (await findUser(database.db, user.id))?.links.map(({ externalId }) => externalId),
        ['claimed-2'],
      )
    })

    it('gives back what somebody is entitled to with their first sign-in after they were let in again', async () => {
      assert.ok('applied' in (await apply(content({}, { entitlements: [{ name: 'app.editor', when: "'editors' in groups" }] }))))
      const { user } = await change({ uid: 'back', groups: ['editors'] }, 'back')
      for (const to of ['deprovisioned', 'active'] as const)
        await changeState(ports, { user: user.id, policy: NO_TARGETS, to, reason: 'a mistake', actor, now: NOW })
      const { outcome } = await hear({ uid: 'back', groups: ['editors'] }, 'back')
      assert.ok(!isRefusal(outcome))
      assert.deepEqual(outcome.entitled.gained, ['app.editor'])
      assert.ok('applied' in (await apply(content())))
    })

    it('does not commit what was decided under a policy that has been replaced meanwhile', async () => {
      const old = await policy()
      assert.ok('applied' in (await apply(content({ matching: [{ by: ['badge'], link: 'ask' }] }))))
      const source = [...old.sources.values()].find(({ name }) => name === 'corp')
      assert.ok(source)
      const said = { ...says('corp', { uid: 'late' }, { subject: 'late' }), source: source.id }
      const late = ports.inTransaction(async (tx) => {
        const { outcome } = await answering(ports.users, tx, decide(said, { source, policy: old, fresh: mint.id('usr', NOW) }))
        assert.ok(!isRefusal(outcome))
        await ports.users.commit(tx, outcome, { actor, now: NOW })
      })
      await assert.rejects(late, PolicyMoved)
      assert.equal(await findUser(database.db, 'late'), undefined)
      assert.ok('applied' in (await apply(content())))
    })

    it('does not open a record in another one’s place', async () => {
      await change({ uid: 'one' }, 'one')
      await change({ uid: 'two' }, 'two')
      const db = database.db.writer
      const place = (name: string) => ({ external_key: `urn:oasis:names:tc:SAML:2.0:nameid-format:persistent ${name}` })
      const [{ sealed } = { sealed: undefined }] = await db('source_records').where(place('one')).select('sealed')
      const [{ sealed: own } = { sealed: undefined }] = await db('source_records').where(place('two')).select('sealed')
      await db('source_records').where(place('two')).update({ sealed })
      await assert.rejects(hear({ uid: 'two' }, 'two'), /authenticate/)
      await db('source_records').where(place('two')).update({ sealed: own })
      const strange = openDatabase(database.location, { current: 'quite another key that is long enough' })
      try {
        await assert.rejects(async () => {
          for await (const people of everybody(strange)) assert.equal([...people].length, 0)
        }, /encrypted with another key/)
        const opened = openDatabase(database.location, { current: 'quite another key that is long enough', other: TEST_KEYS.current })
        for await (const people of everybody(opened)) assert.ok([...people].length)
        await opened.close()
      } finally {
        await strange.close()
      }
    })

    it('keeps what nobody reads for a while only, and what somebody reads for good', async () => {
      const { user } = await change({ uid: 'trim', mail: 'trim@x', 'urn:x/hobby': 'chess' }, 'trim')
      const names = async () => {
        for await (const people of everybody(database.db)) {
          const person = [...people].find(({ linked }) => linked.id === user.id)
          if (person) return Object.keys(person.records[0]?.attributes ?? {})
        }
        return undefined
      }
      const inForce = await policy()
      await trimRecords(ports, { policy: inForce, keepDays: 30, now: new Date(SAID.getTime() + 29 * 86_400_000) })
      assert.deepEqual(await names(), ['uid', 'mail', 'urn:x/hobby'])
      const later = new Date(SAID.getTime() + 31 * 86_400_000)
      assert.ok((await trimRecords(ports, { policy: inForce, keepDays: 30, now: later })) > 0)
      assert.deepEqual(await names(), ['uid', 'mail'])
      assert.equal(await trimRecords(ports, { policy: inForce, keepDays: 30, now: later }), 0)
      const again = await change({ uid: 'trim', mail: 'trim@x', 'urn:x/hobby': 'chess' }, 'trim')
      assert.deepEqual([again.kind, again.attributes], ['unchanged', []])
      assert.deepEqual(await names(), ['uid', 'mail', 'urn:x/hobby'])
    })

    it('derives everybody again, and goes on where it was stopped', async () => {
      const many = Array.from({ length: 450 }, (_, i) => `p${String(i).padStart(3, '0')}`)
      for (const name of many) await change({ uid: name, department: 'IT' }, name)
      assert.ok('applied' in (await apply(content({}, {}))))
      const renamed = content({
        mapping: [
          { to: 'userName', from: 'attributes.uid' },
          { to: 'email', from: 'attributes.mail' },
          { to: 'badge', from: 'attributes.badge' },
          { to: 'department', from: "'Dept ' + attributes.department[0]" },
        ],
      })
      assert.ok('applied' in (await apply(renamed)))
      const inForce = await policy()
      const stale = await countStale(database.db)
      assert.ok(stale >= 450)
      let looked = 0
      const ask = {
        policy: inForce,
        survey: async () => {
          looked++
          return surveyPeople({
            people: everybody(database.db, { derivedBefore: inForce.revision }),
            policy: inForce,
            uniqueNow: new Set(['userName', 'badge']),
            seats: await seatsTaken(database.db),
            holdersOf: uniqueHolders(database.db),
            now: NOW,
            onProspect: () => {},
          })
        },
        safeguard: { share: 0.5, count: 1_000 },
        approved: false,
        actor,
        clock: () => NOW,
      }
      const crash = reapplyPolicy(ports, {
        ...ask,
        onProgress: () => {
          throw new Error('the plug was pulled')
        },
      })
      await assert.rejects(crash, /plug/)
      const [half] = await database.db.writer('runs').where({ state: 'running' }).select('cursor', 'id')
      assert.ok(half.cursor)
      assert.equal(await countStale(database.db), stale - 200)
      const { run, outcome } = await reapplyPolicy(ports, ask)
      assert.deepEqual([outcome, run.id, run.counts.done, looked], ['done', half.id, stale, 1])
      assert.equal(await countStale(database.db), 0)
      assert.deepEqual((await findUser(database.db, 'p449'))?.profile.department?.values, ['Dept IT'])
      const updates = await database.db.writer('audit_events').where({ kind: 'user.updated', run_id: run.id }).select('details')
      assert.equal(updates.filter(({ details }) => JSON.stringify(details).includes('Dept IT')).length, 450, 'each once')
    })

    it('finds people by what a new rule asks for, and refuses a rule that two people break', async () => {
      assert.ok('applied' in (await apply(content())))
      await change({ uid: 'm1', department: 'Unique' }, 'm1')
      await change({ uid: 'm2', department: 'Shared' }, 'm2')
      await change({ uid: 'm3', department: 'shared' }, 'm3')
      assert.ok('applied' in (await apply(content({ matching: [{ by: ['department'], link: 'ask' }] }))))
      const looking = lookingAnswer(database.db)
      const inForce = await policy()
      const source = [...inForce.sources.values()].find(({ name }) => name === 'corp')
      assert.ok(source)
      const key = { name: 'department', value: 'unique', unique: false }
      const found = (await looking({ about: 'holders', source: source.id, keys: [key] })) as { user: { id: UserId } }[]
      assert.equal(found.length, 1)
      const [badge] = content().schema.attributes
      const clash = await apply({ schema: { attributes: [badge, { name: 'department', type: 'string', unique: true }] } })
      assert.ok('faults' in clash)
      assert.match(clash.faults[0]?.message ?? '', /department cannot be unique: usr_\w+ and usr_\w+/)
      assert.equal((await policy()).revision, inForce.revision, 'nothing was written')
      assert.equal(((await looking({ about: 'holders', source: source.id, keys: [key] })) as unknown[]).length, 1)
    })
  })
}
