// Base64 in the one spelling that an encoder writes (RFC 4648, section 4), as one line or wrapped: what would decode to the
// same bytes in another spelling is not let through.

export function decodeBase64(text: string): Buffer | undefined {
  const base64 = text.replace(/[ \t\r\n]+/g, '')
  const bytes = Buffer.from(base64, 'base64')
  return base64 !== '' && bytes.toString('base64') === base64 ? bytes : undefined
}
