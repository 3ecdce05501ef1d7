// Finds our keys, or makes them for development: the SAML key pair in certs/, the secret key in the data folder. In
// production nothing is made; the configuration has already insisted on files.

import { createPrivateKey, randomBytes, X509Certificate } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { generate } from 'selfsigned'
import type { SigningKey } from '../http/saml/outgoing.ts'
import type { ServiceProviderKeys } from '../http/saml/service-provider.ts'
import type { DataKeys } from '../store/sealing.ts'
import { type Config, ConfigFaults, type KeyFiles } from './config.ts'

const certs = fileURLToPath(new URL('../../certs/', import.meta.url))

/** @throws ConfigFaults */
export async function serviceProviderKeys(config: Config): Promise<ServiceProviderKeys> {
  const current = config.spKeyFiles
    ? readPair(config.spKeyFiles, 'GATEHOUSE_SP_KEY_FILE, GATEHOUSE_SP_CERT_FILE')
    : await developmentPair('gatehouse-dev', 'Gatehouse development service provider')
  const { spOtherKeyFiles: other } = config
  if (!other) return { current }
  return { current, other: readPair(other, 'GATEHOUSE_SP_OTHER_KEY_FILE, GATEHOUSE_SP_OTHER_CERT_FILE') }
}

/** A self-signed pair under certs/, made once. Ignored by git. */
export async function developmentPair(name: string, commonName: string): Promise<SigningKey> {
  const files = { key: join(certs, `${name}.key`), certificate: join(certs, `${name}.crt`) }
  if (!existsSync(files.key) || !existsSync(files.certificate)) {
    const notAfterDate = new Date(Date.now() + 3 * 365 * 86_400_000)
    const pair = await generate([{ name: 'commonName', value: commonName }], { keySize: 2048, algorithm: 'sha256', notAfterDate })
    mkdirSync(certs, { recursive: true })
    writeFileSync(files.key, pair.private, { mode: 0o600 })
    writeFileSync(files.certificate, pair.cert)
  }
  return readPair(files, files.key)
}

export function secretKey(config: Config): string {
  if (config.secretKey) return config.secretKey
  const file = secretKeyFile(config)
  if (!existsSync(file)) {
    mkdirSync(config.dataDir, { recursive: true, mode: 0o700 })
    writeFileSync(file, randomBytes(32).toString('base64'), { mode: 0o600 })
  }
  return readFileSync(file, 'utf8')
}

/** For what is kept of sources' words: one of its own, or one that follows from the secret key. */
export function dataKeys(config: Config): DataKeys {
  if (!config.dataKey) return { current: secretKey(config), other: config.otherDataKey }
  // Before it had one of its own, it followed from the secret key.
  const before = config.secretKey ?? (existsSync(secretKeyFile(config)) ? secretKey(config) : undefined)
  return { current: config.dataKey, other: config.otherDataKey ?? before }
}

function secretKeyFile({ dataDir }: Config): string {
  return join(dataDir, 'secret.key')
}

function readPair(files: KeyFiles, names: string): SigningKey {
  try {
    const pair = { key: readFileSync(files.key, 'utf8'), certificate: readFileSync(files.certificate, 'utf8') }
    const belongs = new X509Certificate(pair.certificate).checkPrivateKey(createPrivateKey(pair.key))
    if (!belongs) throw new Error('the certificate does not belong to the key')
    return pair
  } catch (error) {
    throw new ConfigFaults([`${names}: ${(error as Error).message}`])
  }
}
