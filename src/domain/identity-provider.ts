// What a SAML identity provider's metadata tells us about it, in plain values.

/** What a SAML identity provider's metadata tells us (SAML metadata 2.0, section 2.4.3). */
export interface IdentityProvider {
  readonly entityId: string
  readonly singleSignOn: { readonly redirect?: string; readonly post?: string }
  readonly singleLogout?: LogoutEndpoints
  readonly artifactResolution?: readonly { readonly index: number; readonly location: string }[]
  /** Signing certificates, base64 of the DER, without armour. */
  readonly certificates: readonly string[]
  readonly wantsSignedRequests: boolean
  /** Of the metadata itself. */
  readonly validUntil?: string
  readonly cacheSeconds?: number
}

/** Where logout messages go, by binding; answers may have an address of their own. */
export interface LogoutEndpoints {
  readonly redirect?: LogoutEndpoint
  readonly post?: LogoutEndpoint
}

export interface LogoutEndpoint {
  readonly location: string
  readonly responseLocation?: string
}
