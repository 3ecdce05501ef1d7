// Reads a metadata file of any size in one pass, keeping one entity at a time: the identity provider itself, or the one
// that is to be picked from a federation of thousands. Where a certificate is pinned, the file's own signature is verified
// over all of it, while it passes. SAML metadata 2.0, sections 2.3 and 3.

import { createHash, createPublicKey, type Hash, verify as verifyBytes } from 'node:crypto'
import type { IdentityProvider } from '../../domain/identity-provider.ts'
import { CanonicalWriter, canonical } from './canonical.ts'
import { type MetadataLimits, readIdpMetadata } from './idp-metadata.ts'
import { type Allowances, algorithm, DSIG, digestMethods, METADATA, signatureMethods } from './names.ts'
import { keyFault, partsOf, signatureFault } from './signature.ts'
import {
  attributeOf,
  childrenNamed,
  METADATA_LIMITS,
  type XmlElement,
  XmlFault,
  type XmlHandler,
  XmlScanner,
  type XmlTag,
  XmlTreeBuilder,
} from './xml.ts'
import { writeXml } from './xml-writing.ts'

export interface MetadataDemands {
  /** Whom to pick; needed where a file holds several identity providers. */
  readonly entityId?: string | undefined
  /** PEM; the file must be signed by this certificate's key. */
  readonly signedBy?: string | undefined
  readonly allow: Allowances
  readonly now: Date
}

export interface ReadMetadata {
  readonly idp: IdentityProvider
  /** The entity alone, for keeping. */
  readonly xml: string
  /** How many the file holds. */
  readonly entities: number
}

const FEDERATION_LIMITS = { ...METADATA_LIMITS, elements: Number.POSITIVE_INFINITY, uniqueIds: false }

/** @returns the string says in plain words why it cannot be used */
export async function readMetadataFile(
  pieces: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  demands: MetadataDemands,
): Promise<ReadMetadata | string> {
  const picker = new Picker(demands)
  const scanner = new XmlScanner(FEDERATION_LIMITS, picker)
  try {
    const decoder = new TextDecoder('utf-8', { fatal: true })
    for await (const piece of pieces) scanner.push(decoder.decode(piece, { stream: true }))
    scanner.push(decoder.decode())
    scanner.end()
  } catch (error) {
    if (error instanceof XmlFault) return `the metadata is not XML that can be read: ${error.message}`
    if ((error as { code?: string }).code === 'ERR_ENCODING_INVALID_ENCODED_DATA') return 'the metadata is not UTF-8'
    throw error
  }
  return picker.result()
}

/** Names of other identity providers that are told when none was picked. */
const MOST_NAMES = 5

class Picker implements XmlHandler {
  private readonly demands: MetadataDemands
  private readonly signature: StreamedSignature | undefined
  private depth = 0
  private rootFault: string | undefined
  /** Of the groups around what is being read, the outermost first. */
  private groups: (MetadataLimits & { readonly depth: number })[] = []
  private builder: { tree: XmlTreeBuilder; depth: number; elements: number } | undefined
  private entities = 0
  private providers = 0
  private names: string[] = []
  private picked: { readonly entity: XmlElement; readonly groups: readonly MetadataLimits[] } | undefined

  constructor(demands: MetadataDemands) {
    this.demands = demands
    this.signature = demands.signedBy === undefined ? undefined : new StreamedSignature(demands.signedBy, demands.allow)
  }

  open(tag: XmlTag): void {
    this.signature?.open(tag)
    this.depth++
    if (this.builder) {
      if (++this.builder.elements > METADATA_LIMITS.elements)
        throw new XmlFault(`an entity of more than ${METADATA_LIMITS.elements} elements`)
      this.builder.tree.open(tag)
      return
    }
    const named = (local: string) => tag.namespace === METADATA && tag.local === local
    if (named('EntityDescriptor')) {
      this.entities++
      this.builder = { tree: new XmlTreeBuilder(), depth: this.depth, elements: 1 }
      this.builder.tree.open(tag)
    } else if (named('EntitiesDescriptor')) {
      const said = (name: string) => tag.attributes.find((one) => one.namespace === '' && one.local === name)?.value
      this.groups.push({ depth: this.depth, validUntil: said('validUntil'), cacheDuration: said('cacheDuration') })
    } else if (this.depth === 1) {
      this.rootFault = `the root element is ${tag.local}, not an EntityDescriptor or EntitiesDescriptor`
    }
  }

  text(text: string): void {
    this.signature?.text(text)
    this.builder?.tree.text(text)
  }

  close(end: number): void {
    this.signature?.close(end)
    this.builder?.tree.close(end)
    if (this.builder?.depth === this.depth) this.entityRead(this.builder.tree.root as XmlElement)
    if (this.groups.at(-1)?.depth === this.depth) this.groups.pop()
    this.depth--
  }

  private entityRead(entity: XmlElement): void {
    this.builder = undefined
    const name = attributeOf(entity, 'entityID')
    const { entityId } = this.demands
    if (entityId !== undefined) {
      if (name === entityId) this.pick(entity)
    } else if (childrenNamed(entity, METADATA, 'IDPSSODescriptor').length || this.depth === 1) {
      this.providers++
      if (this.names.length < MOST_NAMES && name) this.names.push(name)
      if (!this.picked) this.pick(entity)
    }
  }

  private pick(entity: XmlElement): void {
    if (this.picked) this.rootFault = `${attributeOf(entity, 'entityID')} is there twice`
    this.picked = { entity, groups: [...this.groups] }
  }

  result(): ReadMetadata | string {
    if (this.rootFault) return this.rootFault
    const unsigned = this.signature?.fault()
    if (unsigned) return unsigned
    const { entityId, now, allow } = this.demands
    if (this.providers > 1) {
      return `there are ${this.providers} identity providers in it (${this.names.join(', ')}, …); say which one with entityId`
    }
    if (!this.picked) {
      return entityId === undefined
        ? `there is no identity provider among its ${this.entities} entities`
        : `there is no ${entityId} among its ${this.entities} entities`
    }
    const { entity, groups } = this.picked
    const idp = readIdpMetadata(entity, { allow, now, groups })
    return typeof idp === 'string' ? idp : { idp, xml: writeXml(entity), entities: this.entities }
  }
}

/** The signature of a document's root, which must come first in it, verified as the document passes. */
class StreamedSignature implements XmlHandler {
  private readonly pem: string
  private readonly allow: Allowances
  private depth = 0
  private root: XmlTag | undefined
  /** Text before the first element inside, until that is known to be the signature. */
  private before = ''
  private signature: XmlTreeBuilder | undefined
  private reading = false
  private problem: string | undefined
  private parts: ReturnType<typeof partsOf>
  private digest: { hash: Hash; writer: CanonicalWriter } | undefined

  constructor(pem: string, allow: Allowances) {
    this.pem = pem
    this.allow = allow
  }

  open(tag: XmlTag): void {
    this.depth++
    if (this.depth === 1) {
      this.root = tag
      return
    }
    if (this.depth === 2 && !this.signature && !this.problem) {
      if (tag.namespace === DSIG && tag.local === 'Signature') {
        this.signature = new XmlTreeBuilder()
        this.reading = true
      } else this.problem = 'the metadata is not signed, or its signature is not its first element'
    }
    if (this.reading) this.signature?.open(tag)
    else this.digest?.writer.open(tag)
  }

  text(text: string): void {
    if (this.reading) this.signature?.text(text)
    else if (this.digest) this.digest.writer.text(text)
    else if (this.depth === 1) this.before += text
  }

  close(end: number): void {
    if (this.reading) {
      this.signature?.close(end)
      if (this.depth === 2) this.begin()
    } else this.digest?.writer.close()
    this.depth--
  }

  /** The signature has been read: what follows, and what came before, is digested. */
  private begin(): void {
    this.reading = false
    const signature = this.signature?.root
    if (!signature || !this.root) return
    const asSigned = { ...this.root, children: [], end: 0 }
    const fault = signatureFault(signature, asSigned, this.allow)
    if (fault) {
      this.problem = `the metadata’s signature cannot be accepted: ${fault.detail}`
      return
    }
    this.parts = partsOf(signature)
    const hash = createHash(algorithm(digestMethods(this.allow), this.parts?.digestMethod) ?? 'sha256')
    const writer = new CanonicalWriter((text) => hash.update(text, 'utf8'), this.parts?.prefixes)
    writer.open(this.root)
    writer.text(this.before)
    this.digest = { hash, writer }
  }

  /** Undefined: the whole document is signed by the pinned certificate's key. */
  fault(): string | undefined {
    if (this.problem) return this.problem
    const { parts, digest } = this
    const hash = algorithm(signatureMethods(this.allow), parts?.signatureMethod)
    if (!digest || !parts || !hash) return 'the metadata is not signed'
    if (digest.hash.digest('base64') !== parts.digestValue) return 'the metadata has been changed since it was signed'
    try {
      const key = createPublicKey(this.pem)
      const weak = keyFault(key, this.allow)
      if (weak) return `the certificate in signedBy cannot be used: ${weak}`
      const bytes = Buffer.from(canonical(parts.info, parts.infoPrefixes), 'utf8')
      const verified = verifyBytes(hash, bytes, key, Buffer.from(parts.value, 'base64'))
      return verified ? undefined : 'the metadata is signed by another key than that of the certificate in signedBy'
    } catch (error) {
      return `the certificate in signedBy cannot be used: ${(error as Error).message}`
    }
  }
}
