// Proposes what an administrator might add to the schema and the mapping, from what a source has been seen to send.

import { plainName } from './attribute-names.ts'
import type { RecordOnFile } from './model.ts'
import { type AttributeType, foldKey, normaliseValues, type Schema } from './schema.ts'
import { attributesOf } from './source-compiler.ts'
import type { SourcePolicy } from './source-policy.ts'

/** One attribute of the source's, as it was seen. */
export interface SeenAttribute {
  readonly name: string
  readonly plain: string
  /** Records in which it has a value. */
  readonly records: number
  readonly most: number
  readonly type: AttributeType
  /** Whether no two records had the same value. */
  readonly distinct: boolean
  /** The profile attribute that a row leads it to already. */
  readonly mappedTo?: string
  /** What it could be: an attribute that is there, or one to be added. */
  readonly proposal?: { readonly to: string; readonly add: boolean }
}

interface Seeing {
  records: number
  most: number
  readonly types: Set<AttributeType>
  readonly values: Set<string>
  distinct: boolean
  plain: string
}

const GUESSED: readonly AttributeType[] = ['boolean', 'integer', 'date']
/** So many values are looked at for being distinct; beyond, it is anybody's guess. */
const MOST_VALUES = 50_000

/** Collects what records hold; `propose` says what follows. Hands no value out. */
export class Discovery {
  private readonly seen = new Map<string, Seeing>()

  look(record: RecordOnFile): void {
    for (const [name, { values }] of Object.entries(record.attributes)) {
      if (!values.length) continue
      const one = this.seen.get(name) ?? {
        records: 0,
        most: 0,
        types: new Set(GUESSED),
        values: new Set<string>(),
        distinct: true,
        plain: plainName(record, name),
      }
      this.seen.set(name, one)
      one.records++
      one.most = Math.max(one.most, values.length)
      for (const type of one.types) {
        if ('fault' in normaliseValues({ name, label: name, type }, values)) one.types.delete(type)
      }
      for (const value of values) {
        const key = foldKey(value)
        if (one.values.has(key)) one.distinct = false
        else if (one.values.size < MOST_VALUES) one.values.add(key)
        else one.distinct = false
      }
    }
  }

  propose(schema: Schema, source: SourcePolicy | undefined): readonly SeenAttribute[] {
    const byKey = new Map([...schema.keys()].map((name) => [foldKey(name), name]))
    return [...this.seen]
      .map(([name, { records, most, types, distinct, plain }]): SeenAttribute => {
        const type: AttributeType = most > 1 ? 'list' : ([...types][0] ?? 'string')
        const row = source?.mapping.find(({ reader }) => attributesOf(reader).some((one) => one === name || one === plain))
        const groups = source?.groups && [name, plain].some((one) => source.groups?.from.includes(one)) ? 'groups' : undefined
        const mappedTo = row?.to.name ?? groups
        const known = byKey.get(foldKey(SAME_AS[foldKey(plain)] ?? plain))
        const to = known ?? attributeName(plain)
        const proposal = mappedTo === undefined && to !== undefined ? { proposal: { to, add: known === undefined } } : {}
        return {
          name,
          plain,
          records,
          most,
          type,
          distinct: distinct && records > 1,
          ...(mappedTo === undefined ? {} : { mappedTo }),
          ...proposal,
        }
      })
      .sort((a, b) => (a.name < b.name ? -1 : 1))
  }
}

/** What directories and identity providers call attributes of the base set. */
const SAME_AS: Readonly<Record<string, string>> = {
  mail: 'email',
  emailaddress: 'email',
  givenname: 'givenName',
  firstname: 'givenName',
  sn: 'familyName',
  surname: 'familyName',
  lastname: 'familyName',
  uid: 'userName',
  login: 'userName',
  upn: 'userName',
  cn: 'displayName',
  name: 'displayName',
  telephonenumber: 'phoneNumber',
  mobile: 'mobileNumber',
  employeeid: 'employeeNumber',
  ou: 'department',
  departmentnumber: 'department',
  o: 'organization',
  jobtitle: 'title',
  memberof: 'groups',
  ismemberof: 'groups',
  role: 'groups',
  l: 'locality',
  st: 'region',
  c: 'country',
}

/** As an attribute of ours would be called; undefined where nothing is left of it. */
function attributeName(plain: string): string | undefined {
  const words = plain.split(/[^A-Za-z0-9]+/).filter(Boolean)
  const name = words
    .map((word, i) => (i ? word.charAt(0).toUpperCase() + word.slice(1) : word.charAt(0).toLowerCase() + word.slice(1)))
    .join('')
  return /^[a-z][A-Za-z0-9]{0,62}$/.test(name) ? name : undefined
}
