// From a source's word to the last task done, on both databases: grace, jobs and their retries, tasks and mail, coverage, erasing,
// and the evidence of all of it.

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { SMTPServer } from 'smtp-server'
import { mailDeliverer } from '../../src/app/mail.ts'
import { evidenceCsv, evidenceOf } from '../../src/domain/evidence.ts'
import type { SessionId, UserId } from '../../src/domain/ids.ts'
import { MOST_ATTEMPTS } from '../../src/domain/retries.ts'
import { actOnLeavings } from '../../src/flows/act-on-leavings.ts'
import { changeState } from '../../src/flows/change-state.ts'
import { deliverJobs } from '../../src/flows/deliver-jobs.ts'
import { eraseDue } from '../../src/flows/erase-due.ts'
import { finishTasks } from '../../src/flows/finish-tasks.ts'
import { MAIL, tellTasks } from '../../src/flows/tell-tasks.ts'
import { watchCoverage } from '../../src/flows/watch-coverage.ts'
import type { Deliverer, Job } from '../../src/flows/work-ports.ts'
import { coverage, deprovisionedBy, uncovered } from '../../src/store/coverage.ts'
import { evidenceParts } from '../../src/store/evidence.ts'
import { listJobs } from '../../src/store/jobs.ts'
import { listTasks } from '../../src/store/tasks.ts'
import { dialects } from '../support/databases.ts'
import { hr, Importing, OPERATOR } from '../support/imports.ts'
import { freePort } from '../support/ports.ts'

const TARGETS = [
  { name: 'crm', kind: 'memory' },
  { name: 'lab', kind: 'memory', when: "user.department == 'Research'" },
  { name: 'badges', kind: 'manual', assignee: 'desk@corp.example', due: 3 },
  { name: 'keys', kind: 'manual' },
]

for (const dialect of dialects) {
  describe(`deprovisioning on ${dialect}`, () => {
    let at: Importing
    const fresh = (policy: Record<string, unknown>) => {
      before(async () => {
        at = await Importing.open(dialect, policy)
      })
      after(() => at?.close())
    }
    const openSession = (user: UserId, id: string) =>
      at.ports.inTransaction((tx) =>
        at.ports.sessions.open(
          tx,
          {
            id: id as SessionId,
            user,
            connection: corp(),
            signIn: 'sgn_1' as never,
            openedAt: at.now,
            expiresAt: new Date(at.now.getTime() + 3_600_000),
          },
          { secretHash: id, host: 'h' },
        ),
      )
    let corpId = ''
    const corp = () => corpId as never
    const deliver = (delivererOf: (job: Job) => Deliverer | undefined) =>
      deliverJobs(at.ports, {
        delivererOf,
        holder: 'here 1 test',
        clock: () => at.now,
        chance: () => 0.5,
        stop: new AbortController().signal,
      })

    describe('of whoever left', () => {
      fresh({
        sources: [hr({ lifecycle: { leavers: 'deprovision', erase: 30 }, safeguard: { share: 1, count: 100 } })],
        targets: TARGETS,
        entitlements: [{ name: 'licence', when: "user.department == 'Sales'", seats: 5 }],
      })

      it('ends sessions, entitlements and seats, and asks every system, in one commit', async () => {
        at.putMany(3)
        await at.run()
        corpId = [...(await at.policy()).sources.values()].find(({ name }) => name === 'corp')?.id ?? ''
        const user = await at.user('e1@corp.example')
        assert.deepEqual(
          user.grants.map(({ name }) => name),
          ['licence'],
        )
        await openSession(user.id, 'ses_1')
        await openSession(user.id, 'ses_2')
        at.drop('E1')
        const run = await at.run()
        assert.equal(run.counts.leaver, 1)
        const gone = await at.user('e1@corp.example')
        assert.deepEqual([gone.state, gone.sessions, gone.grants.length], ['deprovisioned', 0, 0])
        assert.equal(Number((await at.db.writer('licence_seats').first('taken')).taken), 2)
        const jobs = await listJobs(at.db, { limit: 10 })
        assert.deepEqual(
          jobs.map(({ target, state, user: whose }) => [target, state, whose]),
          [['crm', 'queued', user.id]],
          'only systems where they have an account',
        )
        const tasks = await listTasks(at.db, { done: false, limit: 10 })
        assert.deepEqual(tasks.map(({ target, kind, assignee }) => [target, kind, assignee]).sort(), [
          ['badges', 'take-away', 'desk@corp.example'],
          ['keys', 'take-away', undefined],
        ])
      })

      it('tells a system again until it has heard, ever more seldom', async () => {
        const tried: number[] = []
        const deaf: Deliverer = {
          deliver: async ({ attempts }) => {
            tried.push(attempts)
            if (attempts < 3) throw new Error('nobody answers')
          },
        }
        await deliver(() => deaf)
        const [once] = await listJobs(at.db, { limit: 10 })
        assert.deepEqual([once?.state, once?.lastError, once?.nextAt.getTime()], ['queued', 'nobody answers', at.now.getTime() + 30_000])
        await deliver(() => deaf)
        assert.deepEqual(tried, [1], 'not before its time')
        at.now = new Date(at.now.getTime() + 30_000)
        await deliver(() => deaf)
        at.now = new Date(at.now.getTime() + 60_000)
        await deliver(() => deaf)
        assert.deepEqual(tried, [1, 2, 3])
        assert.equal((await listJobs(at.db, { limit: 10 }))[0]?.state, 'done')
      })

      it('shows what is still to be done, and when all of it is', async () => {
        const user = await at.user('e1@corp.example')
        const open = evidenceOf(await evidenceParts(at.db, user.id))
        assert.equal(open?.complete, false)
        const [first] = await listTasks(at.db, { done: false, limit: 1 })
        at.later(1)
        assert.equal(
          (await finishTasks(at.ports, { ids: [first?.id as never], note: 'collected', actor: OPERATOR, now: at.now })).length,
          1,
        )
        assert.equal((await finishTasks(at.ports, { ids: [first?.id as never], actor: OPERATOR, now: at.now })).length, 0, 'only once')
        assert.equal((await finishTasks(at.ports, { actor: OPERATOR, now: at.now })).length, 1, 'all that is left')
        const done = evidenceOf(await evidenceParts(at.db, user.id))
        assert.ok(done?.complete)
        assert.deepEqual(
          done.lines.map(({ what }) => what),
          ['word', 'state', 'entitlements', 'sessions', 'told', 'task', 'task'],
        )
        assert.ok((done.tookMs ?? 0) >= 86_400_000)
        assert.match(evidenceCsv(done), /"2 sessions ended, on all nodes"/)
      })

      it('gives up on a system that never hears, says so, and tries again when a person says so', async () => {
        at.drop('E2')
        await at.run()
        const dead: Deliverer = { deliver: () => Promise.reject(new Error('gone')) }
        for (let i = 0; i < MOST_ATTEMPTS; i++) {
          await deliver(() => dead)
          at.later(1)
        }
        const [job] = await listJobs(at.db, { limit: 1 })
        assert.deepEqual([job?.state, job?.attempts], ['dead', MOST_ATTEMPTS])
        assert.equal(await at.ports.inTransaction((tx) => at.ports.jobs.revive(tx, { ids: [job?.id as never] }, at.now)), 1)
        await deliver(() => ({ deliver: async () => {} }))
        assert.equal((await listJobs(at.db, { limit: 1 }))[0]?.state, 'done')
      })

      it('never tells an earlier word after a later one', async () => {
        const { id: user } = await at.user('e3@corp.example')
        const policy = await at.policy()
        for (const to of ['suspended', 'active', 'deprovisioned'] as const)
          await changeState(at.ports, { user, to, reason: 'asked', policy, actor: OPERATOR, now: at.now })
        const heard: string[] = []
        await deliver(() => ({ deliver: async ({ payload }) => void heard.push('state' in payload ? payload.state : '') }))
        assert.deepEqual(heard, ['deprovisioned'], 'what is over is not told at all')
      })

      it('erases after its days, and only whom the source itself has deprovisioned', async () => {
        const due = async () =>
          eraseDue(at.ports, {
            policy: await at.policy(),
            now: at.now,
            deprovisionedBy: (actor, before, most) => deprovisionedBy(at.db, actor, before, most),
          })
        assert.equal(await due(), 0)
        at.later(40)
        assert.equal(await due(), 2, 'E1 and E2; E3 was deprovisioned by an operator')
        assert.equal((await at.user('e3@corp.example')).state, 'deprovisioned')
        at.put('E1', { email: 'e1@corp.example', department: 'Sales' })
        const run = await at.run()
        assert.equal(run.counts.refused, 1, JSON.stringify(run.counts))
        assert.equal((await at.rows(run.id, 'refused'))[0]?.planned.code, 'user.erased')
      })
    })

    describe('of whoever is erased before all of it is done', () => {
      fresh({ targets: TARGETS, sources: [hr({ lifecycle: { leavers: 'deprovision', returns: 'revive' } })] })
      const change = async (user: UserId, to: 'deprovisioned' | 'erased' | 'active') =>
        changeState(at.ports, { user, to, reason: 'asked', policy: await at.policy(), actor: OPERATOR, now: at.now })
      const evidence = async (user: UserId) => evidenceOf(await evidenceParts(at.db, user))

      it('keeps what is still to be done, and forgets who it was about when it is', async () => {
        at.putMany(2)
        await at.run()
        const { id: user } = await at.user('e1@corp.example')
        await change(user, 'deprovisioned')
        const titles = async () => (await listTasks(at.db, { done: true, user, limit: 10 })).map(({ title }) => title).sort()
        const before = await titles()
        at.later(1)
        await change(user, 'erased')
        assert.deepEqual(await titles(), before)
        const open = await evidence(user)
        assert.equal(open?.complete, false)
        assert.deepEqual(
          open.lines.map(({ what }) => what),
          ['state', 'state', 'sessions', 'told', 'task', 'task'],
        )
        assert.ok(
          open.lines.every(({ text }) => !/(: |until )$/.test(text)),
          'what is forgotten is left out',
        )
        const told: unknown[] = []
        await deliver(() => ({ deliver: async ({ payload }) => void told.push(payload) }))
        assert.deepEqual(told, [{ state: 'deprovisioned', userName: 'e1@corp.example', reason: 'asked' }])
        await finishTasks(at.ports, { note: 'collected from e1', actor: OPERATOR, now: at.now })
        assert.ok((await evidence(user))?.complete)
        const kept = JSON.stringify([await listTasks(at.db, { done: true, user, limit: 10 }), await listJobs(at.db, { user, limit: 10 })])
        assert.doesNotMatch(kept, /e1@corp|from e1/)
      })

      it('asks for nothing back that was never taken away', async () => {
        const { id: user } = await at.user('e2@corp.example')
        await change(user, 'deprovisioned')
        await finishTasks(at.ports, { actor: OPERATOR, now: at.now })
        const more = { name: 'parking', kind: 'manual' }
        await at.apply({ targets: [...TARGETS, more], sources: [hr({ lifecycle: { leavers: 'deprovision', returns: 'revive' } })] })
        await change(user, 'active')
        const open = await listTasks(at.db, { done: false, user, limit: 10 })
        assert.deepEqual(open.map(({ target, kind }) => `${kind} ${target}`).sort(), ['give-back badges', 'give-back keys'])
      })
    })

    describe('with a grace period', () => {
      fresh({
        sources: [hr({ lifecycle: { leavers: 'suspend', grace: 14, returns: 'revive' }, safeguard: { share: 1, count: 100 } })],
        targets: TARGETS,
      })
      const act = async () => actOnLeavings(at.ports, { policy: await at.policy(), now: at.now })

      it('waits, and then ends the access of whoever has not come back', async () => {
        at.putMany(6)
        await at.run()
        at.drop('E1')
        at.drop('E2')
        const run = await at.run()
        assert.equal(run.counts.leaver, 2)
        assert.equal((await at.user('e1@corp.example')).state, 'active')
        const waits = (await at.user('e1@corp.example')).leaving.map(({ source, to, reason }) => [source, to, reason])
        assert.deepEqual(waits, [['hr', 'suspended', 'hr does not name them any more']])
        at.later(13)
        assert.equal(await act(), 0)
        at.put('E2', { email: 'e2@corp.example', department: 'Sales' })
        await at.run()
        at.later(1)
        assert.equal(await act(), 1)
        const gone = await at.user('e1@corp.example')
        assert.deepEqual([gone.state, gone.stateReason], ['suspended', 'hr does not name them any more'])
        assert.equal((await at.user('e2@corp.example')).state, 'active')
        const evidence = evidenceOf(await evidenceParts(at.db, gone.id))
        assert.deepEqual(
          evidence?.lines.slice(0, 3).map(({ what }) => what),
          ['word', 'grace', 'state'],
        )
      })

      it('opens it again by itself, where the source says so', async () => {
        at.put('E1', { email: 'e1@corp.example', department: 'Sales' })
        const run = await at.run()
        assert.deepEqual([run.state, run.counts.return], ['done', 1])
        assert.equal((await at.user('e1@corp.example')).state, 'active')
      })
    })

    describe('that a person approves one by one', () => {
      fresh({ sources: [hr({ approve: { leaver: 'ask' }, safeguard: { share: 1, count: 100 } })] })

      it('tells who has approved it', async () => {
        at.putMany(6)
        await at.run()
        at.drop('E1')
        at.drop('E2')
        const run = await at.run()
        const row = (await at.rows(run.id, 'leaver')).find(({ externalId }) => externalId.value === 'E1')
        const settled = await at.settle(run.id, row?.seq ?? 0, { pick: 'yes' })
        assert.equal(settled.outcome, 'applied')
        assert.equal((await at.user('e2@corp.example')).state, 'active')
        const { id } = await at.user('e1@corp.example')
        const evidence = evidenceOf(await evidenceParts(at.db, id))
        const approved = evidence?.lines.find(({ what }) => what === 'approved')
        assert.deepEqual([approved?.text, approved?.reference], ['approved by operator test', run.id])
      })
    })

    describe('by what a source says in so many words', () => {
      fresh({
        sources: [
          hr({
            lifecycle: {
              leavers: 'nothing',
              new: 'staged',
              returns: 'revive',
              state: { from: 'attributes.status', active: ['A'], suspended: ['L'], deprovisioned: ['T'] },
            },
            safeguard: { share: 1, count: 100 },
          }),
        ],
      })

      it('follows every word, refuses a strange one, and passes over whoever was never here', async () => {
        at.putMany(3, () => ({ department: 'Sales', status: 'A' }))
        at.put('E9', { email: 'e9@corp.example', department: 'Sales', status: 'T' })
        const first = await at.run()
        assert.deepEqual([first.counts.create, first.counts.passed], [3, 1])
        assert.equal((await at.user('e1@corp.example')).state, 'staged')
        for (const n of [1, 2, 3]) {
          const { id: user } = await at.user(`e${n}@corp.example`)
          await changeState(at.ports, { user, to: 'active', reason: 'come in', policy: await at.policy(), actor: OPERATOR, now: at.now })
        }
        at.put('E1', { email: 'e1@corp.example', department: 'Sales', status: 'l' })
        at.put('E2', { email: 'e2@corp.example', department: 'Sales', status: 'T' })
        at.put('E3', { email: 'e3@corp.example', department: 'Sales', status: '?' })
        const run = await at.run()
        assert.deepEqual([run.counts.leaver, run.counts.refused], [2, 1])
        assert.equal((await at.user('e1@corp.example')).state, 'suspended')
        assert.equal((await at.user('e2@corp.example')).state, 'deprovisioned')
        assert.equal((await at.user('e3@corp.example')).state, 'active')
        assert.match(
          (await at.rows(run.id, 'refused'))[0]?.planned.why ?? '',
          /says attributes.status is «\?», and lifecycle.state has no such word/,
        )
        at.put('E1', { email: 'e1@corp.example', department: 'Sales', status: 'A' })
        at.drop('E3')
        assert.equal((await at.run()).counts.return, 1)
        assert.equal((await at.user('e1@corp.example')).state, 'active')
        assert.equal((await at.user('e3@corp.example')).state, 'active', 'leavers: nothing')
      })
    })

    describe('of people whom no feed stands behind', () => {
      fresh({ sources: [hr()], coverage: { warn: 30, suspend: 60, task: 70, assignee: 'owner@corp.example' } })
      const watch = async () =>
        watchCoverage({ ...at.ports, coverage: coverage(at.db) }, { policy: await at.policy(), administrators: undefined, now: at.now })

      it('warns, suspends, opens a task, one after the other; whoever signs in begins anew', async () => {
        at.putMany(2)
        await at.run()
        await at.signIn('guest@other.example')
        await at.signIn('often@other.example')
        assert.deepEqual((await uncovered(at.db, { most: 10 })).map(({ userName }) => userName).sort(), [
          'guest@other.example',
          'often@other.example',
        ])
        at.later(31)
        assert.deepEqual(await watch(), { warned: 2, suspended: 0, task: 0 })
        assert.deepEqual(await watch(), { warned: 0, suspended: 0, task: 0 })
        const [mail] = await listJobs(at.db, { limit: 1 })
        assert.ok(mail?.target === MAIL && 'to' in mail.payload && mail.payload.to === 'owner@corp.example')
        at.later(20)
        await at.signIn('often@other.example')
        at.later(10)
        assert.deepEqual(await watch(), { warned: 0, suspended: 1, task: 0 })
        const guest = await at.user('guest@other.example')
        assert.deepEqual([guest.state, guest.stateReason], ['suspended', 'no sign-in for 61 days, and no feed stands behind them'])
        at.later(10)
        assert.deepEqual(await watch(), { warned: 0, suspended: 0, task: 1 })
        const [task] = await listTasks(at.db, { done: false, limit: 10 })
        assert.deepEqual([task?.kind, task?.user], ['look', guest.id])
        at.later(30)
        assert.deepEqual(await watch(), { warned: 1, suspended: 0, task: 0 })
      })
    })

    describe('and mail', () => {
      fresh({ sources: [hr({ safeguard: { share: 1, count: 100 } })], targets: TARGETS })
      const received: { to: string; text: string }[] = []
      let server: SMTPServer
      let port: number
      before(async () => {
        port = await freePort()
        server = new SMTPServer({
          disabledCommands: ['AUTH', 'STARTTLS'],
          onRcptTo: ({ address }, _session, done) =>
            done(address.startsWith('nobody') ? Object.assign(new Error('no such mailbox'), { responseCode: 550 }) : null),
          onData: (stream, session, done) => {
            let text = ''
            stream.on('data', (part) => {
              text += part
            })
            stream.on('end', () => {
              received.push({ to: session.envelope.rcptTo.map(({ address }) => address).join(), text })
              done()
            })
          },
        })
        await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
      })
      after(() => new Promise<void>((resolve) => server.close(() => resolve())))
      const tell = (administrators?: string) =>
        tellTasks(at.ports, { page: 'https://gate.example/console/tasks', administrators, now: at.now })
      const post = () => {
        const mail = mailDeliverer({ url: `smtp://127.0.0.1:${port}`, from: 'gatehouse@corp.example' })
        return deliver(({ target }) => (target === MAIL ? mail : { deliver: async () => {} }))
      }

      it('tells each person once, all in one mail, and reminds once of what is overdue', async () => {
        at.putMany(4)
        await at.run()
        at.drop('E1')
        at.drop('E2')
        await at.run()
        assert.equal(await tell('admin@corp.example'), 2)
        assert.equal(await tell('admin@corp.example'), 0)
        await post()
        assert.deepEqual(received.map(({ to }) => to).sort(), ['admin@corp.example', 'desk@corp.example'])
        const desk = received.find(({ to }) => to === 'desk@corp.example')?.text ?? ''
        assert.match(desk, /^From: gatehouse@corp\.example/m)
        assert.match(desk, /Subject: Gatehouse: 2 things to do/)
        assert.match(desk, /https:\/\/gate\.example\/console\/tasks/)
        at.later(4)
        assert.equal(await tell(), 1)
        at.later(1)
        assert.equal(await tell(), 0)
        await post()
        assert.match(received.at(-1)?.text ?? '', /2 of them overdue/)
      })

      it('gives up at once on an address that there is not', async () => {
        const id = at.ports.mint.id('job', at.now)
        const job: Job = {
          id,
          target: MAIL,
          kind: 'mail',
          payload: { to: 'nobody@corp.example', subject: 'x', text: 'x' },
          state: 'queued',
          attempts: 0,
          createdAt: at.now,
          nextAt: at.now,
        }
        await at.ports.inTransaction((tx) => at.ports.jobs.add(tx, [job]))
        await post()
        const found = (await listJobs(at.db, { limit: 10 })).find((one) => one.id === id)
        assert.deepEqual([found?.state, /no such mailbox/.test(found?.lastError ?? '')], ['dead', true])
      })
    })
  })
}
