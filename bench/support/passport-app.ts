// The least that a SAML sign-in costs in this stack: Express and @node-saml/passport-saml, no database, no further checks.

import { Strategy } from '@node-saml/passport-saml'
import express from 'express'
import passport from 'passport'
import { reportTo } from './measured.ts'

const { BENCH_PORT = '', BENCH_ISSUER = '', BENCH_ACS = '', BENCH_CERT = '', BENCH_ACS_PATH = '' } = process.env
passport.use(
  new Strategy(
    {
      issuer: BENCH_ISSUER,
      callbackUrl: BENCH_ACS,
      entryPoint: 'https://idp.example/sso',
      idpCert: BENCH_CERT,
      acceptedClockSkewMs: 60_000,
    },
    ((profile: unknown, done: (error: null, user: unknown) => void) => done(null, profile)) as never,
    ((_profile: unknown, done: (error: null) => void) => done(null)) as never,
  ) as unknown as passport.Strategy,
)
const app = express()
app.post(BENCH_ACS_PATH, express.urlencoded({ extended: false }), passport.authenticate('saml', { session: false }), (_request, response) =>
  response.redirect(303, '/me'),
)
app.listen(Number(BENCH_PORT), '127.0.0.1', () => reportTo(Number(BENCH_PORT)))
