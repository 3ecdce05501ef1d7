// Sends mail through the operator's SMTP server.

import { createTransport } from 'nodemailer'
import type { Deliverer, MailWord } from '../flows/work-ports.ts'

export interface MailSettings {
  /** smtp://user:password@host:port or smtps://… */
  readonly url: string
  readonly from: string
}

const LOOPBACK = new Set(['localhost', '127.0.0.1', '[::1]'])

export function mailDeliverer({ url, from }: MailSettings): Deliverer {
  const { hostname, protocol } = new URL(url)
  // What is in these mails, and the password, is not for whoever listens on the way.
  const transport = createTransport({
    url,
    requireTLS: protocol === 'smtp:' && !LOOPBACK.has(hostname),
    connectionTimeout: 10_000,
    greetingTimeout: 10_000,
    socketTimeout: 20_000,
    disableFileAccess: true,
    disableUrlAccess: true,
  })
  return {
    async deliver(job) {
      const { to, subject, text } = job.payload as MailWord
      try {
        // The same mail twice is one mail to whoever looks at its id.
        await transport.sendMail({
          from,
          to,
          subject,
          text,
          messageId: `<${job.id}@gatehouse>`,
          headers: { 'Auto-Submitted': 'auto-generated' },
        })
      } catch (error) {
        const { responseCode, message } = error as Error & { responseCode?: number }
        // A server that says no for good means it (RFC 5321, section 4.2.1).
        throw Object.assign(new Error(message), { temporary: !(responseCode !== undefined && responseCode >= 550 && responseCode < 560) })
      }
    },
  }
}
