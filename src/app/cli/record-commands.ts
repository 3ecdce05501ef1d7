// gatehouse records redact | reseal

import type { Command } from 'commander'
import { redactAttribute, resealRecords } from '../../flows/look-after-records.ts'
import { policyReader } from '../../store/policies.ts'
import { portsOf } from '../ports.ts'
import { CommandFailure, EXIT, plain, print, printJson, progress } from './output.ts'
import { atWork } from './workplace.ts'

export function recordCommands(program: Command): void {
  const records = program.command('records').description('what is kept of what sources have said')
  records
    .command('redact <attribute>')
    .description('delete an attribute from all that is kept of a connection, and the responses that may hold it; it cannot be taken back')
    .requiredOption('--connection <name>', 'the connection')
    .option('--json', 'answer with JSON', false)
    .action(redact)
  records
    .command('reseal')
    .description('encrypt what is kept with the current key; then the one before (GATEHOUSE_DATA_OTHER_KEY) can go')
    .option('--json', 'answer with JSON', false)
    .action(reseal)
}

async function redact(attribute: string, options: { connection: string; json: boolean }): Promise<void> {
  await atWork(async ({ db, actor, now }) => {
    const policy = await policyReader(db).inForce()
    const source = [...policy.sources.values()].find(({ name }) => name === options.connection)
    if (!source) throw new CommandFailure(`There is no connection ${plain(options.connection)}.`)
    if (!source.redact.has(attribute)) {
      throw new CommandFailure(
        `${plain(attribute)} would come back with the next sign-in. Write redact: [${plain(attribute)}] into connection ${source.name} first, and apply that.`,
        EXIT.wrong,
      )
    }
    const gone = await redactAttribute(portsOf(db), { source: source.id, attribute, actor, now })
    if (options.json) return printJson({ attribute, ...gone })
    print(
      `Deleted from ${gone.records} record${gone.records === 1 ? '' : 's'}; ${gone.responses} response${gone.responses === 1 ? '' : 's'} deleted.`,
    )
  })
}

async function reseal(options: { json: boolean }): Promise<void> {
  await atWork(async ({ db, actor, now }) => {
    const bar = progress('encrypted', 0)
    const done = await resealRecords(portsOf(db), { actor, now, onProgress: bar.at })
    if (options.json) return printJson({ resealed: done })
    print(done ? `${done} pieces are encrypted with the current key now.` : 'Everything is encrypted with the current key.')
  })
}
