// Whoever else is at work while an import is: people who sign in, administrators, other imports, other nodes, a new policy, and
// processes that died. On both databases; what happens between which two steps is said, and never left to chance.

import assert from 'node:assert/strict'
import { hostname } from 'node:os'
import { after, before, describe, it } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { holder as here, isGone } from '../../src/app/holder.ts'
import { portsOf } from '../../src/app/ports.ts'
import type { RunId, UserId } from '../../src/domain/ids.ts'
import { cancelImport } from '../../src/flows/cancel-import.ts'
import { changeState } from '../../src/flows/change-state.ts'
import { editUser } from '../../src/flows/edit-user.ts'
import { type Connector, FeedFailure } from '../../src/flows/feed-ports.ts'
import type { ImportRun } from '../../src/flows/import-ports.ts'
import { type ImportEnd, type RunImport, runImport } from '../../src/flows/run-import.ts'
import { approveRun, settleRow } from '../../src/flows/settle-rows.ts'
import { undoImport } from '../../src/flows/undo-import.ts'
import { type Db, openDatabase } from '../../src/store/db.ts'
import { dialects, TEST_KEYS, type TestDatabase, testDatabase } from '../support/databases.ts'
import { countsOf, hr, Importing, OPERATOR, type Row } from '../support/imports.ts'

type Ports = Importing['ports']

/** Whoever signs in is looked for by their address, too. */
const CORP = {
  name: 'corp',
  kind: 'saml',
  subjects: '.',
  jit: { create: true, update: true },
  matching: [{ by: ['email'], link: 'auto' }],
  mapping: [
    { to: 'userName', from: 'attributes.mail' },
    { to: 'email', from: 'attributes.mail' },
  ],
}

const FREELY = { safeguard: { share: 1, count: 1_000_000 }, feed: { smallest: 0 } }
const ALL_ASK = { new: 'ask', exact: 'ask', update: 'ask', leaver: 'ask' }
/** In a policy of one source. */
const free = (more: Record<string, unknown> = {}) => ({ sources: [hr({ ...FREELY, ...more })] })

/** Something else happens before the transactions that these numbers name, beginning with 1. */
function beforeTransaction(ports: Ports, happens: Readonly<Record<number, () => Promise<unknown>>>): Ports {
  let count = 0
  return {
    ...ports,
    async inTransaction(work) {
      const other = happens[++count]
      if (other) await other()
      return ports.inTransaction(work)
    },
  }
}

/** Something else happens before a batch of people is written, counted from 1: after it was decided about. */
function beforeBatch(ports: Ports, happens: Readonly<Record<number, () => Promise<unknown>>>): Ports {
  let count = 0
  let decided = false
  return {
    ...ports,
    imports: {
      ...ports.imports,
      async supersede(tx, run, now) {
        decided = true
        return ports.imports.supersede(tx, run, now)
      },
    },
    async inTransaction(work) {
      const other = decided ? happens[++count] : undefined
      if (other) await other()
      return ports.inTransaction(work)
    },
  }
}

/** The same where it goes on with what was left: every batch counts. */
function beforeBatches(ports: Ports, happens: Readonly<Record<number, () => Promise<unknown>>>): Ports {
  let count = 0
  let next: (() => Promise<unknown>) | undefined
  return {
    ...ports,
    importReads: {
      ...ports.importReads,
      async rows(...args) {
        next = happens[++count]
        return ports.importReads.rows(...args)
      },
    },
    async inTransaction(work) {
      const other = next
      next = undefined
      if (other) await other()
      return ports.inTransaction(work)
    },
  }
}

/** The process is gone from here on: it neither writes nor says that it ends. A batch: what follows the turn from reading to applying. */
function dying(ports: Ports, when: (name: Step, count: number) => boolean): Ports {
  let dead = false
  let turned = false
  const counts: Partial<Record<Step, number>> = {}
  const die = (name: Step) => {
    const count = (counts[name] ?? 0) + 1
    counts[name] = count
    if (when(name, count)) dead = true
    if (dead) throw new Killed()
  }
  const { users, imports } = ports
  return {
    ...ports,
    users: {
      ...users,
      async commitAll(...args) {
        die('commitAll')
        return users.commitAll(...args)
      },
    },
    imports: {
      ...imports,
      async keep(...args) {
        die('keep')
        return imports.keep(...args)
      },
      async restore(...args) {
        die('restore')
        return imports.restore(...args)
      },
      async approveAll(...args) {
        die('approveAll')
        return imports.approveAll(...args)
      },
      async supersede(...args) {
        turned = true
        return imports.supersede(...args)
      },
    },
    async inTransaction(work) {
      if (turned) die('batch')
      if (dead) throw new Killed()
      return ports.inTransaction(work)
    },
  }
}

type Step = 'commitAll' | 'keep' | 'restore' | 'approveAll' | 'batch'

class Killed extends Error {}

/** Opens once. */
function gate() {
  let open = () => {}
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  return { open, opened }
}

/** Rows in lots of a thousand; before each lot, by its number from 1, something else happens. */
function feedOf(rows: readonly Row[], happens: Readonly<Record<number, () => Promise<unknown>>> = {}): Connector {
  const LOT = 1_000
  return {
    kind: 'memory',
    changesShowLeavers: false,
    test: async () => '',
    async readFull() {
      return {
        columns: undefined,
        batches: (async function* () {
          for (let i = 0; i * LOT < Math.max(1, rows.length); i++) {
            await happens[i + 1]?.()
            const some = rows.slice(i * LOT, (i + 1) * LOT)
            yield {
              rows: some.map((row) => ({
                place: `row of ${row.employeeNumber}`,
                attributes: Object.fromEntries(Object.entries(row).map(([name, value]) => [name, [value]])),
              })),
              faults: [],
              done: i * LOT + some.length,
            }
          }
          await happens[Math.ceil(rows.length / LOT) + 1]?.()
          return {}
        })(),
      }
    },
  }
}

function ended(end: ImportEnd): ImportRun {
  assert.ok(end.outcome === 'ended', end.outcome)
  return end.run
}

for (const dialect of dialects) {
  describe(`an import on ${dialect}, and others at once`, () => {
    let at: Importing
    let server: TestDatabase
    // As another node has it.
    let other: Db
    let others: Ports
    before(async () => {
      server = await testDatabase(dialect, { migrate: false })
    })
    after(() => server?.close())
    const fresh = (policy: Record<string, unknown> = free()) => {
      before(async () => {
        at = await Importing.open(dialect, policy)
        other = openDatabase(at.database.location, TEST_KEYS)
        others = portsOf(other)
      })
      after(async () => {
        await other?.close()
        await at?.close()
      })
    }
    const run = async (ports: Ports, more: Partial<RunImport> = {}) => ended(await runImport(ports, await at.ask(more)))
    const stored = async (id: RunId) => {
      const found = await at.ports.importReads.run(id)
      assert.ok(found)
      return found
    }
    /** The last that was begun. */
    const undoOf = async (id: RunId) => {
      const [row] = await at.db.read((knex) =>
        knex('runs')
          .where({ kind: 'undo' })
          .whereRaw('cast(details as text) like ?', [`%${id}%`])
          .orderBy('id', 'desc')
          .select('id'),
      )
      return stored(row?.id as RunId)
    }
    const rowsIn = async (table: string, where: Record<string, unknown> = {}) =>
      Number((await at.db.read((knex) => knex(table).where(where).count({ n: '*' }).first()))?.n)
    const names = async () => (await at.users()).map(({ userName }) => userName).sort()
    /** Nobody works on anything, and nothing lies about. */
    const tidy = async () => {
      assert.equal(await rowsIn('runs', { state: 'running' }), 0, 'runs that are open')
      assert.equal(await rowsIn('import_claims'), 0, 'claims that are left')
    }
    const createdOnce = async (users: readonly { id: UserId }[]) => {
      const rows: { user_id: UserId; n: number }[] = await at.db.read((knex) =>
        knex('audit_events').where({ kind: 'user.created' }).groupBy('user_id').select('user_id').count({ n: '*' }),
      )
      const counts = new Map(rows.map(({ user_id, n }) => [user_id, Number(n)]))
      for (const { id } of users) assert.equal(counts.get(id), 1, `${id} was created once`)
    }
    const suspend = async (name: string) => {
      const { id: user } = await at.user(name)
      const policy = await at.policy()
      return changeState(at.ports, { user, to: 'suspended', reason: 'asked', policy, actor: OPERATOR, now: at.now })
    }
    const settling = async (id: RunId) => {
      const { source, policy, actor, holder, isGone: gone, clock, stop } = await at.ask()
      return { run: id, source, policy, actor, holder, isGone: gone, clock, stop }
    }

    describe('with people who sign in', () => {
      fresh()

      it('leaves out whoever signs in for the first time between the decision and the writing, and links them with the next run', async () => {
        at.putMany(5)
        const met = await run(beforeBatch(at.ports, { 1: () => at.signIn('e1@corp.example') }))
        assert.deepEqual(countsOf(met), { create: 5, applied: 4, moved: 1 })
        assert.equal(met.state, 'done')
        assert.deepEqual(
          await names(),
          [1, 2, 3, 4, 5].map((n) => `e${n}@corp.example`),
        )
        assert.deepEqual(countsOf(await at.run()), { unchanged: 4, link: 1, applied: 1 })
        assert.deepEqual((await at.user('e1@corp.example')).links.map(({ source }) => source).sort(), ['corp', 'hr'])
        await createdOnce(await at.users())
        await tidy()
      })

      it('leaves out whoever says something new of themselves meanwhile', async () => {
        at.put('E1', { email: 'e1@corp.example', department: 'Research' })
        const met = await run(beforeBatch(at.ports, { 1: () => at.signIn('e1@corp.example', 'Another') }))
        assert.deepEqual(countsOf(met), { unchanged: 4, update: 1, moved: 1 })
        assert.deepEqual((await at.user('e1@corp.example')).profile.displayName?.values, ['Another'])
        assert.deepEqual(countsOf(await at.run()), { unchanged: 4, update: 1, applied: 1 })
        assert.deepEqual((await at.user('e1@corp.example')).profile.department?.values, ['Research'])
      })

      it('makes one person of whoever is imported and signs in, whichever comes first, when very many do', async () => {
        at.putMany(300)
        const mails = Array.from({ length: 60 }, (_, i) => `e${i * 5 + 1}@corp.example`)
        const [met] = await Promise.all([run(others), ...mails.map((mail) => at.signIn(mail))])
        // Whoever comes between two questions about them looks like somebody else who has the name, until the next run.
        assert.ok(['done', 'waiting'].includes(met.state), met.state)
        await at.run()
        assert.deepEqual(countsOf(await at.run()), { unchanged: 300 })
        const users = await at.users()
        assert.equal(users.length, 300)
        await createdOnce(users)
        for (const mail of mails) assert.deepEqual((await at.user(mail)).links.map(({ source }) => source).sort(), ['corp', 'hr'])
        await tidy()
      })
    })

    describe('with a person who comes under another user name and the same address', () => {
      fresh({
        connections: [CORP],
        sources: [
          hr({
            ...FREELY,
            mapping: [
              { to: 'userName', from: 'attributes.employeeNumber' },
              { to: 'email', from: 'attributes.email' },
            ],
          }),
        ],
      })

      const likeE1 = async () => (await at.users()).filter(({ userName }) => userName === 'E1' || userName === 'e1@corp.example').length

      it('makes one person of them when the sign-in comes while the import writes', async () => {
        at.putMany(2)
        let signedIn: Promise<UserId> | undefined
        const meeting: Ports = {
          ...others,
          users: {
            ...others.users,
            async commitAll(...args) {
              // What would show that somebody has come was asked already.
              signedIn ??= at.signIn('e1@corp.example')
              await pause(100)
              return others.users.commitAll(...args)
            },
          },
        }
        await run(meeting)
        await signedIn
        assert.equal(await likeE1(), 1)
      })

      it('makes one person of them when the import comes while the sign-in writes', async () => {
        at.putMany(2)
        let imported: Promise<unknown> | undefined
        await at.signIn('e2@corp.example', 'Somebody', {
          async decided() {
            imported ??= run(others)
            // SQLite has one writer, who is here.
            if (dialect === 'postgres') await imported
          },
        })
        await imported
        assert.equal((await at.users()).length, 2)
      })
    })

    describe('with administrators', () => {
      fresh({ sources: [hr({ ...FREELY })] })

      it('does not write over an edit or a suspension that came between', async () => {
        at.putMany(4)
        await at.run()
        at.putMany(4, () => ({ department: 'Research' }))
        const { id: user } = await at.user('e1@corp.example')
        const policy = await at.policy()
        const edit = () => editUser(at.ports, { user, edits: { title: ['Boss'] }, policy, actor: OPERATOR, now: at.now })
        const met = await run(
          beforeBatch(at.ports, {
            1: async () => {
              await edit()
              await suspend('e2@corp.example')
            },
          }),
        )
        assert.deepEqual(countsOf(met), { update: 4, applied: 2, moved: 2 })
        assert.deepEqual(countsOf(await at.run()), { unchanged: 2, update: 2, applied: 2 })
        const [one, two] = [await at.user('e1@corp.example'), await at.user('e2@corp.example')]
        assert.deepEqual([one.profile.title?.values, one.profile.department?.values], [['Boss'], ['Research']])
        assert.deepEqual([two.state, two.profile.department?.values], ['suspended', ['Research']])
      })

      it('ends the access of a leaver who was suspended meanwhile with the next run', async () => {
        at.drop('E3')
        const met = await run(beforeBatch(at.ports, { 1: () => suspend('e3@corp.example') }))
        assert.deepEqual(countsOf(met), { unchanged: 3, leaver: 1, moved: 1 })
        assert.equal((await at.user('e3@corp.example')).state, 'suspended')
        await at.run()
        assert.equal((await at.user('e3@corp.example')).state, 'deprovisioned')
      })

      it('when they do so at the very same time', async () => {
        at.putMany(40, () => ({ department: 'Law' }))
        await at.run({ approved: true })
        at.putMany(40, () => ({ department: 'Sport' }))
        const ids = await Promise.all(Array.from({ length: 40 }, async (_, i) => (await at.user(`e${i + 1}@corp.example`)).id))
        const policy = await at.policy()
        await Promise.all([
          run(others),
          ...ids.map((user, i) =>
            i % 2
              ? editUser(at.ports, { user, edits: { title: [`Boss ${i}`] }, policy, actor: OPERATOR, now: at.now })
              : changeState(at.ports, { user, to: 'suspended', reason: 'asked', policy, actor: OPERATOR, now: at.now }),
          ),
        ])
        await at.run()
        for (const [i, id] of ids.entries()) {
          const { profile, state } = await at.user(id)
          assert.deepEqual(profile.department?.values, ['Sport'])
          if (i % 2) assert.deepEqual(profile.title?.values, [`Boss ${i}`])
          else assert.equal(state, 'suspended')
        }
      })
    })

    describe('with an import of another source about the same people', () => {
      const crm = {
        ...hr({ ...FREELY }),
        name: 'crm',
        lifecycle: { leavers: 'nothing' },
        mapping: [
          { to: 'userName', from: 'attributes.email' },
          { to: 'email', from: 'attributes.email' },
          { to: 'title', from: 'attributes.title' },
        ],
      }
      fresh({ sources: [hr({ ...FREELY }), crm] })

      it('makes each of them once and links both', async () => {
        const COUNT = 1_500
        at.putMany(COUNT)
        // In the opposite order, so that each waits for what the other one holds.
        const theirs = Array.from({ length: COUNT }, (_, i) => ({
          employeeNumber: `C${COUNT - i}`,
          email: `e${COUNT - i}@corp.example`,
          title: 'Boss',
        }))
        const both = async () =>
          Promise.all([run(at.ports), run(others, { source: await at.source('crm'), connector: feedOf(theirs), holder: 'there 2 test' })])
        for (const met of await both()) assert.equal(met.state, 'done')
        await both()
        const last = await both()
        assert.deepEqual(last.map(countsOf), [{ unchanged: COUNT }, { unchanged: COUNT }])
        assert.equal(await rowsIn('users'), COUNT)
        assert.equal(await rowsIn('links'), COUNT * 2)
        assert.equal(await rowsIn('source_records'), COUNT * 2)
        await createdOnce(await at.users())
        await tidy()
      })
    })

    describe('with another node', () => {
      fresh()

      it('is begun by one of two', async () => {
        at.putMany(3)
        const begun = gate()
        const rows = [...at.people.values()]
        const one = await at.ask({ connector: feedOf(rows, { 1: () => begun.opened }), holder: 'here 1 test' })
        const two = await at.ask({ connector: feedOf(rows, { 1: () => begun.opened }), holder: 'there 2 test' })
        const ends = [runImport(at.ports, one), runImport(others, two)]
        const first = await Promise.race(ends)
        begun.open()
        assert.equal(first.outcome, 'busy')
        assert.deepEqual((await Promise.all(ends)).map(({ outcome }) => outcome).sort(), ['busy', 'ended'])
        assert.equal((await at.users()).length, 3)
        await tidy()
      })

      it('is begun by one of many who find that the one before has died', async () => {
        at.putMany(3, () => ({ department: 'Law' }))
        const ask = await at.ask()
        await assert.rejects(
          runImport(
            dying(at.ports, (name) => name === 'commitAll'),
            ask,
          ),
          Killed,
        )
        const asks = Array.from({ length: 6 }, (_, i) => ({
          ...ask,
          holder: `there ${i + 10} test`,
          isGone: (one: string) => one === ask.holder,
        }))
        const ends = await Promise.all(asks.map((one, i) => runImport(i % 2 ? at.ports : others, one)))
        assert.ok(ends.some(({ outcome }) => outcome === 'ended'))
        assert.equal(ends.filter((end) => end.outcome === 'ended' && end.resumed).length, 1)
        assert.deepEqual((await at.user('e2@corp.example')).profile.department?.values, ['Law'])
        assert.equal(await rowsIn('audit_events', { kind: 'user.updated' }), 3)
        await tidy()
      })

      it('cannot be in the midst of being begun and of being taken back', async () => {
        at.putMany(4)
        const made = await at.run()
        const reading = gate()
        const stay = gate()
        let importing: Promise<ImportEnd> | undefined
        const ask = await at.ask({
          holder: 'there 2 test',
          connector: feedOf([...at.people.values()], {
            1: async () => {
              reading.open()
              await stay.opened
            },
          }),
        })
        const undoing: Ports = {
          ...at.ports,
          imports: {
            ...at.ports.imports,
            async begin(tx, ...more) {
              // Nothing was running when it looked.
              importing ??= runImport(others, ask)
              if (dialect === 'postgres') await Promise.race([reading.opened, waitingForLock(at.db), importing])
              return at.ports.imports.begin(tx, ...more)
            },
          },
        }
        const undone = await undoImport(undoing, { ...(await settling(made.id)), planOnly: false })
        stay.open()
        assert.deepEqual([undone.outcome, (await importing)?.outcome], ['undone', 'busy'])
        await at.run()
        assert.deepEqual(countsOf(await at.run()), { unchanged: 4 })
        await tidy()
      })

      it('neither begins nor approves nor takes back what another one is at work on', async () => {
        at.put('E9', { email: 'e9@corp.example', department: 'Sales' })
        const made = await at.run()
        const reading = gate()
        const stay = gate()
        const hold = {
          1: async () => {
            reading.open()
            await stay.opened
          },
        }
        const importing = run(others, { connector: feedOf([...at.people.values()], hold), holder: 'there 2 test' })
        await reading.opened
        const undone = await at.undo(made.id)
        assert.ok(undone.outcome === 'refused' && /is being imported/.test(undone.why), JSON.stringify(undone))
        const approved = await at.approve(made.id)
        assert.equal(approved.outcome, 'refused')
        stay.open()
        assert.equal((await importing).state, 'done')

        let met: ImportEnd | undefined
        const meeting = async () => {
          met = await runImport(at.ports, await at.ask())
        }
        // The first transaction begins it, the second one takes back.
        const taken = await undoImport(beforeTransaction(others, { 2: meeting }), {
          ...(await settling(made.id)),
          holder: 'there 2 test',
          planOnly: false,
        })
        assert.deepEqual([taken.outcome, met?.outcome], ['undone', 'busy'])
        await tidy()
      })
    })

    describe('that is cancelled', () => {
      fresh()
      const cancel = (id: RunId) => cancelImport(others, { run: id, actor: OPERATOR, now: at.now })

      it('while it reads: nobody is changed, nothing lies about, and the next one works', async () => {
        at.putMany(2_500)
        const id = 'run_reading' as RunId
        const met = await run(at.ports, { id, connector: feedOf([...at.people.values()], { 3: () => cancel(id) }) })
        assert.deepEqual([met.state, met.id], ['cancelled', id])
        assert.equal(await rowsIn('users'), 0)
        assert.equal(await rowsIn('import_rows'), 0)
        await tidy()
      })

      it('while its source says nothing', async () => {
        at.people.clear()
        at.putMany(1_200)
        const id = 'run_silent' as RunId
        const stop = new AbortController()
        const silent: Connector = {
          ...feedOf([]),
          readFull: (signal) =>
            new Promise((_, reject) => {
              signal.addEventListener('abort', () => reject(new FeedFailure('cancelled', 'told to')))
              cancel(id).then(() => stop.abort())
            }),
        }
        const met = await run(at.ports, { id, connector: silent, stop: stop.signal })
        assert.equal(met.state, 'cancelled')
        assert.equal(await rowsIn('audit_events', { kind: 'run.cancelled', run_id: id }), 1)
        await tidy()
      })

      it('at the turn from reading to applying', async () => {
        const id = 'run_turning' as RunId
        let cancelled = false
        const turning: Ports = {
          ...at.ports,
          importReads: {
            ...at.ports.importReads,
            // The last that is asked before what was read is judged.
            async usual(...args) {
              const usual = await at.ports.importReads.usual(...args)
              if ((await stored(id)).counts.rows && !cancelled) {
                cancelled = true
                await cancel(id)
              }
              return usual
            },
          },
        }
        const met = await run(turning, { id })
        assert.ok(cancelled)
        assert.equal(met.state, 'cancelled')
        assert.equal(await rowsIn('users'), 0)
        await tidy()
      })

      it('while it is applied: what was applied stands, and the next one does the rest', async () => {
        const id = 'run_applying' as RunId
        const met = await run(beforeBatch(at.ports, { 2: () => cancel(id) }), { id })
        assert.deepEqual([met.state, met.counts.applied], ['cancelled', 1_000])
        assert.equal(await rowsIn('users'), 1_000)
        assert.equal((await stored(id)).state, 'cancelled')
        assert.equal((await stored(id)).counts.applied, 1_000)
        await tidy()
        assert.deepEqual(countsOf(await at.run()), { unchanged: 1_000, create: 200, applied: 200 })
        await createdOnce(await at.users())
      })

      it('after the last batch and before its end', async () => {
        at.put('E1', { email: 'e1@corp.example', department: 'Research' })
        const id = 'run_ending' as RunId
        const met = await run(beforeBatch(at.ports, { 2: () => cancel(id) }), { id })
        assert.equal(met.state, 'cancelled')
        assert.equal((await stored(id)).state, 'cancelled')
        assert.equal(await rowsIn('audit_events', { kind: 'run.finished', run_id: id }), 0)
        await tidy()
      })

      it('by the process that works on it being told to stop', async () => {
        at.putMany(1_200, () => ({ department: 'Law' }))
        const stop = new AbortController()
        const met = await run(
          beforeBatch(at.ports, {
            2: async () => stop.abort(),
          }),
          { stop: stop.signal },
        )
        assert.equal(met.state, 'cancelled')
        assert.equal(met.counts.applied, 1_000)
        assert.equal((await at.run()).counts.update, 200)
        await tidy()
      })
    })

    describe('while the policy is changed', () => {
      fresh()
      let changes = 0
      const change = (more: Record<string, unknown> = {}) =>
        at.apply(free({ mapping: [...hr().mapping, { to: 'title', value: `Boss ${++changes}` }], ...more }))

      it('between the plan and its application, ends by name, and the next one works', async () => {
        at.putMany(3)
        const met = await run(beforeBatch(at.ports, { 1: () => change() }))
        assert.deepEqual([met.state, met.details.failure?.code], ['failed', 'feed.changed'])
        assert.match(met.details.failure?.why ?? '', /policy was changed/)
        assert.equal((await at.users()).length, 0)
        await tidy()
        assert.deepEqual(countsOf(await at.run()), { create: 3, applied: 3 })
        assert.deepEqual((await at.user('e1@corp.example')).profile.title?.values, [`Boss ${changes}`])
      })

      it('while it is applied, ends by name: what was applied stands, and the next one does the rest', async () => {
        at.putMany(1_200)
        const met = await run(beforeBatch(at.ports, { 2: () => change() }))
        assert.deepEqual([met.state, met.details.failure?.code, met.counts.applied], ['failed', 'feed.changed', 1_000])
        assert.equal((await stored(met.id)).state, 'failed')
        await tidy()
        const next = await at.run()
        assert.equal(next.state, 'done')
        assert.equal((await at.users()).length, 1_200)
        assert.deepEqual(countsOf(await at.run()), { unchanged: 1_200 })
        assert.deepEqual((await at.user('e7@corp.example')).profile.title?.values, [`Boss ${changes}`])
        await createdOnce(await at.users())
      })

      it('while a person approves, is told, and the rows wait', async () => {
        await change({ approve: ALL_ASK })
        at.people.clear()
        at.putMany(3, () => ({ department: 'Law' }))
        const waits = await at.run({ mode: 'full' })
        const update = (await at.rows(waits.id, 'update')).find(({ externalId }) => externalId.value === 'E1')
        assert.ok(update)
        const [approving, one] = [beforeTransaction(at.ports, { 2: () => change({ approve: ALL_ASK }) }), await settling(waits.id)]
        const held = await approveRun(approving, { ...one, decision: 'update' })
        assert.ok(held.outcome === 'refused' && /policy was changed/.test(held.why), JSON.stringify(held))
        await tidy()
        assert.equal((await stored(waits.id)).state, 'waiting')
        assert.notDeepEqual((await at.user('e1@corp.example')).profile.department?.values, ['Law'])

        const again = await at.run()
        const row = (await at.rows(again.id, 'update')).find(({ externalId }) => externalId.value === 'E1')
        const settled = await settleRow(beforeTransaction(at.ports, { 2: () => change({ approve: ALL_ASK }) }), {
          ...(await settling(again.id)),
          seq: row?.seq ?? 0,
          pick: { pick: 'yes' },
        })
        assert.ok(settled.outcome === 'refused' && /policy was changed/.test(settled.why), JSON.stringify(settled))
        assert.equal((await stored(again.id)).state, 'waiting')
        await tidy()
      })
    })

    describe('that is taken back, and is stopped in that', () => {
      fresh()

      it('by somebody who cancels it: what was taken back stays so, and taking it back again does the rest', async () => {
        at.putMany(230)
        await at.run()
        at.putMany(230, () => ({ department: 'Sport' }))
        const made = await at.run()
        assert.equal(made.counts.update, 230)
        let batches = 0
        const undoing: Ports = {
          ...at.ports,
          async inTransaction(work) {
            // The first one looks and begins.
            if (++batches === 3) {
              const [open] = await at.db.read((knex) => knex('runs').where({ kind: 'undo', state: 'running' }).select('id'))
              await cancelImport(others, { run: open.id, actor: OPERATOR, now: at.now })
            }
            return at.ports.inTransaction(work)
          },
        }
        await assert.rejects(undoImport(undoing, { ...(await settling(made.id)), planOnly: false }), /taking it back again does the rest/)
        const cancelled = await undoOf(made.id)
        assert.equal(cancelled.state, 'cancelled')
        const { undone = 0 } = cancelled.counts
        assert.ok(undone > 0 && undone < 230, `${undone}`)
        await tidy()
        const again = await at.undo(made.id)
        assert.ok(again.outcome === 'undone')
        assert.deepEqual([again.back + undone, again.leftCount], [230, 0])
        for (const n of [1, 120, 230]) assert.deepEqual((await at.user(`e${n}@corp.example`)).profile.department?.values, ['Sales'])
        assert.equal((await stored(made.id)).state, 'undone')
      })

      it('by a change of the policy: it ends by name, and taking it back again does the rest', async () => {
        at.putMany(210, () => ({ department: 'Law' }))
        for (let n = 211; n <= 230; n++) at.drop(`E${n}`)
        const made = await at.run()
        assert.ok(made.counts.update && made.counts.leaver)
        const undoing = beforeTransaction(at.ports, {
          3: () => at.apply(free({ mapping: [...hr().mapping, { to: 'title', value: 'Boss' }] })),
        })
        await assert.rejects(undoImport(undoing, { ...(await settling(made.id)), planOnly: false }), /the policy was changed/)
        const failed = await undoOf(made.id)
        assert.deepEqual([failed.state, failed.details.failure?.code], ['failed', 'feed.changed'])
        await tidy()
        const again = await at.undo(made.id)
        assert.ok(again.outcome === 'undone' && again.run.state === 'done')
        assert.equal((await at.users()).filter(({ state }) => state !== 'active').length, 0)
        assert.equal((await stored(made.id)).state, 'undone')
        await tidy()
      })
    })

    describe('whose holder is not heard of any more', () => {
      fresh()
      const LATER = 61_000
      const laterClock = () => new Date(at.now.getTime() + LATER)

      it('is taken over, and the old holder cannot write any more', async () => {
        at.putMany(1)
        const { source } = await at.ask()
        const held: ImportRun = {
          id: 'run_left' as RunId,
          kind: 'import',
          source: source.id,
          mode: 'full',
          state: 'running',
          phase: 'reading',
          revision: (await at.policy()).revision,
          cursor: 0,
          counts: {},
          details: {},
          startedAt: at.now,
          actor: 'operator other',
        }
        const keep = (holder: string) =>
          at.ports.inTransaction((tx) => at.ports.imports.keep(tx, held, { holder, now: at.now, until: laterClock() }))
        await at.ports.inTransaction((tx) =>
          at.ports.imports.begin(tx, held, { actor: OPERATOR, holder: 'there 2 old', until: new Date(at.now.getTime() + 60_000) }),
        )
        assert.equal(await keep('there 2 old'), true)
        assert.equal((await runImport(at.ports, await at.ask({ clock: () => at.now }))).outcome, 'busy')
        await at.ports.inTransaction((tx) => at.ports.imports.hold(tx, held.id, { holder: 'there 3 new', until: laterClock() }))
        assert.equal(await keep('there 2 old'), false)
        assert.equal(await keep('there 3 new'), true)
        await at.ports.inTransaction((tx) => at.ports.imports.put(tx, { ...held, state: 'failed' }, at.now))
        assert.equal(await keep('there 3 new'), false)
      })

      it('while it read: the new one reads again, and the old one, coming back, leaves all as it is', async () => {
        at.putMany(1_500)
        let taken: ImportEnd | undefined
        const takeOver = async () => {
          taken = await runImport(others, await at.ask({ holder: 'there 3 new', clock: laterClock }))
        }
        const old = await run(at.ports, { connector: feedOf([...at.people.values()], { 2: takeOver }) })
        assert.ok(taken?.outcome === 'ended' && taken.run.state === 'done')
        assert.equal(taken.resumed?.id, old.id)
        assert.deepEqual([old.state, old.details.failure?.code], ['failed', 'interrupted'])
        assert.equal(await rowsIn('import_rows', { run_id: old.id }), 0)
        assert.equal(await rowsIn('users'), 1_500)
        await tidy()
      })

      it('when it had read all and only had to say that it is held', async () => {
        at.people.clear()
        at.putMany(10)
        let taken: ImportEnd | undefined
        let asked = 0
        const slow: Ports = {
          ...at.ports,
          importReads: {
            ...at.ports.importReads,
            async usual(...args) {
              // For the second time at the end of the reading.
              if (++asked === 2) taken = await runImport(others, await at.ask({ holder: 'there 3 new', clock: laterClock, planOnly: true }))
              return at.ports.importReads.usual(...args)
            },
          },
        }
        const old = await run(slow, { planOnly: true })
        assert.ok(taken?.outcome === 'ended')
        assert.equal(taken.resumed?.id, old.id)
        assert.deepEqual([old.state, (await stored(old.id)).state], ['failed', 'failed'])
        assert.equal((await stored(taken.run.id)).state, 'planned')
        assert.equal((await at.approve(old.id)).outcome, 'refused')
        assert.equal(await rowsIn('users', { state: 'active' }), 1_500)
        await tidy()
      })

      it('while it was applied: the old one neither writes nor stops the new one', async () => {
        at.people.clear()
        at.putMany(3_500, () => ({ department: 'Research' }))
        const [oldGoesOn, newWaits] = [gate(), gate()]
        let second: Promise<ImportEnd> | undefined
        // The old one stops before its second batch; the new one takes over, stops before its own, and the old one comes back.
        const newer = beforeBatches(others, {
          2: async () => {
            oldGoesOn.open()
            await newWaits.opened
          },
        })
        const older = beforeBatch(at.ports, {
          2: async () => {
            second = runImport(newer, await at.ask({ holder: 'there 3 new', clock: laterClock, resumeOnly: true }))
            await oldGoesOn.opened
          },
        })
        const met = await runImport(older, await at.ask())
        assert.ok(met.outcome === 'busy', 'it finds that somebody else goes on with it')
        const old = met.run
        assert.equal((await stored(old.id)).state, 'running')
        newWaits.open()
        const end = await second
        assert.ok(end?.outcome === 'ended' && end.run.id === old.id && end.run.state === 'done', JSON.stringify(end))
        assert.equal(end.run.counts.applied, 3_500)
        assert.deepEqual(countsOf(await at.run()), { unchanged: 3_500 })
        assert.equal(await rowsIn('audit_events', { kind: 'run.finished', run_id: old.id }), 1)
        assert.equal(await rowsIn('audit_events', { kind: 'run.cancelled', run_id: old.id }), 0)
        await createdOnce(await at.users())
        await tidy()
      })

      it('is taken over by whoever approves or takes back, too', async () => {
        at.put('E1', { email: 'e1@corp.example', department: 'Law' })
        const made = await run(at.ports)
        await assert.rejects(
          runImport(
            dying(at.ports, (name) => name === 'keep'),
            await at.ask({ holder: 'there 9 dead' }),
          ),
          Killed,
        )
        const ask = { ...(await settling(made.id)), clock: laterClock, planOnly: false }
        const busy = await undoImport(at.ports, { ...ask, clock: () => at.now })
        assert.equal(busy.outcome, 'refused')
        const undone = await undoImport(at.ports, ask)
        assert.ok(undone.outcome === 'undone' && undone.back === 1, JSON.stringify(undone))
        await tidy()
      })
    })

    describe('that died', () => {
      fresh()
      const gone = { isGone: (one: string) => one === 'here 1 test', holder: 'here 2 next' }

      it('while it was taken back: taking it back again goes on', async () => {
        at.putMany(230)
        const made = await at.run()
        const dead = dying(at.ports, (name, count) => name === 'restore' && count === 210)
        await assert.rejects(undoImport(dead, { ...(await settling(made.id)), planOnly: false }), Killed)
        const left = await rowsIn('users')
        assert.ok(left > 0 && left < 230, `${left}`)
        const undone = await undoImport(at.ports, { ...(await settling(made.id)), ...gone, planOnly: false })
        assert.ok(undone.outcome === 'undone' && undone.run.state === 'done', JSON.stringify(undone))
        assert.deepEqual([undone.back, undone.leftCount], [230, 0])
        assert.equal(await rowsIn('users'), 0)
        assert.equal((await stored(made.id)).state, 'undone')
        assert.equal((await stored(made.id)).details.undoneBy, undone.run.id)
        await tidy()
      })

      it('while it was taken back: the next import ends that by name, does not call it done, and taking it back goes on after it', async () => {
        const made = await at.run()
        const dead = dying(at.ports, (name, count) => name === 'restore' && count === 210)
        await assert.rejects(undoImport(dead, { ...(await settling(made.id)), planOnly: false }), Killed)
        const end = await runImport(at.ports, await at.ask(gone))
        assert.ok(end.outcome === 'ended' && end.run.state === 'done')
        assert.equal(end.resumed?.kind, 'undo')
        assert.deepEqual([end.resumed.state, end.resumed.details.failure?.code], ['failed', 'interrupted'])
        assert.equal((await stored(made.id)).state, 'done')
        assert.equal(await rowsIn('users'), 230)
        await tidy()
        const undone = await at.undo(made.id)
        assert.ok(undone.outcome === 'undone')
        assert.equal(undone.back + undone.leftCount + (end.resumed.counts.undone ?? 0), 230)
        await at.run()
        assert.deepEqual(countsOf(await at.run()), { unchanged: 230 })
        await tidy()
      })

      it('while it was applied: it can be taken back as far as it came', async () => {
        at.putMany(250, () => ({ department: 'Law' }))
        const dead = dying(at.ports, (name, count) => name === 'batch' && count === 2)
        await assert.rejects(runImport(dead, await at.ask()), Killed)
        const [left] = await at.db.read((knex) => knex('runs').where({ state: 'running' }).select('id'))
        const undone = await undoImport(at.ports, { ...(await settling(left.id)), ...gone, planOnly: false })
        assert.ok(undone.outcome === 'undone', JSON.stringify(undone))
        assert.deepEqual([undone.back, undone.leftCount], [250, 0])
        assert.equal(await rowsIn('users'), 230)
        assert.equal((await stored(left.id)).state, 'undone')
        await tidy()
        assert.deepEqual(countsOf(await at.run()), { update: 230, create: 20, applied: 250 })
      })

      it('while a person approved a plan: the same word again goes on', async () => {
        at.putMany(1_150, () => ({ department: 'Sport' }))
        const plan = await at.run({ planOnly: true })
        const settle = await settling(plan.id)
        for (const when of [
          (name: string) => name === 'approveAll',
          (name: string, count: number) => name === 'commitAll' && count === 2,
        ]) {
          const dead = dying(at.ports, when)
          await assert.rejects(approveRun(dead, { ...settle, isGone: gone.isGone }), Killed)
        }
        const approved = await approveRun(at.ports, { ...settle, ...gone })
        assert.ok(approved.outcome === 'applied' && approved.run.state === 'done', JSON.stringify(approved))
        assert.deepEqual([approved.run.counts.applied, approved.run.counts.moved ?? 0], [1_150, 0])
        assert.deepEqual(countsOf(await at.run()), { unchanged: 1_150 })
        await tidy()
      })

      it('while a person approved what waits: the same word again goes on', async () => {
        await at.apply(free({ approve: ALL_ASK }))
        at.putMany(1_150, () => ({ department: 'Law' }))
        const waits = await at.run()
        assert.equal(waits.counts.waiting, 1_150)
        const settle = await settling(waits.id)
        const dead = dying(at.ports, (name, count) => name === 'commitAll' && count === 3)
        await assert.rejects(approveRun(dead, settle), Killed)
        const approved = await approveRun(at.ports, { ...settle, ...gone })
        assert.ok(approved.outcome === 'applied' && approved.run.state === 'done', JSON.stringify(approved))
        assert.deepEqual([approved.run.counts.applied, approved.run.counts.moved ?? 0], [1_150, 0])
        assert.deepEqual(countsOf(await at.run()), { unchanged: 1_150 })
        await tidy()
      })

      it('while a person approved what waits: an import finds it waiting, and plans it anew', async () => {
        at.putMany(1_150, () => ({ department: 'Sport' }))
        const waits = await at.run()
        const dead = dying(at.ports, (name, count) => name === 'commitAll' && count === 3)
        await assert.rejects(approveRun(dead, await settling(waits.id)), Killed)
        const end = await runImport(at.ports, await at.ask(gone))
        assert.ok(end.outcome === 'ended' && end.resumed?.id === waits.id)
        assert.equal(end.resumed.state, 'waiting')
        assert.equal(end.run.state, 'waiting')
        assert.equal((end.resumed.counts.applied ?? 0) + (end.run.counts.waiting ?? 0), 1_150)
        await at.approve(end.run.id)
        await tidy()
      })

      it('leaves what another run has that waits alone, until it is taken up', async () => {
        at.putMany(10, () => ({ department: 'Law' }))
        const waits = await at.run()
        await assert.rejects(
          runImport(
            dying(at.ports, (name) => name === 'keep'),
            await at.ask(),
          ),
          Killed,
        )
        const approved = await approveRun(at.ports, { ...(await settling(waits.id)), ...gone })
        assert.ok(approved.outcome === 'refused' && /interrupted/.test(approved.why), JSON.stringify(approved))
        assert.equal((await runImport(at.ports, await at.ask(gone))).outcome, 'ended')
        await tidy()
      })
    })

    describe('that is held, and whose approval dies', () => {
      fresh({
        sources: [hr({ safeguard: { share: 1, count: 3 }, approve: { new: 'ask', exact: 'auto', update: 'auto', leaver: 'auto' } })],
      })
      const gone = { isGone: () => true, holder: 'here 2 next' }
      let held: ImportRun

      it('stays held: nothing goes ahead that nobody has said yes to', async () => {
        at.putMany(8)
        await at.run({ approved: true })
        for (const key of ['E1', 'E2', 'E3', 'E4']) at.drop(key)
        at.put('E9', { email: 'e9@corp.example', department: 'Sales' })
        held = await at.run()
        assert.equal(held.state, 'held')
        const settle = await settling(held.id)
        await assert.rejects(
          approveRun(
            dying(at.ports, (name) => name === 'approveAll'),
            settle,
          ),
          Killed,
        )
        const end = await runImport(at.ports, await at.ask({ ...gone, resumeOnly: true }))
        assert.ok(end.outcome === 'ended' && end.run.id === held.id)
        assert.equal(end.run.state, 'held')
        assert.equal(await rowsIn('users', { state: 'active' }), 8)
        await tidy()
      })

      it('also where a row of it was ignored', async () => {
        const [row] = await at.rows(held.id, 'create')
        for (let step = 1; step < 6; step++) {
          let count = 0
          const dead = {
            ...at.ports,
            inTransaction: (work: never) => (++count > step ? Promise.reject(new Killed()) : at.ports.inTransaction(work)),
          }
          const settle = { ...(await settling(held.id)), seq: row?.seq ?? 0, pick: { pick: 'ignore' } as const }
          await settleRow(dead as Ports, settle).catch((error) => assert.ok(error instanceof Killed))
          const end = await runImport(at.ports, await at.ask({ ...gone, resumeOnly: true }))
          assert.ok(end.outcome === 'nothing' || end.run.state === 'held', JSON.stringify(end))
          assert.equal(await rowsIn('users', { state: 'active' }), 8)
          assert.equal((await stored(held.id)).state, 'held')
        }
        await tidy()
      })

      it('goes ahead with the one class that a person has approved, and the others wait', async () => {
        held = await at.run()
        assert.equal(held.state, 'held')
        const approved = await at.approve(held.id, 'update')
        assert.ok(approved.outcome === 'applied')
        assert.equal(await rowsIn('users', { state: 'active' }), 8)
        assert.deepEqual([approved.run.state, approved.run.counts.waiting], ['waiting', 4])
        assert.ok((await at.approve(held.id, 'leaver')).outcome === 'applied')
        assert.equal(await rowsIn('users', { state: 'active' }), 4)
      })
    })

    describe('with two people who approve', () => {
      fresh(free({ approve: ALL_ASK }))

      it('does a row once', async () => {
        at.putMany(3)
        const waits = await at.run()
        const [row] = await at.rows(waits.id)
        const ask = { ...(await settling(waits.id)), seq: row?.seq ?? 0, pick: { pick: 'yes' } as const }
        const both = await Promise.all([settleRow(at.ports, ask), settleRow(others, { ...ask, holder: 'there 2 test' })])
        assert.deepEqual(both.map(({ outcome }) => outcome).sort(), ['applied', 'refused'])
        assert.equal((await at.users()).length, 1)
        assert.equal((await stored(waits.id)).counts.applied, 1)
        assert.equal((await stored(waits.id)).state, 'waiting')
        await tidy()
      })

      it('does a run once', async () => {
        const waits = await at.run()
        const ask = await settling(waits.id)
        const both = await Promise.all([approveRun(at.ports, ask), approveRun(others, { ...ask, holder: 'there 2 test' })])
        assert.deepEqual(both.map(({ outcome }) => outcome).sort(), ['applied', 'refused'])
        assert.equal((await at.users()).length, 3)
        await createdOnce(await at.users())
        await tidy()
      })

      it('takes a run back once', async () => {
        at.put('E7', { email: 'e7@corp.example', department: 'Sales' })
        const made = await at.run({ approved: true })
        const ask = { ...(await settling(made.id)), planOnly: false }
        const both = await Promise.all([undoImport(at.ports, ask), undoImport(others, { ...ask, holder: 'there 2 test' })])
        assert.deepEqual(both.map(({ outcome }) => outcome).sort(), ['refused', 'undone'])
        assert.equal((await at.users()).length, 3)
        await tidy()
      })
    })

    describe('that is taken back', () => {
      fresh(free({ lifecycle: { leavers: 'deprovision', new: 'staged' } }))

      it('leaves whom another run has changed since, and tells', async () => {
        at.putMany(6)
        const first = await at.run()
        at.put('E1', { email: 'e1@corp.example', department: 'Research' })
        at.drop('E2')
        await at.run()
        const undone = await at.undo(first.id)
        assert.ok(undone.outcome === 'undone')
        assert.deepEqual([undone.back, undone.leftCount], [4, 2])
        assert.deepEqual(
          undone.left.map(({ key, why }) => [key, why]),
          [
            ['E1', 'the person was changed since'],
            ['E2', 'the person was changed since'],
          ],
        )
        assert.deepEqual(await names(), ['e1@corp.example', 'e2@corp.example'])
        await tidy()
      })

      it('unmakes whoever tried to sign in and was refused', async () => {
        at.put('E5', { email: 'e5@corp.example', department: 'Sales' })
        const made = await at.run()
        const { id } = await at.user('e5@corp.example')
        const { source } = await at.ask()
        await at.ports.inTransaction((tx) =>
          at.ports.signIns.record(tx, {
            flow: 'sign-in',
            id: at.ports.mint.id('sgn', at.now),
            reference: at.ports.mint.reference(),
            at: at.now,
            connection: { id: source.id, name: 'corp' },
            outcome: 'refused',
            code: 'user.staged',
            user: id,
            address: '::1',
            steps: [],
          }),
        )
        const undone = await at.undo(made.id)
        assert.ok(undone.outcome === 'undone', JSON.stringify(undone))
        assert.equal(
          (await at.users()).find((user) => user.id === id),
          undefined,
        )
        assert.equal(await rowsIn('sign_ins', { outcome: 'refused' }), 1)
        await tidy()
      })

      it('says nothing of rows that had nothing to say', async () => {
        at.people.clear()
        at.putMany(4)
        await at.run({ approved: true })
        await at.apply(free({ lifecycle: { leavers: 'deprovision', new: 'staged' }, approve: { leaver: 'auto', update: 'ask' } }))
        at.put('E6', { email: 'e6@corp.example', department: 'Sales' })
        const made = await at.run()
        assert.equal(made.counts.unchanged, 6 - 1 - 1)
        const undone = await at.undo(made.id)
        assert.ok(undone.outcome === 'undone')
        assert.equal(undone.leftCount, 0, JSON.stringify(undone.left))
      })

      it('leaves everybody in the state that they were in', async () => {
        await at.apply(free({ lifecycle: { leavers: 'deprovision', returns: 'revive' } }))
        at.people.clear()
        at.putMany(12)
        await at.run({ approved: true })
        await suspend('e9@corp.example')
        at.drop('E10')
        await at.run({ approved: true })
        const states = async () => new Map((await at.users()).map(({ userName, state }) => [userName, state]))
        const were = await states()
        assert.equal(were.get('e10@corp.example'), 'deprovisioned')
        for (const key of ['E8', 'E9', 'E11']) at.drop(key)
        at.put('E10', { email: 'e10@corp.example', department: 'Sales' })
        const made = await at.run({ approved: true })
        assert.deepEqual([made.counts.leaver, made.counts.return], [3, 1])
        const undone = await at.undo(made.id)
        assert.ok(undone.outcome === 'undone' && undone.leftCount === 0, JSON.stringify(undone))
        assert.deepEqual(await states(), were)
      })

      it('leaves a value alone that somebody else has by now, and tells', async () => {
        at.put('E11', { email: 'e11-new@corp.example', department: 'Sales' })
        const made = await at.run()
        assert.equal(made.counts.update, 1)
        await at.signIn('e11@corp.example')
        const undone = await at.undo(made.id)
        assert.ok(undone.outcome === 'undone')
        assert.deepEqual(
          undone.left.map(({ key }) => key),
          ['E11'],
        )
        assert.match(undone.left[0]?.why ?? '', /would be the same as that of/)
        assert.equal((await at.user('e11-new@corp.example')).links.length, 1)
      })
    })

    describe('of people whom the source calls something else now', () => {
      fresh(free({ linking: { renamed: 'relink' } }))

      it('puts the old name back when it is taken back', async () => {
        at.putMany(3)
        await at.run()
        const before = await at.user('e1@corp.example')
        at.drop('E1')
        at.put('N1', { email: 'e1@corp.example', department: 'Law' })
        const made = await at.run()
        assert.equal(made.counts.link, 1, JSON.stringify(made.counts))
        const undone = await at.undo(made.id)
        assert.ok(undone.outcome === 'undone')
        const back = await at.user('e1@corp.example')
        assert.deepEqual(
          back.links.map(({ externalId }) => externalId),
          before.links.map(({ externalId }) => externalId),
        )
        assert.deepEqual(back.profile.department?.values, ['Sales'])
        assert.equal(back.state, 'active')
      })
    })

    describe('of people who take licences', () => {
      fresh({ ...free(), entitlements: [{ name: 'office', when: "user.department == 'Sales'", seats: 7 }] })
      const seats = async () => {
        const row = await at.db.read((knex) => knex('licence_seats').where({ name: 'office' }).first('taken'))
        const [held] = await at.db.read((knex) => knex('users').whereRaw("cast(grants as text) like '%office%'").count({ n: '*' }))
        const [waiting] = await at.db.read((knex) => knex('users').whereRaw("cast(waiting as text) like '%office%'").count({ n: '*' }))
        return { taken: Number(row?.taken ?? 0), held: Number(held?.n), waiting: Number(waiting?.n) }
      }

      it('gives away as many as there are, and creates the others without', async () => {
        at.putMany(2_300)
        const met = await at.run()
        assert.deepEqual(countsOf(met), { create: 2_300, applied: 2_300 })
        assert.deepEqual(await seats(), { taken: 7, held: 7, waiting: 2_293 })
      })

      it('gives a seat that is free again to somebody who waits', async () => {
        at.drop('E1')
        at.put('E2', { email: 'e2@corp.example', department: 'Law' })
        await at.run()
        await at.run()
        assert.deepEqual(await seats(), { taken: 7, held: 7, waiting: 2_291 })
      })

      it('does not take one that was taken between the decision and the writing', async () => {
        at.put('E3', { email: 'e3@corp.example', department: 'Law' })
        at.putMany(0)
        const { id: user } = await at.user('e9@corp.example')
        const policy = await at.policy()
        const swap = async () => {
          // One seat becomes free by the feed; here somebody takes one more by hand.
          await at.ports.inTransaction(async (tx) => {
            await editSeats(tx, 1)
          })
        }
        const editSeats = async (tx: Parameters<Parameters<Ports['inTransaction']>[0]>[0], by: number) => {
          const { inside } = await import('../../src/store/transactions.ts')
          await inside(tx)('licence_seats').where({ name: 'office' }).increment('taken', by)
        }
        assert.ok(user && policy)
        await run(beforeBatch(at.ports, { 1: swap }))
        const { taken } = await seats()
        assert.ok(taken <= 8, `${taken}`)
        await at.ports.inTransaction((tx) => editSeats(tx, -1))
        await at.run()
        assert.deepEqual(await seats(), { taken: 7, held: 7, waiting: 2_290 })
      })
    })

    describe('of what has changed only', () => {
      fresh()

      it('names again whom it left out because they were changed meanwhile', async () => {
        at.putMany(3)
        await at.run()
        at.put('E1', { email: 'e1@corp.example', department: 'Research' })
        at.put('E2', { email: 'e2@corp.example', department: 'Research' })
        const ask = await at.ask({ mode: 'incremental' })
        const { id: user } = await at.user('e1@corp.example')
        const policy = await at.policy()
        const edit = () => editUser(at.ports, { user, edits: { title: ['Boss'] }, policy, actor: OPERATOR, now: at.now })
        const met = ended(await runImport(beforeBatch(at.ports, { 1: edit }), ask))
        assert.deepEqual(countsOf(met), { update: 2, applied: 1, moved: 1 })
        const next = await at.run({ mode: 'incremental' })
        assert.equal(next.state, 'done')
        assert.deepEqual((await at.user('e1@corp.example')).profile.department?.values, ['Research'])
        assert.deepEqual(countsOf(await at.run({ mode: 'incremental' })), {})
      })

      it('does not go back to what the source had said before, where that still waits', async () => {
        await at.apply(free({ approve: ALL_ASK }))
        await at.run()
        at.put('E1', { email: 'e1@corp.example', department: 'Law' })
        at.put('E4', { email: 'e4@corp.example', department: 'Law' })
        at.put('E5', { email: 'e5@corp.example', department: 'Law' })
        const first = await at.run({ mode: 'incremental' })
        assert.deepEqual(countsOf(first), { update: 1, create: 2, waiting: 3 })
        at.put('E1', { email: 'e1@corp.example', department: 'Research' })
        at.drop('E4')
        const second = await at.run({ mode: 'incremental' })
        assert.deepEqual(countsOf(second), { unchanged: 1, passed: 1, create: 1, waiting: 1 })
        assert.equal((await stored(first.id)).state, 'done')
        assert.equal((await at.approve(second.id)).outcome, 'applied')
        assert.deepEqual(
          await names(),
          [1, 2, 3, 5].map((n) => `e${n}@corp.example`),
        )
        assert.deepEqual((await at.user('e1@corp.example')).profile.department?.values, ['Research'])
        await tidy()
      })
    })
  })
}

describe('a process that works on an import', () => {
  const [place = '', pid = '', token = ''] = here.split(' ')

  it('is gone only if it is certain', () => {
    assert.equal(isGone(here), false)
    assert.equal(isGone(`${place} ${process.ppid} other`), false)
    assert.equal(isGone(`${place} ${pid} ${token}x`), true, 'the same number, and another process')
    assert.equal(isGone(`elsewhere ${pid} ${token}`), false)
  })

  it('is not looked for by its number where numbers mean other processes', () => {
    // Another machine, or another container on this one, that has the same name.
    assert.notEqual(place, hostname())
    assert.equal(isGone(`${hostname()} 999999999 other`), false)
    assert.equal(isGone(`${place} 999999999 other`), true)
  })
})

/** Until somebody waits for a row that another one holds. */
async function waitingForLock(db: Db): Promise<void> {
  for (;;) {
    const { rows } = await db.read((knex) =>
      knex.raw("select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"),
    )
    if (rows.length) return
  }
}
