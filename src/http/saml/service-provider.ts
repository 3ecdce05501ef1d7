// Our side of SAML at every connection: addresses, metadata, the messages we send, and the only maker of a
// VerifiedAssertion. passport and the SAML strategy are the frame of a sign-in; where the strategy would verify, it hands
// the response to our verifier, which runs in threads (verify-response.ts).

import { AbstractStrategy, type PassportSamlConfig, type Profile, SAML } from '@node-saml/passport-saml'
import passport from 'passport'
import type { VerifiedAssertion } from '../../domain/assertion.ts'
import { bare } from '../../domain/bare.ts'
import type { LogoutEndpoints } from '../../domain/identity-provider.ts'
import type { Connection, DraftConnection, Policy } from '../../domain/policy.ts'
import { isRefusal, type Refusal, refuse } from '../../domain/refusals.ts'
import type { Step } from '../../domain/steps.ts'
import { inSoapEnvelope, resolutionAddress } from './artifact.ts'
import type { Allowances } from './names.ts'
import {
  artifactResolveXml,
  authnRequestXml,
  byPost,
  byRedirect,
  type Dispatch,
  logoutRequestXml,
  logoutResponseXml,
  type Outgoing,
  type SigningKey,
  signMessage,
} from './outgoing.ts'
import { spMetadataXml } from './sp-metadata.ts'
import { type Verifier, VerifierBusy } from './verification-pool.ts'
import type { LogoutDelivery, VerifiedLogout } from './verify-logout.ts'
import type { ResponseExpectations, VerifiedResponse } from './verify-response.ts'

export interface ServiceProviderKeys {
  /** Signs, and opens what is encrypted for it. */
  readonly current: SigningKey
  /** The next one or the one before: in the metadata, and opens what is encrypted for it. Never signs. */
  readonly other?: SigningKey
}

export interface VerifiedSignIn {
  readonly outcome: VerifiedAssertion | Refusal
  readonly steps: readonly Step[]
  /** Of a response without an assertion: the request that it claims to answer. Unverified. */
  readonly claimsRequest?: string
}

export interface LogoutToSend {
  readonly requestId: string
  readonly nameId: NonNullable<VerifiedAssertion['nameId']>
  readonly nameQualifiers?: NonNullable<VerifiedAssertion['nameQualifiers']>
  readonly sessionIndex?: string
}

export interface ServiceProvider {
  /** Our name at this connection, which is also where its metadata is. */
  entityId(connection: string): string
  acs(connection: string): string
  slo(connection: string): string
  /** The AuthnRequest, by the binding that the connection's settings and the identity provider's metadata leave. */
  request(connection: Connection, ask: { requestId: string; passive: boolean; now: Date }): Dispatch | undefined
  logoutRequest(connection: Connection, logout: LogoutToSend, now: Date): Dispatch | undefined
  /** By the binding of the request where the identity provider has it, by the other one otherwise. */
  logoutResponse(connection: Connection, answer: LogoutAnswer): Dispatch | undefined
  /** SAML metadata 2.0 for the identity provider's administrator. */
  metadata(connection: DraftConnection, service: Policy['service'], how: { signed: boolean; now: Date }): string
  /** The only maker of a VerifiedAssertion. @param field the form's SAMLResponse as it came, or the bytes behind an artifact */
  verify(field: string | Uint8Array, connection: Connection, now: Date, before?: readonly Step[]): Promise<VerifiedSignIn>
  verifyLogout(delivery: LogoutDelivery, connection: Connection, now: Date): Promise<VerifiedLogout>
  /** The response behind an artifact, as the identity provider gives it to us over SOAP; unverified still. */
  resolveArtifact(artifact: string, connection: Connection, ask: { id: string; now: Date }): Promise<Uint8Array | Refusal>
}

/** Posts a SOAP message to an address of the identity provider's metadata. Throws with plain words. */
export type PostSoap = (url: string, body: string) => Promise<string>

export interface LogoutAnswer {
  readonly id: string
  readonly inResponseTo: string
  readonly relayState: string | undefined
  readonly binding: 'redirect' | 'post'
  readonly status: readonly [string, string?]
  readonly now: Date
}

export interface ServiceProviderParts {
  readonly baseUrl: string
  readonly keys: ServiceProviderKeys
  readonly skewSeconds: number
  readonly metadataDays: number
  readonly allow: Allowances
  readonly verifier: Verifier
  readonly postSoap: PostSoap
}

export function serviceProvider(parts: ServiceProviderParts): ServiceProvider {
  const { baseUrl, keys, skewSeconds, metadataDays, allow, verifier, postSoap } = parts
  const entityId = (name: string) => `${baseUrl}/saml/${name}/metadata`
  const acs = (name: string) => `${baseUrl}/saml/${name}/acs`
  const slo = (name: string) => `${baseUrl}/saml/${name}/slo`
  const pairs = [keys.current, ...(keys.other ? [keys.other] : [])]
  const decryptionKeys = pairs.map(({ key }) => key)
  const signs = (connection: DraftConnection & { idp?: Connection['idp'] }) =>
    connection.requests.sign === 'always' || (connection.idp?.wantsSignedRequests ?? false)
  let resolving = 0
  const signedMetadata = new Map<string, { readonly plain: string; readonly signed: string }>()
  const common = ({ idp }: Connection, now: Date) => ({
    issuer: idp.entityId,
    certificates: idp.certificates,
    allow,
    decryptionKeys,
    skewSeconds,
    now,
  })

  return {
    entityId,
    acs,
    slo,

    request(connection, { requestId, passive, now }) {
      const { idp, requests: settings, name } = connection
      const { redirect, post } = idp.singleSignOn
      const usePost = settings.binding === 'post' || (settings.binding === 'auto' && !redirect)
      const destination = usePost ? post : redirect
      if (!destination) return undefined
      const xml = authnRequestXml({ id: requestId, now, issuer: entityId(name), destination, acs: acs(name), settings, passive })
      const outgoing: Outgoing = { xml, kind: 'SAMLRequest', relayState: requestId }
      return (usePost ? byPost : byRedirect)(destination, outgoing, signs(connection) ? keys.current : undefined)
    },

    logoutRequest(connection, { requestId, nameId, nameQualifiers, sessionIndex }, now) {
      const to = logoutAddress(connection.idp.singleLogout, 'redirect', 'request')
      if (!to) return undefined
      const { destination, send } = to
      const about = { nameId, ...(nameQualifiers ? { nameQualifiers } : {}), ...(sessionIndex === undefined ? {} : { sessionIndex }) }
      const xml = logoutRequestXml({ id: requestId, now, issuer: entityId(connection.name), destination, ...about })
      return send(destination, { xml, kind: 'SAMLRequest', relayState: requestId }, keys.current)
    },

    logoutResponse(connection, { id, inResponseTo, relayState, binding, status, now }) {
      const to = logoutAddress(connection.idp.singleLogout, binding, 'response')
      if (!to) return undefined
      const { destination, send } = to
      const xml = logoutResponseXml({ id, now, issuer: entityId(connection.name), destination, inResponseTo, status })
      return send(destination, { xml, kind: 'SAMLResponse', relayState }, keys.current)
    },

    metadata(connection, service, { signed, now: asked }) {
      const { name } = connection
      // The same for an hour, so that a signature, which anybody can ask for, is made once.
      const now = new Date(Math.floor(asked.getTime() / 3_600_000) * 3_600_000)
      const about = {
        connection,
        service,
        entityId: entityId(name),
        acs: acs(name),
        slo: slo(name),
        certificates: pairs.map(({ certificate }) => certificate),
        signsRequests: signs(connection),
        validUntil: new Date(now.getTime() + metadataDays * 86_400_000),
      }
      const plain = spMetadataXml(about)
      if (!signed) return plain
      const kept = signedMetadata.get(name)
      if (kept?.plain === plain) return kept.signed
      const made = signMessage(plain, keys.current)
      signedMetadata.set(name, { plain, signed: made })
      return made
    },

    async verify(field, connection, now, before = []) {
      const expected = responseExpectations(connection, now, parts)
      const { outcome, steps, claimsRequest } = await authenticate(verifier, { field, expected, before })
      const claimed = claimsRequest === undefined ? {} : { claimsRequest }
      if (isRefusal(outcome)) return { outcome, steps, ...claimed }
      // What comes from another thread has lost its null prototypes, and names of attributes come from outside.
      const content = { ...outcome, attributes: Object.assign(bare(), outcome.attributes), aliases: Object.assign(bare(), outcome.aliases) }
      return { outcome: content as VerifiedAssertion, steps }
    },

    verifyLogout: (delivery, connection, now) => verifier.logout(delivery, { ...common(connection, now), slo: slo(connection.name) }),

    async resolveArtifact(artifact, connection, { id, now }) {
      const destination = resolutionAddress(artifact, connection.idp)
      if (isRefusal(destination)) return destination
      // Anybody can bring an artifact, and each makes us ask somebody.
      if (resolving >= MOST_RESOLVING) throw new VerifierBusy('too many artifacts are being resolved')
      resolving++
      const resolve = artifactResolveXml({ id, now, issuer: entityId(connection.name), destination, artifact })
      let answer: string
      try {
        answer = await postSoap(destination, inSoapEnvelope(signMessage(resolve, keys.current)))
      } catch (error) {
        return refuse('artifact.unresolved', (error as Error).message)
      } finally {
        resolving--
      }
      return verifier.artifact(answer, { ...common(connection, now), inResponseTo: id })
    },
  }
}

/** What a response to this connection has to be. */
export function responseExpectations(
  { name, idp, signed, requests }: Connection,
  now: Date,
  { baseUrl, keys, skewSeconds, allow }: Pick<ServiceProviderParts, 'baseUrl' | 'keys' | 'skewSeconds' | 'allow'>,
): ResponseExpectations {
  return {
    issuer: idp.entityId,
    certificates: idp.certificates,
    allow,
    decryptionKeys: [keys.current, ...(keys.other ? [keys.other] : [])].map(({ key }) => key),
    skewSeconds,
    now,
    signed,
    audience: `${baseUrl}/saml/${name}/metadata`,
    acs: `${baseUrl}/saml/${name}/acs`,
    authnContexts: requests.authnContext,
    comparison: requests.comparison,
  }
}

/** At once, on this node. */
const MOST_RESOLVING = 16

function logoutAddress(endpoints: LogoutEndpoints | undefined, preferred: 'redirect' | 'post', kind: 'request' | 'response') {
  for (const binding of preferred === 'redirect' ? (['redirect', 'post'] as const) : (['post', 'redirect'] as const)) {
    const endpoint = endpoints?.[binding]
    if (!endpoint) continue
    const destination = kind === 'response' ? (endpoint.responseLocation ?? endpoint.location) : endpoint.location
    return { destination, send: binding === 'redirect' ? byRedirect : byPost }
  }
  return undefined
}

// --- the frame -----------------------------------------------------------------------------------------------------------

/**
 * passport and the strategy stay around the verification, so that a sign-in ends as theirs do, once, in success or in error.
 * All that the strategy gets to see: one response to verify, and nothing that could pass for a logout or a query.
 */
interface StrategyRequest {
  readonly query: Record<string, never>
  readonly body: { readonly SAMLResponse: string }
}

interface ResponseTask {
  readonly field: string | Uint8Array
  readonly expected: ResponseExpectations
  readonly before: readonly Step[]
}

/**
 * The strategy with the verification taken out of its hands. One for each response, because passport hangs its callbacks on
 * the strategy itself; so nothing of one sign-in, nor of one connection, can reach another.
 */
class VerifierStrategy extends AbstractStrategy {
  static override readonly newSamlProviderOnConstruct = false

  constructor(verifier: Verifier, task: ResponseTask) {
    const handOn = (profile: Profile | null, done: (error: Error | null, user?: Record<string, unknown>) => void) =>
      done(null, profile as unknown as Record<string, unknown>)
    super({} as PassportSamlConfig, handOn, (_profile, done) => done(new Error('no logout comes this way')))
    this._saml = new HandingOver(verifier, task)
  }
}

class HandingOver extends SAML {
  private readonly verifier: Verifier
  private readonly task: ResponseTask

  constructor(verifier: Verifier, task: ResponseTask) {
    const { audience: issuer, acs: callbackUrl, certificates } = task.expected
    super({ issuer, callbackUrl, idpCert: [...certificates], cacheProvider: keepsNothing })
    this.verifier = verifier
    this.task = task
  }

  override async validatePostResponseAsync(): Promise<{ profile: Profile; loggedOut: boolean }> {
    const { field, expected, before } = this.task
    const verified = await this.verifier.response(field, expected, before)
    return { profile: verified as unknown as Profile, loggedOut: false }
  }
}

/** The library's own would leave a timer behind for every SAML object, and there is one for every request. */
const keepsNothing = {
  saveAsync: async () => null,
  getAsync: async () => null,
  removeAsync: async () => null,
}

function authenticate(verifier: Verifier, task: ResponseTask): Promise<VerifiedResponse> {
  return new Promise((resolve, reject) => {
    const request: StrategyRequest = { query: {}, body: { SAMLResponse: 'handed over' } }
    const answered = (error: unknown, verified?: VerifiedResponse | false) => {
      if (error || !verified) reject(error ?? new Error('the strategy verified nothing'))
      else resolve(verified)
    }
    const run = passport.authenticate(new VerifierStrategy(verifier, task) as unknown as passport.Strategy, { session: false }, answered)
    run(request, {}, (error: unknown) => reject(error ?? new Error('the strategy passed')))
  })
}
