// Sends a browser on with a SAML message: to an address (HTTP-Redirect), or with a form that sends itself (HTTP-POST) and
// has a button for where there is no JavaScript.

import { createHash } from 'node:crypto'
import type { Request, Response } from 'express'
import { redirect, sendPage } from '../pages.ts'
import type { Dispatch } from './outgoing.ts'

const SCRIPT = 'document.forms[0].submit()'
const SCRIPT_HASH = createHash('sha256').update(SCRIPT).digest('base64')

/** @param frameOf the origin whose page may hold ours in a frame, as identity providers do that sign out of several places */
export async function sendDispatch(request: Request, response: Response, dispatch: Dispatch, frameOf?: string): Promise<void> {
  if ('redirect' in dispatch) return redirect(response, dispatch.redirect)
  const view = { action: dispatch.post, fields: dispatch.fields, script: SCRIPT }
  await sendPage(request, response, 200, 'dispatch', view, {
    contentSecurity: {
      // Where the form leads is an administrator's choice, and where that leads on is the identity provider's.
      'form-action': undefined,
      'script-src': `'sha256-${SCRIPT_HASH}'`,
      ...(frameOf ? { 'frame-ancestors': frameOf } : {}),
    },
  })
}
