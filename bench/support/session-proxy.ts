// What one would write without Gatehouse: Express, express-session in memory, http-proxy-middleware, one identity header.

import http from 'node:http'
import express from 'express'
import session from 'express-session'
import { createProxyMiddleware } from 'http-proxy-middleware'
import { reportTo } from './measured.ts'

declare module 'express-session' {
  interface SessionData {
    user: string
  }
}

const { BENCH_PORT = '', BENCH_UPSTREAM = '' } = process.env
const app = express()
app.use(session({ secret: 'only for measuring', resave: false, saveUninitialized: false }))
app.get('/sign-in-for-the-bench', (request, response) => {
  request.session.user = 'ada'
  response.send('in')
})
app.use((request, response, next) => {
  if (request.session.user) next()
  else response.sendStatus(401)
})
app.use(
  createProxyMiddleware({
    target: BENCH_UPSTREAM,
    agent: new http.Agent({ keepAlive: true }),
    ws: true,
    on: {
      proxyReq: (proxyRequest, request) =>
        proxyRequest.setHeader('X-Remote-User', (request as unknown as express.Request).session.user ?? ''),
    },
  }),
)
app.listen(Number(BENCH_PORT), '127.0.0.1', () => reportTo(Number(BENCH_PORT)))
