// LemonLDAP::NG (whose SAML is Lasso) as an identity provider on loopback: Debian's package on Starman, a configuration
// and sessions of its own, and its demonstration accounts, so that it needs no directory.

import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { keyPair } from './idp.ts'
import { freePort } from './ports.ts'
import type { Page, Walker } from './walker.ts'

export interface LemonLdap {
  /** The portal. */
  readonly url: string
  readonly entityId: string
  readonly metadataUrl: string
  /**
   * Opened by a browser that signed in, ends its session. The page that comes has an iframe for each service provider,
   * which takes it a LogoutRequest.
   */
  readonly logoutUrl: string
  /**
   * What it logged as errors. To the browser it shows success however the service provider answers a LogoutRequest: that a
   * signature was wrong, or a status not Success, is told here only.
   */
  errors(): readonly string[]
  stop(): Promise<void>
}

/** The password is the name: LemonLDAP's demonstration accounts know no other. */
export interface LemonLdapUser {
  readonly name: string
  readonly attributes: Readonly<Record<string, readonly string[]>>
}

export interface LemonLdapOptions {
  /** The XML. Where answers and logouts go, and which keys hold, is all taken from it. */
  readonly spMetadata: string
  /** Instead of its own: dwho, rtyler and msmith, with uid, cn and mail. */
  readonly users?: readonly LemonLdapUser[]
  /** What to encrypt to the certificate in the service provider's metadata. */
  readonly encrypt?: 'none' | 'nameid' | 'assertion'
}

const demoUsers: readonly LemonLdapUser[] = [
  { name: 'dwho', attributes: { cn: ['Doctor Who'], mail: ['dwho@badwolf.org'] } },
  { name: 'rtyler', attributes: { cn: ['Rose Tyler'], mail: ['rtyler@badwolf.org'] } },
  { name: 'msmith', attributes: { cn: ['Mickey Smith'], mail: ['msmith@badwolf.org'] } },
]

const SHARE = '/usr/share/lemonldap-ng/portal'

export async function startLemonLdap({ spMetadata, users = demoUsers, encrypt = 'none' }: LemonLdapOptions): Promise<LemonLdap> {
  const folder = mkdtempSync(join(tmpdir(), 'gatehouse-llng-'))
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  for (const name of ['conf', 'sessions/lock', 'psessions/lock', 'cache', 'tmp']) mkdirSync(join(folder, name), { recursive: true })
  const write = (name: string, content: string) => {
    writeFileSync(join(folder, name), content)
    return join(folder, name)
  }
  const { key, certificate } = await keyPair('lemonldap')
  const names = [...new Set(['uid', ...users.flatMap((user) => Object.keys(user.attributes))])]
  const accounts = users.map(({ name, attributes }) => [
    name,
    { uid: name, ...Object.fromEntries(Object.entries(attributes).map(([one, values]) => [one, values.join('; ')])) },
  ])
  const files = (name: string) => ({
    Directory: join(folder, name),
    LockDirectory: join(folder, name, 'lock'),
    generateModule: 'Lemonldap::NG::Common::Apache::Session::Generate::SHA256',
  })
  const cache = (namespace: string) => ({ namespace, cache_root: join(folder, 'cache'), cache_depth: 3, default_expires_in: 600 })
  write(
    'conf/lmConf-1.json',
    JSON.stringify({
      cfgNum: 1,
      cfgAuthor: 'Gatehouse tests',
      cfgDate: String(Math.floor(Date.now() / 1000)),
      cfgVersion: '2.16.1',
      key: randomBytes(16).toString('hex'),
      portal: `${url}/`,
      domain: '127.0.0.1',
      cookieName: 'lemonldap',
      securedCookie: 0,
      // Its own choice with SAML would be None, which browsers want to see on https only.
      sameSite: 'Lax',
      authentication: 'Demo',
      userDB: 'Same',
      passwordDB: 'Null',
      demoExportedVars: Object.fromEntries(names.map((name) => [name, name])),
      whatToTrace: '_whatToTrace',
      macros: { _whatToTrace: '$_auth eq "SAML" ? lc($_user."@".$_idpConfKey) : lc($_user)' },
      locationRules: { default: { default: 'accept' } },
      globalStorage: 'Apache::Session::File',
      globalStorageOptions: files('sessions'),
      persistentStorage: 'Apache::Session::File',
      persistentStorageOptions: files('psessions'),
      localSessionStorage: 'Cache::FileCache',
      localSessionStorageOptions: cache('sessions'),
      // It always loads this; the captcha it comes with would need ImageMagick, and the plugins' base class does nothing.
      captcha: '::Main::Plugin',
      notification: 0,
      loginHistoryEnabled: 0,
      issuerDBSAMLActivation: 1,
      samlServicePrivateKeySig: key,
      samlServicePublicKeySig: certificate,
      samlSPMetaDataXML: { sp: { samlSPMetaDataXML: spMetadata } },
      samlSPMetaDataExportedAttributes: {
        sp: Object.fromEntries(names.map((name) => [name, `0;${name};urn:oasis:names:tc:SAML:2.0:attrname-format:basic;${name}`])),
      },
      samlSPMetaDataOptions: {
        sp: {
          samlSPMetaDataOptionsNameIDFormat: 'persistent',
          samlSPMetaDataOptionsSignSSOMessage: 1,
          samlSPMetaDataOptionsSignSLOMessage: 1,
          samlSPMetaDataOptionsCheckSSOMessageSignature: 1,
          samlSPMetaDataOptionsCheckSLOMessageSignature: 1,
          samlSPMetaDataOptionsEncryptionMode: encrypt,
        },
      },
    }),
  )
  const ini = write(
    'lemonldap-ng.ini',
    `[all]
logger = Lemonldap::NG::Common::Logger::Std
logLevel = warn
[configuration]
type = File
dirName = ${folder}/conf
localStorage = Cache::FileCache
localStorageOptions = { 'namespace' => 'config', 'cache_root' => '${folder}/cache', 'cache_depth' => 3, 'default_expires_in' => 600 }
[portal]
staticPrefix = /static
templateDir = ${SHARE}/templates
languages = en
`,
  )
  const app = write(
    'app.psgi',
    `use Lemonldap::NG::Portal::Main;
use Lemonldap::NG::Portal::UserDB::Demo;
use JSON;
use Plack::Builder;
%Lemonldap::NG::Portal::UserDB::Demo::demoAccounts = %{ from_json(<<'EOF') };
${JSON.stringify(Object.fromEntries(accounts))}
EOF
my $portal = Lemonldap::NG::Portal::Main->run({});
builder {
  enable 'Static', path => sub { s{^/+(?=static/)}{/} }, root => '${SHARE}/htdocs';
  enable 'Static', path => qr{^/javascript/}, root => '/usr/share';
  $portal;
};
`,
  )
  const log = join(folder, 'log')
  const toLog = openSync(log, 'a')
  // Several processes, since a browser holds on to connections that it does not use.
  const server = spawn('starman', ['--listen', `127.0.0.1:${port}`, '--workers', '3', '--preload-app', '--env', 'deployment', app], {
    env: { ...process.env, LLNG_DEFAULTCONFFILE: ini, TMPDIR: join(folder, 'tmp') },
    stdio: ['ignore', 'ignore', toLog],
  })
  closeSync(toLog)
  const stop = async () => {
    const ended = new Promise((resolve) => server.once('exit', resolve))
    if (server.exitCode === null && server.signalCode === null && server.kill()) await ended
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
  }
  const metadataUrl = `${url}/saml/metadata`
  if (!(await answers(metadataUrl, server))) {
    const said = readFileSync(log, 'utf8')
    await stop()
    throw new Error(`LemonLDAP::NG did not come up at ${url}: ${said}`)
  }
  return {
    url,
    entityId: metadataUrl,
    metadataUrl,
    logoutUrl: `${url}/?logout=1`,
    errors: () =>
      readFileSync(log, 'utf8')
        .split('\n')
        .filter((line) => line.includes('[error]')),
    stop,
  }
}

/**
 * Logs out at the portal as a browser would: the page has an iframe for each service provider, and a LogoutRequest over
 * HTTP-POST has a form in it, which a script in a file of its own sends. Answers where each iframe ended.
 */
export async function logOutOfLemonLdap(idp: LemonLdap, walker: Walker): Promise<readonly Page[]> {
  const portal = await walker.get(idp.logoutUrl)
  const ends: Page[] = []
  for (const frame of portal.dom.querySelectorAll('iframe')) {
    const inside = await walker.get(new URL(frame.getAttribute('src') ?? '', portal.url))
    ends.push(inside.dom.querySelector('input[name=SAMLRequest]') ? await walker.submit(inside) : inside)
  }
  return ends
}

async function answers(url: string, server: ChildProcess): Promise<boolean> {
  for (let tries = 0; tries < 300 && server.exitCode === null; tries++) {
    const answer = await fetch(url).catch(() => undefined)
    if (answer) return answer.ok
    await pause(100)
  }
  return false
}
