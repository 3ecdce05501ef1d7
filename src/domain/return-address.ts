// Decides where a person may be sent after signing in or out: a page of Gatehouse or of one of its apps, nowhere else.

/** Longer addresses are refused; browsers and proxies start to cut at about this length. */
const LONGEST = 2048

/**
 * @param asked what the client asked for: a path of our own (`/me`) or an absolute address
 * @param own Gatehouse's own origin, against which a path is read
 * @param origins the origins of the apps
 * @returns the address, resolved and normalised; undefined when it leads anywhere else
 */
export function returnAddress(asked: string, own: string, origins: readonly string[]): URL | undefined {
  // Browsers drop tabs and line breaks inside addresses and read `\` as `/`; we read no such address at all.
  // biome-ignore lint/suspicious/noControlCharactersInRegex: finding them is the purpose
  if (asked.length > LONGEST || /[\u0000-\u0020\u007f\\]/.test(asked)) return undefined
  const isPath = asked.startsWith('/') && !asked.startsWith('//')
  if (!isPath && !/^https?:\/\/[^/]/.test(asked)) return undefined
  let url: URL
  try {
    url = new URL(asked, own)
  } catch {
    return undefined
  }
  if (url.username || url.password) return undefined
  return url.origin === own || origins.includes(url.origin) ? url : undefined
}
