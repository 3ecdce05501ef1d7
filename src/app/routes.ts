// The doors of Gatehouse's own host, in one list, with the last word on whatever they throw.

import express, { type ErrorRequestHandler, type Express } from 'express'
import type { ImportApiDeps } from '../http/api/imports.ts'
import { type LookupDeps, lookupRoutes } from '../http/api/lookups.ts'
import { consoleRoutes } from '../http/console/console.ts'
import type { DoorDeps } from '../http/console/door.ts'
import { meRoutes } from '../http/me.ts'
import { redirect, sendStylesheet } from '../http/pages.ts'
import { faultProblem, notFound, sendProblem } from '../http/problem.ts'
import { type AcsDeps, acsRoutes } from '../http/saml/acs.ts'
import { type SignInDeps, signInRoutes } from '../http/saml/sign-in.ts'
import { type SloDeps, sloRoutes } from '../http/saml/slo.ts'
import { type SignOutDeps, signOutRoutes } from '../http/sign-out.ts'

export type Doors = Express

export function routes(deps: AcsDeps & SloDeps & SignInDeps & SignOutDeps & LookupDeps & ImportApiDeps & DoorDeps): Doors {
  const app = express()
  app.disable('x-powered-by')
  app.disable('etag')
  app.set('query parser', 'simple')
  app.get('/', (_request, response) => redirect(response, '/me'))
  app.get('/.gatehouse/:name', (request, response, next) => {
    if (!sendStylesheet(request, response, request.params.name)) next()
  })
  app.use(signInRoutes(deps))
  app.use(acsRoutes(deps))
  app.use(sloRoutes(deps))
  app.use(meRoutes(deps))
  app.use(signOutRoutes(deps))
  app.use(lookupRoutes(deps))
  app.use(consoleRoutes(deps))
  app.use((request, response) => sendProblem(request, response, notFound))
  const lastWord: ErrorRequestHandler = (error, request, response, _next) => {
    if (response.headersSent) return void response.destroy()
    // Express and its parsers blame the client with a 4xx status; the rest is ours.
    const status = Number(error?.status)
    const blamed = { status, title: 'That request cannot be read', sentence: 'Something about it is malformed.', code: 'bad-request' }
    return sendProblem(request, response, status >= 400 && status < 500 ? blamed : faultProblem(error, deps.log))
  }
  app.use(lastWord)
  return app
}
