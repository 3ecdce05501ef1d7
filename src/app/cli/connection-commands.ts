// gatehouse connection [NAME] | connection NAME --refresh [--accept] [--dry-run]

import { X509Certificate } from 'node:crypto'
import type { Command } from 'commander'
import { compareMetadata } from '../../domain/metadata-change.ts'
import type { Connection, DraftConnection, Policy } from '../../domain/policy.ts'
import { type Refreshed, refreshMetadata } from '../../flows/refresh-metadata.ts'
import { fingerprintOf } from '../../http/saml/fingerprint.ts'
import { metadataStateOf } from '../../store/metadata-states.ts'
import { policyReader } from '../../store/policies.ts'
import { serviceProviderKeys } from '../keys.ts'
import { metadataReader } from '../metadata-reader.ts'
import { outbound } from '../outbound.ts'
import { portsOf } from '../ports.ts'
import { CommandFailure, EXIT, plain, print, printJson, printTable, time } from './output.ts'
import { atWork, type Workplace } from './workplace.ts'

interface Options {
  refresh: boolean
  accept: boolean
  dryRun: boolean
  json: boolean
}

export function connectionCommands(program: Command): void {
  program
    .command('connection [name]')
    .description('connections; with a name, its addresses for the identity provider, and what is known of that')
    .option('--refresh', 'look at the identity provider’s metadata now', false)
    .option('--accept', 'with --refresh: take over a change that is held (another entityID, something missing)', false)
    .option('--dry-run', 'with --refresh: say what would change, and change nothing', false)
    .option('--json', 'answer with JSON', false)
    .action(connection)
}

async function connection(name: string | undefined, options: Options): Promise<void> {
  await atWork(async (place) => {
    const policy = await policyReader(place.db).inForce()
    if (name === undefined) return list(policy, options)
    const found = policy.connections.get(name) ?? policy.drafts.get(name)
    if (!found) throw new CommandFailure(`There is no connection ${plain(name)}.`)
    if (options.refresh) return refresh(place, found, options)
    await show(place, found, options)
  })
}

function list({ connections, drafts }: Policy, options: Options): void {
  const rows = [
    ...[...connections.values()].map(({ name, idp }) => ({ name, state: 'ready', entityId: idp.entityId })),
    ...[...drafts.values()].map(({ name }) => ({ name, state: 'draft', entityId: null })),
  ]
  const table = rows.map(({ name, state, entityId }) => [name, state, entityId ?? '-'])
  if (options.json) printJson({ connections: rows })
  else if (rows.length) printTable(['NAME', 'STATE', 'IDENTITY PROVIDER'], table)
  else print('There is no connection yet; «gatehouse apply -f FILE» makes one.')
}

async function show({ config, db }: Workplace, one: Connection | DraftConnection, options: Options): Promise<void> {
  const origin = config.baseUrl.origin
  const { current, other } = await serviceProviderKeys(config)
  const ours = {
    entityId: `${origin}/saml/${one.name}/metadata`,
    metadata: `${origin}/saml/${one.name}/metadata`,
    signedMetadata: `${origin}/saml/${one.name}/metadata?signed`,
    acs: `${origin}/saml/${one.name}/acs`,
    slo: one.singleLogout ? `${origin}/saml/${one.name}/slo` : null,
    signIn: `${origin}/sign-in/${one.name}`,
    certificates: [current, ...(other ? [other] : [])].map(({ certificate }) => ({
      fingerprint: new X509Certificate(certificate).fingerprint256,
      validTo: new X509Certificate(certificate).validToDate,
    })),
  }
  const theirs = 'idp' in one ? describe(one) : null
  const state = await metadataStateOf(db, one.id)
  if (options.json) return printJson({ name: one.name, version: one.version, draft: !theirs, ours, theirs, metadata: state ?? null })

  print(`${one.name}  version ${one.version}${theirs ? '' : '  DRAFT: nobody can sign in until it has metadata'}`)
  print('\nFor the identity provider:')
  const rows: [string, string | null][] = [
    ['entityID', ours.entityId],
    ['metadata', `${ours.metadata}   (with our signature: ${ours.signedMetadata})`],
    ['answers to (ACS)', ours.acs],
    ['logouts to (SLO)', ours.slo],
    ...ours.certificates.map(({ fingerprint, validTo }): [string, string] => ['our key', `${fingerprint}  until ${time(validTo)}`]),
  ]
  printFacts(rows)
  if (theirs) {
    print('\nOf the identity provider:')
    printFacts([
      ['entityID', theirs.entityId],
      ...theirs.endpoints.map((endpoint): [string, string] => ['address', endpoint]),
      ...theirs.keys.map(({ fingerprint, validTo }): [string, string] => ['signs with', `${fingerprint}  until ${time(validTo)}`]),
      ['wants signed requests', theirs.wantsSignedRequests ? 'yes' : 'no'],
      ['demanded signature', one.signed],
      ['metadata from', one.metadata && 'url' in one.metadata ? one.metadata.url : 'the policy file'],
      ['metadata valid until', String(state?.details?.validUntil ?? theirs.validUntil ?? '') || null],
    ])
  }
  if (state?.checkedAt) {
    print(`\nMetadata last looked at ${time(state.checkedAt)}: ${state.outcome}`)
    for (const line of linesOf(state.details)) print(`  ${plain(line)}`)
    if (one.metadata && 'url' in one.metadata) print(`  next look at ${time(state.nextAt)}`)
  }
}

function describe({ idp }: Connection) {
  const { endpoints } = compareMetadata({ idp: { ...idp, singleSignOn: {}, singleLogout: {}, artifactResolution: [] } }, { idp })
  return {
    entityId: idp.entityId,
    endpoints: endpoints.map((line) => line.replace('(none) -> ', '')),
    keys: idp.certificates.map((base64) => ({
      fingerprint: fingerprintOf(base64),
      validTo: new X509Certificate(Buffer.from(base64, 'base64')).validToDate,
    })),
    wantsSignedRequests: idp.wantsSignedRequests,
    validUntil: idp.validUntil ?? null,
  }
}

async function refresh({ config, db, actor, now }: Workplace, one: Connection | DraftConnection, options: Options): Promise<void> {
  const url = one.metadata && 'url' in one.metadata ? one.metadata.url : undefined
  if (!('idp' in one) || !url)
    throw new CommandFailure(`${one.name} has no metadata address; give it new metadata with «gatehouse apply».`, EXIT.wrong)
  const reader = metadataReader({ folder: '.', outbound: outbound(config.internalHosts), allow: config.allow, clock: () => now })
  const ports = { ...portsOf(db), metadata: reader }
  if (options.dryRun) {
    const found = await reader.read(one.metadata as { url: string })
    if (typeof found === 'string') throw new CommandFailure(`${url}: ${found}`)
    const { moved, held, endpoints, addedKeys, removedKeys } = compareMetadata(
      { idp: one.idp, entities: (await metadataStateOf(db, one.id))?.entities },
      found,
    )
    const told = { reasons: held, endpoints, addedKeys: addedKeys.map(fingerprintOf), removedKeys: removedKeys.map(fingerprintOf) }
    if (options.json) return printJson({ connection: one.name, dryRun: true, moved, ...told })
    print(moved || held.length ? 'The metadata has changed:' : 'Nothing has changed.')
    for (const line of linesOf(told)) print(`  ${plain(line)}`)
    return
  }
  const refreshed = (await refreshMetadata(ports, { connection: one, actor, accept: options.accept, now })) as Refreshed
  if (options.json) printJson(refreshed)
  else {
    print(`${one.name}: ${refreshed.outcome}`)
    for (const line of linesOf({ ...refreshed })) print(`  ${plain(line)}`)
  }
  if (refreshed.outcome === 'failed') throw new CommandFailure('What was in force stays in force.')
  if (refreshed.outcome === 'held') throw new CommandFailure('What was in force stays in force; --accept takes the change over.')
}

function linesOf(details: Readonly<Record<string, unknown>> | undefined): string[] {
  const list = (name: string) => (Array.isArray(details?.[name]) ? (details[name] as string[]) : [])
  return [
    ...list('reasons').map((one) => `because ${one}`),
    ...list('addedKeys').map((one) => `new key      ${one}`),
    ...list('removedKeys').map((one) => `removed key  ${one}`),
    ...list('endpoints'),
  ]
}

function printFacts(rows: readonly (readonly [string, string | null])[]): void {
  for (const [label, value] of rows) if (value !== null) print(`  ${label.padEnd(22)} ${plain(value)}`)
}
