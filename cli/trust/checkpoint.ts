import { createSecureContext } from 'node:tls'
import { api } from '#shared/api/index.ts'
import { fromBase64, fromHex } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import { parseCheckpoint, verifyCheckpoint, verifyConsistency } from '#shared/merkle/index.ts'
import { told } from '#shared/told.ts'
import { changeContext } from '../context/change-context.ts'
import { type Context, noteEnded, readContext, sessionFiles } from '../context/context.ts'
import { readIfThere } from '../context/files.ts'
import type { Folders } from '../context/folders.ts'
import { type Connection, call } from '../server/client.ts'
import { remark, shown } from '../terminal/terminal.ts'

/** The person's own connection, with the session's client certificate. Where the server knows the session no more, that is kept. */
export function sessionConnection(folders: Folders, context: Context): Connection {
  const files = sessionFiles(folders, context.organisation)
  const key = readIfThere(files.clientKey)
  const certificate = readIfThere(files.clientCertificate)
  const { machinesUrl: url, machinesRoot: root, organisation } = context
  if (!key || !certificate) return { url, root }
  checkPair(key, certificate)
  return {
    url,
    root,
    client: { key, certificate },
    unknown() {
      try {
        noteEnded(folders, organisation, certificate, new Date())
      } catch {
        // What the person has to hear is the refusal itself.
      }
    },
  }
}

/** OpenSSL's own words for a damaged file would help nobody. */
function checkPair(key: string, cert: string): void {
  try {
    createSecureContext({ key, cert })
  } catch (error) {
    throw new KeymanError('not-signed-in', "the session's client key and certificate are damaged", {
      hint: 'run keyman login',
      cause: error,
    })
  }
}

export type LogMemory = { state: 'extends'; checkpoint: string } | { state: 'forked'; message: string }

/**
 * What this machine remembers of the log. A restored backup begins another log, whose name the root of trust has signed: of the
 * one that was given up nothing is remembered any more.
 */
export function heldCheckpoint({ checkpoint, logKey }: Pick<Context, 'checkpoint' | 'logKey'>): string | undefined {
  // Verified when it was remembered, by the log key of that time.
  return checkpoint !== undefined && parseCheckpoint(checkpoint).origin === logKey.name ? checkpoint : undefined
}

/** Fetches the newest checkpoint and checks that it extends the one remembered here. */
export async function compareCheckpoint(folders: Folders, context: Context): Promise<LogMemory> {
  const connection = sessionConnection(folders, context)
  const trusted = { origin: context.logKey.name, logKey: fromBase64(context.logKey.key) }
  const { checkpoint } = await call(connection, api.auditTrail.checkpoint)
  const newest = verifyCheckpoint(checkpoint, trusted)
  const remembered = heldCheckpoint(context)
  if (remembered === undefined) return { state: 'extends', checkpoint }
  const held = parseCheckpoint(remembered)
  if (held.size > newest.size)
    return {
      state: 'forked',
      message: `the log has ${newest.size} records, but ${held.size} were seen from here before: records are gone`,
    }
  const { proof } = await call(connection, api.auditTrail.consistency, {
    query: { from: String(held.size), to: String(newest.size) },
  })
  return verifyConsistency(held, newest, proof.map(fromHex))
    ? { state: 'extends', checkpoint }
    : {
        state: 'forked',
        message: `the log of ${newest.size} records is not the continuation of the one of ${held.size} that was seen from here before`,
      }
}

/** Keeps the newest checkpoint after a login or renewal; a log that does not extend the last is said loudly. */
export async function rememberCheckpoint(folders: Folders, { organisation }: Pick<Context, 'organisation'>) {
  const context = readContext(folders, organisation)
  if (!context) return
  try {
    const memory = await compareCheckpoint(folders, context)
    if (context.checkpoint !== undefined && heldCheckpoint(context) === undefined)
      remark(
        `keyman: warning: a backup of ${shown(organisation)} was restored, and the root of trust has signed its new history: the log of ${parseCheckpoint(context.checkpoint).size} records that was seen from here goes on as another`,
      )
    if (memory.state === 'extends')
      await changeContext(folders, organisation, () => ({ checkpoint: memory.checkpoint }))
    else remark(`keyman: warning: ${memory.message}; tell your security team, keyman audit verify says more`)
  } catch (error) {
    // Signing in is not held up; but a server that keeps its log to itself is not passed over in silence.
    remark(`keyman: warning: the audit log's newest checkpoint could not be checked: ${shown(told(error).message)}`)
  }
}
