// The declarative file: every fault with its path and line.

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { exportPolicy, readPolicyFile, writePolicyFile } from '../../src/app/policy-file.ts'
import { compilePolicy } from '../../src/domain/policy.ts'
import { placed } from '../../src/flows/apply-policy.ts'
import { documentsOf } from '../support/world.ts'

const good = `
connections:
  - name: corp                 # the {connection} in URLs
    kind: saml
    metadata: { file: ./idp-metadata.xml }
    idpInitiated: false
    jit: { create: true, update: true }
    mapping:
      - { to: userName, from: nameID }
      - { to: email, from: attributes.email }
apps:
  - name: legacy
    host: app.localhost:3000
    upstream: http://127.0.0.1:4000
    headers:
      - { name: X-Remote-User, from: user.userName }
`

function withSource(text: string, from: string, schedule: string): string {
  return `${text}sources:
  - name: hr
    kind: csv
    key: number
    mapping: [{ to: userName, ${from} }]
    schedule: ${schedule}
`
}

describe('the policy file', () => {
  it('is read with what it leaves out filled in, carefully', () => {
    const { file, faults } = readPolicyFile(good)
    assert.deepEqual(faults, [])
    assert.equal(file?.connections[0]?.externalId, 'nameID')
    assert.deepEqual(readPolicyFile(good.replace(/ {4}jit.*\n/, '')).file?.connections[0]?.jit, {
      create: false,
      update: false,
      staged: 'refuse',
      suspended: 'refuse',
      deprovisioned: 'refuse',
      required: [],
    })
  })

  const faults: readonly [name: string, change: (text: string) => string, path: string, line: number][] = [
    ['an unknown field', (text) => text.replace('idpInitiated', 'idpInitated'), 'connections[0].idpInitated', 6],
    ['another kind', (text) => text.replace('kind: saml', 'kind: oidc'), 'connections[0].kind', 4],
    ['a wrong type', (text) => text.replace('create: true', 'create: sometimes'), 'connections[0].jit.create', 7],
    [
      'metadata over http',
      (text) => text.replace('{ file: ./idp-metadata.xml }', '{ url: http://idp.example/ }'),
      'connections[0].metadata',
      5,
    ],
    ['a name that does not fit into an address', (text) => text.replace('name: corp', 'name: Corp Ltd'), 'connections[0].name', 3],
    ['a header that carries the transport', (text) => text.replace('X-Remote-User', 'Transfer-Encoding'), 'apps[0].headers[0].name', 16],
    ['an upstream with a path', (text) => text.replace(':4000', ':4000/app'), 'apps[0].upstream', 14],
    [
      'two apps on one host',
      (text) => `${text}  - { name: other, host: "app.localhost:3000", upstream: "http://127.0.0.1:1" }\n`,
      'apps[1].host',
      17,
    ],
    ['a host that no address has', (text) => text.replace('app.localhost:3000', 'app.localhost:99999'), 'apps[0].host', 13],
    ['a host with the port that browsers leave out', (text) => text.replace('app.localhost:3000', 'app.localhost:443'), 'apps[0].host', 13],
    ['a missing field', (text) => text.replace('    host: app.localhost:3000\n', ''), 'apps[0].host', 12],
  ]
  for (const [name, change, path, line] of faults) {
    it(`is refused for ${name}, told by path and line`, () => {
      const read = readPolicyFile(change(good))
      assert.equal(read.file, undefined)
      assert.ok(
        read.faults.some((fault) => fault.path.startsWith(path) && fault.line === line),
        JSON.stringify(read.faults),
      )
    })
  }

  // What one document says of another is judged once they are put together.
  const misfits: typeof faults = [
    ['an unknown attribute', (text) => text.replace('to: email', 'to: mail'), 'connections[0].mapping[1].to', 10],
    ['a path that is none', (text) => text.replace('from: attributes.email', 'from: email'), 'connections[0].mapping[1].from', 10],
    ['two rows for one attribute', (text) => text.replace('to: email', 'to: userName'), 'connections[0].mapping[1].to', 10],
    ['nothing that leads to userName', (text) => text.replace('to: userName', 'to: title'), 'connections[0].mapping', 9],
    ['a header from nowhere', (text) => text.replace('from: user.userName', 'from: user.shoeSize'), 'apps[0].headers[0].from', 16],
    [
      'a function that there is none of',
      (text) => text.replace('attributes.email', "'shout(nameID)'"),
      'connections[0].mapping[1].from',
      10,
    ],
    ['an expression that does not end', (text) => text.replace('attributes.email', "'lower(nameID'"), 'connections[0].mapping[1].from', 10],
    [
      'a row that builds on itself',
      (text) => text.replace('attributes.email', "'user.email + nameID'"),
      'connections[0].mapping[1].from',
      10,
    ],
    ['a row of a file that is read from a NameID', (text) => withSource(text, 'from: nameID', '{}'), 'sources[0].mapping[0].from', 21],
    [
      'a schedule of a file that has no name',
      (text) => withSource(text, 'from: attributes.mail', "{ full: '@daily' }"),
      'sources[0].schedule.full',
      22,
    ],
    [
      'a schedule of changes that nobody can be asked for',
      (text) => withSource(text, 'from: attributes.mail', "{ incremental: '@hourly' }"),
      'sources[0].schedule.incremental',
      22,
    ],
    ['a pattern that is none', (text) => text.replace('idpInitiated: false', "subjects: '('"), 'connections[0].subjects', 6],
  ]
  for (const [name, change, path, line] of misfits) {
    it(`is refused for ${name}, told by path and line`, () => {
      const read = readPolicyFile(change(good))
      const { file } = read
      assert.ok(file, JSON.stringify(read.faults))
      const compiled = compilePolicy(1, documentsOf(file))
      const told = read.place(compiled.faults.map((one) => placed(one, file)))
      assert.ok(
        told.some((fault) => fault.path.startsWith(path) && fault.line === line),
        JSON.stringify(told),
      )
    })
  }

  it('tells all faults at once, and those of YAML itself', () => {
    assert.ok(
      readPolicyFile(good.replace('kind: saml', 'kind: x').replace('to: email', 'to: "?"').replace('name: legacy', 'name: "?"')).faults
        .length >= 3,
    )
    assert.equal(readPolicyFile('connections: [').faults[0]?.path, '(YAML)')
    assert.equal(readPolicyFile('- a list').faults.length, 1)
    // One that was cut off is not to take everything out of force.
    for (const text of ['', '# connections:\n', '{}'])
      assert.match(readPolicyFile(text).faults[0]?.message ?? '', /nothing in it to apply; write «connections:», .*«sources:»/)
    assert.deepEqual(readPolicyFile('connections: []').file, { connections: [], sources: [], targets: [], apps: [] })
  })

  it('comes out as it went in', () => {
    const { file } = readPolicyFile(good)
    assert.ok(file)
    const documents = [
      ...file.connections.map((spec) => ({ kind: 'connection' as const, name: spec.name, spec, idp: {} as never })),
      ...file.apps.map((spec) => ({ kind: 'app' as const, name: spec.name, spec })),
    ]
    const out = exportPolicy(documents.map((document) => ({ document, version: 1 })))
    assert.deepEqual(readPolicyFile(writePolicyFile(out)).file, file)
  })
})
