// Forms that change something carry a token that only this session's own pages can know: a keyed hash of the session's
// secret, so that nothing has to be stored and nobody who cannot read the cookie can make one.

import { createHmac, timingSafeEqual } from 'node:crypto'

export interface Csrf {
  token(sessionSecret: string): string
  holds(sessionSecret: string, token: unknown): boolean
}

export function csrf(secretKey: string): Csrf {
  const token = (sessionSecret: string) => createHmac('sha256', secretKey).update(`csrf ${sessionSecret}`).digest('base64url')
  return {
    token,
    holds(sessionSecret, given) {
      if (typeof given !== 'string') return false
      const expected = Buffer.from(token(sessionSecret))
      const actual = Buffer.from(given)
      return expected.length === actual.length && timingSafeEqual(expected, actual)
    },
  }
}
