// Our cookies' attributes, with and without https, and what of them an app may see.

import assert from 'node:assert/strict'
import { IncomingMessage, ServerResponse } from 'node:http'
import { Socket } from 'node:net'
import { describe, it } from 'node:test'
import { type CookieJar, cookieJar } from '../../src/http/cookies.ts'

const expires = new Date('2026-05-01T10:00:00Z')

function written(write: (response: ServerResponse) => void): string {
  const response = new ServerResponse(new IncomingMessage(new Socket()))
  write(response)
  return String(response.getHeader('Set-Cookie'))
}

function sent(cookie: string): IncomingMessage {
  return Object.assign(new IncomingMessage(new Socket()), { headers: { cookie } })
}

describe('cookies', () => {
  const secure = cookieJar(true)
  const plain = cookieJar(false)
  const request = { id: '_r', secret: 's', path: '/saml/corp/acs', minutes: 15 }

  it('over https are Secure, host-only and say so in their name', () => {
    assert.equal(
      written((to) => secure.setSession(to, 'k', expires)),
      '__Host-gatehouse=k; Path=/; Expires=Fri, 01 May 2026 10:00:00 GMT; HttpOnly; Secure; SameSite=Lax',
    )
    assert.equal(
      written((to) => secure.setEntry(to, 'e')),
      '__Host-gatehouse-entry=e; Max-Age=3600; Path=/; HttpOnly; Secure; SameSite=Lax',
    )
  })

  it('come along on the cross-site POST that brings the answer', () => {
    assert.equal(
      written((to) => secure.setRequest(to, request)),
      '__Secure-gatehouse-request-_r=s; Max-Age=900; Path=/saml/corp/acs; HttpOnly; Secure; SameSite=None',
    )
    // Without Secure, SameSite=None would be refused by browsers.
    assert.equal(
      written((to) => plain.setRequest(to, request)),
      'gatehouse-request-_r=s; Max-Age=900; Path=/saml/corp/acs; HttpOnly',
    )
  })

  it('are read under their own name only', () => {
    const read = (jar: CookieJar, cookie: string) => jar.readSession(sent(cookie))
    assert.equal(read(secure, 'a=b; __Host-gatehouse=k'), 'k')
    assert.equal(read(secure, 'gatehouse=planted'), undefined, 'the unprefixed name can be planted from a sibling host')
    assert.equal(read(plain, 'gatehouse=k'), 'k')
    assert.equal(read(plain, 'gatehouse='), undefined)
  })

  it('stay between the browser and Gatehouse', () => {
    assert.equal(
      secure.withoutOurs('a=1; __Host-gatehouse=k; b=2; gatehouse=x; __Secure-gatehouse-request-_r=s; GATEHOUSE-entry=e'),
      'a=1; b=2',
    )
    assert.equal(secure.withoutOurs('__Host-gatehouse=k'), undefined)
    assert.equal(secure.withoutOurs('gatehouses=1; my-gatehouse=2'), 'gatehouses=1; my-gatehouse=2')
    assert.ok(secure.isOurs('__Host-gatehouse=x; Path=/'))
    assert.ok(!secure.isOurs('theme=gatehouse'))
  })
})
