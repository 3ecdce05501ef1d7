// Reads the environment, once. Every fault is reported, all together, each with the variable's name and what to write.
// Secrets may come from a file (`X_FILE` instead of `X`). Switches that endanger begin with INSECURE_.

import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { z } from 'zod'
import type { DatabaseLocation } from '../store/db.ts'

export interface Config {
  readonly production: boolean
  readonly port: number
  readonly listenAddress: string
  readonly baseUrl: URL
  readonly database: DatabaseLocation
  readonly dataDir: string
  /** Where the files are that sources name. */
  readonly importDir: string
  /** Undefined outside production: one is made and kept in the data folder. */
  readonly secretKey: string | undefined
  /** For what is kept of sources' words. Undefined: one follows from the secret key. */
  readonly dataKey: string | undefined
  /** While the data key changes: the one before. */
  readonly otherDataKey: string | undefined
  /** Undefined outside production: a pair is made and kept in certs/. */
  readonly spKeyFiles: KeyFiles | undefined
  /** While our keys roll over: the next pair, or the one before. */
  readonly spOtherKeyFiles: KeyFiles | undefined
  /** How long our metadata says that it holds. */
  readonly metadataDays: number
  /** Hosts at which an identity provider may be although their addresses are internal. */
  readonly internalHosts: readonly string[]
  readonly allow: { readonly sha1: boolean; readonly smallRsa: boolean; readonly cbc: boolean; readonly http: boolean }
  readonly sessionHours: number
  readonly clockSkewSeconds: number
  readonly keepSignInsDays: number
  /** How long the whole response of a sign-in is kept; 0: not at all. */
  readonly keepResponsesDays: number
  /** How long what nobody maps is kept of the last word on a person; 0: as long as the person. */
  readonly keepUnmappedDays: number
  readonly mail: { readonly url: string; readonly from: string } | undefined
  /** Who is told what nobody else is. */
  readonly adminMail: string | undefined
  /** How long the rows of imports are kept, which say what was planned for whom. */
  readonly keepPlansDays: number
  readonly logLevel: string
  /** As it was given: for processes that work is begun in, and for the secrets of sources. */
  readonly environment: Environment
  /** Dangerous switches that are on, for the banner. */
  readonly insecure: readonly string[]
}

export interface KeyFiles {
  readonly key: string
  readonly certificate: string
}

export class ConfigFaults extends Error {
  override readonly name = 'ConfigFaults'
  readonly faults: readonly string[]
  constructor(faults: readonly string[]) {
    super(
      `The configuration has ${faults.length === 1 ? 'a fault' : `${faults.length} faults`}:\n${faults.map((fault) => `  ${fault}`).join('\n')}`,
    )
    this.faults = faults
  }
}

export type Environment = Readonly<Record<string, string | undefined>>

const whole = (least: number, most: number, standard: number) =>
  z
    .string()
    .regex(/^\d+$/, `write a whole number from ${least} to ${most}`)
    .transform(Number)
    .refine((value) => value >= least && value <= most, `write a whole number from ${least} to ${most}`)
    .default(standard)

const onOff = z.enum(['true', 'false'], { error: 'write true or false' }).default('false')

const secret = z.string().min(32, 'write at least 32 characters; «openssl rand -base64 32» makes them')

const shape = z.object({
  NODE_ENV: z.string().optional(),
  PORT: whole(1, 65535, 3000),
  GATEHOUSE_LISTEN_ADDRESS: z.string().default('127.0.0.1'),
  GATEHOUSE_BASE_URL: z.string().optional(),
  GATEHOUSE_DATA_DIR: z.string().min(1).default('data'),
  GATEHOUSE_IMPORT_DIR: z.string().min(1).optional(),
  DATABASE_URL: z
    .string()
    .regex(/^postgres(ql)?:\/\//, 'write postgres://user:password@host:port/database, or leave it out for SQLite')
    .optional(),
  GATEHOUSE_SECRET_KEY: secret.optional(),
  GATEHOUSE_DATA_KEY: secret.optional(),
  GATEHOUSE_DATA_OTHER_KEY: secret.optional(),
  GATEHOUSE_SP_KEY_FILE: z.string().min(1).optional(),
  GATEHOUSE_SP_CERT_FILE: z.string().min(1).optional(),
  GATEHOUSE_SP_OTHER_KEY_FILE: z.string().min(1).optional(),
  GATEHOUSE_SP_OTHER_CERT_FILE: z.string().min(1).optional(),
  GATEHOUSE_METADATA_DAYS: whole(1, 3650, 365),
  GATEHOUSE_INTERNAL_HOSTS: z.string().default(''),
  GATEHOUSE_SESSION_HOURS: whole(1, 720, 8),
  GATEHOUSE_CLOCK_SKEW_SECONDS: whole(0, 300, 60),
  GATEHOUSE_KEEP_SIGN_INS_DAYS: whole(1, 3650, 90),
  GATEHOUSE_KEEP_RESPONSES_DAYS: whole(0, 3650, 7),
  GATEHOUSE_KEEP_UNMAPPED_DAYS: whole(0, 3650, 90),
  GATEHOUSE_SMTP_URL: z
    .string()
    .refine(
      (value) => URL.canParse(value) && /^smtps?:$/.test(new URL(value).protocol),
      'write smtp://user:password@host:port, or smtps://…',
    )
    .optional(),
  GATEHOUSE_MAIL_FROM: z.string().min(3).optional(),
  GATEHOUSE_ADMIN_MAIL: z.email('write an e-mail address').optional(),
  GATEHOUSE_KEEP_PLANS_DAYS: whole(1, 3650, 30),
  GATEHOUSE_LOG_LEVEL: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'silent']).default('info'),
  INSECURE_ALLOW_HTTP: onOff,
  INSECURE_ALLOW_SHA1: onOff,
  INSECURE_ALLOW_SMALL_RSA: onOff,
  INSECURE_ALLOW_AES_CBC: onOff,
})

const SWITCHES = ['INSECURE_ALLOW_HTTP', 'INSECURE_ALLOW_SHA1', 'INSECURE_ALLOW_SMALL_RSA', 'INSECURE_ALLOW_AES_CBC'] as const

/** Variables that may be given as `<name>_FILE` instead. */
const FROM_FILES = ['DATABASE_URL', 'GATEHOUSE_SMTP_URL', 'GATEHOUSE_SECRET_KEY', 'GATEHOUSE_DATA_KEY', 'GATEHOUSE_DATA_OTHER_KEY'] as const

/** @throws ConfigFaults */
export function readConfig(environment: Environment): Config {
  const faults: string[] = []
  const given = withFiles(environment, faults)
  const parsed = shape.safeParse(given)
  if (!parsed.success) {
    faults.push(...parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`))
    throw new ConfigFaults(faults)
  }
  const env = parsed.data
  const production = env.NODE_ENV === 'production'
  const baseUrl = readBaseUrl(env.GATEHOUSE_BASE_URL ?? `http://localhost:${env.PORT}`, faults)

  const insecure = SWITCHES.filter((name) => env[name] === 'true')
  const pair = (key: string | undefined, certificate: string | undefined, names: string): KeyFiles | undefined => {
    if (Boolean(key) !== Boolean(certificate)) faults.push(`${names}: give both or neither`)
    return key && certificate ? { key: resolve(key), certificate: resolve(certificate) } : undefined
  }
  const spKeyFiles = pair(env.GATEHOUSE_SP_KEY_FILE, env.GATEHOUSE_SP_CERT_FILE, 'GATEHOUSE_SP_KEY_FILE, GATEHOUSE_SP_CERT_FILE')
  const spOtherKeyFiles = pair(
    env.GATEHOUSE_SP_OTHER_KEY_FILE,
    env.GATEHOUSE_SP_OTHER_CERT_FILE,
    'GATEHOUSE_SP_OTHER_KEY_FILE, GATEHOUSE_SP_OTHER_CERT_FILE',
  )
  if (Boolean(env.GATEHOUSE_SMTP_URL) !== Boolean(env.GATEHOUSE_MAIL_FROM))
    faults.push('GATEHOUSE_SMTP_URL, GATEHOUSE_MAIL_FROM: give both or neither')
  if (production) {
    if (!env.GATEHOUSE_BASE_URL)
      faults.push('GATEHOUSE_BASE_URL: is needed in production, as people’s browsers reach it: https://gate.example.com')
    if (!env.GATEHOUSE_SECRET_KEY) faults.push('GATEHOUSE_SECRET_KEY: is needed in production; «openssl rand -base64 32» makes one')
    if (!spKeyFiles)
      faults.push('GATEHOUSE_SP_KEY_FILE, GATEHOUSE_SP_CERT_FILE: are needed in production (certs/README.md tells how to make them)')
    if (baseUrl && baseUrl.protocol !== 'https:' && env.INSECURE_ALLOW_HTTP !== 'true')
      faults.push('GATEHOUSE_BASE_URL: must be https in production (INSECURE_ALLOW_HTTP=true lets it pass)')
  }
  if (faults.length || !baseUrl) throw new ConfigFaults(faults)

  const dataDir = resolve(env.GATEHOUSE_DATA_DIR)
  return {
    production,
    port: env.PORT,
    listenAddress: env.GATEHOUSE_LISTEN_ADDRESS,
    baseUrl,
    database: env.DATABASE_URL ? { postgres: env.DATABASE_URL } : { sqlite: resolve(dataDir, 'gatehouse.db') },
    dataDir,
    importDir: resolve(env.GATEHOUSE_IMPORT_DIR ?? resolve(dataDir, 'import')),
    secretKey: env.GATEHOUSE_SECRET_KEY,
    dataKey: env.GATEHOUSE_DATA_KEY,
    otherDataKey: env.GATEHOUSE_DATA_OTHER_KEY,
    spKeyFiles,
    spOtherKeyFiles,
    metadataDays: env.GATEHOUSE_METADATA_DAYS,
    // In development an identity provider runs beside us.
    internalHosts: [
      ...env.GATEHOUSE_INTERNAL_HOSTS.toLowerCase()
        .split(/[\s,]+/)
        .filter(Boolean),
      ...(production ? [] : ['localhost', '127.0.0.1', '::1']),
    ],
    allow: {
      sha1: env.INSECURE_ALLOW_SHA1 === 'true',
      smallRsa: env.INSECURE_ALLOW_SMALL_RSA === 'true',
      cbc: env.INSECURE_ALLOW_AES_CBC === 'true',
      http: env.INSECURE_ALLOW_HTTP === 'true',
    },
    sessionHours: env.GATEHOUSE_SESSION_HOURS,
    clockSkewSeconds: env.GATEHOUSE_CLOCK_SKEW_SECONDS,
    keepSignInsDays: env.GATEHOUSE_KEEP_SIGN_INS_DAYS,
    keepResponsesDays: env.GATEHOUSE_KEEP_RESPONSES_DAYS,
    keepUnmappedDays: env.GATEHOUSE_KEEP_UNMAPPED_DAYS,
    mail: env.GATEHOUSE_SMTP_URL && env.GATEHOUSE_MAIL_FROM ? { url: env.GATEHOUSE_SMTP_URL, from: env.GATEHOUSE_MAIL_FROM } : undefined,
    adminMail: env.GATEHOUSE_ADMIN_MAIL,
    keepPlansDays: env.GATEHOUSE_KEEP_PLANS_DAYS,
    logLevel: env.GATEHOUSE_LOG_LEVEL,
    environment,
    insecure,
  }
}

/** An empty variable counts as one that is not there, as compose files and CI systems write it. */
function withFiles(environment: Environment, faults: string[]): Record<string, string> {
  const given: Record<string, string> = {}
  for (const [name, value] of Object.entries(environment)) if (value !== undefined && value !== '') given[name] = value
  for (const name of FROM_FILES) {
    const file = given[`${name}_FILE`]
    if (file === undefined) continue
    if (given[name] !== undefined) faults.push(`${name}, ${name}_FILE: give one of them, not both`)
    try {
      given[name] = readFileSync(file, 'utf8').trim()
    } catch (error) {
      faults.push(`${name}_FILE: ${(error as Error).message}`)
    }
  }
  return given
}

function readBaseUrl(text: string, faults: string[]): URL | undefined {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (!url || !/^https?:$/.test(url.protocol) || url.pathname !== '/' || url.search || url.hash || url.username) {
    faults.push(`GATEHOUSE_BASE_URL: «${text}» is not scheme, host and port alone, like https://gate.example.com`)
    return undefined
  }
  return url
}
