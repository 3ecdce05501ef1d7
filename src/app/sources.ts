// Sets up the connector of a source: which one it is, where its secrets and files are, and what it may take.

import { readFileSync } from 'node:fs'
import { isAbsolute, relative, resolve } from 'node:path'
import { csvConnector } from '../connectors/csv/csv.ts'
import { ldapConnector } from '../connectors/ldap/ldap.ts'
import { restConnector } from '../connectors/rest/rest.ts'
import { scimConnector } from '../connectors/scim/scim.ts'
import { sqlConnector } from '../connectors/sql/sql.ts'
import type { SourceSpec } from '../domain/documents/source.ts'
import { type AskWeb, type Connector, FeedFailure, type FeedLimits } from '../flows/feed-ports.ts'

export interface ConnectorPlace {
  /** Where the files of sources are. */
  readonly importDir: string
  readonly environment: Readonly<Record<string, string | undefined>>
  readonly ask: AskWeb
}

/** Nobody's row is larger. */
const ROW_BYTES = 1024 * 1024

/** @param file given for this run, by whoever may read this machine's files; otherwise the source says it */
export function connectorOf(spec: SourceSpec, { importDir, environment, ask }: ConnectorPlace, file?: string): Connector {
  const limits: FeedLimits = {
    rows: spec.feed.rows,
    columns: spec.feed.columns,
    rowBytes: ROW_BYTES,
    patienceMs: spec.feed.patience * 1000,
  }
  const secrets = (name: string) => secretNamed(environment, name)
  if (file !== undefined && spec.kind !== 'csv')
    throw new FeedFailure('misconfigured', `${spec.name} is of kind ${spec.kind} and takes no file`)
  switch (spec.kind) {
    case 'csv':
      return csvConnector({ settings: spec.csv, file: file ?? csvFile(spec.csv.file, importDir), limits })
    case 'ldap':
      return ldapConnector({ settings: spec.ldap, secrets, limits })
    case 'sql':
      return sqlConnector({ settings: spec.sql, secrets, limits })
    case 'scim':
      return scimConnector({ settings: spec.scim, secrets, limits, ask })
    case 'rest':
      return restConnector({ settings: spec.rest, secrets, limits, ask })
  }
}

function csvFile(named: string | undefined, importDir: string): string {
  if (named === undefined) throw new FeedFailure('misconfigured', 'say which file: --file, or csv.file in the source')
  return withinFolder(importDir, named)
}

/** A document names files of the import folder and no others. */
export function withinFolder(folder: string, named: string): string {
  const path = resolve(folder, named)
  const way = relative(folder, path)
  if (way.startsWith('..') || isAbsolute(way))
    throw new FeedFailure('misconfigured', `${named} is outside of the import folder (GATEHOUSE_IMPORT_DIR)`)
  return path
}

function secretNamed(environment: ConnectorPlace['environment'], name: string): string {
  const given = environment[name]
  if (given) return given
  const file = environment[`${name}_FILE`]
  if (file) {
    try {
      return readFileSync(file, 'utf8').trim()
    } catch (error) {
      throw new FeedFailure('misconfigured', `${name}_FILE: ${(error as Error).message}`)
    }
  }
  throw new FeedFailure('misconfigured', `the variable ${name} is not set, nor is ${name}_FILE`)
}
