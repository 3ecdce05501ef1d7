// Keeps the arrows of src/README.md, by reading the imports of every source file.

import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'

const src = fileURLToPath(new URL('../src/', import.meta.url))

interface Source {
  readonly file: string
  readonly room: string
  readonly text: string
  /** Files of ours, relative to src/. */
  readonly ours: readonly string[]
  /** Packages, and `node:` modules. */
  readonly packages: readonly string[]
}

const sources: readonly Source[] = readdirSync(src, { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts') && !file.endsWith('.d.ts'))
  .map((file) => {
    const text = readFileSync(join(src, file), 'utf8')
    const specifiers = [...text.matchAll(/^(?:import|export)\s[^'"]*?from\s+'([^']+)'|\bimport\(\s*'([^']+)'\)/gm)].map(
      (found) => (found[1] ?? found[2]) as string,
    )
    return {
      file,
      room: file.split('/')[0] as string,
      text,
      ours: specifiers.filter((one) => one.startsWith('.')).map((one) => relative(src, resolve(src, dirname(file), one))),
      packages: specifiers.filter((one) => !one.startsWith('.')),
    }
  })

const inRoom = (room: string) => sources.filter((source) => source.room === room)
const roomOf = (file: string) => file.split('/')[0] as string

/** What the flows ask of the world. */
const isPort = (file: string) => /^flows\/([a-z]+-)?ports\.ts$/.test(file)

/** Who may import whom. `main.ts` stands at the door. */
const ARROWS: Readonly<Record<string, (target: string, from: string) => boolean>> = {
  domain: (target) => roomOf(target) === 'domain',
  flows: (target) => ['domain', 'flows'].includes(roomOf(target)),
  http: (target) => ['domain', 'flows', 'http'].includes(roomOf(target)),
  store: (target) => ['domain', 'store'].includes(roomOf(target)) || isPort(target),
  // Each knows what it satisfies and what all of them share, never another one.
  connectors: (target, from) =>
    roomOf(target) === 'domain' ||
    isPort(target) ||
    (roomOf(target) === 'connectors' && [dirname(from), 'connectors'].includes(dirname(target))),
  app: () => true,
  'main.ts': (target) => roomOf(target) === 'app',
}

/** A third-party library has one home. */
const HOMES: Readonly<Record<string, (file: string) => boolean>> = {
  '@node-saml/passport-saml': (file) => file === 'http/saml/service-provider.ts',
  piscina: (file) => file === 'http/saml/verification-pool.ts',
  'xml-crypto': (file) => file === 'http/saml/signature.ts' || file === 'http/saml/outgoing.ts',
  passport: (file) => file === 'http/saml/service-provider.ts',
  knex: (file) => file.startsWith('store/') || file.startsWith('connectors/sql/'),
  ldapts: (file) => file.startsWith('connectors/ldap/'),
  '@fastify/busboy': (file) => file === 'http/console/upload.ts',
  oauth4webapi: (file) => file === 'connectors/http-client.ts',
  croner: (file) => file === 'app/schedule.ts' || file === 'domain/documents/source.ts',
  nodemailer: (file) => file === 'app/mail.ts',
  'pg-copy-streams': (file) => file === 'store/transactions.ts',
  sqlite3: (file) => file === 'store/sqlite-client.ts' || file === 'store/db.ts',
  httpxy: (file) => file === 'http/gate/gate.ts',
  cookie: (file) => file === 'http/cookies.ts',
  commander: (file) => file.startsWith('app/cli/'),
  yaml: (file) => file === 'app/policy-file.ts',
  samlp: (file) => file === 'app/demo/identity-provider.ts',
  selfsigned: (file) => file === 'app/keys.ts',
  express: (file) => file.startsWith('http/') || file.startsWith('app/'),
  '@marcbachmann/cel-js': (file) => /^domain\/expression(s|-shape)\.ts$/.test(file),
  re2js: (file) => /^domain\/expression(s|-shape)\.ts$/.test(file),
  luxon: (file) => file === 'domain/expressions.ts' || file === 'domain/documents/source.ts',
  zod: (file) => file === 'domain/documents.ts' || file.startsWith('domain/documents/') || file === 'app/config.ts',
  ejs: (file) => file === 'http/pages.ts' || file === 'app/demo/legacy-app.ts',
  pino: (file) => file.startsWith('http/') || file.startsWith('app/'),
}

/** Libraries that compute and do nothing else. */
const PURE = ['zod', 'croner', '@marcbachmann/cel-js', 're2js', 'luxon']

describe('the architecture', () => {
  it('has only rooms that the map knows', () => {
    assert.deepEqual([...new Set(sources.map((source) => source.room))].sort(), Object.keys(ARROWS).sort())
  })

  for (const [room, allows] of Object.entries(ARROWS)) {
    it(`lets ${room} import only what it may`, () => {
      const broken = inRoom(room).flatMap((source) =>
        source.ours.filter((target) => !allows(target, source.file)).map((target) => `${source.file} -> ${target}`),
      )
      assert.deepEqual(broken, [])
    })
  }

  it('keeps the domain pure: no input or output, no promises, no clock, no chance', () => {
    for (const { file, text, packages } of inRoom('domain')) {
      assert.deepEqual(
        packages.filter((one) => !PURE.includes(one)),
        [],
        file,
      )
      const code = text.replace(/\/\*[\s\S]*?\*\/|\/\/.*/g, '')
      assert.doesNotMatch(code, /\basync\b|\bawait\b|\bPromise\b|Date\.now|new Date\(\)|Math\.random|\bprocess\./, file)
    }
  })

  it('keeps protocols and databases out of the flows', () => {
    for (const { file, packages } of inRoom('flows'))
      assert.deepEqual(
        packages.filter((one) => !one.startsWith('node:')),
        [],
        file,
      )
  })

  it('gives every third-party library one home', () => {
    const strays = sources.flatMap(({ file, packages }) =>
      packages
        .filter((one) => !one.startsWith('node:'))
        .map((one) =>
          one
            .split('/')
            .slice(0, one.startsWith('@') ? 2 : 1)
            .join('/'),
        )
        .filter((one) => !(HOMES[one]?.(file) ?? false))
        .map((one) => `${file}: ${one}`),
    )
    assert.deepEqual(strays, [])
  })

  it('lets only the verifier make a VerifiedAssertion', () => {
    const makers = sources.filter(({ text }) => /as (unknown as )?VerifiedAssertion/.test(text)).map(({ file }) => file)
    assert.deepEqual(makers, ['http/saml/service-provider.ts'])
  })

  it('opens every file with what it decides', () => {
    assert.deepEqual(
      sources.filter(({ text }) => !text.startsWith('// ')).map(({ file }) => file),
      [],
    )
  })
})
