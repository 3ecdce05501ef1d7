// Our side of SAML, and the only home of the SAML library. Makes requests and our metadata; turns a posted response into
// a VerifiedAssertion, which nothing else can make. The library verifies the signature and hands over the bytes that it
// covered; whatever is around the signature is checked by the two readers beside this file, before and after.

import {
  type CacheProvider,
  MultiSamlStrategy,
  type PassportSamlConfig,
  type Profile,
  SAML,
  ValidateInResponseTo,
} from '@node-saml/passport-saml'
import passport from 'passport'
import type { VerifiedAssertion } from '../../domain/assertion.ts'
import type { Connection } from '../../domain/policy.ts'
import { isRefusal, type Refusal, refuse } from '../../domain/refusals.ts'
import { readSignedAssertion } from './signed-assertion.ts'
import { openResponse, quote, type UnverifiedResponse } from './unverified-response.ts'

export interface ServiceProviderKeys {
  /** PEM. */
  readonly key: string
  readonly certificate: string
}

export interface ServiceProvider {
  /** Our name at this connection, which is also where its metadata is. */
  entityId(connection: string): string
  acs(connection: string): string
  /** Where to send the browser: the AuthnRequest over HTTP-Redirect (SAML bindings 2.0, section 3.4). */
  requestUrl(connection: Connection, requestId: string): Promise<string>
  /** SAML metadata 2.0 for the identity provider's administrator. */
  metadata(connection: string): string
  /** The only maker of a VerifiedAssertion. `field` is the form's SAMLResponse as it came. */
  verify(field: unknown, connection: Connection, now: Date): Promise<VerifiedAssertion | Refusal>
}

export function serviceProvider({
  baseUrl,
  keys,
  skewSeconds,
}: {
  baseUrl: string
  keys: ServiceProviderKeys
  skewSeconds: number
}): ServiceProvider {
  const entityId = (name: string) => `${baseUrl}/saml/${name}/metadata`
  const acs = (name: string) => `${baseUrl}/saml/${name}/acs`

  /** Complete for each use, so that nothing is inherited from one connection by another or left to a default. */
  const options = (name: string, idp: Connection['idp'] | undefined, signed?: UnverifiedResponse['signed']): PassportSamlConfig => ({
    issuer: entityId(name),
    callbackUrl: acs(name),
    entryPoint: idp?.singleSignOn.redirect ?? '',
    idpIssuer: idp?.entityId ?? '',
    idpCert: idp ? [...idp.certificates] : ['unused'],
    wantAuthnResponseSigned: signed?.response ?? true,
    wantAssertionsSigned: signed?.assertion ?? true,
    signatureAlgorithm: 'sha256',
    digestAlgorithm: 'sha256',
    // Every request is signed, as our metadata says; an identity provider that does not care does not look.
    privateKey: keys.key,
    publicCert: keys.certificate,
    identifierFormat: null,
    disableRequestedAuthnContext: true,
    // Ours, in the database and on the signed bytes: see flows/accept-assertion and signed-assertion.
    validateInResponseTo: ValidateInResponseTo.never,
    cacheProvider: keepsNothing,
    audience: false,
    acceptedClockSkewMs: -1,
  })

  const strategy = new MultiSamlStrategy(
    { passReqToCallback: true, getSamlOptions: (request, done) => done(null, (request as unknown as StrategyRequest).samlOptions) },
    (_request, profile, done) => done(null, profile as unknown as Record<string, unknown>),
    (_request, _profile, done) => done(new Error('no logout comes this way')),
  )

  return {
    entityId,
    acs,
    requestUrl(connection, requestId) {
      const saml = new SAML({ ...options(connection.name, connection.idp), generateUniqueId: () => requestId })
      return saml.getAuthorizeUrlAsync(requestId, undefined, {})
    },
    metadata: (name) => new SAML(options(name, undefined)).generateServiceProviderMetadata(null, keys.certificate),

    async verify(field, connection, now) {
      const response = openResponse(field, { acs: acs(connection.name), issuer: connection.idp.entityId })
      if (isRefusal(response)) return response
      const signedXml = await signedBytes(strategy, response, options(connection.name, connection.idp, response.signed))
      if (isRefusal(signedXml)) return signedXml
      const content = readSignedAssertion(signedXml, {
        issuer: connection.idp.entityId,
        audience: entityId(connection.name),
        recipient: acs(connection.name),
        skewSeconds,
        now,
      })
      if (isRefusal(content)) return content
      // The response repeats it, often unsigned; two different answers are no answer.
      if (response.inResponseTo !== undefined && response.inResponseTo !== content.inResponseTo) {
        return refuse(
          'assertion.malformed',
          `InResponseTo is ${quote(response.inResponseTo)} on the response, ${quote(content.inResponseTo)} in the signed assertion`,
        )
      }
      return content as VerifiedAssertion
    },
  }
}

/** The library's own would leave a timer behind for every SAML object, and there is one for every request. */
const keepsNothing: CacheProvider = {
  saveAsync: async () => null,
  getAsync: async () => null,
  removeAsync: async () => null,
}

/** All that the strategy gets to see: one response to verify, and nothing that could pass for a logout or a query. */
interface StrategyRequest {
  readonly query: Record<string, never>
  readonly body: { readonly SAMLResponse: string }
  readonly samlOptions: PassportSamlConfig
}

/** The assertion's XML out of the canonical bytes that a key of the connection has signed. */
function signedBytes(
  strategy: MultiSamlStrategy,
  { base64 }: UnverifiedResponse,
  samlOptions: PassportSamlConfig,
): Promise<string | Refusal> {
  return new Promise((resolve, reject) => {
    const request: StrategyRequest = { query: {}, body: { SAMLResponse: base64 }, samlOptions }
    const answered = (error: unknown, profile?: Profile | false) => {
      if (error) return resolve(refuse('signature.invalid', `the library says: ${quote(String((error as Error).message))}`))
      const xml = profile ? profile.getAssertionXml?.() : undefined
      resolve(xml ? xml : refuse('signature.invalid', 'the library found no signed assertion'))
    }
    const authenticate = passport.authenticate(strategy as unknown as passport.Strategy, { session: false }, answered)
    authenticate(request, {}, (error: unknown) => reject(error ?? new Error('the strategy passed')))
  })
}
