// gatehouse demo

import { relative } from 'node:path'
import type { Command } from 'commander'
import type { Demo } from '../demo/demo.ts'
import { CommandFailure, print } from './output.ts'
import { stopAsked } from './stopping.ts'

export function demoCommand(program: Command): void {
  program
    .command('demo')
    .description('show a whole sign-in on this machine: an identity provider, Gatehouse and a legacy app')
    .action(async () => {
      const { startDemo } = await demoModule()
      const demo = await startDemo(process.env)
      print(banner(demo))
      await stopAsked()
      await demo.stop()
    })
}

/** Only when asked for by name: a production install has neither the demo's identity provider nor a use for it. */
async function demoModule(): Promise<typeof import('../demo/demo.ts')> {
  try {
    return await import('../demo/demo.ts')
  } catch (error) {
    if ((error as { code?: string }).code !== 'ERR_MODULE_NOT_FOUND') throw error
    throw new CommandFailure('The demo is not part of a production install; «npm ci» in a checkout brings it.')
  }
}

function banner({ gatehouse, app, identityProvider, people, dataDir }: Demo): string {
  const who = people.map((one) => `    ${one.email.padEnd(24)} ${one.department.padEnd(12)} ${one.groups.join(', ') || '(no groups)'}`)
  const command = `GATEHOUSE_DATA_DIR=${relative('.', dataDir) || '.'} npx gatehouse`
  return `
  Gatehouse demo, for this machine only: nobody is asked for a password.

    Start here         ${app}   a legacy app that never heard of SAML
    Gatehouse          ${gatehouse}/me   what it knows about you
    Identity provider  ${identityProvider}/people   who there is, and what it says of them

  Who can sign in
${who.join('\n')}

  Try next
    1. Open the app, sign in as Grace, and see what it received.
    2. Change her department at the identity provider, open ${gatehouse}/sign-in/demo, and see it arrive.
    3. ${command} user deprovision grace@corp.example --reason "left"
       then reload the app and sign in again: refused, with a reference.
    4. ${command} sign-ins        what happened, and why

  Ctrl+C stops it.
`
}
