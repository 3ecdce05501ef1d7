// The corpus of responses in test/fixtures/saml: reads its cases, and says what the verifier is to expect of each.

import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Allowances, NOTHING_INSECURE } from '../../src/http/saml/names.ts'
import type { ResponseExpectations, SignedMinimum } from '../../src/http/saml/verify-response.ts'
import { type Generated, generated } from '../fixtures/saml/generated.ts'

export const CORPUS_NOW = new Date('2026-11-22T12:00:00.000Z')
export const CORPUS_REQUEST = '_request-of-the-fixtures'
export const CORPUS_BASE = 'https://gate.example'

export interface CorpusCase {
  /** `attacks/xsw/1` */
  readonly name: string
  readonly note: string
  readonly from?: string
  readonly connection: { readonly name: string; readonly idp: string; readonly signed: SignedMinimum; readonly idpInitiated: boolean }
  readonly trust: readonly string[]
  readonly allow: Allowances
  readonly expect: Expectation
  readonly otherwise?: Expectation
  /** As the form has it. */
  readonly field: string
}

export type Expectation =
  | {
      readonly accepted: {
        readonly nameId?: { value: string; format: string }
        readonly sessionIndex?: string
        readonly attributes: Readonly<Record<string, readonly string[]>>
      }
    }
  | { readonly refused: string }

const root = fileURLToPath(new URL('../fixtures/saml/', import.meta.url))

export function corpus(folder: 'good' | 'vendors' | 'attacks'): readonly CorpusCase[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('case.json'))
    .sort()
    .map((file) => readCase(dirname(join(root, folder, file))))
}

/** Base64 of the DER, as metadata has it. */
export function corpusCertificate(name: string): string {
  return pem(`${name}.crt`).replace(/-----.*?-----|\s/g, '')
}

export function corpusKey(name: string): { key: string; certificate: string } {
  return { key: pem(`${name}.key`), certificate: pem(`${name}.crt`) }
}

export function expectationsOf(one: CorpusCase, allow = one.allow): ResponseExpectations {
  const { name, idp, signed } = one.connection
  return {
    issuer: idp,
    certificates: one.trust.map(corpusCertificate),
    allow,
    signed,
    audience: `${CORPUS_BASE}/saml/${name}/metadata`,
    acs: `${CORPUS_BASE}/saml/${name}/acs`,
    decryptionKeys: [pem('sp.key')],
    authnContexts: [],
    comparison: 'exact',
    skewSeconds: 60,
    now: CORPUS_NOW,
  }
}

function pem(file: string): string {
  return readFileSync(join(root, 'keys', file), 'utf8')
}

function readCase(folder: string): CorpusCase {
  const { note, from, connection, trust, allow, expect, otherwise, generate } = JSON.parse(readFileSync(join(folder, 'case.json'), 'utf8'))
  return {
    name: relative(root, folder),
    note,
    from,
    connection: { name: 'corp', idp: 'https://idp.example/metadata', signed: 'either', idpInitiated: false, ...connection },
    trust: trust ?? ['idp'],
    allow: { ...NOTHING_INSECURE, ...allow },
    expect,
    otherwise,
    field: readField(folder, generate),
  }
}

function readField(folder: string, generate: Generated | undefined): string {
  if (generate) return Buffer.from(generated(generate)).toString('base64')
  const field = join(folder, 'field.txt')
  if (existsSync(field)) return readFileSync(field, 'utf8')
  const file = ['response.xml', 'response.bin'].map((name) => join(folder, name)).find(existsSync)
  if (!file) throw new Error(`${folder} has no response`)
  return readFileSync(file).toString('base64')
}
