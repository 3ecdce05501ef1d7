// Sends a browser on with a SAML message: to an address (HTTP-Redirect), or with a form that sends itself (HTTP-POST) and
// has a button for where there is no JavaScript.

import { createHash } from 'node:crypto'
import type { Request, Response } from 'express'
import { redirect, sendPage } from '../pages.ts'
import type { Dispatch } from './outgoing.ts'

const SCRIPT = 'document.forms[0].submit()'
const SCRIPT_HASH = createHash('sha256').update(SCRIPT).digest('base64')

export interface DispatchOptions {
  /** The browser comes from a form of ours, and its form-action holds for redirects too; a page in between does not. */
  readonly afterForm?: boolean
  /** An identity provider that signs out of several places does so in frames. */
  readonly frameOf?: string
}

export async function sendDispatch(request: Request, response: Response, dispatch: Dispatch, options: DispatchOptions = {}): Promise<void> {
  if ('redirect' in dispatch && !options.afterForm) return redirect(response, dispatch.redirect)
  const view =
    'redirect' in dispatch
      ? { address: dispatch.redirect, fields: {}, form: undefined, script: undefined }
      : { address: undefined, form: dispatch.post, fields: dispatch.fields, script: SCRIPT }
  const { frameOf } = options
  await sendPage(request, response, 200, 'dispatch', view, {
    // Where the form leads is an administrator's choice, and where that leads on is the identity provider's.
    contentSecurity: {
      'form-action': undefined,
      'script-src': `'sha256-${SCRIPT_HASH}'`,
      ...(frameOf ? { 'frame-ancestors': frameOf } : {}),
    },
  })
}
