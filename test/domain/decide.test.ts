// The decision: a table that a domain expert can read (decisions.csv), and properties that hold for any record.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { decide, type Known, type Prepared, prepare } from '../../src/domain/decide.ts'
import type { SourceId, UserId } from '../../src/domain/ids.ts'
import { parseSourcePath, type SourcePath } from '../../src/domain/mapping.ts'
import { deriveProfile } from '../../src/domain/mastery.ts'
import { UNSPECIFIED } from '../../src/domain/matching.ts'
import type { RecordOnFile, SourceRecord, User } from '../../src/domain/model.ts'
import { remember } from '../../src/domain/records.ts'
import { isRefusal } from '../../src/domain/refusals.ts'
import type { SourcePolicy } from '../../src/domain/source-policy.ts'

const CORP = 'src_corp' as SourceId
const FRESH = 'usr_fresh' as UserId
const THEN = new Date('2026-01-01T08:00:00Z')
const NOW = new Date('2026-02-01T08:00:00Z')

function policyWith(jit: Partial<SourcePolicy['jit']> = {}, from: Record<string, string> = {}): SourcePolicy {
  const rows = { userName: 'attributes.uid', email: 'attributes.mail', ...from }
  const path = (text: string) => parseSourcePath(text) as SourcePath
  return {
    id: CORP,
    name: 'corp',
    version: 1,
    externalId: path('nameID'),
    jit: { create: true, update: true, required: ['email'], ...jit },
    mapping: Object.entries(rows).map(([to, text]) => ({ to, from: text, path: path(text) })),
  }
}

function says(attributes: Record<string, readonly string[]>, observedAt = NOW, nameId = 'n-1'): SourceRecord {
  return {
    source: CORP,
    nameId: { value: nameId, format: 'urn:oasis:names:tc:SAML:2.0:nameid-format:persistent' },
    attributes,
    aliases: {},
    observedAt,
  }
}

function prepared(said: SourceRecord, policy: SourcePolicy): Prepared {
  const result = prepare(said, policy)
  assert.ok(!isRefusal(result), JSON.stringify(result))
  return result
}

/** Somebody who signed in earlier and said this. */
function linkedUser(
  said: SourceRecord,
  policy: SourcePolicy,
  state: User['state'] = 'active',
): { user: User; record: RecordOnFile; known: Known } {
  const record = remember(undefined, said, prepared(said, policy).externalId)
  const profile = deriveProfile([record], new Map([[CORP, policy]]))
  assert.ok(!isRefusal(profile))
  const user: User = { id: 'usr_known' as UserId, state, profile }
  return { user, record, known: { linked: user, records: [record], owners: [] } }
}

describe('decide', () => {
  const [heading = '', ...lines] = readFileSync(new URL('./decisions.csv', import.meta.url), 'utf8')
    .trim()
    .split('\n')
  const columns = heading.split(',')
  for (const line of lines) {
    const cells = line.split(',')
    const row = Object.fromEntries(columns.map((column, i) => [column, cells[i] ?? '']))
    it(`${row.note}`, () => {
      const policy = policyWith({ create: row.create === 'yes', update: row.update === 'yes' })
      const [uid = '', mail = ''] = (row.says ?? '').split('|')
      const said = says({ uid: [uid], ...(mail ? { mail: [mail] } : {}) })
      const before = linkedUser(
        says({ uid: ['ada'], mail: ['ada@x'] }, THEN),
        policyWith(),
        row.state === 'deprovisioned' ? 'deprovisioned' : 'active',
      )
      const owners = row['userName held by'] === 'another' ? [{ user: 'usr_other' as UserId, attribute: 'userName' }] : []
      const known: Known = row.known === 'linked' ? { ...before.known, owners } : { records: [], owners }
      const { outcome } = decide(prepared(said, policy), known, new Map([[CORP, policy]]), FRESH)
      assert.equal(isRefusal(outcome) ? outcome.code : outcome.kind, row.outcome)
    })
  }

  it('says for every value who said it, under which version, and since when', () => {
    const policy = policyWith()
    const before = linkedUser(says({ uid: ['ada'], mail: ['ada@x'] }, THEN), policy)
    const { outcome } = decide(prepared(says({ uid: ['ada'], mail: ['new@x'] }), policy), before.known, new Map([[CORP, policy]]), FRESH)
    assert.ok(!isRefusal(outcome))
    assert.deepEqual(outcome.attributes, [{ attribute: 'email', before: ['ada@x'], after: ['new@x'] }])
    assert.deepEqual(outcome.user.profile.email, { values: ['new@x'], source: CORP, policyVersion: 1, from: 'attributes.mail', since: NOW })
    assert.deepEqual(outcome.user.profile.userName?.since, THEN)
  })

  it('refuses whole, not in part, when a value on file can no longer be used', () => {
    const before = linkedUser(says({ uid: ['ada'], mail: ['ada@x'], dept: ['x', 'y'] }, THEN), policyWith())
    const policy = policyWith({}, { department: 'attributes.dept' })
    const { outcome } = decide(prepared(says({ uid: ['ada'], mail: ['ada@x'] }), policy), before.known, new Map([[CORP, policy]]), FRESH)
    assert.ok(isRefusal(outcome) && outcome.code === 'attribute.value')
    assert.match(outcome.detail, /department takes one value/)
  })

  it('refuses a name that no index could hold', () => {
    const long = prepare({ ...says({ uid: ['u'], mail: ['m'] }), nameId: { value: 'n'.repeat(600), format: UNSPECIFIED } }, policyWith())
    assert.ok(isRefusal(long) && long.code === 'attribute.value')
    const longName = prepare(says({ uid: ['u'.repeat(600)], mail: ['m'] }), policyWith())
    assert.ok(isRefusal(longName) && longName.code === 'attribute.value')
  })

  it('explains every mapping row and the match', () => {
    const policy = policyWith({ required: [] }, { title: 'attributes.nowhere', department: 'attributes.empty' })
    const { explanation } = decide(
      prepared(says({ uid: ['ada'], empty: [''] }), policy),
      { records: [], owners: [] },
      new Map([[CORP, policy]]),
      FRESH,
    )
    assert.equal(explanation.match?.situation, 'unmatched')
    assert.deepEqual(
      explanation.mapping.map((step) => [step.to, step.outcome]),
      [
        ['userName', 'mapped'],
        ['email', 'absent'],
        ['title', 'absent'],
        ['department', 'empty'],
      ],
    )
  })

  const values = fc.array(
    fc.string({ minLength: 1, maxLength: 12 }).filter((text) => text.trim() === text && !/\p{Cc}/u.test(text)),
    { minLength: 1, maxLength: 1 },
  )
  const statement = fc.record({ uid: values, mail: values, phone: values, title: values }, { requiredKeys: ['uid', 'mail'] })
  const wide = policyWith({}, { phoneNumber: 'attributes.phone', title: 'attributes.title' })
  const inForce = new Map([[CORP, wide]])

  it('changes nothing when the same record comes twice', () => {
    fc.assert(
      fc.property(statement, (attributes) => {
        const before = linkedUser(says(attributes, THEN), wide)
        const { outcome } = decide(prepared(says(attributes), wide), before.known, inForce, FRESH)
        assert.ok(!isRefusal(outcome))
        assert.deepEqual([outcome.kind, outcome.profileMoved, outcome.recordMoved, outcome.link], ['unchanged', false, false, false])
      }),
    )
  })

  it('never erases a value because the source left it out', () => {
    fc.assert(
      fc.property(statement, statement, (first, second) => {
        const before = linkedUser(says(first, THEN), wide)
        const { outcome } = decide(prepared(says(second), wide), before.known, inForce, FRESH)
        assert.ok(!isRefusal(outcome))
        for (const attribute of Object.keys(before.user.profile)) assert.ok(outcome.user.profile[attribute], attribute)
      }),
    )
  })

  it('never lets in whoever is deprovisioned, whatever is said and allowed', () => {
    fc.assert(
      fc.property(statement, fc.boolean(), fc.boolean(), (attributes, create, update) => {
        const policy = { ...wide, jit: { create, update, required: [] } }
        const before = linkedUser(says(attributes, THEN), wide, 'deprovisioned')
        const { outcome } = decide(prepared(says(attributes), policy), before.known, new Map([[CORP, policy]]), FRESH)
        assert.ok(isRefusal(outcome) && outcome.code === 'user.deprovisioned')
      }),
    )
  })

  it('does not depend on the order in which records arrived', () => {
    const second = { ...wide, id: 'src_second' as SourceId, name: 'second' }
    const policies = new Map([...inForce, [second.id, second]])
    fc.assert(
      fc.property(statement, statement, (one, two) => {
        const a = remember(undefined, says(one, THEN), { key: 'a', value: 'a' })
        const b = remember(undefined, { ...says(two, NOW), source: second.id }, { key: 'b', value: 'b' })
        assert.deepEqual(deriveProfile([a, b], policies), deriveProfile([b, a], policies))
      }),
    )
  })
})

describe('identify', () => {
  const keyOf = (value: string, format: string) => {
    const result = prepare({ ...says({ uid: ['u'], mail: ['m'] }), nameId: { value, format } }, policyWith())
    return isRefusal(result) ? result.code : result.externalId.key
  }
  const email = 'urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress'
  const persistent = 'urn:oasis:names:tc:SAML:2.0:nameid-format:persistent'

  it('takes no notice of letter case in addresses, however they are labelled', () => {
    assert.equal(keyOf('Ada@Corp.example', email), keyOf('ada@corp.example', email))
    assert.equal(keyOf('Ada@Corp.example', UNSPECIFIED), keyOf('ada@corp.example', UNSPECIFIED))
  })
  it('keeps letter case in persistent identifiers, which may be base64', () => {
    assert.notEqual(keyOf('aGVsbG8=', persistent), keyOf('AGVSBG8=', persistent))
  })
  it('does not take one format for another', () => {
    assert.notEqual(keyOf('ada', persistent), keyOf('ada', UNSPECIFIED))
  })
  it('refuses a name that changes every time', () => {
    assert.equal(keyOf('_x', 'urn:oasis:names:tc:SAML:2.0:nameid-format:transient'), 'subject.transient')
  })
  it('takes a chosen attribute instead', () => {
    const policy = { ...policyWith(), externalId: parseSourcePath('attributes.uid') as SourcePath }
    const result = prepare(
      { ...says({ uid: ['E-77'], mail: ['m'] }), nameId: { value: '_x', format: 'urn:oasis:names:tc:SAML:2.0:nameid-format:transient' } },
      policy,
    )
    assert.ok(!isRefusal(result))
    assert.equal(result.externalId.value, 'E-77')
    const without = prepare(says({ mail: ['m'] }), policy)
    assert.ok(isRefusal(without) && without.code === 'subject.missing')
  })
})
