import { api } from '#shared/api/index.ts'
import { equalBytes, toBase64 } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import { readClient, readNextKey, writeNextKey } from '../context/client-files.ts'
import { type Context, nextAfter, principalOf, sessionFiles, type WorkloadSession } from '../context/context.ts'
import { readIfThere } from '../context/files.ts'
import type { Folders } from '../context/folders.ts'
import { call } from '../server/client.ts'
import { remark } from '../terminal/terminal.ts'
import { heldConnection } from '../trust/checkpoint.ts'
import { followTrust } from '../trust/follow-trust.ts'
import { soonOver } from './in-words.ts'
import { installWorkload } from './install-session.ts'
import { type LoginKeys, makeClientKey, proveBoth, readClientKey, readSshKey } from './keys.ts'

/** So long before a session's end whoever looks after it is told at each renewal. */
const TOLD_BEFORE_MS = 14 * 86_400_000

/**
 * One renewal of a workload's session, in the writers' turn: a new client key takes the place of the one that asks. Throws
 * `not-signed-in` where the session is over.
 */
export async function renewWorkload(
  folders: Folders,
  held: Context,
  session: WorkloadSession,
): Promise<WorkloadSession> {
  const context = await followTrust(folders, held)
  const { machinesUrl: url, machinesRoot: root, organisation } = context
  const keys = keysFor(sessionFiles(folders, organisation), session)
  // By nobody: where an answer was lost, the key of today is good for nothing but this same renewal.
  const { challenge } = await call({ url, root }, api.login.challenge)
  const answer = await call(heldConnection(folders, context), api.workloadSelf.renew, {
    body: { clientPublicKey: toBase64(keys.client.spki), proof: proveBoth(keys, 'workload', challenge) },
  }).catch((error: unknown) => {
    throw over(error, session)
  })
  if (answer.session.session !== session.session || answer.session.workload !== session.workload)
    throw new KeymanError('denied', `the server answered for another session than that of ${principalOf(session)}`, {
      hint: 'tell your administrator',
    })
  const renewed = await installWorkload(folders, context, keys.client.pem, answer)
  if (Date.parse(renewed.endsAt) - Date.now() < TOLD_BEFORE_MS) remark(soonOver(renewed, new Date()))
  return renewed
}

/** A refusal, with what helps: nobody is here to sign in. */
export function over(error: unknown, session: WorkloadSession): unknown {
  if (!(error instanceof KeymanError) || error.code !== 'not-signed-in') return error
  return new KeymanError('not-signed-in', `the session of ${principalOf(session)} is over: ${error.message}`, {
    hint: nextAfter(session),
    cause: error,
  })
}

/** The session's SSH key, and the client key to ask for. */
export function keysFor(files: ReturnType<typeof sessionFiles>, session: WorkloadSession): LoginKeys {
  try {
    return { ssh: readSshKey(readIfThere(files.key) ?? ''), client: nextKey(files) }
  } catch (error) {
    if (error instanceof KeymanError && error.code === 'internal') throw error
    throw new KeymanError('not-signed-in', `a key of ${principalOf(session)} below ${files.folder} is damaged`, {
      hint: nextAfter(session),
      cause: error,
    })
  }
}

/** Made and on the disk, or the one that was asked for already and for which no answer came. */
function nextKey(files: ReturnType<typeof sessionFiles>): LoginKeys['client'] {
  const pending = readNextKey(files)
  const next = pending === undefined ? undefined : readClientKey(pending)
  const held = readClient(files)
  // Its answer has come, and whoever took it in was stopped before it was taken off.
  const isAnswered = next && held && equalBytes(readClientKey(held.key).spki, next.spki)
  if (next && !isAnswered) return next
  const made = makeClientKey()
  writeNextKey(files, made.pem)
  return made
}
