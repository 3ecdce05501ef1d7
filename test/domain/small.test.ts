// The small deciders: ids, return addresses, identity headers, source paths.

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { parsePolicyFile } from '../../src/domain/documents.ts'
import { foldHeaderName, identityHeaders, isReservedHeader, parseHeaderPath } from '../../src/domain/identity-headers.ts'
import { ID_ENTROPY, mint, mintReference, readReference, type SourceId, type UserId } from '../../src/domain/ids.ts'
import { parseSourcePath } from '../../src/domain/mapping.ts'
import type { User } from '../../src/domain/model.ts'
import { returnAddress } from '../../src/domain/return-address.ts'

describe('ids', () => {
  it('sort by the time they were made', () => {
    fc.assert(
      fc.property(
        fc.date({ min: new Date(0), noInvalidDate: true, max: new Date('2200-01-01') }),
        fc.nat(1e9),
        fc.uint8Array({ minLength: ID_ENTROPY, maxLength: ID_ENTROPY }),
        (time, later, entropy) => {
          const first = mint('usr', time, entropy)
          assert.match(first, /^usr_[0-9a-hjkmnp-tv-z]{26}$/)
          assert.ok(first < mint('usr', new Date(time.getTime() + later + 1), entropy))
        },
      ),
    )
  })
  it('read a reference as people say it', () => {
    const reference = mintReference(Uint8Array.from([1, 2, 3, 4, 5]))
    for (const said of [reference, reference.toLowerCase(), reference.replace('-', ' '), reference.replace(/0/g, 'O').replace(/1/g, 'l')])
      assert.equal(readReference(said), reference)
    for (const wrong of ['', 'K7QF-2M9', 'K7QF-2M9X9', 'K7QF_2M9U']) assert.equal(readReference(wrong), undefined)
  })
})

describe('return addresses', () => {
  const own = 'https://gate.example'
  const apps = ['https://app.example', 'https://app.example:8443']
  const to = (asked: string) => returnAddress(asked, own, apps)?.href

  it('lead to our own pages and to the apps', () => {
    assert.equal(to('/me?x=1#y'), 'https://gate.example/me?x=1#y')
    assert.equal(to('https://app.example/a/b?c=d'), 'https://app.example/a/b?c=d')
    assert.equal(to('https://app.example:8443/'), 'https://app.example:8443/')
  })
  for (const asked of [
    '',
    'me',
    '//evil.example',
    '/\\evil.example',
    '\\\\evil.example',
    'https:evil.example',
    'https:///evil.example',
    'https://evil.example',
    'https://app.example.evil.example/',
    'https://app.example@evil.example/',
    'https://user@app.example/',
    'http://app.example/',
    'https://app.example:444/',
    'javascript:alert(1)',
    'data:text/html,x',
    ' https://app.example/',
    '/\t/evil.example',
    '/a\r\nSet-Cookie: x',
    `/${'a'.repeat(3000)}`,
  ]) {
    it(`do not lead to ${JSON.stringify(asked.slice(0, 40))}`, () => assert.equal(to(asked), undefined))
  }
  it('never leave, whatever is asked', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.webUrl(),
          fc.string(),
          fc.string().map((text) => `/${text}`),
          fc.string().map((text) => `https://app.example${text}`),
        ),
        (asked) => {
          const found = returnAddress(asked, own, apps)
          assert.ok(found === undefined || found.origin === own || apps.includes(found.origin))
        },
      ),
    )
  })
})

describe('identity headers', () => {
  const said = (values: string[]) => ({ values, source: 'src_x' as SourceId, policyVersion: 1, from: 'nameID', since: new Date(0) })
  const user: User = {
    id: 'usr_1' as UserId,
    state: 'active',
    grants: [],
    waiting: [],
    version: 0,
    revision: 1,
    profile: { userName: said(['ada']), groups: said(['a;b', 'c\\d', 'e']), title: said(['x\r\nX-Admin: 1']) },
  }
  const value = (from: string) => {
    const path = parseHeaderPath(from)
    assert.ok(path)
    return identityHeaders([{ name: 'X', from, path }], user)[0]?.[1]
  }
  it('join lists so that they can be taken apart again', () => assert.equal(value('user.groups'), 'a\\;b;c\\\\d;e'))
  it('never break out of their line', () => assert.equal(value('user.title'), 'x X-Admin: 1'))
  it('are left out where there is no value', () => assert.equal(value('user.email'), undefined))
  it('know every spelling of a name', () => {
    for (const spelling of ['X-Remote-User', 'x_remote_user', 'X-Remote_User', 'X.Remote.User', 'x remote user'])
      assert.equal(foldHeaderName(spelling), 'x-remote-user')
  })
  it('leave the headers of the transport alone', () => {
    for (const name of ['Host', 'Content-Length', 'transfer_encoding', 'Cookie', 'X-Forwarded-For']) assert.ok(isReservedHeader(name), name)
    assert.ok(!isReservedHeader('X-Remote-User'))
  })
})

describe('source paths', () => {
  it('take any attribute name as it is', () => {
    assert.deepEqual(parseSourcePath('attributes.http://schemas.xmlsoap.org/claims/Group'), {
      root: 'attributes',
      name: 'http://schemas.xmlsoap.org/claims/Group',
    })
    assert.deepEqual(parseSourcePath('attributes.urn:oid:2.5.4.42[1]'), { root: 'attributes', name: 'urn:oid:2.5.4.42', index: 1 })
    assert.deepEqual(parseSourcePath('nameID'), { root: 'nameID' })
  })
  it('are nothing else', () => {
    for (const wrong of [
      'attributes.groups.join(",")',
      'attributes.a==attributes.b',
      'first(attributes.mail)',
      '',
      'nameid',
      'attributes',
      'attributes.',
      'attributes.a in attributes.b',
      'user.email',
      'attributes.a[x]',
      'attributes.a[0][1]',
    ])
      assert.equal(parseSourcePath(wrong), undefined, wrong)
  })
})

describe('the address of a service that is imported from', () => {
  const faultsOf = (url: string) => {
    const mapping = [{ to: 'userName', from: 'attributes.id' }]
    const parsed = parsePolicyFile({ sources: [{ name: 'api', kind: 'rest', key: 'id', rest: { url, rows: '/people' }, mapping }] })
    return 'faults' in parsed ? parsed.faults : []
  }

  it('holds no password, which would be shown wherever the policy is', () => {
    assert.deepEqual(faultsOf('https://people.example/v1'), [])
    for (const url of ['https://ann:secret@people.example/v1', 'http://ann@localhost:8080/v1']) {
      const faults = faultsOf(url)
      assert.match(JSON.stringify(faults), /leave user and password out of the address/)
      assert.doesNotMatch(JSON.stringify(faults), /secret@/)
    }
  })
})
