// The part of samlp that the demo uses; it ships without types.

declare module 'samlp' {
  import type { NextFunction, Request, RequestHandler, Response } from 'express'

  interface ProfileMapper {
    getClaims(): Record<string, string | string[]>
    getNameIdentifier(): { nameIdentifier: string; nameIdentifierFormat: string }
  }

  interface Options {
    issuer: string
    cert: string
    key: string
    profileMapper: { (user: never): ProfileMapper; prototype: { metadata: readonly unknown[] } }
    lifetimeInSeconds?: number
    destination?: string
    recipient?: string
    signResponse?: boolean
    getUserFromRequest?(request: Request): unknown
    getPostURL?(audience: string, request: unknown, http: Request, done: (error: Error | null, url?: string) => void): void
    responseHandler?(response: Buffer, options: unknown, request: Request, http: Response, next: NextFunction): void
    redirectEndpointPath?: string
    postEndpointPath?: string
  }

  const samlp: { auth(options: Options): RequestHandler; metadata(options: Options): RequestHandler }
  export default samlp
}
