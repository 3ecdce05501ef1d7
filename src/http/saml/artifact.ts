// HTTP-Artifact: the browser brings a reference, and we fetch the response behind it from the identity provider ourselves,
// over SOAP (SAML bindings 2.0, sections 3.2 and 3.6; SAML core 2.0, section 3.5). What comes is a response like any other:
// its own signature or its assertion's decides, not the way it came.

import { createHash } from 'node:crypto'
import type { IdentityProvider } from '../../domain/identity-provider.ts'
import { isRefusal, type Refusal, refuse } from '../../domain/refusals.ts'
import { issuerFault, readId, readStatus, readText } from './message.ts'
import { PROTOCOL, SOAP, STATUS } from './names.ts'
import { signatureFault, signatureOf, type Trust, verifySignature } from './signature.ts'
import { attributeOf, childrenNamed, elementsOf, isNamed, quote } from './xml.ts'
import { standalone } from './xml-writing.ts'

const ARTIFACT_BYTES = 44
const TYPE_CODE = 4

/** Where the artifact is to be resolved: at an address of the identity provider's metadata, or nowhere. */
export function resolutionAddress(artifact: string, idp: IdentityProvider): string | Refusal {
  const bytes = Buffer.from(artifact, 'base64')
  if (bytes.length !== ARTIFACT_BYTES || bytes.toString('base64') !== artifact || bytes.readUInt16BE(0) !== TYPE_CODE) {
    return refuse('artifact.unresolved', 'SAMLart is not an artifact of type 0x0004')
  }
  const source = createHash('sha1').update(idp.entityId).digest()
  if (!bytes.subarray(4, 24).equals(source)) return refuse('artifact.unresolved', 'the artifact is from another identity provider')
  const index = bytes.readUInt16BE(2)
  const service = idp.artifactResolution?.find((one) => one.index === index)
  return service?.location ?? refuse('artifact.unresolved', `the metadata has no ArtifactResolutionService with index ${index} over SOAP`)
}

export function inSoapEnvelope(xml: string): string {
  return `<soap:Envelope xmlns:soap="${SOAP}"><soap:Body>${xml}</soap:Body></soap:Envelope>`
}

export interface ArtifactExpectations extends Trust {
  readonly issuer: string
  /** The ArtifactResolve's ID. */
  readonly inResponseTo: string
}

/** @returns the response's own bytes, able to stand alone */
export function openArtifactResponse(soap: string, expected: ArtifactExpectations): Uint8Array | Refusal {
  const no = (detail: string) => refuse('artifact.unresolved', detail)
  const message = readText(soap)
  if (isRefusal(message)) return no(`the answer over SOAP: ${message.detail}`)
  const [body] = isNamed(message.root, SOAP, 'Envelope') ? childrenNamed(message.root, SOAP, 'Body') : []
  const [answer, another] = body ? elementsOf(body) : []
  if (!answer || another || !isNamed(answer, PROTOCOL, 'ArtifactResponse')) return no('the answer over SOAP holds no ArtifactResponse')
  const inResponseTo = attributeOf(answer, 'InResponseTo')
  if (inResponseTo !== expected.inResponseTo) {
    return refuse('artifact.unresolved', 'the ArtifactResponse answers another question', {
      expected: expected.inResponseTo,
      came: quote(inResponseTo),
    })
  }
  const issuer = issuerFault(answer, expected.issuer, 'assertion.issuer', 'the ArtifactResponse’s')
  if (issuer) return issuer
  const status = readStatus(answer)
  if (status?.code !== `${STATUS}Success`) return no(`the identity provider answers ${quote(status?.code)} ${status?.said ?? ''}`)
  const signature = signatureOf(answer)
  if (signature) {
    const fault = readId(answer) ? signatureFault(signature, answer, expected.allow) : no('an ArtifactResponse without an ID')
    const verified = fault ?? verifySignature(message.text, answer, expected)
    if (isRefusal(verified)) return verified
  }
  const responses = childrenNamed(answer, PROTOCOL, 'Response')
  const [response] = responses
  if (!response || responses.length > 1) return no('the artifact is used already, has run out, or was never made: there is no response')
  return Buffer.from(standalone(message.text, response))
}
