// The specification's own names: namespaces, status codes, algorithm identifiers, and which algorithms are accepted.

export const PROTOCOL = 'urn:oasis:names:tc:SAML:2.0:protocol'
export const ASSERTION = 'urn:oasis:names:tc:SAML:2.0:assertion'
export const METADATA = 'urn:oasis:names:tc:SAML:2.0:metadata'
export const DSIG = 'http://www.w3.org/2000/09/xmldsig#'
export const XENC = 'http://www.w3.org/2001/04/xmlenc#'
export const XENC11 = 'http://www.w3.org/2009/xmlenc11#'
export const SOAP = 'http://schemas.xmlsoap.org/soap/envelope/'

export const STATUS = 'urn:oasis:names:tc:SAML:2.0:status:'
export const BEARER = 'urn:oasis:names:tc:SAML:2.0:cm:bearer'
export const ENTITY_FORMAT = 'urn:oasis:names:tc:SAML:2.0:nameid-format:entity'
export const HTTP_REDIRECT = 'urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect'
export const HTTP_POST = 'urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST'
export const HTTP_ARTIFACT = 'urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Artifact'
export const SOAP_BINDING = 'urn:oasis:names:tc:SAML:2.0:bindings:SOAP'

export const ENVELOPED = 'http://www.w3.org/2000/09/xmldsig#enveloped-signature'
export const EXCLUSIVE_C14N = 'http://www.w3.org/2001/10/xml-exc-c14n#'

/** Identifier -> the name that Node's crypto knows the hash by (RFC 9231; XML Encryption 1.1). DSA and HMAC have no place here. */
export type Algorithms = Readonly<Record<string, string>>

const SIGNATURES: Algorithms = {
  'http://www.w3.org/2001/04/xmldsig-more#rsa-sha256': 'sha256',
  'http://www.w3.org/2001/04/xmldsig-more#rsa-sha384': 'sha384',
  'http://www.w3.org/2001/04/xmldsig-more#rsa-sha512': 'sha512',
}
const DIGESTS: Algorithms = {
  'http://www.w3.org/2001/04/xmlenc#sha256': 'sha256',
  'http://www.w3.org/2001/04/xmldsig-more#sha384': 'sha384',
  'http://www.w3.org/2001/04/xmlenc#sha512': 'sha512',
}
const RSA_SHA1 = 'http://www.w3.org/2000/09/xmldsig#rsa-sha1'
export const SHA1 = 'http://www.w3.org/2000/09/xmldsig#sha1'

/** What an operator has let in with INSECURE_ switches, for identity providers that cannot do better. */
export interface Allowances {
  readonly sha1: boolean
  /** RSA keys from 1024 bits on. */
  readonly smallRsa: boolean
  /** AES-CBC, and then only within a response whose signature has been verified. */
  readonly cbc: boolean
  /** Addresses of identity providers over http, elsewhere than on this machine. */
  readonly http: boolean
}

export const NOTHING_INSECURE: Allowances = { sha1: false, smallRsa: false, cbc: false, http: false }

export function signatureMethods({ sha1 }: Allowances): Algorithms {
  return sha1 ? { ...SIGNATURES, [RSA_SHA1]: 'sha1' } : SIGNATURES
}

export function digestMethods({ sha1 }: Allowances): Algorithms {
  return sha1 ? { ...DIGESTS, [SHA1]: 'sha1' } : DIGESTS
}

export function smallestRsaBits({ smallRsa }: Allowances): number {
  return smallRsa ? 1024 : 2048
}

export function algorithm(table: Algorithms, identifier: string | undefined): string | undefined {
  return identifier !== undefined && Object.hasOwn(table, identifier) ? table[identifier] : undefined
}
