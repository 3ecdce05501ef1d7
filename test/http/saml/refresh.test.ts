// An identity provider's keys change, its metadata fails, shrinks or becomes somebody else's: what takes effect by itself,
// what is held, and that people go on signing in. Then artifacts, and whom we ask at all.

import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, before, beforeEach, describe, it } from 'node:test'
import { metadataReader } from '../../../src/app/metadata-reader.ts'
import { isInternal, outbound } from '../../../src/app/outbound.ts'
import { portsOf } from '../../../src/app/ports.ts'
import { refreshIfDue, refreshMetadata } from '../../../src/flows/refresh-metadata.ts'
import { NOTHING_INSECURE } from '../../../src/http/saml/names.ts'
import { byRedirect, logoutRequestXml, signMessage } from '../../../src/http/saml/outgoing.ts'
import { findSignIn } from '../../../src/store/console-reads.ts'
import { metadataStateOf } from '../../../src/store/metadata-states.ts'
import { policyReader } from '../../../src/store/policies.ts'
import { logoutServices, OPERATOR, startHouse, type TestHouse } from '../../support/house.ts'
import { answerXml, type KeyPair, keyPair, metadataXml } from '../../support/idp.ts'
import { type Page, Walker } from '../../support/walker.ts'

const HOUR = 3_600_000

interface Peer {
  readonly url: string
  /** What it answers, by path. */
  answers: Record<string, (request: IncomingMessage, body: string) => { status?: number; body?: string; headers?: Record<string, string> }>
  asked: number
  /** Before it answers. */
  delay: (() => Promise<unknown> | undefined) | undefined
  close(): Promise<void>
}

async function startPeer(): Promise<Peer> {
  const peer = { answers: {}, asked: 0 } as unknown as Peer & { url: string }
  const server: Server = createServer(async (request, response) => {
    peer.asked++
    const parts: Buffer[] = []
    for await (const part of request) parts.push(part as Buffer)
    const answer = peer.answers[request.url ?? '']?.(request, Buffer.concat(parts).toString('utf8')) ?? { status: 404 }
    if (request.url === '/metadata') await peer.delay?.()
    response.writeHead(answer.status ?? 200, answer.headers).end(answer.body)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return Object.assign(peer, {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () => new Promise<void>((resolve) => server.close(() => resolve()) && server.closeAllConnections()),
  })
}

describe('metadata that is looked at again', () => {
  let house: TestHouse
  let peer: Peer
  let next: KeyPair
  let federation: KeyPair
  before(async () => {
    ;[house, peer, next, federation] = await Promise.all([startHouse(), startPeer(), keyPair('next'), keyPair('federation')])
  })
  after(async () => {
    await house?.close()
    await peer?.close()
  })

  const xml = (certificates: readonly string[], edit: (text: string) => string = (text) => text) =>
    edit(metadataXml(house.idp.entityId, 'https://idp.example/sso', certificates).replace('<!-- made by hand -->', ''))
  const serve = (body: string) => {
    peer.answers['/metadata'] = () => ({ body })
  }
  const connect = async (more: Record<string, unknown> = {}) => {
    await house.apply({ connections: [{ ...house.connection, metadata: { url: `${peer.url}/metadata`, ...more } }] })
    peer.asked = 0
  }
  const corp = async () => {
    const found = (await policyReader(house.db).inForce()).connections.get('corp')
    assert.ok(found)
    return found
  }
  const later = async (ms: number) => {
    house.clock.now = new Date(house.clock.now.getTime() + ms)
    const clock = () => house.clock.now
    const metadata = metadataReader({ folder: '.', outbound: outbound(['127.0.0.1']), allow: NOTHING_INSECURE, clock })
    const refreshed = await refreshIfDue({ ...portsOf(house.db), metadata }, { connection: await corp(), now: house.clock.now })
    return refreshed ? [refreshed] : []
  }
  const state = async () => metadataStateOf(house.db, (await corp()).id)

  beforeEach(async () => {
    serve(xml([house.idp.keys.certificate]))
    await connect()
  })

  it('is left alone until its time, and then looked at by one node only', async () => {
    assert.deepEqual(await later(HOUR), [])
    assert.equal(peer.asked, 0)
    const all = await Promise.all([later(24 * HOUR), later(0), later(0)])
    assert.equal(peer.asked, 1)
    assert.deepEqual(
      all.flat().map(({ outcome }) => outcome),
      ['unchanged'],
    )
  })

  it('is looked at as often as it says it may be kept, but not more than hourly', async () => {
    serve(xml([house.idp.keys.certificate], (text) => text.replace('entityID=', 'cacheDuration="PT2H" entityID=')))
    await connect()
    assert.equal((await later(HOUR)).length, 0)
    assert.equal((await later(HOUR)).length, 1)
    serve(xml([house.idp.keys.certificate], (text) => text.replace('entityID=', 'cacheDuration="PT1S" entityID=')))
    await connect()
    assert.equal((await later(HOUR / 2)).length, 0)
    assert.equal((await later(HOUR / 2)).length, 1)
  })

  it('brings a new key into force, with both fingerprints told', async () => {
    const version = (await corp()).version
    serve(xml([house.idp.keys.certificate, next.certificate]))
    const [refreshed] = await later(25 * HOUR)
    assert.equal(refreshed?.outcome, 'applied')
    assert.equal(refreshed?.addedKeys.length, 1)
    assert.equal(refreshed?.keys.length, 2)
    assert.equal((await corp()).version, version + 1)
    const event = await house.db.writer('audit_events').where({ kind: 'metadata.applied' }).orderBy('id', 'desc').first()
    assert.match(JSON.stringify(event.details), new RegExp(String(refreshed?.addedKeys[0])))
    serve(xml([next.certificate]))
    const [dropped] = await later(25 * HOUR)
    assert.deepEqual([dropped?.outcome, dropped?.removedKeys.length], ['applied', 1])
    assert.equal((await house.signIn(new Walker())).status, 403, 'the old key is gone')
  })

  for (const [name, answer] of [
    ['fails', () => ({ status: 500 })],
    ['is a page', () => ({ body: '<html><body>Sign in</body></html>' })],
    ['is cut off', () => ({ body: xml([house.idp.keys.certificate]).slice(0, 300) })],
    ['has no key', () => ({ body: xml([]) })],
    ['leads elsewhere', () => ({ status: 302, headers: { location: 'http://127.0.0.1:1/' } })],
    [
      'has run out',
      () => ({ body: xml([next.certificate], (text) => text.replace('entityID=', 'validUntil="2020-01-01T00:00:00Z" entityID=')) }),
    ],
  ] as const) {
    it(`replaces nothing when it ${name}, and is tried again in an hour`, async () => {
      const before = await corp()
      peer.answers['/metadata'] = answer
      const [refreshed] = await later(25 * HOUR)
      assert.equal(refreshed?.outcome, 'failed')
      assert.ok(refreshed?.reasons[0])
      assert.deepEqual((await corp()).idp, before.idp)
      assert.equal((await house.signIn(new Walker())).status, 200)
      assert.equal((await later(HOUR)).length, 1)
    })
  }

  for (const [name, edit, reason] of [
    ['another entityID', (text: string) => text.replaceAll('https://idp.example/metadata', 'https://evil.example'), /entityID was/],
    [
      'fewer addresses',
      (text: string) => text.replace(/Binding="[^"]*HTTP-Redirect"/, 'Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"'),
      /no longer has single sign-on over HTTP-Redirect/,
    ],
  ] as const) {
    it(`is held when it has ${name}, until an administrator accepts it`, async () => {
      const before = await corp()
      serve(xml([house.idp.keys.certificate, next.certificate], edit))
      const [refreshed] = await later(25 * HOUR)
      assert.equal(refreshed?.outcome, 'held')
      assert.match(refreshed?.reasons.join() ?? '', reason)
      assert.deepEqual((await corp()).idp, before.idp)
      const events = () => house.db.writer('audit_events').where({ kind: 'metadata.held' }).count({ n: '*' })
      const told = await events()
      await later(25 * HOUR)
      assert.deepEqual(await events(), told, 'told once')
    })
  }

  it('refuses another entityID when a file is applied, unless the file says it', async () => {
    serve(xml([next.certificate], (text) => text.replaceAll('https://idp.example/metadata', 'https://new.example')))
    await assert.rejects(connect(), /metadata.entityId: https:\/\/new.example/)
    await connect({ entityId: 'https://new.example' })
    assert.equal((await corp()).idp.entityId, 'https://new.example')
    serve(xml([house.idp.keys.certificate]))
    await connect({ entityId: house.idp.entityId })
  })

  it('must be signed where a certificate is pinned, each time', async () => {
    const ask = { signedBy: federation.certificate, entityId: house.idp.entityId }
    const signed = (text: string) => signMessage(text.replace('entityID=', 'ID="_m" entityID='), federation)
    serve(signed(xml([house.idp.keys.certificate])))
    await connect(ask)
    serve(xml([next.certificate]))
    const [unsigned] = await later(25 * HOUR)
    assert.deepEqual([unsigned?.outcome, (await corp()).idp.certificates.length], ['failed', 1])
    assert.match(unsigned?.reasons[0] ?? '', /not signed/)
    serve(signed(xml([house.idp.keys.certificate, next.certificate])))
    assert.equal((await later(HOUR))[0]?.outcome, 'applied')
  })

  it('is looked at once when a signature is by an unknown key, and the person comes in', async () => {
    serve(xml([house.idp.keys.certificate, next.certificate]))
    const post = async (pair: KeyPair): Promise<Page> => {
      const walker = new Walker()
      const { id, relayState } = await house.begin(walker)
      const answer = house.answer({ inResponseTo: id })
      const SAMLResponse = Buffer.from(answerXml(pair, answer)).toString('base64')
      return walker.post(answer.acs, { SAMLResponse, RelayState: relayState ?? '' }, {}, new URL('https://idp.example/'))
    }
    const page = await post(next)
    assert.equal(page.status, 200, page.body)
    assert.equal(peer.asked, 1)
    const stranger = await keyPair('stranger')
    for (let i = 0; i < 3; i++) assert.equal((await post(stranger)).status, 403)
    assert.equal(peer.asked, 1, 'not for everybody who knocks')
    house.clock.now = new Date(house.clock.now.getTime() + 11 * 60_000)
    await post(stranger)
    assert.equal(peer.asked, 2)
  })

  it('does not take the place of what an administrator wrote meanwhile', async () => {
    peer.answers['/other'] = () => ({ body: xml([house.idp.keys.certificate]) })
    const slow = peer.answers['/metadata']
    let applied: Promise<void> | undefined
    peer.answers['/metadata'] = () => {
      applied = house.apply({ connections: [{ ...house.connection, metadata: { url: `${peer.url}/other` } }] })
      return { body: xml([next.certificate]) }
    }
    // The answer waits until the file has been applied.
    peer.delay = () => applied
    const [refreshed] = await later(25 * HOUR)
    peer.delay = undefined
    assert.equal(refreshed?.outcome, 'failed')
    assert.match(refreshed?.reasons[0] ?? '', /changed meanwhile/)
    assert.equal((await corp()).idp.certificates[0], house.idp.keys.certificate.replace(/-----.*?-----|\s/g, ''))
    peer.answers['/metadata'] = slow as never
  })

  it('is looked at for a logout by an unknown key too', async () => {
    const walker = new Walker()
    await house.signIn(walker)
    const services = logoutServices('https://idp.example/slo')
    serve(metadataXml(house.idp.entityId, 'https://idp.example/sso', [house.idp.keys.certificate, next.certificate], services))
    house.clock.now = new Date(house.clock.now.getTime() + HOUR)
    const destination = `${house.baseUrl}/saml/corp/slo`
    const nameId = { value: 'ada', format: 'urn:oasis:names:tc:SAML:2.0:nameid-format:persistent' }
    const xml = logoutRequestXml({ id: '_by-a-new-key', now: house.clock.now, issuer: house.idp.entityId, destination, nameId })
    const dispatch = byRedirect(destination, { xml, kind: 'SAMLRequest' }, next)
    assert.ok('redirect' in dispatch)
    await walker.step(dispatch.redirect)
    assert.equal((await walker.get(`${house.baseUrl}/me`, { accept: 'application/json' })).status, 401)
  })

  it('lets everybody wait who comes while a new key is looked for', async () => {
    serve(xml([house.idp.keys.certificate, next.certificate]))
    peer.delay = () => new Promise((resolve) => setTimeout(resolve, 300))
    const come = async () => {
      const walker = new Walker()
      const { id, relayState } = await house.begin(walker)
      const answer = house.answer({ inResponseTo: id })
      const SAMLResponse = Buffer.from(answerXml(next, answer)).toString('base64')
      return (await walker.post(answer.acs, { SAMLResponse, RelayState: relayState ?? '' }, {}, new URL('https://idp.example/'))).status
    }
    house.clock.now = new Date(house.clock.now.getTime() + HOUR)
    assert.deepEqual(await Promise.all([come(), come(), come()]), [200, 200, 200])
    peer.delay = undefined
    assert.equal(peer.asked, 1)
  })

  it('is refused, even when accepted, where we could not ask any more', async () => {
    const both = '<md:SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST" Location="https://idp.example/post"/>'
    serve(metadataXml(house.idp.entityId, 'https://idp.example/sso', [house.idp.keys.certificate], both))
    await house.apply({ connections: [{ ...house.connection, metadata: { url: `${peer.url}/metadata` }, requests: { binding: 'post' } }] })
    serve(xml([house.idp.keys.certificate]))
    const clock = () => house.clock.now
    const metadata = metadataReader({ folder: '.', outbound: outbound(['127.0.0.1']), allow: NOTHING_INSECURE, clock })
    const ask = { connection: await corp(), actor: OPERATOR, accept: true, now: house.clock.now }
    const refreshed = await refreshMetadata({ ...portsOf(house.db), metadata }, ask)
    assert.equal(refreshed?.outcome, 'failed')
    assert.match(refreshed?.reasons[0] ?? '', /over post/)
  })

  it('tells what became of it', async () => {
    await later(25 * HOUR)
    const told = await state()
    assert.equal(told?.outcome, 'unchanged')
    assert.ok(told && told.nextAt > house.clock.now)
  })
})

describe('an artifact', () => {
  let house: TestHouse
  let peer: Peer
  before(async () => {
    peer = await startPeer()
    house = await startHouse()
    const service = `<md:ArtifactResolutionService index="0" Binding="urn:oasis:names:tc:SAML:2.0:bindings:SOAP" Location="${peer.url}/artifact"/>`
    const xml = metadataXml(house.idp.entityId, 'https://idp.example/sso', [house.idp.keys.certificate], service)
    await house.apply({ connections: [{ ...house.connection, metadata: { xml }, requests: { response: 'artifact' } }] })
  })
  after(async () => {
    await house?.close()
    await peer?.close()
  })

  const artifact = (entityId = house.idp.entityId, index = 0) =>
    Buffer.concat([Buffer.from([0, 4, 0, index]), createHash('sha1').update(entityId).digest(), Buffer.alloc(20, 7)]).toString('base64')
  const answerWith = (response: string, edit: (soap: string) => string = (soap) => soap) => {
    peer.answers['/artifact'] = (_request, body) => {
      assert.match(body, /<samlp:ArtifactResolve .*<ds:SignatureValue>/s)
      const id = /ArtifactResolve[^>]* ID="([^"]+)"/.exec(body)?.[1]
      const issuer = `<saml:Issuer>${house.idp.entityId}</saml:Issuer>`
      return {
        body: edit(
          `<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><samlp:ArtifactResponse xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="_ar" Version="2.0" IssueInstant="${house.clock.now.toISOString()}" InResponseTo="${id}">${issuer}<samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></samlp:Status>${response}</samlp:ArtifactResponse></s:Body></s:Envelope>`,
        ),
      }
    }
  }
  const come = async (
    how: 'GET' | 'POST',
    differing: Parameters<TestHouse['answer']>[0] = {},
    edit?: (soap: string) => string,
    named = artifact(),
  ) => {
    const walker = new Walker()
    const { id } = await house.begin(walker)
    // Namespaces are declared further out, as some send it.
    const response = answerXml(house.idp.keys, house.answer({ inResponseTo: id, ...differing }))
    answerWith(response.replace(/(<samlp:Response) xmlns:samlp="[^"]*" xmlns:saml="[^"]*"/, '$1'), edit)
    const acs = `${house.baseUrl}/saml/corp/acs`
    return how === 'GET' ? walker.get(`${acs}?SAMLart=${encodeURIComponent(named)}`) : walker.post(acs, { SAMLart: named })
  }
  const codeOf = async (page: Page) => (await findSignIn(house.db, page.dom.querySelector('.reference')?.text ?? ''))?.code

  it('is resolved over SOAP, and the response behind it lets the person in', async () => {
    assert.equal((await come('GET')).url.pathname, '/me')
    assert.equal((await come('POST', { sign: 'both' })).url.pathname, '/me')
  })

  it('is worth no more than the response behind it', async () => {
    assert.equal(await codeOf(await come('GET', { sign: 'nothing' })), 'signature.missing')
    assert.equal(await codeOf(await come('GET', { audience: 'https://elsewhere.example' })), 'assertion.audience')
    assert.equal(
      await codeOf(await come('GET', {}, (soap) => soap.replace(/InResponseTo="[^"]*">/, 'InResponseTo="_other">'))),
      'artifact.unresolved',
    )
    assert.equal(
      await codeOf(await come('GET', {}, (soap) => soap.replace(/<samlp:Response .*<\/samlp:Response>/s, ''))),
      'artifact.unresolved',
    )
    assert.equal(await codeOf(await come('GET', {}, () => 'nonsense')), 'artifact.unresolved')
  })

  it('leads to addresses of the metadata only', async () => {
    peer.asked = 0
    for (const named of [artifact('https://evil.example'), artifact(house.idp.entityId, 9), 'AAAA', '']) {
      assert.equal(await codeOf(await come('GET', {}, undefined, named)), 'artifact.unresolved')
    }
    assert.equal(peer.asked, 0)
  })
})

describe('whom we ask', () => {
  it('is nobody at an internal address, however that is written', async () => {
    for (const address of [
      '127.0.0.1',
      '10.1.2.3',
      '169.254.169.254',
      '192.168.1.1',
      '0.0.0.0',
      '::1',
      'fe80::1',
      'fd00::1',
      '::ffff:127.0.0.1',
      '::ffff:a00:1',
      '64:ff9b::7f00:1',
    ])
      assert.ok(isInternal(address), address)
    for (const address of ['8.8.8.8', '2001:4860:4860::8888', '172.32.0.1']) assert.ok(!isInternal(address), address)
    const peer = await startPeer()
    peer.answers['/'] = () => ({ body: 'secret' })
    const port = new URL(peer.url).port
    const ask = async (url: string, hosts: string[] = []) => {
      const parts: Uint8Array[] = []
      for await (const part of outbound(hosts)({ url, largestBytes: 100, patienceMs: 2_000 })) parts.push(part)
      return Buffer.concat(parts).toString()
    }
    try {
      for (const url of [
        `http://127.0.0.1:${port}/`,
        `http://localhost:${port}/`,
        `http://2130706433:${port}/`,
        `http://0x7f.1:${port}/`,
        `http://[::ffff:127.0.0.1]:${port}/`,
        `http://0:${port}/`,
      ]) {
        await assert.rejects(ask(url), /internal address/, url)
      }
      assert.equal(peer.asked, 0)
      assert.equal(await ask(`http://127.0.0.1:${port}/`, ['127.0.0.1']), 'secret')
      peer.answers['/'] = () => ({ body: 'x'.repeat(101) })
      await assert.rejects(ask(peer.url, ['127.0.0.1']), /larger than/)
    } finally {
      await peer.close()
    }
  })
})
