// What runs in a verification thread: the pure verifiers, and nothing else. Only plain values cross over.

import { constants, setPriority } from 'node:os'
import { isMainThread } from 'node:worker_threads'
import type { Refusal } from '../../domain/refusals.ts'
import type { Step } from '../../domain/steps.ts'
import { type ArtifactExpectations, openArtifactResponse } from './artifact.ts'
import { type LogoutDelivery, type LogoutExpectations, type VerifiedLogout, verifyLogout } from './verify-logout.ts'
import { type ResponseExpectations, type VerifiedResponse, verifyResponse } from './verify-response.ts'

// People who are signed in come first: where the processor is short, verification waits. On Linux this is the priority of
// the calling thread; elsewhere it would be that of the whole process.
if (!isMainThread && process.platform === 'linux') setPriority(constants.priority.PRIORITY_BELOW_NORMAL)

export interface ResponseTask {
  readonly kind: 'response'
  readonly field: string | Uint8Array
  readonly expected: ResponseExpectations
  readonly before: readonly Step[]
}

export interface LogoutTask {
  readonly kind: 'logout'
  readonly delivery: LogoutDelivery
  readonly expected: LogoutExpectations
}

export interface ArtifactTask {
  readonly kind: 'artifact'
  readonly soap: string
  readonly expected: ArtifactExpectations
}

export type Task = ResponseTask | LogoutTask | ArtifactTask

export default function verify(task: Task): VerifiedResponse | VerifiedLogout | Uint8Array | Refusal {
  switch (task.kind) {
    case 'response':
      return verifyResponse(task.field, task.expected, task.before)
    case 'logout':
      return verifyLogout(task.delivery, task.expected)
    case 'artifact':
      return openArtifactResponse(task.soap, task.expected)
  }
}
