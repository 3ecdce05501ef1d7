// How other services are asked: who we say that we are, how often we try, and that nobody reads our secrets in a message.

import assert from 'node:assert/strict'
import { Readable } from 'node:stream'
import { after, before, describe, it } from 'node:test'
import { webAsker } from '../../src/app/outbound.ts'
import { httpClient, type JsonClient } from '../../src/connectors/http-client.ts'
import type { AuthSettings } from '../../src/domain/documents/source.ts'
import { type AskWeb, FeedFailure } from '../../src/flows/feed-ports.ts'
import * as scripts from '../support/misbehaving-http.ts'
import { type MisbehavingHttp, type Script, startMisbehaving } from '../support/misbehaving-http.ts'
import { type ScimServer, startScimServer } from '../support/scim-server.ts'
import { failsAs } from './contract.ts'

const SECRET = 'pass word+/&%:ä'
const KEY = 'key+/&%=1'
const never = () => new AbortController().signal

const secrets = (name: string) => {
  if (name === 'GATEHOUSE_SOURCE_NONE') throw new Error('there is no GATEHOUSE_SOURCE_NONE')
  return { GATEHOUSE_SOURCE_PASSWORD: SECRET, GATEHOUSE_SOURCE_KEY: KEY, GATEHOUSE_SOURCE_LINE: `${KEY}\n` }[name] ?? ''
}
const key = { env: 'GATEHOUSE_SOURCE_KEY' }
const password = { env: 'GATEHOUSE_SOURCE_PASSWORD' }

function client(auth: AuthSettings | undefined, patienceMs = 20_000): JsonClient {
  return httpClient({ auth, accept: 'application/json', secrets, patienceMs, ask: webAsker(['localhost', '127.0.0.1']) })
}

describe('a client of another service', () => {
  let http: MisbehavingHttp
  before(async () => {
    http = await startMisbehaving()
  })
  after(() => http.close())
  const play = (script: Script) => new URL(http.play(script, () => ({ body: { fine: true } })))
  const turns = (url: URL) => http.asked(url.href).length

  describe('says who it is', () => {
    const said = async (auth: AuthSettings | undefined) => {
      const url = play(scripts.behave)
      await client(auth).get(url, never())
      return http.asked(url.href)[0]?.headers ?? {}
    }
    it('with a bearer token', async () => assert.equal((await said({ bearer: key })).authorization, `Bearer ${KEY}`))
    it('with a header of its own', async () => assert.equal((await said({ header: { name: 'X-Api-Key', value: key } }))['x-api-key'], KEY))
    it('with a user and a password', async () => {
      const { authorization = '' } = await said({ basic: { user: 'ann', password } })
      assert.equal(Buffer.from(authorization.replace('Basic ', ''), 'base64').toString(), `ann:${SECRET}`)
    })
    it('or not', async () => assert.equal((await said(undefined)).authorization, undefined))

    for (const [env, why] of [
      ['GATEHOUSE_SOURCE_NONE', /GATEHOUSE_SOURCE_NONE/],
      ['GATEHOUSE_SOURCE_EMPTY', /GATEHOUSE_SOURCE_EMPTY is empty/],
      ['GATEHOUSE_SOURCE_LINE', /GATEHOUSE_SOURCE_LINE .* header/],
    ] as const) {
      it(`but not with ${env}`, () =>
        assert.rejects(
          client({ bearer: { env } }).get(play(scripts.behave), never()),
          (error) => failsAs(['misconfigured'], KEY)(error) && why.test(String(error)),
        ))
    }

    it('nor in the address', async () => {
      const url = play(scripts.behave)
      url.username = 'ann'
      url.password = 'hush'
      await assert.rejects(client(undefined).get(url, never()), failsAs(['misconfigured'], 'hush'))
    })
  })

  describe('tries again', () => {
    const soon = { headers: { 'retry-after': '0' } }
    const passing: readonly [string, Script][] = [
      ['too many requests', scripts.status(429, soon)],
      [
        'no service',
        scripts.status(503, { headers: { date: 'Tue, 05 Mar 2024 10:00:00 GMT', 'retry-after': 'Tue, 05 Mar 2024 10:00:00 GMT' } }),
      ],
      ['a fault', scripts.status(500, soon)],
      ['a request that timed out', scripts.status(408, soon)],
    ]
    for (const [name, script] of passing) {
      it(`after ${name}, and gives up some time`, async () => {
        const better = play(scripts.atFirst(script, 3))
        assert.deepEqual((await client(undefined).get(better, never())).body, { fine: true })
        const worse = play(script)
        await assert.rejects(client(undefined).get(worse, never()), failsAs(['unreachable']))
        assert.equal(turns(worse), 4)
      })
    }

    it('without being told when', async () => {
      const url = play(scripts.atFirst(scripts.status(500), 2))
      assert.deepEqual((await client(undefined, 3_000).get(url, never())).body, { fine: true })
    })

    it('but not where it is asked to wait for longer than it would', async () => {
      const url = play(scripts.status(429, { headers: { 'retry-after': '21' } }))
      await assert.rejects(
        client(undefined).get(url, never()),
        (error) => failsAs(['unreachable'])(error) && /Retry-After: 21/.test(String(error)),
      )
      assert.equal(turns(url), 1)
    })

    for (const code of [400, 401, 403, 404, 410, 302]) {
      it(`but not after ${code}`, async () => {
        const url = play(scripts.status(code))
        await assert.rejects(
          client({ bearer: key }).get(url, never()),
          failsAs(code === 401 || code === 403 ? ['denied'] : ['misconfigured']),
        )
        assert.equal(turns(url), 1)
      })
    }

    it('and stops when it is told to, while it waits or is answered', async () => {
      for (const script of [scripts.status(503, { headers: { 'retry-after': '20' } }), scripts.hangBeforeHeaders, scripts.hangInBody]) {
        const stop = new AbortController()
        const url = play((asked, answer, honest) => {
          answer.on('finish', () => stop.abort())
          script(asked, answer, honest)
          if (!answer.writableEnded) setImmediate(() => stop.abort())
        })
        await assert.rejects(client(undefined).get(url, stop.signal), failsAs(['cancelled']))
      }
    })
  })

  it('does not reach where nobody listens, or where it may not go', async () => {
    const closed = await startMisbehaving()
    const gone = new URL(closed.play(scripts.behave))
    await closed.close()
    await assert.rejects(client(undefined).get(gone, never()), failsAs(['unreachable']))
    const guarded = httpClient({ auth: undefined, accept: '*/*', secrets, patienceMs: 20_000, ask: webAsker([]) })
    await assert.rejects(
      guarded.get(gone, never()),
      (error) => failsAs(['unreachable'])(error) && /GATEHOUSE_INTERNAL_HOSTS/.test(String(error)),
    )
  })

  it('does not take for whole what is shorter than it says', async () => {
    const ask: AskWeb = async () => ({ status: 200, headers: { 'content-length': '4' }, body: Readable.from([Buffer.from('{}')]) })
    const quiet = httpClient({ auth: undefined, accept: '*/*', secrets, patienceMs: 10, ask })
    await assert.rejects(quiet.get(new URL('http://service.example/'), never()), failsAs(['cut-off']))
  })

  it('does not read what is packed: it has not asked for that', async () => {
    const url = play(scripts.saying({ headers: { 'content-encoding': 'gzip' }, body: 'x' }))
    await assert.rejects(client(undefined).get(url, never()), failsAs(['malformed']))
    assert.equal(http.asked(url.href)[0]?.headers['accept-encoding'], 'identity')
  })

  it('says nothing of its secrets, in whatever form they come back', async () => {
    const pair = Buffer.from(`ann:${SECRET}`).toString('base64')
    const auths: readonly [AuthSettings, string][] = [
      [{ bearer: key }, KEY],
      [{ header: { name: 'X-Api-Key', value: key } }, KEY],
      [{ basic: { user: 'ann', password } }, SECRET],
    ]
    for (const [auth, secret] of auths) {
      const forms = [secret, encodeURIComponent(secret), new URLSearchParams([['', secret]]).toString().slice(1), pair]
      for (const form of secret === KEY ? forms.slice(0, 3) : forms) {
        // It may stand where a message is cut.
        for (const before of ['', 'x'.repeat(290)]) {
          const echo = {
            body: { detail: `${before}${form}` },
            headers: { location: `http://other.example/?a=${encodeURIComponent(form)}` },
          }
          for (const code of [302, 400, 403]) {
            const url = play(scripts.status(code, echo))
            url.searchParams.set('key', secret)
            const error = await client(auth)
              .get(url, never())
              .catch((failure: unknown) => failure)
            assert.ok(error instanceof FeedFailure)
            for (const hidden of [secret, form, form.slice(0, 8)])
              assert.ok(!error.message.includes(hidden), `${error.message} holds ${hidden}`)
          }
        }
      }
    }
  })
})

describe('a client that gets a token', () => {
  let server: ScimServer
  let http: MisbehavingHttp
  before(async () => {
    server = await startScimServer({ users: [], groups: [] })
    http = await startMisbehaving()
    server.clients.set('ann & co', SECRET)
  })
  after(async () => {
    await server.close()
    await http.close()
  })
  const oauth2 = (differing: Record<string, unknown> = {}) => ({
    oauth2: { tokenUrl: server.tokenUrl, clientId: 'ann & co', clientSecret: password, ...differing },
  })
  const users = () => new URL(`${server.url}/Users`)
  const count = async (turn: () => Promise<unknown>) => {
    const before = server.tokens.issued.length
    await turn()
    return server.tokens.issued.length - before
  }

  it('uses it until it ends, and asks for its scope', async () => {
    const one = client(oauth2({ scope: 'scim read' }))
    assert.equal(await count(async () => [await one.get(users(), never()), await one.get(users(), never())]), 1)
    assert.equal(server.tokenForms.at(-1)?.get('scope'), 'scim read')
  })

  it('asks for another before it ends', async () => {
    server.tokensLive = 0
    const one = client(oauth2())
    assert.equal(await count(async () => [await one.get(users(), never()), await one.get(users(), never())]), 2)
    server.tokensLive = undefined
    const other = client(oauth2())
    assert.equal(await count(async () => [await other.get(users(), never()), await other.get(users(), never())]), 1)
  })

  it('asks for another when it is not taken any more', async () => {
    const one = client(oauth2())
    await one.get(users(), never())
    server.tokens.revokeAll()
    assert.equal(await count(() => one.get(users(), never())), 1)
  })

  it('asks only once for another', async () => {
    const url = new URL(http.play(scripts.status(401)))
    await assert.rejects(client(oauth2()).get(url, never()), failsAs(['denied'], server.tokens.issued.at(-1)))
    assert.equal(http.asked(url.href).length, 2)
  })

  const tokenAnswers: readonly [string, Script, Parameters<typeof failsAs>[0]][] = [
    ['does not know it', scripts.status(401, { headers: { 'www-authenticate': 'Basic' }, body: { error: 'invalid_client' } }), ['denied']],
    [
      'does not know it, and says so with 400',
      scripts.status(400, { body: { error: 'invalid_client', error_description: SECRET } }),
      ['denied'],
    ],
    ['does not know the scope', scripts.status(400, { body: { error: 'invalid_scope' } }), ['misconfigured']],
    ['is not there', scripts.status(404), ['misconfigured']],
    ['is elsewhere', scripts.status(302, { headers: { location: '/x' } }), ['misconfigured']],
    ['always fails', scripts.status(503, { headers: { 'retry-after': '0' } }), ['unreachable']],
    ['hangs', scripts.hangInBody, ['too-slow']],
    ['gives garbage', scripts.garbage, ['malformed']],
    ['shows a page to sign in', scripts.signInPage, ['malformed']],
    ['gives no token', scripts.saying({ body: { token_type: 'bearer', id: SECRET } }), ['malformed']],
    ['gives a token of another kind', scripts.saying({ body: { access_token: SECRET, token_type: 'mac' } }), ['malformed']],
    ['gives a token that cannot be sent', scripts.saying({ body: { access_token: 'a\r\nb', token_type: 'bearer' } }), ['malformed']],
  ]
  for (const [name, script, fails] of tokenAnswers) {
    it(`gives up where the service that gives it ${name}`, async () => {
      const tokenUrl = http.play(script)
      const patience = script === scripts.hangInBody ? 400 : undefined
      await assert.rejects(client(oauth2({ tokenUrl }), patience).get(users(), never()), failsAs(fails, SECRET))
    })
  }

  it('gets over a fault of the service that gives it', async () => {
    const tokenUrl = http.play(scripts.atFirst(scripts.status(503, { headers: { 'retry-after': '0' } })), () => ({
      body: { access_token: 'other', token_type: 'bearer' },
    }))
    server.allowed.add('Bearer other')
    assert.equal((await client(oauth2({ tokenUrl })).get(users(), never())).status, 200)
  })
})
