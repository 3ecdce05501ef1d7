// Hands the command line over to app/cli.

import { run } from './app/cli/cli.ts'

process.exitCode = await run(process.argv.slice(2))
