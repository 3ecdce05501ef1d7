// How connectors reach other services: only where they may, no further than they are told, and with nothing left open.

import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, it } from 'node:test'
import { webAsker } from '../../src/app/outbound.ts'
import * as scripts from '../support/misbehaving-http.ts'
import { type Script, startMisbehaving } from '../support/misbehaving-http.ts'

const never = () => new AbortController().signal
const ask = webAsker(['127.0.0.1'])

async function playing(script: Script, then: (url: string, asked: () => number) => Promise<void>): Promise<void> {
  const http = await startMisbehaving()
  try {
    const url = http.play(script, () => ({ body: { fine: true } }))
    await then(url, () => http.asked(url).length)
  } finally {
    await http.close()
  }
}

async function textOf(body: AsyncIterable<Uint8Array>): Promise<string> {
  const parts: Uint8Array[] = []
  for await (const part of body) parts.push(part)
  return Buffer.concat(parts).toString()
}

describe('asking the web', () => {
  it('asks no internal address that is not allowed, however it is written', () =>
    playing(scripts.behave, async (url, asked) => {
      const { port, pathname } = new URL(url)
      for (const host of ['127.0.0.1', 'localhost', '2130706433', '[::ffff:127.0.0.1]', '0']) {
        await assert.rejects(webAsker([])({ url: `http://${host}:${port}${pathname}`, signal: never() }), /internal address/, host)
      }
      await assert.rejects(ask({ url: `http://localhost:${port}${pathname}`, signal: never() }), /internal address/)
      assert.equal(asked(), 0)
    }))

  it('sends what it is given, and gives what comes, whatever its status', () =>
    playing(
      ({ method, headers, body }, answer) => {
        answer.setHeader('Set-Cookie', ['a=1', 'b=2'])
        scripts.say(answer, {
          status: 418,
          headers: { 'X-Asked': 'Yes' },
          body: { method, body, length: headers['content-length'], accept: headers.accept },
        })
      },
      async (url) => {
        const { status, headers, body } = await ask({ url, method: 'POST', body: 'ä', headers: { accept: 'x/y' }, signal: never() })
        assert.equal(status, 418)
        assert.equal(headers['x-asked'], 'Yes')
        assert.equal(headers['set-cookie'], 'a=1, b=2')
        assert.deepEqual(JSON.parse(await textOf(body)), { method: 'POST', body: 'ä', length: '2', accept: 'x/y' })
      },
    ))

  it('follows no redirect', () =>
    playing(scripts.status(302, { headers: { location: '/elsewhere' } }), async (url, asked) => {
      const { status, headers } = await ask({ url, signal: never() })
      assert.equal(status, 302)
      assert.equal(headers.location, '/elsewhere')
      assert.equal(asked(), 1)
    }))

  it('throws if a body breaks off', () =>
    playing(scripts.dropInBody, async (url) => {
      const { body } = await ask({ url, signal: never() })
      await assert.rejects(textOf(body))
    }))

  it('stops when it is told to, before the answer and in it', async () => {
    await playing(scripts.hangBeforeHeaders, async (url) => {
      const stop = new AbortController()
      const asked = ask({ url, signal: stop.signal })
      stop.abort()
      await assert.rejects(asked)
    })
    await playing(scripts.hangInBody, async (url) => {
      const stop = new AbortController()
      const { body } = await ask({ url, signal: stop.signal })
      const read = textOf(body)
      stop.abort()
      await assert.rejects(read)
    })
  })

  it('closes the connection when a body is left, even before its first part', async () => {
    const leave = [
      async (body: AsyncIterable<Uint8Array>) => {
        for await (const _part of body) break
      },
      async (body: AsyncIterable<Uint8Array>) => void (await body[Symbol.asyncIterator]().return?.()),
    ]
    for (const left of leave) {
      const server = createServer((_request, answer) => void answer.write('some, and more to come'))
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
      const closed = new Promise<void>((resolve) => server.once('connection', (socket) => socket.once('close', () => resolve())))
      const { body } = await ask({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, signal: never() })
      await left(body)
      await closed
      await new Promise<void>((resolve) => server.close(() => resolve()))
    }
  })
})
