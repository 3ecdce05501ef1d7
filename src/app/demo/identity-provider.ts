// The demo's identity provider: a real SAML 2.0 IdP (samlp) whose sign-in page asks no password, and whose people can be
// edited, so that one can watch a changed attribute arrive. Loopback only, for the demo only.

import express, { type Express, type Request, type Response } from 'express'
import samlp from 'samlp'
import { sendStylesheet } from '../../http/pages.ts'
import type { SigningKey } from '../../http/saml/outgoing.ts'
import type { DemoPerson } from './people.ts'
import { viewsFolder } from './views.ts'

export interface DemoIdpOptions {
  readonly entityId: string
  readonly keys: SigningKey
  readonly people: DemoPerson[]
  /** The only address that answers are posted to. */
  readonly acs: string
}

const PERSISTENT = 'urn:oasis:names:tc:SAML:2.0:nameid-format:persistent'

export function demoIdentityProvider({ entityId, keys, people, acs }: DemoIdpOptions): Express {
  const app = express()
  app.set('views', viewsFolder)
  app.set('view engine', 'ejs')
  const form = express.urlencoded({ extended: false })
  const personOf = (id: unknown) => people.find((one) => one.id === id)

  const options = {
    issuer: entityId,
    cert: keys.certificate,
    key: keys.key,
    profileMapper,
    lifetimeInSeconds: 300,
    destination: acs,
    recipient: acs,
    redirectEndpointPath: '/sso',
    postEndpointPath: '/sso',
    getUserFromRequest: (request: Request) => personOf(request.body?.person),
    getPostURL: (_audience: string, _dom: unknown, _request: Request, done: (error: null, url: string) => void) => done(null, acs),
  }

  app.get('/.gatehouse/:name', (request, response, next) => {
    if (!sendStylesheet(request, response, request.params.name)) next()
  })
  app.get('/', (_request, response) => response.redirect('/people'))
  app.get('/metadata', samlp.metadata(options))
  app.get('/sso', (request: Request, response: Response) => {
    const { SAMLRequest, RelayState } = request.query
    if (typeof SAMLRequest !== 'string') return void response.status(400).send('Sign-ins begin at the app.')
    response.render('demo/idp-sign-in', { people, SAMLRequest, RelayState: typeof RelayState === 'string' ? RelayState : '' })
  })
  app.post('/sso', form, (request, response, next) => {
    if (!personOf(request.body.person)) return void response.status(400).send('There is nobody of that name.')
    samlp.auth(options)(request, response, next)
  })
  app.get('/people', (_request, response) => response.render('demo/idp-people', { people }))
  app.get('/people/:id', (request, response) => {
    const person = personOf(request.params.id)
    if (!person) return void response.status(404).send('There is nobody of that name.')
    response.render('demo/idp-person', { person })
  })
  app.post('/people/:id', form, (request, response) => {
    const person = personOf(request.params.id)
    if (!person) return void response.status(404).send('There is nobody of that name.')
    const said = (name: string) => String(request.body[name] ?? '').trim()
    for (const name of ['email', 'givenName', 'familyName', 'title', 'department'] as const) person[name] = said(name)
    person.groups = said('groups')
      .split(',')
      .map((group) => group.trim())
      .filter(Boolean)
    response.redirect('/people')
  })
  return app
}

/** As samlp calls it: what this person's assertion says. An attribute without a value is left out. */
function profileMapper(person: DemoPerson) {
  const said: Record<string, string | string[]> = {
    email: person.email,
    givenName: person.givenName,
    familyName: person.familyName,
    displayName: `${person.givenName} ${person.familyName}`.trim(),
    title: person.title,
    department: person.department,
    groups: person.groups,
  }
  return {
    getClaims: () => Object.fromEntries(Object.entries(said).filter(([, value]) => value.length)),
    getNameIdentifier: () => ({ nameIdentifier: person.id, nameIdentifierFormat: PERSISTENT }),
  }
}
profileMapper.prototype.metadata = []
