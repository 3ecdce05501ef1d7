// Expressions and values: what is refused when it is saved, with its place; what fails when it runs, by name; and that neither
// reaches beyond its inputs nor takes longer than they are long.

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { compilePattern } from '../../src/domain/expression-shape.ts'
import { LARGEST_COST } from '../../src/domain/expressions.ts'
import { compilePolicy } from '../../src/domain/policy.ts'
import { isRefusal } from '../../src/domain/refusals.ts'
import { type AttributeDefinition, foldKey, normaliseValues } from '../../src/domain/schema.ts'
import { type Attributes, documentsOf, policyOf, says, World } from '../support/world.ts'

const LOOKUPS = { departments: { '10': 'Engineering' } }

function content(rows: readonly Record<string, unknown>[], more: Record<string, unknown> = {}) {
  const mapping = [{ to: 'userName', from: 'nameID' }, ...rows]
  const schema = {
    attributes: [
      { name: 'badge', type: 'integer' },
      { name: 'contractor', type: 'boolean' },
      { name: 'born', type: 'date', sensitive: true },
      { name: 'skills', type: 'list' },
    ],
  }
  return {
    schema,
    lookups: LOOKUPS,
    connections: [{ name: 'corp', kind: 'saml', subjects: '.', jit: { create: true, update: true }, mapping, ...more }],
  }
}

function faultsOf(from: string, to = 'title'): readonly string[] {
  return compilePolicy(1, documentsOf(content([{ to, from }]))).faults.map(({ segments, message }) => `${segments.join('.')}: ${message}`)
}

/** What a row makes of these attributes, or why not. */
function made(from: string, attributes: Attributes, to = 'title'): readonly string[] | string {
  const { outcome } = new World(policyOf(content([{ to, from }]))).hear(says('corp', attributes))
  return isRefusal(outcome) ? outcome.detail : (outcome.user.profile[to]?.values ?? [])
}

describe('an expression', () => {
  const refused: readonly [from: string, says: RegExp, to?: string][] = [
    ['lower(nameID', /mapping\.1\.from: .*\(at character 13\)/],
    ["nameID + + 'x'", /at character 10/],
    ['user.shoeSize', /there is nothing called shoeSize \(at character 6\)/],
    ['shoeSize', /Unknown variable: shoeSize \(at character 1\)/],
    ['shout(nameID)', /there is no function shout/],
    ['size(attributes.mail)', /gives int, and string is wanted/],
    ['nameID == nameID', /gives bool, and string is wanted/],
    ["'x' + 1", /no such overload: string \+ int/],
    ["nameID.matches('(a+)+$')", /write like\(text, 'pattern'\)/],
    ["like(nameID, '(')", /the pattern is none that RE2 knows: missing closing \)/],
    ["like(nameID, '(?=x)')", /the pattern is none that RE2 knows/],
    ['like(nameID, nameID)', /takes its pattern as a text in quotes/],
    ["lookup('nowhere', nameID)", /there is no lookup table nowhere; there are departments/],
    ['cel.bind(x, nameID, x + x)', /there is no function bind/],
    [
      "attributes.a.map(x, attributes.b.exists(y, y == x) ? x : '')",
      new RegExp(`could take \\d+ steps over lists of 1000 values; ${LARGEST_COST} are allowed`),
    ],
    [`'${'x'.repeat(2_001)}'`, /2[_,]?000/],
    [Array.from({ length: 300 }, () => "'a'").join('+'), /mapping\.1\.from: .*(nodes|depth)/i],
    [`[${Array.from({ length: 60 }, () => "'x'").join(',')}]${'.map(a, a+a)'.repeat(22)}`, /a is joined with itself within a loop|depth/i],
    ['attributes.g.map(x, attributes.g + attributes.g)', /lists are not joined within a loop/],
    ["timestamp('2020-01-01T00:00:00Z')", /there is no function timestamp/],
    ["attributes['a'].constructor", /mapping\.1\.from: /],
  ]
  for (const [from, message] of refused) {
    it(`is refused when it is saved: ${from.slice(0, 60)}`, () => {
      const faults = (() => {
        try {
          return faultsOf(from)
        } catch (error) {
          // Too long already for the shape of the file.
          return [(error as Error).message]
        }
      })()
      assert.equal(faults.length, 1, JSON.stringify(faults))
      assert.match(faults[0] as string, message)
    })
  }

  it('costs what its loops and its lists cost, not what it looks like', () => {
    assert.deepEqual(faultsOf("first(attributes.a.map(x, split(x, '@')[0]))"), [])
    assert.deepEqual(faultsOf("first(attributes.a.filter(x, x in ['a', 'b', 'c']))"), [])
  })

  const runs: readonly [from: string, attributes: Attributes, gives: readonly string[] | RegExp, to?: string][] = [
    ["trim(lower(first(attributes.a))) + '!'", { a: '  ABC ' }, ['abc!']],
    ["join(split(attributes.a[0], ','), ';')", { a: 'x,y' }, ['x;y']],
    ["replace(attributes.a[0], '-', '')", { a: '1-2-3' }, ['123']],
    ["capture(attributes.a[0], '^CN=([^,]+)')", { a: 'CN=Ada,OU=x' }, ['Ada']],
    ["capture(attributes.a[0], 'z')", { a: 'abc' }, []],
    ["first(attributes.a, '@b$')", { a: ['x@a', 'y@b'] }, ['y@b']],
    ["any(attributes.a, '^x') ? 'yes' : 'no'", { a: ['y', 'x1'] }, ['yes']],
    ["date(attributes.a[0], 'dd.MM.yyyy')", { a: '31.12.1999' }, ['1999-12-31'], 'born'],
    [
      "date(attributes.a[0], 'dd.MM.yyyy')",
      { a: '31.02.1999' },
      /born <- date.*why is not shown, because it reads or makes something sensitive/,
      'born',
    ],
    [
      "date(attributes.a[0], 'dd.MM.yyyy')",
      { a: 'soon' },
      /corp \(version 1\): title <- date\(.*«soon» is not a date of the form dd\.MM\.yyyy \(at character 1\)/,
    ],
    ["lookup('departments', attributes.a[0])", { a: '10' }, ['Engineering']],
    ["lookup('departments', attributes.a[0])", { a: 'constructor' }, /has no entry «constructor»/],
    ["lookup('departments', attributes.a[0], 'Other')", { a: '__proto__' }, ['Other']],
    ['attributes.a.size() > 1', { a: ['x', 'y'] }, ['true'], 'contractor'],
    ['attributes.a.size()', { a: ['x', 'y'] }, ['2'], 'badge'],
    ['attributes.a', { a: ['x', ' ', 'y '] }, ['x', 'y'], 'skills'],
    ["attributes.nowhere[0] + 'x'", {}, []],
    ['lower(attributes.a[3])', { a: ['x'] }, []],
    ["has(attributes.a) ? 'there' : 'gone'", { b: 'x' }, ['gone']],
    ["attributes['constructor'][0]", { constructor: ['mine'] } as unknown as Attributes, ['mine']],
    ["attributes.exists(name, name == '__proto__') ? 'sent' : 'not'", JSON.parse('{"__proto__": ["x"]}'), ['sent']],
  ]
  for (const [from, attributes, gives, to] of runs) {
    it(`gives ${gives}: ${from}`, () => {
      const result = made(from, attributes, to)
      if (gives instanceof RegExp) assert.match(String(result), gives)
      else assert.deepEqual(result, gives)
    })
  }

  it('takes no longer than its inputs are long, whatever the pattern and the text', () => {
    const text = `${'a'.repeat(30_000)}!`
    assert.deepEqual(made("like(attributes.a[0], '^(a+)+$') ? 'yes' : 'no'", { a: text }), ['no'])
    assert.match(String(made("replace(attributes.a[0], 'a', 'aaaaaaaaaa')", { a: text })), /more than 65536 characters/)
    assert.match(String(made("split(attributes.a[0], 'a')[0]", { a: text })), /more than 1000 parts/)
    assert.match(String(made('lower(attributes.a[0])', { a: 'x'.repeat(70_000) })), /a holds a value of more than 65536 characters/)
    const many = Array.from({ length: 20_000 }, (_, i) => `v${i}`)
    assert.match(
      String(made("attributes.a.exists(x, x == 'a' || x == 'b' || x == 'c') ? 'yes' : 'no'", { a: many })),
      /would cost more than/,
    )
  })

  it('builds on other rows in whatever order they are written, and not on itself', () => {
    const rows = [
      { to: 'displayName', from: "user.givenName + ' ' + user.familyName" },
      { to: 'familyName', from: 'attributes.sn' },
      { to: 'givenName', from: 'attributes.gn' },
    ]
    const { outcome } = new World(policyOf(content(rows))).hear(says('corp', { gn: 'Ada', sn: 'Lovelace' }))
    assert.ok(!isRefusal(outcome))
    assert.deepEqual(outcome.user.profile.displayName?.values, ['Ada Lovelace'])
    const circle = [
      { to: 'title', from: 'user.department + nameID' },
      { to: 'department', from: 'user.title + nameID' },
    ]
    const faults = compilePolicy(1, documentsOf(content(circle))).faults.map(({ message }) => message)
    assert.deepEqual(faults, ['builds on itself: title <- department <- title'])
  })

  it('wants an order of two rows for one attribute, and takes the first that has a value', () => {
    const rows = [
      { to: 'title', from: 'attributes.a', order: 2 },
      { to: 'title', from: 'attributes.b', order: 1 },
    ]
    const { outcome } = new World(policyOf(content(rows))).hear(says('corp', { a: 'from a' }))
    assert.ok(!isRefusal(outcome))
    assert.deepEqual(outcome.user.profile.title?.values, ['from a'])
    const unordered = compilePolicy(1, documentsOf(content(rows.map(({ to, from }) => ({ to, from }))))).faults
    assert.match(unordered[0]?.message ?? '', /«title» is there already \(row 2\); give both rows an order/)
  })
})

describe('a value', () => {
  const of = (type: AttributeDefinition['type'], more: Partial<AttributeDefinition> = {}): AttributeDefinition => ({
    name: 'x',
    label: 'X',
    type,
    ...more,
  })
  const good: readonly [definition: AttributeDefinition, from: readonly string[], to: readonly string[]][] = [
    [of('boolean'), ['False'], ['false']],
    [of('boolean'), ['1'], ['true']],
    [of('integer'), [' +007 '], ['7']],
    [of('date'), ['2024-02-29'], ['2024-02-29']],
    [of('date'), ['2024-03-01T00:30:00+01:00'], ['2024-02-29']],
    [of('list'), ['a', '', ' b '], ['a', 'b']],
    [of('string', { values: ['Full time'] }), ['FULL TIME'], ['Full time']],
    [of('reference'), ['ada'], ['ada']],
  ]
  for (const [definition, from, to] of good) {
    it(`of a ${definition.type}, written ${JSON.stringify(from)}, is ${JSON.stringify(to)}`, () => {
      assert.deepEqual(normaliseValues(definition, from), to)
    })
  }
  const bad: readonly [definition: AttributeDefinition, from: readonly string[], fault: RegExp][] = [
    [of('boolean'), ['maybe'], /«maybe» is not true or false/],
    [of('integer'), ['1.5'], /is not a whole number/],
    [of('integer'), ['9007199254740993'], /is not a whole number/],
    [of('date'), ['2023-02-29'], /is not a date/],
    [of('date'), ['29.02.2024'], /is not a date/],
    [of('string'), ['a', 'b'], /it takes one value, and there are 2/],
    [of('string'), ['a\u0000b'], /control character/],
    [of('string'), ['x'.repeat(5_000)], /more than 4096 characters/],
    [of('string', { unique: true }), ['x'.repeat(600)], /more than 512 characters/],
    [of('string', { values: ['a', 'b'] }), ['c'], /«c» is not one of a, b/],
    [of('string'), ['\ud83d'], /half a character/],
    [of('string', { unique: true }), ['\ufdfa'.repeat(30)], /more than 512 characters/],
    [of('integer', { sensitive: true }), ['secret'], /the value \(sensitive, not shown\) is not a whole number/],
  ]
  for (const [definition, from, fault] of bad) {
    it(`of a ${definition.type} is not ${JSON.stringify(from).slice(0, 40)}`, () => {
      const result = normaliseValues(definition, from)
      assert.ok('fault' in result)
      assert.match(result.fault, fault)
    })
  }
  it('is compared without regard to letter case, white space, and how its letters are put together', () => {
    for (const spelling of ['Jos\u00e9', ' JOSE\u0301 ', 'ｊｏｓé']) assert.equal(foldKey(spelling), 'jos\u00e9')
  })
  it('that does not fit refuses the record by attribute, value and source', () => {
    assert.equal(made('attributes.a', { a: 'many' }, 'badge'), 'corp (version 1): badge <- attributes.a: «many» is not a whole number')
  })
})

describe('a pattern', () => {
  it('fits anywhere, unless it is anchored', () => {
    const compiled = compilePattern('@corp\\.example$')
    assert.ok('matches' in compiled)
    assert.deepEqual([compiled.matches('ada@corp.example'), compiled.matches('ada@corp.example.evil')], [true, false])
  })
})
