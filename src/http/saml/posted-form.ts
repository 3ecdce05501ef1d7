// One urlencoded form in the body and nothing in the query: the one shape in which a SAML message may be posted.

import express, { type NextFunction, type Request, type Response } from 'express'
import { type Refusal, refuse } from '../../domain/refusals.ts'

/** A response with hundreds of groups stays far below; reading trees from more costs more than refusing it. */
const LARGEST_FORM = 384 * 1024

/** Up to here the rest of a body is read and thrown away, so that every client gets to see the answer. */
const WORTH_DRAINING = 2 * 1024 * 1024
const LINGER_MS = 1_000

/** Reading megabytes that were refused already would only take time from others. The answer goes out, and then the line is cut. */
function stopReading(request: Request, response: Response): void {
  response.once('finish', () => {
    request.socket.pause()
    setTimeout(() => request.socket.destroy(), LINGER_MS).unref()
  })
}

const readForm = express.urlencoded({ extended: false, limit: LARGEST_FORM, parameterLimit: 16 })

export type Form = Readonly<Record<string, unknown>>

export function readPostedForm(request: Request, response: Response): Promise<Form | Refusal> {
  if (request.url.includes('?'))
    return Promise.resolve(refuse('response.missing', 'the address carries a query; a response is posted as a form'))
  if (!request.is('application/x-www-form-urlencoded'))
    return Promise.resolve(refuse('response.missing', 'the body is not a urlencoded form'))
  return new Promise((resolve) => {
    const next = (error?: { type?: string }) => {
      if (!error) return resolve({ ...request.body })
      // What is left of the body is not worth reading for the next request on this connection.
      response.setHeader('Connection', 'close')
      if (Number(request.headers['content-length']) > WORTH_DRAINING) stopReading(request, response)
      if (error.type === 'entity.too.large') {
        const compared = { expected: `at most ${LARGEST_FORM} bytes`, came: `${request.headers['content-length'] ?? 'more'} bytes` }
        return resolve(refuse('response.too-large', `the form is larger than ${LARGEST_FORM} bytes`, compared))
      }
      resolve(refuse('response.missing', `the form cannot be read: ${error.type ?? 'unknown'}`))
    }
    readForm(request, response, next as NextFunction)
  })
}
