// Takes a file that a form sends, as it comes: onto the disk, never into memory. Nothing is kept of a form that is not ours.

import type { IncomingMessage } from 'node:http'
import type { Readable } from 'node:stream'
import { Busboy } from '@fastify/busboy'

/** Writes it and says where it is; throws where it cannot. */
export type Upload = (content: Readable) => Promise<{ readonly path: string; readonly discard: () => Promise<void> }>

export interface Received {
  readonly file: { readonly path: string; readonly name: string }
  readonly planOnly: boolean
}

const LARGEST_BYTES = 2 * 1024 ** 3

/** A string: why not, in plain words. The token comes before the file, as our form has it. */
export function receiveUpload(
  request: IncomingMessage,
  holds: (token: unknown) => boolean,
  keep: Upload,
): Promise<Received | 'forged' | (string & {})> {
  const type = request.headers['content-type']
  if (type === undefined || !/^multipart\/form-data;/i.test(type)) return Promise.resolve('Send it with the form of the page.')
  return new Promise((resolve, reject) => {
    const form = new Busboy({
      headers: { ...request.headers, 'content-type': type },
      limits: { files: 1, fields: 10, fieldSize: 1_000, fileSize: LARGEST_BYTES },
    })
    const fields = new Map<string, string>()
    let kept: Promise<Received | 'forged' | string> | undefined
    form.on('field', (name, value) => fields.set(name, value))
    form.on('file', (_name, content, filename) => {
      if (!holds(fields.get('csrf'))) {
        content.resume()
        kept = Promise.resolve('forged')
        return
      }
      let cut = false
      content.on('limit', () => {
        cut = true
      })
      kept = keep(content).then(async ({ path, discard }) => {
        if (!cut && filename) return { file: { path, name: plainName(filename) }, planOnly: fields.get('plan') === 'on' }
        await discard()
        return cut ? 'It is larger than 2 GB; put it into the import folder instead.' : 'Choose a file first.'
      })
      kept.catch(() => {})
    })
    form.on('finish', () =>
      (kept ?? Promise.resolve(holds(fields.get('csrf')) ? 'Choose a file first.' : ('forged' as const))).then(resolve, reject),
    )
    form.on('error', () => resolve('It did not arrive whole. Please try again.'))
    request.on('aborted', () => resolve('It did not arrive whole. Please try again.'))
    request.pipe(form)
  })
}

/** For the record only; it is never a path. */
function plainName(name: string): string {
  return (
    name
      .replace(/^.*[\\/]/, '')
      .replace(/\p{Cc}/gu, '')
      .slice(0, 200) || 'upload.csv'
  )
}
