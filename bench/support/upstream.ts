// The app behind both gates: answers with a few kilobytes, as a page of a legacy app would be.

import http from 'node:http'
import { reportTo } from './measured.ts'

const port = Number(process.env.BENCH_PORT)
const page = Buffer.alloc(4096, 'legacy ')
http
  .createServer((_request, response) => {
    response.setHeader('Content-Type', 'text/html; charset=utf-8')
    response.end(page)
  })
  .listen(port, '127.0.0.1', () => reportTo(port))
