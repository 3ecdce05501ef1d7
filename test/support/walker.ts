// Walks through pages as a browser does: keeps cookies (SameSite included), follows redirects, sends forms that submit
// themselves. Every host name leads to loopback, so that `app.localhost` needs no resolver.

import http, { type IncomingHttpHeaders } from 'node:http'
import { type HTMLElement, parse } from 'node-html-parser'
import { CookieJar } from 'tough-cookie'

export interface Page {
  readonly url: URL
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: string
  readonly dom: HTMLElement
}

export interface Step {
  readonly method: 'GET' | 'POST'
  readonly url: string
  readonly status: number
}

/** A request on its way, and the page whose link or form it came from. */
interface Ask {
  readonly method: 'GET' | 'POST'
  readonly url: URL
  readonly headers: Record<string, string>
  readonly body?: string
  readonly from?: URL | undefined
}

const MOST_STEPS = 30

export class Walker {
  readonly jar = new CookieJar(undefined, { rejectPublicSuffixes: false, allowSpecialUseDomain: true })
  /** Every request made, in order. */
  readonly trail: Step[] = []
  /** Stop before sending a form that submits itself, to look at it or to spoil it. */
  readonly stopAtForms: boolean

  constructor({ stopAtForms = false } = {}) {
    this.stopAtForms = stopAtForms
  }

  get(url: string | URL, headers: Record<string, string> = {}): Promise<Page> {
    return this.walk({ method: 'GET', url: new URL(url), headers })
  }

  post(url: string | URL, form: Record<string, string>, headers: Record<string, string> = {}, from?: URL): Promise<Page> {
    const body = new URLSearchParams(form).toString()
    const type = { 'content-type': 'application/x-www-form-urlencoded' }
    return this.walk({ method: 'POST', url: new URL(url), headers: { ...type, ...headers }, body, from })
  }

  /** Fills in and sends the page's form (the first, unless told), as pressing its button would. */
  submit(page: Page, values: Record<string, string> = {}, selector = 'form'): Promise<Page> {
    const form = page.dom.querySelector(selector)
    if (!form) throw new Error(`there is no ${selector} on ${page.url}: ${page.body.slice(0, 500)}`)
    return this.send(page, form, values)
  }

  /** One request, without following where it leads. */
  step(url: string | URL, headers: Record<string, string> = {}): Promise<Page> {
    return this.request({ method: 'GET', url: new URL(url), headers })
  }

  private send(page: Page, form: HTMLElement, values: Record<string, string> = {}): Promise<Page> {
    const { action, method, fields } = readForm(page, form)
    const all = { ...fields, ...values }
    if (method === 'POST') return this.post(action, all, {}, page.url)
    action.search = new URLSearchParams(all).toString()
    return this.walk({ method: 'GET', url: action, headers: {}, from: page.url })
  }

  private async walk(first: Ask): Promise<Page> {
    let next = first
    for (let steps = 0; steps < MOST_STEPS; steps++) {
      const page = await this.request(next)
      const location = page.headers.location
      if (page.status >= 300 && page.status < 400 && location) {
        const keep = page.status === 307 || page.status === 308
        const { accept } = next.headers
        next = { method: keep ? next.method : 'GET', url: new URL(location, page.url), headers: accept ? { accept } : {}, from: next.from }
        continue
      }
      const form = this.stopAtForms ? undefined : selfSubmitting(page)
      return form ? this.send(page, form) : page
    }
    throw new Error(
      `more than ${MOST_STEPS} steps: ${this.trail
        .slice(-6)
        .map((step) => step.url)
        .join(' -> ')}`,
    )
  }

  private async request({ method, url, headers, body, from }: Ask): Promise<Page> {
    const crossSite = from !== undefined && from.hostname !== url.hostname
    const cookie = await this.jar.getCookieString(url.href, { sameSiteContext: crossSite ? (method === 'GET' ? 'lax' : 'none') : 'strict' })
    const sent = {
      accept: 'text/html',
      ...headers,
      ...(cookie ? { cookie } : {}),
      ...(body === undefined ? {} : { 'content-length': String(Buffer.byteLength(body)) }),
    }
    const answer = await requestOnce(method, url, sent, body)
    for (const line of answer.headers['set-cookie'] ?? []) await this.jar.setCookie(line, url.href, { ignoreError: false })
    this.trail.push({ method, url: url.href, status: answer.status })
    return { url, ...answer, dom: parse(answer.body) }
  }
}

export function requestOnce(
  method: string,
  url: URL,
  headers: Record<string, string>,
  body?: string | Buffer,
): Promise<{ status: number; headers: IncomingHttpHeaders; body: string }> {
  return new Promise((resolve, reject) => {
    const request = http.request(
      {
        method,
        host: '127.0.0.1',
        port: url.port || 80,
        path: url.pathname + url.search,
        headers: { host: url.host, ...headers },
        agent: false,
      },
      (response) => {
        const parts: Buffer[] = []
        response.on('data', (part: Buffer) => parts.push(part))
        response.on('error', reject)
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(parts).toString('utf8') }),
        )
      },
    )
    request.on('error', reject)
    request.end(body)
  })
}

export function readForm(
  page: Page,
  form = page.dom.querySelector('form'),
): { action: URL; method: 'GET' | 'POST'; fields: Record<string, string> } {
  if (!form) throw new Error(`there is no form on ${page.url}`)
  const action = new URL(form.getAttribute('action') || page.url.href, page.url)
  const method = form.getAttribute('method')?.toUpperCase() === 'POST' ? 'POST' : 'GET'
  const fields: Record<string, string> = {}
  for (const input of form.querySelectorAll('input[name]')) {
    const type = input.getAttribute('type')
    if (type === 'submit' || type === 'checkbox') continue
    fields[input.getAttribute('name') as string] = input.getAttribute('value') ?? ''
  }
  return { action, method, fields }
}

/** The form of a page whose script sends it without being asked, as SAML's POST binding does. */
function selfSubmitting(page: Page): HTMLElement | undefined {
  const form = page.dom.querySelector('form')
  if (!form) return undefined
  // SimpleSAMLphp keeps that script in a file of its own.
  const byFile = form.querySelector('input[name=SAMLResponse]') && page.dom.querySelector('script[src]')
  return byFile || /\.submit\(\)|\.click\(\)/.test(page.body) ? form : undefined
}
