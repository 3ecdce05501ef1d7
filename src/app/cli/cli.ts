// The command line: `gatehouse <command>`. Each command's file says what it does; here is what they share, the last word
// on whatever they throw included.

import { Command, CommanderError } from 'commander'
import { StoreUnavailable } from '../../flows/ports.ts'
import { ConfigFaults } from '../config.ts'
import { CommandFailure, complain, EXIT } from './output.ts'

/** Each loads what it needs and no more, so that a look at a list does not wait for a web server to be loaded. */
const FAMILIES: readonly { readonly commands: readonly string[]; readonly load: () => Promise<(program: Command) => void> }[] = [
  { commands: ['serve', 'migrate', 'doctor'], load: async () => (await import('./serve-commands.ts')).serveCommands },
  { commands: ['apply', 'export'], load: async () => (await import('./policy-commands.ts')).policyCommands },
  { commands: ['policy'], load: async () => (await import('./history-commands.ts')).historyCommands },
  { commands: ['simulate', 'reapply'], load: async () => (await import('./simulate-commands.ts')).simulateCommands },
  { commands: ['explain'], load: async () => (await import('./explain-command.ts')).explainCommand },
  { commands: ['schema', 'entitlement'], load: async () => (await import('./schema-commands.ts')).schemaCommands },
  { commands: ['connection'], load: async () => (await import('./connection-commands.ts')).connectionCommands },
  { commands: ['user'], load: async () => (await import('./user-commands.ts')).userCommands },
  { commands: ['match'], load: async () => (await import('./match-commands.ts')).matchCommands },
  { commands: ['sign-ins'], load: async () => (await import('./sign-in-commands.ts')).signInCommands },
  { commands: ['token'], load: async () => (await import('./token-commands.ts')).tokenCommands },
  { commands: ['source'], load: async () => (await import('./source-commands.ts')).sourceCommands },
  { commands: ['import'], load: async () => (await import('./import-commands.ts')).importCommands },
  { commands: ['runs', 'undo'], load: async () => (await import('./run-commands.ts')).runCommands },
  { commands: ['tasks', 'jobs', 'coverage'], load: async () => (await import('./task-commands.ts')).taskCommands },
  { commands: ['records'], load: async () => (await import('./record-commands.ts')).recordCommands },
  { commands: ['demo'], load: async () => (await import('./demo-command.ts')).demoCommand },
]

/** @returns the exit code: see `EXIT` */
export async function run(argv: readonly string[]): Promise<number> {
  const program = new Command('gatehouse')
    .description('SAML sign-in and just-in-time provisioning in front of a legacy app')
    .addHelpText(
      'after',
      '\nSettings come from the environment; .env.example lists them.\nExit codes: 0 done, 1 it could not be done, 3 a plan waits for approval, 4 a safeguard holds it for a person, 2 the command, the configuration or the file is wrong.',
    )
    .exitOverride()
    .showHelpAfterError('(--help tells more)')
  const asked = FAMILIES.filter(({ commands }) => commands.includes(argv[0] ?? ''))
  for (const { load } of asked.length ? asked : FAMILIES) (await load())(program)
  // Whoever reads only the first lines is content with them.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(EXIT.done)
    throw error
  })
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
