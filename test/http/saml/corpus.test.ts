// The verifier against a corpus of responses that never change: what good identity providers send is accepted and read
// right, and every attack is refused for its true reason. Then the same attacks at the door of a running house.

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { SAML, ValidateInResponseTo } from '@node-saml/node-saml'
import { isRefusal } from '../../../src/domain/refusals.ts'
import { hashSecret } from '../../../src/flows/secrets.ts'
import { NOTHING_INSECURE } from '../../../src/http/saml/names.ts'
import { verifyResponse } from '../../../src/http/saml/verify-response.ts'
import { findSignIn } from '../../../src/store/console-reads.ts'
import {
  CORPUS_BASE,
  CORPUS_NOW,
  CORPUS_REQUEST,
  type CorpusCase,
  corpus,
  corpusCertificate,
  corpusKey,
  expectationsOf,
} from '../../support/corpus.ts'
import { startHouse, type TestHouse } from '../../support/house.ts'
import { requestOnce } from '../../support/walker.ts'

const good = corpus('good')
const vendors = corpus('vendors')
const attacks = corpus('attacks')

/** Decided by who asked for what, by how large a form may be, or by the policy; the verifier alone cannot know. */
const LATER = new Set(['assertion.unsolicited', 'request.unknown', 'subject.missing', 'response.missing', 'response.too-large'])

describe('the verifier', () => {
  it('has a corpus to be judged by', () => {
    assert.ok(good.length >= 30 && vendors.length >= 30 && attacks.length >= 700)
  })

  for (const one of [...good, ...vendors]) {
    it(`${'refused' in one.expect ? 'refuses' : 'accepts'} ${one.name}: ${one.note}`, () => judge(one, one.allow, one.expect))
    const { otherwise } = one
    if (otherwise) it(`judges ${one.name} otherwise where nothing insecure is allowed`, () => judge(one, NOTHING_INSECURE, otherwise))
  }
  for (const one of attacks) it(`refuses ${one.name}: ${one.note}`, () => judge(one, one.allow, one.expect))

  it('accepts nothing that the library alone would refuse, and reads the same assertion', async () => {
    let compared = 0
    for (const one of [...good, ...vendors]) {
      const { outcome } = verifyResponse(one.field, expectationsOf(one))
      const xml = Buffer.from(one.field, 'base64').toString('utf8')
      // The library alone knows neither SHA-384 nor most ways of encrypting.
      if (isRefusal(outcome) || /sha384|Encrypted/.test(xml)) continue
      const { profile } = await library(one).validatePostResponseAsync({ SAMLResponse: one.field })
      assert.equal(profile?.nameID, outcome.nameId?.value, one.name)
      assert.equal(profile?.sessionIndex, outcome.sessionIndex, one.name)
      compared++
    }
    assert.ok(compared > 30, `only ${compared} could be compared`)
  })
})

function judge(one: CorpusCase, allow: CorpusCase['allow'], expect: CorpusCase['expect']): void {
  const { outcome, steps } = verifyResponse(one.field, expectationsOf(one, allow))
  if ('accepted' in expect) {
    assert.ok(!isRefusal(outcome), JSON.stringify(outcome))
    assert.deepEqual(outcome.nameId, expect.accepted.nameId)
    assert.equal(outcome.sessionIndex, expect.accepted.sessionIndex)
    assert.deepEqual({ ...outcome.attributes }, expect.accepted.attributes)
    assert.ok(steps.every(({ passed }) => passed))
  } else if (isRefusal(outcome)) {
    if (expect.refused !== 'response.too-large' && expect.refused !== 'response.missing')
      assert.equal(outcome.code, expect.refused, outcome.detail)
    assert.equal(steps.at(-1)?.passed, false, 'the step that failed is told')
  } else {
    assert.ok(LATER.has(expect.refused), `accepted, but ${expect.refused} was expected`)
  }
}

function library({ connection, trust }: CorpusCase): SAML {
  return new SAML({
    issuer: `${CORPUS_BASE}/saml/${connection.name}/metadata`,
    callbackUrl: `${CORPUS_BASE}/saml/${connection.name}/acs`,
    idpCert: trust.map(corpusCertificate),
    idpIssuer: connection.idp,
    wantAssertionsSigned: false,
    wantAuthnResponseSigned: false,
    validateInResponseTo: ValidateInResponseTo.never,
    acceptedClockSkewMs: -1,
    audience: false,
  })
}

describe('the door', () => {
  const SECRET = 'x'.repeat(43)
  const houses = new Map<string, TestHouse>()
  before(async () => {
    for (const idpInitiated of [false, true]) houses.set(String(idpInitiated), await corpusHouse(idpInitiated))
  })
  after(async () => {
    for (const house of houses.values()) await house.close()
  })

  const plain = (one: CorpusCase) =>
    one.connection.signed === 'either' &&
    one.connection.idp === 'https://idp.example/metadata' &&
    one.trust.join() === 'idp' &&
    !Object.values(one.allow).some(Boolean)

  const post = async (one: CorpusCase) => {
    const house = houses.get(String(one.connection.idpInitiated)) as TestHouse
    await openRequest(house)
    return {
      house,
      answer: await requestOnce(
        'POST',
        new URL(`/saml/${one.connection.name}/acs`, house.baseUrl),
        {
          host: 'gate.example',
          accept: 'text/html',
          'content-type': 'application/x-www-form-urlencoded',
          cookie: `__Secure-gatehouse-request-${CORPUS_REQUEST}=${SECRET}`,
        },
        new URLSearchParams({ SAMLResponse: one.field }).toString(),
      ),
    }
  }

  it('lets the good ones in', async () => {
    for (const one of good.filter(plain)) {
      if (!('accepted' in one.expect) || !one.expect.accepted.nameId) continue
      const { answer } = await post(one)
      assert.equal(answer.status, 303, `${one.name}: ${/reference">([^<]+)/.exec(answer.body)?.[1]}`)
    }
  })

  it('refuses each attack with one bland page, its true reason on record, and nothing else', async () => {
    const pages = new Map<string, string>()
    let tried = 0
    for (const one of attacks.filter(plain)) {
      const expected = 'refused' in one.expect ? one.expect.refused : ''
      const tables = ['users', 'links', 'source_records', 'sessions', 'audit_events']
      const house = houses.get(String(one.connection.idpInitiated)) as TestHouse
      const before = await Promise.all(tables.map((table) => house.count(table)))
      const { answer } = await post(one)
      assert.ok(answer.status >= 400 && answer.status < 500, `${one.name}: ${answer.status}`)
      assert.deepEqual(await Promise.all(tables.map((table) => house.count(table))), before, one.name)
      assert.ok(!(answer.headers['set-cookie'] ?? []).some((cookie) => cookie.includes('__Host-gatehouse=')), one.name)
      const reference = /class="reference">([^<]+)</.exec(answer.body)?.[1] ?? ''
      const record = await findSignIn(house.db, reference)
      assert.equal(record?.outcome, 'refused', one.name)
      assert.equal(record?.code, expected, `${one.name}: ${record?.detail}`)
      assert.ok(
        record?.steps.some(({ passed }) => !passed),
        one.name,
      )
      pages.set(answer.body.replace(reference, ''), one.name)
      tried++
    }
    assert.ok(tried > 600, `only ${tried} were tried`)
    // Stale, unsolicited and the identity provider's own "no" have words of their own; whatever else is wrong looks the same.
    const bland = [...pages.keys()].filter((page) => page.includes('could not be accepted'))
    assert.ok(bland.length >= 1 && bland.length <= 2, `${bland.length} different pages`)
  })

  async function corpusHouse(idpInitiated: boolean): Promise<TestHouse> {
    const house = await startHouse({
      environment: { GATEHOUSE_BASE_URL: CORPUS_BASE },
      spKeys: corpusKey('sp'),
      idp: { entityId: 'https://idp.example/metadata', keys: corpusKey('idp') },
      policy: (file) => {
        const [corp] = file.connections
        assert.ok(corp)
        corp.idpInitiated = idpInitiated
        corp.jit.required = []
        file.connections.push({ ...corp, name: 'partner' })
      },
    })
    house.clock.now = CORPUS_NOW
    return house
  }

  async function openRequest(house: TestHouse): Promise<void> {
    const db = house.db.writer
    await db('sign_in_requests').delete()
    // All of them have the same ID.
    await db('assertions_used').delete()
    for (const name of ['corp', 'partner']) {
      const { id } = await db('sources').where({ name }).first('id')
      await db('sign_in_requests').insert({
        id: name === 'corp' ? CORPUS_REQUEST : `${CORPUS_REQUEST}-of-${name}`,
        source_id: id,
        browser_hash: hashSecret(SECRET),
        return_to: `${CORPUS_BASE}/me`,
        created_at: CORPUS_NOW,
        expires_at: new Date(CORPUS_NOW.getTime() + 60_000),
      })
    }
  }
})
