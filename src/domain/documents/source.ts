// The document of a source that people are imported from: where it is, whom it means, how its words are read, and what may
// follow from them without a person looking. Secrets are never written here: a document names the variable that holds one.

import { Cron } from 'croner'
import { IANAZone } from 'luxon'
import { z } from 'zod'
import { groups, httpUrl, isTrustworthyFetch, linking, mappingRow, matching, name, reading, redact, sourceName } from './parts.ts'

/** Only names that are set aside for it, so that no document can send another secret of this process elsewhere. */
const secret = z.strictObject({
  env: z.string().regex(/^GATEHOUSE_SOURCE_[A-Z0-9_]+$/, 'name a variable that begins with GATEHOUSE_SOURCE_, in capitals'),
})

/** Below the import folder, wherever that is. */
const withinImports = z
  .string()
  .min(1)
  .refine((path) => !/^([/\\]|[A-Za-z]:)/.test(path) && !path.split(/[/\\]/).includes('..'), {
    error: 'write a path within the import folder (GATEHOUSE_IMPORT_DIR), without .. and without a slash in front',
  })

const csv = z
  .strictObject({
    /** Within the import folder. */
    file: withinImports.optional(),
    /** Within the import folder: what is put there is imported, and moved to `done` or `failed` within it. */
    folder: withinImports.optional(),
    delimiter: z
      .union([z.literal('auto'), z.literal('tab').transform(() => '\t'), z.string().min(1).max(4)], {
        error: 'write auto, tab, or what stands between two columns: one character to four',
      })
      .default('auto'),
    quote: z.string().length(1, 'write one character').default('"'),
    encoding: z
      .enum(['auto', 'utf-8', 'utf-16le', 'utf-16be', 'windows-1252', 'iso-8859-1', 'iso-8859-15', 'windows-1250', 'windows-1251'])
      .default('auto'),
    /** Names of the columns, where the file does not begin with them. */
    header: z.array(z.string().min(1)).min(1).optional(),
    /** As the file calls a column -> as the mapping calls it. */
    columns: z.record(z.string().min(1), z.string().min(1)).default({}),
    /** Column -> what stands between several values in one cell. */
    lists: z.record(z.string().min(1), z.string().min(1).max(4)).default({}),
  })
  .refine((one) => !(one.file && one.folder), { error: 'write file or folder, not both', path: ['folder'] })
  .refine((one) => one.delimiter === 'auto' || !(one.delimiter.includes(one.quote) || /[\r\n]/.test(one.delimiter)), {
    error: 'it cannot hold the quote or a line break',
    path: ['delimiter'],
  })

const distinguishedName = z.string().min(3, 'write a distinguished name, like dc=example,dc=com')

const ldap = z.strictObject({
  url: z.string().regex(/^ldaps?:\/\/[^/?#\s]+$/i, 'write ldaps://host or ldap://host, with :port where it is not the standard one'),
  startTls: z.boolean().default(false),
  /** PEM of the authority that vouches for the server. */
  ca: z
    .string()
    .regex(/-----BEGIN CERTIFICATE-----/, 'write a certificate in PEM')
    .optional(),
  /** Passwords go over the wire in the clear without TLS; only where the wire is this machine’s own. */
  plaintext: z.boolean().default(false),
  bind: z.strictObject({ dn: z.string().min(1), password: secret }).optional(),
  base: distinguishedName,
  filter: z
    .string()
    .regex(/^\(.*\)$/s, 'write a filter in brackets, like (objectClass=person)')
    .default('(objectClass=person)'),
  scope: z.enum(['sub', 'one']).default('sub'),
  vendor: z.enum(['auto', 'active-directory', 'openldap', 'other']).default('auto'),
  attributes: z.array(z.string().min(1)).min(1).optional(),
  pageSize: z.int().min(1).max(10_000).default(500),
  /** Where the groups are that people are members of; their names come as the attribute `groups`. */
  groups: z
    .strictObject({
      base: distinguishedName,
      filter: z
        .string()
        .regex(/^\(.*\)$/s, 'write a filter in brackets')
        .default('(|(objectClass=group)(objectClass=groupOfNames)(objectClass=groupOfUniqueNames)(objectClass=posixGroup))'),
      name: z.string().min(1).default('cn'),
      /** Members of a group within a group are members of both. */
      nested: z.boolean().default(true),
    })
    .optional(),
})

const sql = z.strictObject({
  client: z.enum(['postgres', 'mysql', 'sqlite'], { error: 'write postgres, mysql (MariaDB, too) or sqlite' }),
  /** Holds postgres://user:password@host:port/database, or mysql://…; for SQLite the path of the file. */
  connection: secret,
  query: z.string().min(1).max(20_000),
  /** The column of the query that grows with each change: a time or a number. */
  changedBy: z.string().min(1).optional(),
  /** PEM of the authority that vouches for the server. */
  ca: z
    .string()
    .regex(/-----BEGIN CERTIFICATE-----/, 'write a certificate in PEM')
    .optional(),
})

/** Credentials go nowhere in the clear, but to this machine itself. */
const guardedUrl = httpUrl
  .refine(isTrustworthyFetch, { error: 'write an https address (http only for localhost)' })
  .refine(holdsNoPassword, { error: 'leave user and password out of the address; auth says them, by the name of a secret' })

function holdsNoPassword(value: string): boolean {
  const url = URL.parse(value)
  return !url?.username && !url?.password
}

const auth = z.union(
  [
    z.strictObject({ bearer: secret }),
    z.strictObject({ basic: z.strictObject({ user: z.string().min(1), password: secret }) }),
    z.strictObject({
      header: z.strictObject({ name: z.string().regex(/^[A-Za-z0-9-]+$/, 'use letters, digits and hyphens'), value: secret }),
    }),
    z.strictObject({
      oauth2: z.strictObject({
        tokenUrl: guardedUrl,
        clientId: z.string().min(1),
        clientSecret: secret,
        scope: z.string().min(1).optional(),
      }),
    }),
  ],
  { error: 'write one of { bearer }, { basic }, { header } or { oauth2 }' },
)

const scim = z.strictObject({
  /** Without /Users. */
  url: guardedUrl,
  auth,
  filter: z.string().min(1).max(2_000).optional(),
  pageSize: z.int().min(1).max(1_000).default(100),
  /** Reads /Groups, too; their names come as the attribute `groups`. */
  groups: z.boolean().default(false),
  /** The server can be asked for what changed since a time (meta.lastModified ge …). */
  changes: z.boolean().default(false),
})

const pointer = z
  .string()
  .regex(/^(\/([^/~]|~[01])*)*$/, 'write a JSON pointer, like /items or /result/people; nothing means the whole answer')

const paging = z.discriminatedUnion(
  'style',
  [
    z.strictObject({ style: z.literal('none') }),
    /** Pages counted from `first`. */
    z.strictObject({
      style: z.literal('page'),
      parameter: z.string().min(1).default('page'),
      first: z.int().min(0).default(1),
      sizeParameter: z.string().min(1).optional(),
      size: z.int().min(1).max(10_000).default(100),
    }),
    /** How many rows to pass over. */
    z.strictObject({
      style: z.literal('offset'),
      parameter: z.string().min(1).default('offset'),
      sizeParameter: z.string().min(1).default('limit'),
      size: z.int().min(1).max(10_000).default(100),
    }),
    /** What the answer says at `next` is sent with the next question. */
    z.strictObject({ style: z.literal('cursor'), parameter: z.string().min(1).default('cursor'), next: pointer }),
    /** The address of the next page is in the answer at `next`, or in a Link header (RFC 8288). */
    z.strictObject({ style: z.literal('link'), next: pointer.optional() }),
  ],
  { error: 'write style: none, page, offset, cursor or link' },
)

const rest = z.strictObject({
  url: guardedUrl,
  auth: auth.optional(),
  headers: z.record(z.string().regex(/^[A-Za-z0-9-]+$/), z.string()).default({}),
  /** Where the rows are in the answer. */
  rows: pointer.default(''),
  paging: paging.default({ style: 'none' }),
  /** The name of the query parameter that asks for what changed since a time. */
  changedSince: z.string().min(1).optional(),
})

const class_ = z.enum(['auto', 'ask'], { error: 'write auto or ask' })

const share = z.number().min(0).max(1)
const count = z.int().min(1)
const figure = z.strictObject({ share: share.optional(), count: count.optional() })

const words = z.union([z.string().transform((value) => [value]), z.array(z.string())])

const cron = z
  .string()
  .regex(/^\S+(\s+\S+){4}$|^@(hourly|daily|weekly|monthly)$/, 'write a cron line of five fields, like 0 2 * * *')
  .superRefine((line, context) => {
    try {
      new Cron(line, { paused: true })
    } catch (error) {
      context.addIssue({ code: 'custom', message: `it is no time: ${(error as Error).message}` })
    }
  })

const zone = z.string().refine((name) => IANAZone.isValidZone(name), { error: 'write a time zone, like Europe/Berlin' })

const common = {
  name: sourceName,
  /** The attribute that is the external id. */
  key: z
    .string()
    .regex(
      /^[^\s[\](){}'"=+<>!|,?]+( [^\s[\](){}'"=+<>!|,?]+)*$/,
      'write the name of the attribute; one with brackets, quotes or signs in it has to be renamed first',
    ),
  subjects: z.string().min(1).max(1_000).optional(),
  /** Rows that this is not true of are passed over. */
  only: z.string().min(1).max(2_000).optional(),
  lifecycle: z
    .strictObject({
      /** What somebody is who is seen for the first time. */
      new: z.enum(['active', 'staged']).default('active'),
      leavers: z.enum(['nothing', 'suspend', 'deprovision']).default('nothing'),
      /** Days between somebody’s leaving and what follows from it. */
      grace: z.number().min(0).max(3650).default(0),
      /** What becomes of somebody whose access ended because of this source, and whom it names again. */
      returns: z.enum(['revive', 'ask', 'nothing']).default('ask'),
      /** Days after which somebody whom this source has deprovisioned is erased. */
      erase: z.number().min(1).max(36_500).optional(),
      /** Which of its words say that somebody is in, out for a while, or gone. */
      state: z
        .strictObject({
          from: reading,
          active: words.optional(),
          suspended: words.default([]),
          deprovisioned: words.default([]),
        })
        .optional(),
    })
    .prefault({}),
  approve: z
    .strictObject({
      new: z.enum(['auto', 'ask', 'never']).default('auto'),
      exact: class_.default('auto'),
      update: class_.default('auto'),
      leaver: class_.default('ask'),
    })
    .prefault({}),
  safeguard: z
    .strictObject({
      share: share.default(0.2),
      count: count.default(50),
      /** For one kind of harm, where it differs. */
      leavers: figure.optional(),
      blanked: figure.optional(),
      memberships: figure.optional(),
      moved: figure.optional(),
    })
    .prefault({}),
  /** What a feed has to be like before anything is done about it. */
  feed: z
    .strictObject({
      /** Of the usual number of rows; below it, the run is held. */
      smallest: share.default(0.5),
      rows: z.int().min(1).max(100_000_000).default(5_000_000),
      columns: z.int().min(1).max(10_000).default(500),
      minutes: z.number().positive().max(1_440).default(120),
      /** How long the source may say nothing. */
      patience: z.number().positive().max(3_600).default(60),
    })
    .prefault({}),
  schedule: z.strictObject({ full: cron.optional(), incremental: cron.optional(), zone: zone.default('UTC') }).prefault({}),
  /** What a row that inherits does. */
  when: z.enum(['create', 'always']).default('always'),
  matching,
  linking: linking.prefault({}),
  mapping: z.array(mappingRow),
  groups: groups.optional(),
  redact,
}

export const sourceSpec = z.discriminatedUnion(
  'kind',
  [
    z.strictObject({ ...common, kind: z.literal('csv'), csv: csv.prefault({}) }),
    z.strictObject({ ...common, kind: z.literal('ldap'), ldap }),
    z.strictObject({ ...common, kind: z.literal('sql'), sql }),
    z.strictObject({ ...common, kind: z.literal('scim'), scim }),
    z.strictObject({ ...common, kind: z.literal('rest'), rest }),
  ],
  { error: 'write csv, ldap, sql, scim or rest' },
)

/** What is not a program has no way to ask: people do by hand what is to be done there. */
export const targetSpec = z.discriminatedUnion(
  'kind',
  [
    z.strictObject({
      name,
      kind: z.literal('manual'),
      /** Who has an account there; nothing: everybody. */
      when: reading.optional(),
      /** Who does it, by e-mail. */
      assignee: z.email({ error: 'write an e-mail address' }).optional(),
      /** What to do, for whoever does it. */
      instructions: z.string().max(2_000).optional(),
      /** Days after which an open task is overdue. */
      due: z.number().min(0).max(365).default(7),
    }),
    z.strictObject({ name, kind: z.literal('memory'), when: reading.optional() }),
  ],
  { error: 'write manual or memory' },
)

/** What becomes of people whom no feed stands behind, by days since they last signed in. */
export const coverage = z
  .strictObject({
    warn: z.int().min(1).optional(),
    suspend: z.int().min(1).optional(),
    /** Opens a task to find out whether the person is still there. */
    task: z.int().min(1).optional(),
    assignee: z.email({ error: 'write an e-mail address' }).optional(),
  })
  .superRefine(({ warn, suspend, task }, context) => {
    const no = (path: string, message: string) => context.addIssue({ code: 'custom', path: [path], message })
    if (warn !== undefined && suspend !== undefined && suspend <= warn) no('suspend', 'comes after the warning: write more days than warn')
    if (suspend !== undefined && task !== undefined && task <= suspend)
      no('task', 'comes after the suspension: write more days than suspend')
    if (warn !== undefined && task !== undefined && task <= warn) no('task', 'comes after the warning: write more days than warn')
  })

export type SourceSpec = z.infer<typeof sourceSpec>
export type CsvSettings = z.infer<typeof csv>
export type LdapSettings = z.infer<typeof ldap>
export type SqlSettings = z.infer<typeof sql>
export type ScimSettings = z.infer<typeof scim>
export type RestSettings = z.infer<typeof rest>
export type AuthSettings = z.infer<typeof auth>
export type SecretName = z.infer<typeof secret>
export type TargetSpec = z.infer<typeof targetSpec>
export type CoverageSpec = z.infer<typeof coverage>

/** Whether it can be asked what has changed since the last time. */
export function readsChanges(spec: SourceSpec): boolean {
  if (spec.kind === 'ldap') return true
  if (spec.kind === 'sql') return spec.sql.changedBy !== undefined
  if (spec.kind === 'scim') return spec.scim.changes
  return spec.kind === 'rest' && spec.rest.changedSince !== undefined
}

/** Whether changes show who has left, too. */
export function changesShowLeavers(spec: SourceSpec): boolean {
  return spec.kind === 'ldap' && spec.ldap.vendor === 'active-directory'
}

/** What an earlier release has kept lacks what has been added since. */
export function currentSource(spec: SourceSpec): SourceSpec {
  return sourceSpec.parse(spec)
}
