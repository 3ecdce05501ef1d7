// Imports on the command line, as an operator types them: what is printed, what the exit codes say, what bad input gets.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url))

describe('imports at the command line', () => {
  let folder: string
  const gatehouse = (...args: string[]) => {
    const { PATH } = process.env
    const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...args], {
      env: { PATH, GATEHOUSE_DATA_DIR: folder },
      encoding: 'utf8',
    })
    return { exit: status, out: stdout, err: stderr }
  }
  const json = (...args: string[]) => {
    const { exit, out, err } = gatehouse(...args, '--json')
    assert.ok(out.startsWith('{'), `${out}${err}`)
    return { exit, ...JSON.parse(out) }
  }
  const file = (name: string, content: string) => {
    const path = join(folder, name)
    writeFileSync(path, content)
    return path
  }
  const feed = (name: string, people: readonly string[]) =>
    file(
      name,
      [
        'employeeNumber,email,department',
        ...people.map((one) => (one.includes(',') ? one : `${one},${one.toLowerCase()}@corp.example,Sales`)),
        '',
      ].join('\n'),
    )
  const ten = Array.from({ length: 10 }, (_, i) => `E${i}`)
  const importing = (path: string, ...more: string[]) => json('import', 'hr', '--full', '--file', path, ...more)

  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'gatehouse-cli-'))
    // As the documentation has it.
    const policy = file(
      'policy.yaml',
      `sources:
  - name: hr
    kind: csv
    key: employeeNumber
    lifecycle: { leavers: deprovision }
    approve: { new: auto, exact: auto, update: auto, leaver: ask }
    safeguard: { share: 0.2, count: 50 }
    matching:
      - { by: [email], link: auto }
    mapping:
      - { to: userName, from: attributes.email }
      - { to: email, from: attributes.email }
      - { to: department, from: attributes.department }
targets:
  - { name: badges, kind: manual }
`,
    )
    assert.equal(gatehouse('apply', '-f', policy).exit, 0)
  })
  after(() => rmSync(folder, { recursive: true, force: true }))

  it('applies, and ends with counts and 0', () => {
    const { exit, outcome, counts } = importing(feed('ten.csv', ten))
    assert.deepEqual([exit, outcome], [0, 'applied'])
    assert.deepEqual(counts, { created: 10, linked: 0, updated: 0, unchanged: 0, disputed: 0, leavers: 0, refused: 0, held: 0 })
    const plain = gatehouse('import', 'hr', '--full', '--file', join(folder, 'ten.csv'))
    assert.equal(plain.exit, 0)
    assert.match(plain.out, /created 0 {2}linked 0 {2}updated 0 {2}unchanged 10/)
    assert.match(plain.out, /whoever is not in the feed has left/)
  })

  it('plans only, waits with 3, and goes ahead when it is approved', () => {
    const planned = importing(feed('new.csv', [...ten, 'E10']), '--plan-only')
    assert.deepEqual([planned.exit, planned.outcome, planned.counts.created, planned.applied], [3, 'waiting', 1, 0])
    assert.equal(json('user', 'list').users.length, 10)
    const { rows } = json('runs', 'rows', planned.run)
    assert.deepEqual([rows.length, rows[0].decision, rows[0].said.email], [1, 'create', ['e10@corp.example']])
    const approved = json('runs', 'approve', planned.run)
    assert.deepEqual([approved.exit, approved.outcome], [0, 'applied'])
    assert.equal(json('user', 'list').users.length, 11)
  })

  it('lets a leaver wait, and ends their access when a person says so', () => {
    const left = importing(feed('left.csv', ten))
    assert.deepEqual([left.exit, left.outcome, left.counts.leavers, left.waiting], [3, 'waiting', 1, 1])
    const { rows } = json('runs', 'rows', left.run, '--waiting')
    const approved = json('runs', 'approve', left.run, String(rows[0].row))
    assert.equal(approved.exit, 0)
    assert.equal(json('user', 'show', 'e10@corp.example').state, 'deprovisioned')
    const { tasks } = json('tasks')
    assert.equal(tasks.length, 1)
    assert.equal(json('user', 'evidence', 'e10@corp.example').complete, false)
    assert.equal(json('tasks', 'done', tasks[0].id, '--note', 'badge is here').exit, 0)
    assert.equal(json('user', 'evidence', 'e10@corp.example').complete, true)
    assert.match(gatehouse('user', 'evidence', 'e10@corp.example', '--csv').out, /^"when","what","text","reference"\r\n/)
  })

  it('holds with 4 what would harm many, and what is not to be believed; nothing is applied', () => {
    const held = importing(feed('seven.csv', [...ten.slice(0, 7), 'E11']))
    assert.deepEqual([held.exit, held.outcome, held.counts.held], [4, 'held', 4])
    assert.match(held.heldBecause[0].why, /3 of 10 people would lose their access/)
    assert.equal(json('user', 'list').users.length, 11)
    const half = importing(feed('four.csv', ten.slice(0, 4)))
    assert.deepEqual([half.exit, half.heldBecause[0].code], [4, 'feed.shrunk'])
    assert.equal(importing(feed('none.csv', [])).heldBecause[0].code, 'feed.empty')
    assert.equal(importing(feed('twice.csv', [...ten, 'E3'])).heldBecause[0].code, 'feed.duplicate-keys')
    assert.equal(
      importing(file('column.csv', `employeeNumber,mail\n${ten.map((one) => `${one},x@y.example`).join('\n')}\n`)).heldBecause[0].code,
      'feed.column-missing',
    )
    assert.equal(
      importing(
        file(
          'cut.csv',
          `${['employeeNumber,email,department', ...ten.map((one) => `${one},${one}@corp.example,Sales`)].join('\n')}\nE99,e9`,
        ),
      ).heldBecause[0].code,
      'feed.cut-off',
    )
    const { exit, err } = gatehouse('import', 'hr', '--full', '--file', join(folder, 'seven.csv'))
    assert.equal(exit, 4)
    assert.match(err, /Held, and nobody was changed/)
    const forced = importing(join(folder, 'seven.csv'), '--approve')
    assert.deepEqual([forced.exit, forced.outcome, forced.applied], [0, 'applied', 4])
  })

  it('says what it cannot find, and does nothing then', () => {
    const wrong = [
      [['tasks', 'done', '--target', 'nowhere'], /No task is open for nowhere/],
      [['tasks', 'assign', 'bob@corp.example', 'tsk_nothing'], /0 of 1 given .* are not open/],
      [['jobs', 'retry', 'job_nothing'], /0 will be tried again/],
      [['apply', '--prune', '-f', file('cut-off.yaml', '')], /nothing in it to apply/],
    ] as const
    for (const [args, why] of wrong) {
      const { exit, err } = gatehouse(...args)
      assert.match(err, why)
      assert.notEqual(exit, 0)
    }
  })

  it('does not say of somebody shut out that a policy is to blame', () => {
    const { out } = gatehouse('user', 'show', 'e9@corp.example')
    assert.match(out, /deprovisioned/)
    assert.doesNotMatch(out, /older policy/)
  })

  it('takes a run back', () => {
    const [{ run }] = json('runs').runs
    const plan = json('undo', run, '--plan-only')
    assert.deepEqual([plan.exit, plan.outcome, plan.undone], [0, 'planned', 4])
    const undone = json('undo', run)
    assert.deepEqual([undone.exit, undone.outcome, undone.undone, undone.left], [0, 'undone', 4, 0])
    assert.equal(json('user', 'show', 'e8@corp.example').state, 'active')
    assert.equal(gatehouse('undo', run).exit, 1)
  })

  it('fails with 1 on what cannot be read, and with 2 on what makes no sense', () => {
    const zip = file('zip.csv', `PK\u0003\u0004\u0000\u0000binary`)
    const failed = importing(zip)
    assert.deepEqual([failed.exit, failed.outcome, failed.failure.code], [1, 'failed', 'feed.malformed'])
    assert.equal(gatehouse('import', 'hr', '--file', join(folder, 'nowhere.csv')).exit, 1)
    assert.equal(gatehouse('import', 'nowhere').exit, 2)
    assert.equal(gatehouse('import', 'hr', '--full', '--incremental').exit, 2)
    assert.equal(gatehouse('import', 'hr').exit, 2, 'no file is named anywhere')
    assert.equal(gatehouse('runs', 'show', 'run_nowhere').exit, 1)
    assert.equal(gatehouse('runs', 'approve', 'run_nowhere', 'x').exit, 2)
    assert.equal(gatehouse('tasks', 'done').exit, 2)
    assert.match(gatehouse('import', '--help').out, /Exit codes: 0 applied, 3/)
    assert.equal(importing(join(folder, 'ten.csv')).exit, 0, 'and the next one works')
  })

  it('says of a cut-off feed that it does not show who has left', () => {
    const cut = file('cut-off.csv', 'employeeNumber,email,department\nE0,e0@corp.example,"Sal')
    const { exit, sees, detectsLeavers } = importing(cut)
    assert.equal(exit, 4)
    assert.deepEqual([detectsLeavers, /^It could not see who has left: the feed is cut off/.test(sees)], [false, true])
  })
})
