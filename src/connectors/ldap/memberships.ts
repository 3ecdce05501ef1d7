// Who is in which group, held compactly for one run: groups are numbers, and a member is one text with the numbers of the groups
// that name it. Answers for people in any order, through groups within groups, and does not mind when those go in a circle.

import { foldName } from './names.ts'
import { type Entry, firstValue, inOrder, valuesOf } from './values.ts'

const NOBODY: readonly number[] = []

/** Whom a group may name: by distinguished name (RFC 4519 sections 3.5, 3.6), or by login (RFC 2307 section 3). */
export const MEMBERS = ['member', 'uniqueMember', 'memberUid'] as const

export class Memberships {
  readonly #nested: boolean
  readonly #names: string[] = []
  readonly #ofName = new Map<string, number[]>()
  readonly #ofLogin = new Map<string, number[]>()
  readonly #ofSid = new Map<string, number>()
  /** The group's own name, by number. */
  readonly #places: string[] = []

  constructor(nested: boolean) {
    this.#nested = nested
  }

  get size(): number {
    return this.#names.length
  }

  /** @returns its number, to add members by */
  add(entry: Entry, name: string): number {
    const group = this.#names.push(name) - 1
    this.#places.push(foldName(entry.dn))
    const sid = firstValue(entry, 'objectSid')
    if (sid !== undefined) this.#ofSid.set(sid, group)
    for (const attribute of MEMBERS) this.addMembers(group, attribute, valuesOf(entry, attribute))
    return group
  }

  addMembers(group: number, attribute: string, members: readonly string[]): void {
    const byLogin = attribute.toLowerCase() === 'memberuid'
    const index = byLogin ? this.#ofLogin : this.#ofName
    for (const member of members) {
      // uniqueMember may carry an identifier behind the name (RFC 4517 section 3.3.21).
      const key = byLogin ? member.toLowerCase() : foldName(member.replace(/#'[01]*'B$/, ''))
      const groups = index.get(key)
      if (!groups) index.set(key, [group])
      else if (groups.at(-1) !== group) groups.push(group)
    }
  }

  /** Names of all the groups that somebody is in, each once. */
  namesFor(entry: Entry): readonly string[] {
    return [...new Set(this.#through(this.#directly(entry)).map((group) => this.#names[group] as string))].sort(inOrder)
  }

  /** Whether somebody is in one of these groups. */
  isIn(entry: Entry, groups: ReadonlySet<number>): boolean {
    return this.#through(this.#directly(entry)).some((group) => groups.has(group))
  }

  /** Whoever is in one of these groups, as far as they are named: by distinguished name, by login, and by the number of a primary group. */
  membersOf(groups: ReadonlySet<number>): { readonly names: string[]; readonly logins: string[]; readonly primary: string[] } {
    const leads = this.#names.map((_, group) => this.#through([group]).some((one) => groups.has(one)))
    const among = (index: ReadonlyMap<string, readonly number[]>) =>
      [...index].filter(([, direct]) => direct.some((group) => leads[group])).map(([key]) => key)
    const primary = [...this.#ofSid].filter(([, group]) => leads[group]).map(([sid]) => sid.slice(sid.lastIndexOf('-') + 1))
    return { names: among(this.#ofName), logins: among(this.#ofLogin), primary }
  }

  #directly(entry: Entry): readonly number[] {
    const direct = [...(this.#ofName.get(foldName(entry.dn)) ?? NOBODY)]
    for (const login of valuesOf(entry, 'uid')) direct.push(...(this.#ofLogin.get(login.toLowerCase()) ?? NOBODY))
    const primary = this.#primaryOf(entry)
    if (primary !== undefined) direct.push(primary)
    return direct
  }

  /** No `member` names whoever has the group as primary: it is the relative identifier beside the domain's ([MS-ADA3], primaryGroupID). */
  #primaryOf(entry: Entry): number | undefined {
    const number = firstValue(entry, 'primaryGroupID')
    const sid = firstValue(entry, 'objectSid')
    return number === undefined || sid === undefined ? undefined : this.#ofSid.get(`${sid.slice(0, sid.lastIndexOf('-'))}-${number}`)
  }

  /** These, and those that they are in themselves. */
  #through(direct: readonly number[]): readonly number[] {
    if (!this.#nested) return direct
    const all = new Set(direct)
    // A set is walked to its end, whatever is added on the way.
    for (const group of all) for (const parent of this.#ofName.get(this.#places[group] as string) ?? NOBODY) all.add(parent)
    return [...all]
  }
}
