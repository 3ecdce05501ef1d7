// Reads people from a SCIM 2.0 service (RFC 7643, RFC 7644), page by page. It reads users and groups and writes nothing. What
// changed is asked for by meta.lastModified; who was removed only a full feed shows, and so does who joined or left a group
// where the service does not count that as a change of the user.

import type { ScimSettings } from '../../domain/documents/source.ts'
import {
  type AskWeb,
  type Connector,
  type Feed,
  type FeedBatch,
  type FeedEnd,
  FeedFailure,
  type FeedFault,
  type FeedGroup,
  type FeedLimits,
  type FeedRow,
} from '../../flows/feed-ports.ts'
import { discoverIn } from '../discovery.ts'
import { at, attributesOf, isObject, type Json, textOf } from '../flattening.ts'
import { httpClient, type JsonClient } from '../http-client.ts'
import { type Group, groupOf, memberships } from './groups.ts'
import { type ListAsk, listed, pageOf } from './pages.ts'
import { userAttributes } from './user.ts'

export interface ScimAsk {
  readonly settings: ScimSettings
  /** By the name that the document gives it. */
  readonly secrets: (name: string) => string
  readonly limits: FeedLimits
  readonly ask: AskWeb
}

export function scimConnector({ settings, secrets, limits, ask }: ScimAsk): Connector {
  const accept = 'application/scim+json, application/json;q=0.9'
  const client = httpClient({ auth: settings.auth, accept, secrets, patienceMs: limits.patienceMs, ask })
  const scim: Scim = { settings, client, limits }
  const readFull = async (signal: AbortSignal): Promise<Feed> => ({ columns: undefined, batches: people(scim, undefined, signal) })
  return {
    kind: 'scim',
    changesShowLeavers: false,
    test: (signal) => tried(scim, signal),
    readFull,
    ...(settings.changes ? { readChanges: async (cursor, signal) => ({ columns: undefined, batches: people(scim, cursor, signal) }) } : {}),
    discover: async (signal) => discoverIn(await readFull(signal)),
    ...(settings.groups ? { readGroups: (signal) => groups(scim, signal) } : {}),
  }
}

interface Scim {
  readonly settings: ScimSettings
  readonly client: JsonClient
  readonly limits: FeedLimits
}

function endpoint({ settings }: Scim, name: string): URL {
  const url = new URL(settings.url)
  url.pathname = `${url.pathname.replace(/\/+$/, '')}/${name}`
  return url
}

function list(scim: Scim, name: string, filter?: string): ListAsk {
  return { client: scim.client, url: endpoint(scim, name), count: scim.settings.pageSize, filter, limits: scim.limits }
}

/** RFC 7644, 3.4.2.2; `and` binds more tightly than an `or` in the filter that was given. */
function usersFilter({ settings: { filter } }: Scim, since: string | undefined): string | undefined {
  if (since === undefined) return filter
  const changed = `meta.lastModified ge ${JSON.stringify(since)}`
  return filter === undefined ? changed : `(${filter}) and ${changed}`
}

// --- people ---------------------------------------------------------------------------------------------------------------

async function* people(scim: Scim, since: string | undefined, signal: AbortSignal): AsyncGenerator<FeedBatch, FeedEnd, void> {
  const groupsOf = scim.settings.groups ? memberships(await allGroups(scim, signal)) : undefined
  let began: string | undefined
  let newest = since
  for await (const { resources, askedAt, done, total } of listed(list(scim, 'Users', usersFilter(scim, since)), signal)) {
    began ??= askedAt
    const rows: FeedRow[] = []
    const faults: FeedFault[] = []
    for (const [index, resource] of resources.entries()) {
      const row = rowOf(resource, groupsOf, scim.limits)
      if ('why' in row) faults.push({ ...row, place: `entry ${done - resources.length + index + 1}` })
      else {
        rows.push(row)
        newest = later(newest, row.attributes['meta.lastModified']?.[0])
      }
    }
    yield { rows, faults, done, ...(total === undefined ? {} : { total }) }
  }
  return scim.settings.changes ? cursorOf(newest, began) : {}
}

/**
 * The newest change that was seen, but none that came while we read: somebody may have changed on a page that we had left by
 * then. Whoever is read twice does no harm.
 */
function cursorOf(newest: string | undefined, began: string | undefined): FeedEnd {
  const cursor = newest === undefined ? began : began !== undefined && Date.parse(newest) > Date.parse(began) ? began : newest
  return cursor === undefined ? {} : { cursor }
}

function later(one: string | undefined, other: string | undefined): string | undefined {
  if (other === undefined || Number.isNaN(Date.parse(other))) return one
  return one === undefined || Date.parse(other) > Date.parse(one) ? other : one
}

function rowOf(
  resource: Json,
  groupsOf: ReturnType<typeof memberships> | undefined,
  limits: FeedLimits,
): FeedRow | { readonly why: string } {
  if (!isObject(resource)) return { why: 'it is not an object' }
  const gathered = userAttributes(resource)
  const [id] = gathered.get('id') ?? []
  if (id === undefined) return { why: 'it has no id' }
  const place = `Users/${id}`
  if (groupsOf) gathered.set('groups', groupsOf(id))
  return { place, attributes: attributesOf(gathered, place, limits) }
}

// --- groups ---------------------------------------------------------------------------------------------------------------

async function* groupPages(scim: Scim, signal: AbortSignal): AsyncGenerator<readonly Group[], void, void> {
  for await (const { resources } of listed(list(scim, 'Groups'), signal)) {
    yield resources.map((resource) => {
      const group = groupOf(resource)
      // One that is left out would take its members’ access.
      if (!group) throw new FeedFailure('malformed', `among the groups of ${endpoint(scim, 'Groups')} is one without an id`)
      return group
    })
  }
}

async function allGroups(scim: Scim, signal: AbortSignal): Promise<readonly Group[]> {
  const all: Group[] = []
  for await (const some of groupPages(scim, signal)) all.push(...some)
  return all
}

async function* groups(scim: Scim, signal: AbortSignal): AsyncGenerator<readonly FeedGroup[], void, void> {
  for await (const some of groupPages(scim, signal)) yield some.map(({ id, name, members }) => ({ id, name, members }))
}

// --- a try ----------------------------------------------------------------------------------------------------------------

async function tried(scim: Scim, signal: AbortSignal): Promise<string> {
  const { settings, client } = scim
  // RFC 7644, 4: everybody may have it, but not every service does.
  const { status, body = null } = await client.get(endpoint(scim, 'ServiceProviderConfig'), signal, [400, 401, 403, 404, 405])
  const counted = async (name: string, filter?: string) => {
    const page = await pageOf({ client, url: endpoint(scim, name), filter }, 1, 1, signal)
    return page?.total ?? page?.resources.length ?? 0
  }
  const users = await counted('Users', usersFilter(scim, undefined))
  const found = [
    `${client.quoted(new URL(settings.url))} has ${users} users${settings.filter === undefined ? '' : ' that the filter lets through'}`,
  ]
  if (settings.groups) found.push(`it has ${await counted('Groups')} groups`)
  if (settings.changes) {
    await counted('Users', usersFilter(scim, '2000-01-01T00:00:00Z'))
    found.push('it can be asked for what has changed')
  }
  if (status !== 200) found.push('it does not say what it can (ServiceProviderConfig)')
  else if (at(body, '/filter/supported') !== true) found.push('it says that it does not support filters')
  else found.push(`it supports filters, with at most ${textOf(at(body, '/filter/maxResults')) ?? 'any number of'} results`)
  return found.join('; ')
}
