// Signed responses to open requests, each from another sign-in, as shots to be fired; and a session of somebody at the app.

import { portsOf } from '../../src/app/ports.ts'
import { startSignIn } from '../../src/flows/start-sign-in.ts'
import type { Db } from '../../src/store/db.ts'
import { policyReader } from '../../src/store/policies.ts'
import { answerForm, type KeyPair, readRequest } from '../../test/support/idp.ts'
import { Walker } from '../../test/support/walker.ts'
import type { Shot } from './measured.ts'
import { ISSUER } from './prepared.ts'

/** One sign-in in ten is somebody's first. */
const NEWCOMERS = 0.1

export interface Responses {
  readonly port: number
  readonly pair: KeyPair
  readonly count: number
  /** How many people come back again and again. */
  readonly known: number
}

export async function signedResponses(db: Db, { port, pair, count, known }: Responses): Promise<readonly Shot[]> {
  const ports = portsOf(db)
  const connection = (await policyReader(db).inForce()).connections.get('corp')
  if (!connection) throw new Error('no connection')
  const baseUrl = `http://localhost:${port}`
  const shots: Shot[] = []
  for (let i = 0; i < count; i++) {
    const now = new Date()
    const { requestId, browserSecret } = await startSignIn(ports, { connection, returnTo: new URL('/me', baseUrl), passive: false, now })
    const number = i % Math.round(1 / NEWCOMERS) === 0 ? i : (i * 7919) % known
    const person = `person${number}`
    const form = answerForm(pair, {
      acs: `${baseUrl}/saml/corp/acs`,
      audience: `${baseUrl}/saml/corp/metadata`,
      issuer: ISSUER,
      now,
      inResponseTo: requestId,
      nameId: person,
      // As identity providers send it whose defaults nobody has touched: response and assertion signed, ten attributes.
      sign: 'both',
      attributes: {
        email: `${person}@corp.example`,
        name: `Person ${person}`,
        givenName: 'Person',
        familyName: person,
        department: 'Engineering',
        title: 'Engineer',
        telephone: '+49 30 1234567',
        employeeNumber: String(100_000 + number),
        locale: 'de-DE',
        groups: ['staff', 'engineering', 'on-call', 'vpn', 'building-4'],
      },
    })
    shots.push({
      method: 'POST',
      path: '/saml/corp/acs',
      headers: {
        host: `localhost:${port}`,
        'content-type': 'application/x-www-form-urlencoded',
        cookie: `gatehouse-request-${requestId}=${browserSecret}`,
      },
      body: new URLSearchParams(form).toString(),
    })
  }
  return shots
}

/** A real sign-in; the cookie of the app's host. */
export async function signedInCookie(port: number, pair: KeyPair): Promise<string> {
  const appHost = `app.localhost:${port}`
  const baseUrl = `http://localhost:${port}`
  const walker = new Walker()
  const toIdp = await walker.step((await walker.step(`http://${appHost}/`)).headers.location ?? '')
  const { id } = readRequest(toIdp.headers.location ?? '')
  const answer = {
    acs: `${baseUrl}/saml/corp/acs`,
    audience: `${baseUrl}/saml/corp/metadata`,
    issuer: ISSUER,
    now: new Date(),
    inResponseTo: id,
  }
  const page = await walker.post(answer.acs, answerForm(pair, answer))
  if (page.url.host !== appHost) throw new Error(`the sign-in ended at ${page.url}`)
  return walker.jar.getCookieString(`http://${appHost}/`)
}
