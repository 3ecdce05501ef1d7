// gatehouse apply | export

import { readFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import type { Command } from 'commander'
import { documentTitle } from '../../domain/documents.ts'
import { applyPolicy } from '../../flows/apply-policy.ts'
import { documentsInForce } from '../../store/policies.ts'
import { countStale } from '../../store/runs.ts'
import { metadataReader } from '../metadata-reader.ts'
import { outbound } from '../outbound.ts'
import { exportPolicy, type PlacedFault, readPolicyFile, writePolicyFile } from '../policy-file.ts'
import { portsOf } from '../ports.ts'
import { CommandFailure, complain, EXIT, print, printJson } from './output.ts'
import { atWork } from './workplace.ts'

export function policyCommands(program: Command): void {
  program
    .command('apply')
    .description('make what a YAML file says the policy in force; a file with any fault changes nothing')
    .requiredOption('-f, --file <file>', 'the file; - reads standard input')
    .option('--prune', 'take out of force what the file does not name', false)
    .option('--dry-run', 'say what would change, and change nothing', false)
    .option('--json', 'answer with JSON', false)
    .action(apply)
  program
    .command('export')
    .description('write the policy in force as YAML; applying it again changes nothing')
    .option('--json', 'write JSON instead', false)
    .action(writeOut)
}

async function apply(options: { file: string; prune: boolean; dryRun: boolean; json: boolean }): Promise<void> {
  const read = readPolicyFile(textOf(options.file))
  if (!read.file) return rejectFile(options, read.faults)
  const { file, place } = read
  const folder = options.file === '-' ? process.cwd() : dirname(resolve(options.file))
  await atWork(async ({ config, db, actor, now }) => {
    const ports = {
      ...portsOf(db),
      metadata: metadataReader({ folder, outbound: outbound(config.internalHosts), allow: config.allow, clock: () => now }),
    }
    const result = await applyPolicy(ports, {
      file,
      ownHost: config.baseUrl.host,
      actor,
      now,
      prune: options.prune,
      dryRun: options.dryRun,
    })
    if ('faults' in result) return rejectFile(options, place(result.faults))
    if (options.json) return printJson({ applied: result.applied, unknownSources: result.unknownSources, dryRun: options.dryRun })
    for (const one of result.applied) print(`${documentTitle(one)}: ${one.outcome}`)
    const { unknownSources } = result
    if (unknownSources.length) print(`Named in mastery and not known yet: ${unknownSources.join(', ')}`)
    const due = options.dryRun ? 0 : await countStale(db)
    // Apps and the service say nothing about people.
    const touchesPeople = result.applied.some(({ kind, outcome }) => outcome !== 'unchanged' && kind !== 'app' && kind !== 'service')
    if (due && touchesPeople)
      print(
        `${due === 1 ? 'One person is' : `${due} people are`} as the policy before had them; «gatehouse reapply» derives everybody again.`,
      )
    for (const { name } of file.connections) {
      print(`\nGive the identity provider of ${name} this address of our metadata:\n  ${config.baseUrl.origin}/saml/${name}/metadata`)
    }
    const drafts = file.connections.filter((one) => !one.metadata).map((one) => one.name)
    if (drafts.length) print(`\nDraft, until it has metadata of its identity provider: ${drafts.join(', ')}`)
    if (options.dryRun) print('Nothing was written (--dry-run).')
  })
}

export function textOf(file: string): string {
  try {
    return readFileSync(file === '-' ? 0 : file, 'utf8')
  } catch (error) {
    throw new CommandFailure(`${file} cannot be read: ${(error as Error).message}`, EXIT.wrong)
  }
}

export function rejectFile(options: { file: string; json: boolean }, faults: readonly PlacedFault[]): never {
  if (options.json) printJson({ faults })
  for (const { path, message, line } of faults) complain(`${options.file}${line ? `:${line}` : ''}: ${path}: ${message}`)
  throw new CommandFailure(`Nothing was changed: ${faults.length} fault${faults.length > 1 ? 's' : ''} in ${options.file}.`, EXIT.wrong)
}

async function writeOut(options: { json: boolean }): Promise<void> {
  await atWork(async ({ db }) => {
    const file = exportPolicy(await documentsInForce(db))
    if (options.json) printJson(file)
    else process.stdout.write(writePolicyFile(file))
  })
}
