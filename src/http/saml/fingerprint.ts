// Names a certificate so that two people can compare it.

import { X509Certificate } from 'node:crypto'

/** SHA-256, as openssl and browsers print it. */
export function fingerprintOf(certificate: string): string {
  try {
    return new X509Certificate(Buffer.from(certificate, 'base64')).fingerprint256
  } catch {
    return '(unreadable)'
  }
}
