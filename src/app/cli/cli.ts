// The command line: `gatehouse <command>`. Each command's file says what it does; here is what they share, the last word
// on whatever they throw included.

import { Command, CommanderError } from 'commander'
import { StoreUnavailable } from '../../flows/ports.ts'
import { ConfigFaults } from '../config.ts'
import { connectionCommands } from './connection-commands.ts'
import { demoCommand } from './demo-command.ts'
import { explainCommand } from './explain-command.ts'
import { historyCommands } from './history-commands.ts'
import { matchCommands } from './match-commands.ts'
import { CommandFailure, complain, EXIT } from './output.ts'
import { policyCommands } from './policy-commands.ts'
import { recordCommands } from './record-commands.ts'
import { schemaCommands } from './schema-commands.ts'
import { serveCommands } from './serve-commands.ts'
import { signInCommands } from './sign-in-commands.ts'
import { simulateCommands } from './simulate-commands.ts'
import { tokenCommands } from './token-commands.ts'
import { userCommands } from './user-commands.ts'

/** @returns the exit code: see `EXIT` */
export async function run(argv: readonly string[]): Promise<number> {
  const program = new Command('gatehouse')
    .description('SAML sign-in and just-in-time provisioning in front of a legacy app')
    .addHelpText(
      'after',
      '\nSettings come from the environment; .env.example lists them.\nExit codes: 0 done, 1 it could not be done, 4 a safeguard holds it for a person, 2 the command, the configuration or the file is wrong.',
    )
    .exitOverride()
    .showHelpAfterError('(--help tells more)')
  serveCommands(program)
  policyCommands(program)
  historyCommands(program)
  simulateCommands(program)
  explainCommand(program)
  schemaCommands(program)
  connectionCommands(program)
  userCommands(program)
  matchCommands(program)
  signInCommands(program)
  tokenCommands(program)
  recordCommands(program)
  demoCommand(program)
  try {
    await program.parseAsync(argv, { from: 'user' })
    return EXIT.done
  } catch (error) {
    return explain(error)
  }
}

function explain(error: unknown): number {
  // Commander has said what is wrong, or has shown the help that was asked for.
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.done : EXIT.wrong
  if (error instanceof CommandFailure) {
    complain(error.message)
    return error.exit
  }
  if (error instanceof ConfigFaults) {
    complain(error.message)
    return EXIT.wrong
  }
  if (error instanceof StoreUnavailable) {
    complain(`The database cannot be reached: ${(error.cause as Error)?.message ?? 'no reason given'}`)
    return EXIT.failed
  }
  const { code, message, port } = error as { code?: string; message?: string; port?: number }
  if (code === 'EADDRINUSE')
    complain(
      `Port ${port} is taken by another program. PORT chooses another one (GATEHOUSE_DEMO_IDP_PORT and GATEHOUSE_DEMO_APP_PORT for the demo’s two others).`,
    )
  else complain(`It failed: ${message ?? String(error)}`)
  if (process.env.GATEHOUSE_LOG_LEVEL === 'debug' && error instanceof Error) complain(error.stack ?? '')
  return EXIT.failed
}
