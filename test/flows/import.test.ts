// Imports from their beginning to their end, on both databases: plans, approval, application, crashes, undoing.

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { cancelImport } from '../../src/flows/cancel-import.ts'
import { editUser } from '../../src/flows/edit-user.ts'
import { runImport } from '../../src/flows/run-import.ts'
import { dialects } from '../support/databases.ts'
import { countsOf, hr, Importing, OPERATOR } from '../support/imports.ts'

for (const dialect of dialects) {
  describe(`an import on ${dialect}`, () => {
    let at: Importing
    const fresh = (policy?: Record<string, unknown>) => {
      before(async () => {
        at = await Importing.open(dialect, policy)
      })
      after(() => at?.close())
    }

    describe('of people who are new, change and leave', () => {
      fresh()

      it('creates them, and nobody twice', async () => {
        at.putMany(20)
        const run = await at.run()
        assert.equal(run.state, 'done')
        assert.deepEqual(countsOf(run), { create: 20, applied: 20 })
        assert.equal((await at.users()).length, 20)
        const again = await at.run()
        assert.deepEqual(countsOf(again), { unchanged: 20 })
        const user = await at.user('e1@corp.example')
        assert.equal(user.profile.department?.via, run.id)
        assert.deepEqual(
          user.events.map(({ kind }) => kind),
          ['user.created'],
        )
      })

      it('changes what has changed and tells what', async () => {
        at.put('E1', { email: 'e1@corp.example', department: 'Research' })
        const run = await at.run()
        assert.deepEqual(countsOf(run), { unchanged: 19, update: 1, applied: 1 })
        const [row] = await at.rows(run.id)
        assert.deepEqual(row?.planned.attributes, [{ attribute: 'department', before: ['Sales'], after: ['Research'] }])
        assert.equal(row?.status, 'applied')
        assert.deepEqual((await at.user('e1@corp.example')).profile.department?.values, ['Research'])
      })

      it('looks at them no more than once where only the order of what is said has changed', async () => {
        at.putMany(20, (number) => (number === 1 ? { department: 'Research' } : { department: 'Sales' }))
        const reordered = [...at.people].map(([key, { department = '', ...rest }]) => [key, { department, ...rest }] as const)
        for (const [key, row] of reordered) at.people.set(key, row)
        const run = await at.run()
        assert.deepEqual(countsOf(run), { unchanged: 20, applied: 20 })
        const again = await at.run()
        assert.deepEqual([countsOf(again), await at.rows(again.id)], [{ unchanged: 20 }, []])
      })

      it('ends the access of whoever left, and opens it again when they come back and a person agrees', async () => {
        at.drop('E2')
        const left = await at.run()
        assert.deepEqual(countsOf(left), { unchanged: 19, leaver: 1, applied: 1 })
        const gone = await at.user('e2@corp.example')
        assert.equal(gone.state, 'deprovisioned')
        assert.equal(gone.stateReason, 'hr does not name them any more')
        assert.deepEqual(countsOf(await at.run()), { unchanged: 19 })

        at.put('E2', { email: 'e2@corp.example', department: 'Sales' })
        const back = await at.run()
        assert.equal(back.state, 'waiting')
        assert.deepEqual(countsOf(back), { unchanged: 19, return: 1, waiting: 1 })
        assert.equal((await at.user('e2@corp.example')).state, 'deprovisioned')
        const approved = await at.approve(back.id)
        assert.equal(approved.outcome, 'applied')
        assert.equal((await at.user('e2@corp.example')).state, 'active')
        assert.deepEqual(countsOf(await at.run()), { unchanged: 20 })
      })

      it('leaves whom an administrator has suspended suspended', async () => {
        const { changeState } = await import('../../src/flows/change-state.ts')
        const policy = await at.policy()
        const { id: user } = await at.user('e3@corp.example')
        await changeState(at.ports, { user, to: 'suspended', reason: 'asked', policy, actor: OPERATOR, now: at.now })
        at.put('E3', { email: 'e3@corp.example', department: 'Research' })
        assert.deepEqual(countsOf(await at.run()), { unchanged: 19, update: 1, applied: 1 })
        const after = await at.user('e3@corp.example')
        assert.equal(after.state, 'suspended')
        assert.deepEqual(after.profile.department?.values, ['Research'])
      })
    })

    if (dialect === 'postgres')
      describe('of many', () => {
        fresh()

        it('tells the database how many, which would read all of them for each part otherwise', async () => {
          const counted = async (table: string) => {
            const [row] = await at.db.read((knex) => knex('pg_class').where({ relname: table }).select('reltuples'))
            return Number(row?.reltuples)
          }
          at.putMany(4100)
          await at.run()
          assert.equal(await counted('import_rows'), 4100)
          assert.ok((await counted('users')) >= 4000, 'people')
          assert.ok((await counted('user_keys')) >= 8000, 'keys')
        })
      })

    describe('of people who are here already', () => {
      fresh({
        sources: [
          hr({
            matching: [
              { by: ['email'], link: 'auto' },
              { by: ['department'], link: 'ask' },
            ],
          }),
        ],
      })

      it('links by the rules, and says by which', async () => {
        const ada = await at.signIn('ada@corp.example', 'Ada')
        at.put('E1', { email: 'ADA@corp.example', department: 'Sales' })
        const run = await at.run()
        assert.deepEqual(countsOf(run), { link: 1, applied: 1 })
        assert.match((await at.rows(run.id))[0]?.planned.why ?? '', /has the same email; the rule says link: auto/)
        const user = await at.user('ada@corp.example')
        assert.equal(user.id, ada)
        assert.deepEqual(user.links.map(({ source }) => source).sort(), ['corp', 'hr'])
      })

      it('asks where a rule says so, and gives the row to whom a person says', async () => {
        const bob = await at.signIn('bob@other.example', 'Bob')
        at.put('E2', { email: 'robert@corp.example', department: 'Sales' })
        at.put('E3', { email: 'carol@corp.example', department: 'Sales' })
        const run = await at.run()
        assert.equal(run.state, 'waiting')
        assert.equal(run.counts.disputed, 2)
        const disputed = await at.rows(run.id, 'disputed')
        assert.ok(disputed.every(({ status, planned }) => status === 'waiting' && planned.candidates.length > 0))
        const seqOf = (key: string) => disputed.find((row) => row.externalId.value === key)?.seq ?? 0
        assert.deepEqual(await at.settle(run.id, seqOf('E2'), { pick: 'yes' }), {
          outcome: 'refused',
          why: 'it is disputed: say whom it means (a user), new, or ignore',
        })
        const given = await at.settle(run.id, seqOf('E2'), { pick: 'user', user: bob })
        assert.equal(given.outcome, 'applied')
        assert.equal((await at.user('robert@corp.example')).id, bob)
        const made = await at.settle(run.id, seqOf('E3'), { pick: 'new' })
        assert.ok(made.outcome === 'applied' && made.run.state === 'done', JSON.stringify(made))
        assert.equal((await at.users()).length, 3)
        assert.deepEqual(countsOf(await at.run()), { unchanged: 3 })
      })

      it('does not ask again about whom a person ignores', async () => {
        at.put('E4', { email: 'dan@corp.example', department: 'Sales' })
        const run = await at.run()
        const [row] = await at.rows(run.id, 'disputed')
        const settled = await at.settle(run.id, row?.seq ?? 0, { pick: 'ignore' })
        assert.ok(settled.outcome === 'applied' && settled.run.state === 'done')
        const again = await at.run()
        assert.equal(again.state, 'done')
        assert.deepEqual(countsOf(again), { unchanged: 3, ignored: 1 })
      })

      it('gives whoever was renamed their new name, with all that was known under the old one, and takes that back', async () => {
        at.drop('E2')
        at.put('E22', { email: 'robert@corp.example', department: 'Service' })
        const run = await at.run()
        const [row] = await at.rows(run.id, 'disputed')
        assert.equal(row?.planned.code, 'match.renamed')
        const robert = await at.user('robert@corp.example')
        const carol = await at.user('carol@corp.example')
        const other = await at.settle(run.id, row?.seq ?? 0, { pick: 'user', user: carol.id })
        assert.deepEqual(other, { outcome: 'refused', why: `hr knows ${carol.id} as «E3» already` })
        const given = await at.settle(run.id, row?.seq ?? 0, { pick: 'user', user: robert.id })
        assert.equal(given.outcome, 'applied', JSON.stringify(given))
        const renamed = await at.user('robert@corp.example')
        assert.deepEqual([renamed.id, renamed.links.find(({ source }) => source === 'hr')?.externalId], [robert.id, 'E22'])
        assert.deepEqual(renamed.profile.department?.values, ['Service'])
        const back = await at.undo(run.id)
        assert.ok(back.outcome === 'undone' && back.back === 1, JSON.stringify(back))
        const was = await at.user('robert@corp.example')
        assert.deepEqual([was.links.find(({ source }) => source === 'hr')?.externalId, was.profile.department?.values], ['E2', ['Sales']])
        at.drop('E22')
        at.put('E2', { email: 'robert@corp.example', department: 'Sales' })
        // What was said last is read again, and is what is on file.
        assert.deepEqual(countsOf(await at.run()), { unchanged: 3, ignored: 1, applied: 1 })
      })

      it('settles nothing where a row cannot be what a person says', async () => {
        at.put('E8', { email: 'carol@corp.example', department: 'Law' })
        const run = await at.run()
        const [row] = (await at.rows(run.id, 'disputed')).filter(({ externalId }) => externalId.value === 'E8')
        // Their userName is Carol's.
        const refused = await at.settle(run.id, row?.seq ?? 0, { pick: 'new' })
        assert.equal(refused.outcome, 'refused', JSON.stringify(refused))
        assert.equal((await at.rows(run.id, 'disputed')).find(({ seq }) => seq === row?.seq)?.status, 'waiting')
        at.drop('E8')
      })

      it('refuses two rows of one feed that would be one person', async () => {
        at.put('E5', { email: 'eve@corp.example', department: 'Law' })
        at.put('E6', { email: 'eve@corp.example', department: 'Law' })
        const run = await at.run()
        assert.equal((run.counts.refused ?? 0) + (run.counts.disputed ?? 0), 2, JSON.stringify(run.counts))
        assert.equal((await at.users()).length, 3)
      })
    })

    describe('of a source of which nothing follows when it stops naming somebody', () => {
      fresh({ sources: [hr({ lifecycle: { leavers: 'nothing' }, approve: { new: 'auto', update: 'auto', leaver: 'ask' } })] })

      it('notes who has left, and neither asks nor holds, because nobody loses anything', async () => {
        at.putMany(5)
        await at.run()
        for (const key of ['E1', 'E2']) at.drop(key)
        const run = await at.run()
        assert.deepEqual(
          [run.state, run.counts.leaver, run.details.harmed?.leavers, run.details.causes?.map(({ code }) => code)],
          ['done', 2, 0, undefined],
        )
        assert.equal((await at.user('e1@corp.example')).state, 'active')
      })
    })

    describe('whose keys have all changed', () => {
      fresh()

      it('takes nobody for a leaver of whom it asks whether they are called something else', async () => {
        at.putMany(6)
        await at.run()
        for (const n of [1, 2, 3, 4, 5, 6]) {
          at.drop(`E${n}`)
          at.put(`N${n}`, { email: `e${n}@corp.example`, department: 'Sales' })
        }
        const run = await at.run()
        assert.deepEqual([run.state, run.counts.disputed, run.counts.leaver], ['held', 6, 6])
        const approved = await at.approve(run.id)
        assert.ok(approved.outcome === 'applied' && approved.run.state === 'waiting', JSON.stringify(approved))
        await at.approve(run.id, 'leaver')
        assert.deepEqual(new Set((await at.users()).map(({ state }) => state)), new Set(['active']))
        for (const { seq, planned } of await at.rows(run.id, 'disputed')) {
          const [candidate] = planned.candidates
          assert.equal((await at.settle(run.id, seq, { pick: 'user', user: candidate?.user as never })).outcome, 'applied')
        }
        await at.approve(run.id)
        const after = await at.users()
        assert.deepEqual([after.length, new Set(after.map(({ state }) => state))], [6, new Set(['active'])])
        assert.deepEqual(countsOf(await at.run()), { unchanged: 6 })
      })
    })

    describe('that a person has to look at first', () => {
      fresh({ sources: [hr({ approve: { new: 'ask', exact: 'ask', update: 'ask', leaver: 'ask' } })] })

      it('waits, class by class, and applies exactly what was planned', async () => {
        at.putMany(3)
        const run = await at.run()
        assert.equal(run.state, 'waiting')
        assert.equal((await at.users()).length, 0)
        const [first] = await at.rows(run.id)
        assert.equal((await at.settle(run.id, first?.seq ?? 0, { pick: 'yes' })).outcome, 'applied')
        assert.equal((await at.users()).length, 1)
        const approved = await at.approve(run.id, 'create')
        assert.ok(approved.outcome === 'applied' && approved.run.state === 'done')
        assert.equal((await at.users()).length, 3)
      })

      it('waits for nobody any more once it is cancelled', async () => {
        at.put('E8', { email: 'e8@corp.example', department: 'Sales' })
        const run = await at.run()
        assert.deepEqual([run.state, run.counts.waiting], ['waiting', 1])
        const cancelled = await cancelImport(at.ports, { run: run.id, actor: OPERATOR, now: at.now })
        assert.ok(typeof cancelled !== 'string' && cancelled.state === 'cancelled')
        assert.equal((await at.ports.importReads.run(run.id))?.counts.waiting, 0)
        assert.deepEqual(
          (await at.rows(run.id, 'create')).map(({ status }) => status),
          ['superseded'],
        )
        at.drop('E8')
      })

      it('plans only, where that is asked, and applies it later', async () => {
        at.put('E9', { email: 'e9@corp.example', department: 'Sales' })
        const run = await at.run({ planOnly: true })
        assert.equal(run.state, 'planned')
        assert.equal((await at.users()).length, 3)
        const approved = await at.approve(run.id)
        assert.ok(approved.outcome === 'applied' && approved.run.state === 'done', JSON.stringify(approved))
        assert.equal((await at.users()).length, 4)
        const twice = await at.approve(run.id)
        assert.equal(twice.outcome, 'refused')
      })

      it('leaves out of a plan what a person wants left out before anything of it is done', async () => {
        at.put('E10', { email: 'e10@corp.example', department: 'Sales' })
        const run = await at.run({ planOnly: true })
        const [row] = await at.rows(run.id, 'create')
        const ignored = await at.settle(run.id, row?.seq ?? 0, { pick: 'ignore' })
        assert.ok(ignored.outcome === 'applied' && ignored.run.state === 'planned', JSON.stringify(ignored))
        await at.approve(run.id)
        assert.equal((await at.users()).length, 4)
        at.drop('E10')
        await at.run()
      })

      it('leaves out whoever was changed since', async () => {
        at.put('E1', { email: 'e1@corp.example', department: 'Research' })
        at.put('E2', { email: 'e2@corp.example', department: 'Research' })
        const run = await at.run()
        assert.equal(run.counts.update, 2)
        const { id: user } = await at.user('e1@corp.example')
        const policy = await at.policy()
        const edited = await editUser(at.ports, { user, edits: { title: ['Boss'] }, policy, actor: OPERATOR, now: at.now })
        assert.ok(edited && 'attributes' in edited)
        const approved = await at.approve(run.id)
        assert.ok(approved.outcome === 'applied')
        assert.deepEqual({ applied: approved.run.counts.applied, moved: approved.run.counts.moved }, { applied: 1, moved: 1 })
        const states = (await at.rows(run.id, 'update')).map(({ status }) => status).sort()
        assert.deepEqual(states, ['applied', 'moved'])
        assert.deepEqual((await at.user('e1@corp.example')).profile.department?.values, ['Sales'])
        // The next run plans it anew.
        const next = await at.run({ approved: true })
        assert.equal(next.counts.update, 1)
        assert.deepEqual((await at.user('e1@corp.example')).profile.department?.values, ['Research'])
      })

      it('does not apply a plan of another policy', async () => {
        at.put('E1', { email: 'e1@corp.example', department: 'Law' })
        const run = await at.run()
        await at.apply({ sources: [hr({ approve: { new: 'auto' } })] })
        const settled = await at.approve(run.id)
        assert.ok(settled.outcome === 'refused' && /policy was changed/.test(settled.why))
      })

      it('gives way to a newer run of everybody', async () => {
        const run = await at.run()
        assert.equal(run.counts.update, 1)
        const newer = await at.run()
        assert.equal((await at.ports.importReads.run(run.id))?.counts.waiting ?? 0, 0)
        assert.notEqual(newer.id, run.id)
      })
    })

    describe('that is taken back', () => {
      fresh({ sources: [hr({ safeguard: { share: 1, count: 1000 } })] })

      it('unmakes, puts back, opens again, and leaves whoever was changed since', async () => {
        at.putMany(6)
        const first = await at.run()
        at.put('E1', { email: 'e1@corp.example', department: 'Research' })
        at.put('E2', { email: 'e2@corp.example', department: 'Research' })
        at.drop('E3')
        at.put('E7', { email: 'e7@corp.example', department: 'Sales' })
        at.put('E8', { email: 'e8@corp.example', department: 'Sales' })
        const second = await at.run()
        assert.deepEqual(countsOf(second), { unchanged: 3, update: 2, leaver: 1, create: 2, applied: 5 })
        // Newer: an edit of E2, a sign-in of E8.
        const { id: user } = await at.user('e2@corp.example')
        await editUser(at.ports, { user, edits: { title: ['Boss'] }, policy: await at.policy(), actor: OPERATOR, now: at.now })

        const plan = await at.undo(second.id, true)
        assert.ok(plan.outcome === 'planned')
        assert.deepEqual([plan.back, plan.leftCount], [4, 1])
        const undone = await at.undo(second.id)
        assert.ok(undone.outcome === 'undone', JSON.stringify(undone))
        assert.deepEqual([undone.back, undone.leftCount], [4, 1])
        assert.deepEqual(
          undone.left.map(({ key, why }) => [key, why]),
          [['E2', 'the person was changed since']],
        )
        assert.deepEqual((await at.user('e1@corp.example')).profile.department?.values, ['Sales'])
        assert.deepEqual((await at.user('e2@corp.example')).profile.department?.values, ['Research'])
        assert.equal((await at.user('e3@corp.example')).state, 'active')
        assert.deepEqual(
          (await at.users()).map(({ userName }) => userName).sort(),
          [1, 2, 3, 4, 5, 6].map((n) => `e${n}@corp.example`),
        )
        assert.equal((await at.undo(second.id)).outcome, 'refused')
        assert.equal((await at.ports.importReads.run(second.id))?.state, 'undone')
        assert.notEqual(first.id, second.id)
      })

      it('can be imported again afterwards', async () => {
        const run = await at.run()
        assert.equal(run.counts.create, 2)
        assert.equal(run.counts.leaver, 1)
        assert.equal((await at.user('e3@corp.example')).state, 'deprovisioned')
      })

      it('is forgotten once the source says again what it said before', async () => {
        const said = { email: 'e4@corp.example', department: 'Sales' }
        at.put('E4', { ...said, department: 'Research' })
        await at.undo((await at.run()).id)
        at.put('E4', said)
        await at.run()
        const again = await at.run()
        assert.deepEqual([countsOf(again), await at.rows(again.id)], [{ unchanged: 7 }, []])
      })

      it('refuses to be taken back once its rows are not kept', async () => {
        at.put('E9', { email: 'e9@corp.example', department: 'Zürich — 東京 😀' })
        const run = await at.run()
        assert.deepEqual((await at.user('e9@corp.example')).profile.department?.values, ['Zürich — 東京 😀'])
        await at.db.writer('import_rows').where({ run_id: run.id, seq: 1 }).delete()
        const undone = await at.undo(run.id)
        assert.deepEqual(undone, { outcome: 'refused', why: 'its rows are not kept any more (GATEHOUSE_KEEP_PLANS_DAYS)' })
        assert.equal((await at.ports.importReads.run(run.id))?.state, 'done')
      })
    })

    describe('that was interrupted', () => {
      fresh({ sources: [hr({ safeguard: { share: 1, count: 100_000 } })] })

      it('is one at a time', async () => {
        at.putMany(5)
        const ask = await at.ask()
        await at.ports.inTransaction((tx) =>
          at.ports.imports.begin(
            tx,
            {
              id: 'run_other' as never,
              kind: 'import',
              source: ask.source.id,
              mode: 'full',
              state: 'running',
              phase: 'reading',
              revision: 1,
              cursor: 0,
              counts: {},
              details: {},
              startedAt: at.now,
              actor: 'operator other',
            },
            { actor: OPERATOR, holder: 'there 2 other', until: new Date(at.now.getTime() + 60_000) },
          ),
        )
        const end = await runImport(at.ports, ask)
        assert.ok(end.outcome === 'busy' && end.run.id === 'run_other')
      })

      it('while it read: is forgotten, and read again', async () => {
        at.later(1)
        const end = await runImport(at.ports, await at.ask())
        assert.ok(end.outcome === 'ended' && end.run.state === 'done')
        assert.equal(end.resumed?.state, 'failed')
        assert.equal(end.resumed?.details.failure?.code, 'interrupted')
        assert.equal((await at.users()).length, 5)
      })

      it('while it was applied: goes on where it was, and doubles nobody', async () => {
        at.putMany(3_500)
        const ask = await at.ask()
        // As if the process were gone after the second batch.
        let batches = 0
        const dying = {
          ...at.ports,
          users: {
            ...at.ports.users,
            commitAll: async (...args: Parameters<typeof at.ports.users.commitAll>) => {
              if (++batches === 3) throw new Error('killed')
              return at.ports.users.commitAll(...args)
            },
          },
          imports: { ...at.ports.imports, release: async () => false },
        }
        await assert.rejects(runImport(dying, ask), /killed/)
        const made = (await at.users()).length
        assert.ok(made > 5 && made < 3_500, `${made} were made before it died`)
        const end = await runImport(at.ports, { ...ask, holder: 'here 3 next', isGone: () => true })
        assert.ok(end.outcome === 'ended')
        assert.equal(end.resumed?.state, 'done')
        assert.equal(end.resumed?.counts.applied, 3_495)
        assert.deepEqual(countsOf(end.run), { unchanged: 3_500 })
        assert.equal((await at.users()).length, 3_500)
      })
    })
  })
}
