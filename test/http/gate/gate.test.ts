// The gate, met by clients that lie: spoofed headers in every spelling, cookies of ours, header tricks between hops; and by
// honest ones: streams, uploads, WebSockets, programs without a session.

import assert from 'node:assert/strict'
import http from 'node:http'
import { connect } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { WebSocket, WebSocketServer } from 'ws'
import { portsOf } from '../../../src/app/ports.ts'
import { changeState } from '../../../src/flows/change-state.ts'
import { findUser } from '../../../src/store/console-reads.ts'
import { dialects } from '../../support/databases.ts'
import { OPERATOR, startHouse, type TestHouse } from '../../support/house.ts'
import { answerForm, readRequest } from '../../support/idp.ts'
import { requestOnce, Walker } from '../../support/walker.ts'
import { NO_TARGETS } from '../../support/world.ts'

/** The first bytes of the answer to exactly these bytes. */
function overTheWire(port: string, request: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), '127.0.0.1', () => socket.write(request))
    socket.once('data', (part) => {
      socket.destroy()
      resolve(part.toString('latin1'))
    })
    socket.once('error', reject)
  })
}

/** From the app's page to the app's page, through sign-in. */
async function enter(house: TestHouse, walker: Walker, path = '/', nameId = 'ada') {
  const toSignIn = await walker.step(`${house.appUrl}${path}`)
  const toIdp = await walker.step(toSignIn.headers.location ?? '')
  const { id, relayState } = readRequest(toIdp.headers.location ?? '')
  return walker.post(
    house.answer().acs,
    answerForm(
      house.idp.keys,
      house.answer({ inResponseTo: id, nameId, attributes: { email: 'a@b', name: 'Ada Ł', groups: ['x', 'y'] } }),
      relayState,
    ),
  )
}

for (const dialect of dialects) {
  describe(`the gate on ${dialect}`, () => {
    let house: TestHouse
    let walker: Walker
    let cookie: string
    const sockets = new WebSocketServer({ noServer: true })

    before(async () => {
      house = await startHouse({ dialect })
      house.upstream.server.on('upgrade', (request, socket, head) =>
        sockets.handleUpgrade(request, socket, head, (peer) => {
          peer.send(JSON.stringify(request.headers))
          peer.on('message', (message) => peer.send(`echo ${message}`))
        }),
      )
      walker = new Walker()
      const page = await enter(house, walker, '/deep/page?x=%2F..%2F&y=1')
      assert.equal(page.url.href, `${house.appUrl}/deep/page?x=%2F..%2F&y=1`)
      cookie = await walker.jar.getCookieString(house.appUrl)
    })
    after(() => house?.close())

    const received = () => {
      const last = house.upstream.received.at(-1)
      assert.ok(last)
      return last
    }
    const ask = (path: string, headers: Record<string, string> = {}, method = 'GET', body?: string | Buffer) =>
      requestOnce(method, new URL(path, house.appUrl), { cookie, ...headers }, body)

    it('tells the app who it is, and where the request came from', async () => {
      await ask('/a')
      const { headers } = received()
      assert.equal(headers['x-remote-user'], 'ada')
      assert.equal(Buffer.from(String(headers['x-remote-name']), 'latin1').toString('utf8'), 'Ada Ł')
      assert.equal(headers['x-remote-groups'], 'x;y')
      assert.equal(headers['x-forwarded-host'], house.appHost)
      assert.equal(headers['x-forwarded-proto'], 'http')
      assert.equal(headers.host, house.appHost)
    })

    it('drops every spelling of a managed header that a client sends', async () => {
      const spellings = [
        'X-Remote-User',
        'x-remote-user',
        'X_Remote_User',
        'x_remote-user',
        'X.Remote.User',
        'X-REMOTE_USER',
        'X-Forwarded-For',
        'X_Forwarded_Host',
        'Forwarded',
      ]
      await new Promise<void>((resolve, reject) => {
        const request = http.request(
          { host: '127.0.0.1', port: new URL(house.appUrl).port, path: '/spoof', agent: false, headers: { host: house.appHost, cookie } },
          (response) => response.resume().on('end', resolve),
        )
        for (const name of spellings) request.setHeader(name, 'root')
        request.on('error', reject)
        request.end()
      })
      const sent = received().rawHeaders
      const folded = sent.filter((_, i) => i % 2 === 0).map((name) => name.toLowerCase().replace(/[^a-z0-9]/g, '-'))
      assert.equal(folded.filter((name) => name === 'x-remote-user').length, 1)
      assert.ok(!sent.includes('root'), sent.join(' '))
    })

    it('is not talked into dropping its own headers by the Connection header', async () => {
      await ask('/hop', { connection: 'close, X-Remote-User, X-Remote-Groups' })
      assert.equal(received().headers['x-remote-user'], 'ada')
      assert.doesNotMatch(String(received().headers.connection), /remote/i)
    })

    for (const method of ['GET', 'HEAD', 'DELETE', 'OPTIONS', 'POST']) {
      it(`lets no second request hide in the body of a ${method}`, async () => {
        const hidden = 'GET /smuggled HTTP/1.1\r\nHost: h\r\nX-Remote-User: admin\r\n\r\n'
        const chunked = `${hidden.length.toString(16)}\r\n${hidden}\r\n0\r\n\r\n`
        const head = `${method} /a HTTP/1.1\r\nHost: ${house.appHost}\r\nCookie: ${cookie}\r\n`
        const seen = house.upstream.received.length
        for (const request of [
          `${head}Connection: content-length\r\nContent-Length: ${hidden.length}\r\n\r\n${hidden}`,
          `${head}Connection: Transfer-Encoding, close\r\nTransfer-Encoding: chunked\r\n\r\n${chunked}`,
          `${head}Connection: host, content-length\r\nContent-Length: ${hidden.length}\r\n\r\n${hidden}`,
        ]) {
          assert.match(await overTheWire(new URL(house.appUrl).port, request), /^HTTP\/1\.1 400 /)
        }
        for (const request of [
          `${head}Content-Length: ${hidden.length}\r\n\r\n${hidden}`,
          `${head}Transfer-Encoding: chunked\r\n\r\n${chunked}`,
        ]) {
          assert.match(await overTheWire(new URL(house.appUrl).port, request), /^HTTP\/1\.1 200 /)
        }
        const later = house.upstream.received.slice(seen)
        assert.deepEqual(
          later.map((one) => [one.url, one.headers['x-remote-user']]),
          [
            ['/a', 'ada'],
            ['/a', 'ada'],
          ],
        )
      })
    }

    it('keeps our cookies to itself, both ways', async () => {
      await ask('/cookies', { cookie: `theme=dark; ${cookie}; __Host-gatehouse=x; lang=de` })
      assert.equal(received().headers.cookie, 'theme=dark; lang=de')
      house.upstream.server.prependOnceListener('request', (_, response) =>
        response.setHeader('Set-Cookie', ['gatehouse=stolen', 'theme=light']),
      )
      const answer = await ask('/set')
      assert.deepEqual(answer.headers['set-cookie'], ['theme=light'])
    })

    it('streams bodies both ways', async () => {
      const body = 'x'.repeat(3_000_000)
      await ask('/upload', { 'content-type': 'text/plain', 'content-length': String(body.length) }, 'PUT', body)
      assert.equal(received().body.length, body.length)
      assert.equal(received().method, 'PUT')
      // The first part arrives while the app is still writing.
      const parts: string[] = []
      await new Promise<void>((resolve, reject) => {
        const { port } = new URL(house.appUrl)
        house.upstream.server.prependOnceListener('request', (_, response) => {
          response.end = ((_body: unknown) => response) as never
          response.write('first')
          const go = setInterval(() => {
            if (parts.length) {
              clearInterval(go)
              response.write('second')
              Reflect.apply(http.ServerResponse.prototype.end, response, [])
            }
          }, 5)
        })
        http
          .get({ host: '127.0.0.1', port, path: '/stream', agent: false, headers: { host: house.appHost, cookie } }, (response) => {
            response.on('data', (part: Buffer) => parts.push(part.toString()))
            response.on('end', resolve)
          })
          .on('error', reject)
      })
      assert.deepEqual(parts.slice(0, 1), ['first'])
    })

    it('carries WebSockets, with the identity and without what the client made up', async () => {
      const socket = new WebSocket(`ws://127.0.0.1:${new URL(house.appUrl).port}/socket`, {
        headers: { host: house.appHost, cookie, 'X-Remote_User': 'root' },
      })
      const messages: string[] = []
      await new Promise<void>((resolve, reject) => {
        socket.on('error', reject)
        socket.on('message', (message) => {
          messages.push(String(message))
          if (messages.length === 1) socket.send('hello')
          else resolve()
        })
      })
      socket.close()
      const headers = JSON.parse(messages[0] ?? '')
      assert.equal(headers['x-remote-user'], 'ada')
      assert.equal(headers['x-remote_user'], undefined)
      assert.equal(messages[1], 'echo hello')
    })

    it('refuses a WebSocket without a session', async () => {
      const socket = new WebSocket(`ws://127.0.0.1:${new URL(house.appUrl).port}/socket`, { headers: { host: house.appHost } })
      const status = await new Promise((resolve) =>
        socket.on('unexpected-response', (_, response) => resolve(response.statusCode)).on('error', () => {}),
      )
      assert.equal(status, 401)
    })

    it('sends people to sign in and answers programs with 401', async () => {
      const nobody = { cookie: '' }
      const person = await ask('/page?a=b', { ...nobody, accept: 'text/html,*/*', 'sec-fetch-mode': 'navigate' })
      assert.equal(person.status, 303)
      const location = new URL(person.headers.location ?? '')
      assert.equal(location.origin + location.pathname, `${house.baseUrl}/sign-in`)
      assert.equal(location.searchParams.get('return_to'), `${house.appUrl}/page?a=b`)
      for (const headers of [{ accept: 'application/json' }, { 'sec-fetch-mode': 'cors' }, { 'x-requested-with': 'XMLHttpRequest' }])
        assert.equal((await ask('/api', { ...nobody, ...headers })).status, 401)
      assert.equal((await ask('/form', nobody, 'POST', 'a=b')).status, 401)
      assert.equal((await ask('/page', { cookie: 'gatehouse=made-up' })).status, 303)
    })

    it('gives each host a key of its own', async () => {
      const own = await walker.jar.getCookieString(house.baseUrl)
      assert.notEqual(own, '')
      assert.equal((await ask('/', { cookie: own })).status, 303, 'the key of our own host opens no app')
      assert.equal(
        (await requestOnce('GET', new URL('/me', house.baseUrl), { cookie, accept: 'application/json' })).status,
        401,
        'nor the other way round',
      )
    })

    it('redeems a ticket once, for the browser that was sent', async () => {
      const browser = new Walker()
      const toSignIn = await browser.step(`${house.appUrl}/x`)
      const signInUrl = toSignIn.headers.location ?? ''
      const toIdp = await browser.step(signInUrl)
      const { id } = readRequest(toIdp.headers.location ?? '')
      await browser.post(house.answer().acs, answerForm(house.idp.keys, house.answer({ inResponseTo: id })))
      // Now it has a session at Gatehouse, so sign-in leads straight back with a ticket.
      const back = await browser.step(signInUrl)
      const ticket = back.headers.location ?? ''
      assert.match(ticket, /\/\.gatehouse\/enter\?ticket=/)
      assert.equal((await new Walker().get(ticket)).status, 400, 'another browser')
      const again = await browser.step(signInUrl)
      assert.equal((await browser.step(again.headers.location ?? '')).status, 303)
      assert.equal((await browser.step(again.headers.location ?? '')).status, 400, 'a second time')
    })

    it('never sends anybody elsewhere', async () => {
      for (const asked of [
        'https://evil.example/',
        '//evil.example',
        '/\\evil.example',
        'javascript:alert(1)',
        `${house.appUrl}@evil.example/`,
      ]) {
        const answer = await requestOnce('GET', new URL(`/sign-in?return_to=${encodeURIComponent(asked)}`, house.baseUrl), {
          cookie: await walker.jar.getCookieString(house.baseUrl),
        })
        assert.equal(answer.status, 400, asked)
      }
    })

    it('knows only the hosts it was told of', async () => {
      assert.equal((await requestOnce('GET', new URL(house.appUrl), { host: 'other.example' })).status, 421)
      assert.equal((await requestOnce('GET', new URL('/healthz', house.appUrl), { host: '10.0.0.7' })).status, 200)
      assert.equal((await requestOnce('GET', new URL('/readyz', house.appUrl), { host: '10.0.0.7' })).status, 200)
    })

    it('reserves one path and no more', async () => {
      assert.equal((await ask('/.gatehouse/nothing-here')).status, 404)
      assert.equal((await ask('/.gatehouse/pico.css', { cookie: '' })).status, 200)
      assert.equal((await ask('/.gatehouse')).status, 200)
      assert.equal(received().url, '/.gatehouse')
    })

    it('ends an open session everywhere the moment somebody is deprovisioned', async () => {
      const other = new Walker()
      assert.equal((await enter(house, other, '/', 'leaver')).status, 200)
      const user = await findUser(house.db, 'leaver')
      assert.ok(user)
      const result = await changeState(portsOf(house.db), {
        user: user.id,
        policy: NO_TARGETS,
        to: 'deprovisioned',
        reason: 'left',
        actor: OPERATOR,
        now: house.clock.now,
      })
      assert.deepEqual(result, { outcome: 'changed', from: 'active', to: 'deprovisioned', sessionsEnded: 1 })
      assert.equal((await other.step(house.appUrl)).status, 303)
      assert.match((await enter(house, other, '/', 'leaver')).body, /Your access has ended/)
    })

    it('ends an open WebSocket when its session ends', async () => {
      const other = new Walker()
      await enter(house, other, '/', 'talker')
      const socket = new WebSocket(`ws://127.0.0.1:${new URL(house.appUrl).port}/socket`, {
        headers: { host: house.appHost, cookie: await other.jar.getCookieString(house.appUrl) },
      })
      await new Promise((resolve, reject) => socket.once('message', resolve).once('error', reject))
      const closed = new Promise((resolve) => socket.once('close', resolve))
      const user = await findUser(house.db, 'talker')
      assert.ok(user)
      await changeState(portsOf(house.db), {
        user: user.id,
        policy: NO_TARGETS,
        to: 'deprovisioned',
        reason: 'left',
        actor: OPERATOR,
        now: house.clock.now,
      })
      await closed
    })

    it('ends the session that a new sign-in in the same browser replaces, at the apps too', async () => {
      const browser = new Walker()
      await enter(house, browser, '/', 'first')
      const oldKey = await browser.jar.getCookieString(house.appUrl)
      assert.equal((await ask('/', { cookie: oldKey })).status, 200)
      await house.signIn(browser, { nameId: 'second' })
      assert.equal((await ask('/', { cookie: oldKey })).status, 303)
    })

    it('says so when the app does not answer', async () => {
      await house.apply({
        apps: [{ name: 'gone', host: `gone.localhost:${new URL(house.appUrl).port}`, upstream: 'http://127.0.0.1:9', headers: [] }],
      })
      const browser = new Walker()
      const goneUrl = house.appUrl.replace('app.', 'gone.')
      const toIdp = await browser.step((await browser.step(goneUrl)).headers.location ?? '')
      const page = await browser.post(
        house.answer().acs,
        answerForm(house.idp.keys, house.answer({ inResponseTo: readRequest(toIdp.headers.location ?? '').id })),
      )
      assert.equal(page.status, 502)
      assert.match(page.body, /The app does not answer/)
    })
  })
}
