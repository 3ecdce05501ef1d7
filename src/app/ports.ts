// Joins the store to what the flows ask of the world. Apart from the doors, so that a command that needs none of them does not
// load them.

import { fingerprintOf } from '../http/saml/fingerprint.ts'
import { audit } from '../store/audit.ts'
import { cases } from '../store/cases.ts'
import type { Db } from '../store/db.ts'
import { importReads } from '../store/import-reads.ts'
import { imports } from '../store/imports.ts'
import { jobs } from '../store/jobs.ts'
import { kept } from '../store/kept.ts'
import { leavings } from '../store/leavings.ts'
import { leftovers } from '../store/leftovers.ts'
import { metadataStates } from '../store/metadata-states.ts'
import { documents } from '../store/policies.ts'
import { runs } from '../store/runs.ts'
import { sessions } from '../store/sessions.ts'
import { assertions, requests, sentLogouts, signIns } from '../store/sign-ins.ts'
import { tasks } from '../store/tasks.ts'
import { tokens } from '../store/tokens.ts'
import { users } from '../store/users.ts'
import { mint } from './mint.ts'

/** Everything that any flow asks of the world. */
export function portsOf(db: Db) {
  return {
    inTransaction: db.inTransaction,
    users: users(db),
    cases,
    runs,
    kept,
    audit,
    requests,
    assertions,
    signIns,
    sentLogouts,
    sessions,
    documents,
    metadataStates,
    tokens,
    leftovers,
    imports,
    importReads: importReads(db),
    leavings,
    jobs,
    tasks,
    mint,
    fingerprint: fingerprintOf,
  }
}
