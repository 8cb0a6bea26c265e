import { createSecureContext } from 'node:tls'
import { api } from '#shared/api/index.ts'
import { fromHex } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import { parseCheckpoint, verifyCheckpoint, verifyConsistency } from '#shared/merkle/index.ts'
import { told } from '#shared/told.ts'
import { logOf } from '#shared/trust/index.ts'
import { changeContext } from '../context/change-context.ts'
import { type Client, readClient, readNextKey } from '../context/client-files.ts'
import {
  type Context,
  isWorkload,
  nextAfter,
  noteEnded,
  principalOf,
  readableSession,
  readContext,
  sessionFiles,
  type WorkloadSession,
} from '../context/context.ts'
import type { Folders } from '../context/folders.ts'
import { writersTurn } from '../context/marks.ts'
import { takeTurn } from '../context/turn.ts'
import { type Connection, call } from '../server/client.ts'
import { remark, shown } from '../terminal/terminal.ts'

const PATIENCE_MS = 15_000

/**
 * The session's own connection, with its client certificate. Where the server knows the session no more, that is kept. A workload's goes by
 * the key that lies here at each call.
 */
export function sessionConnection(folders: Folders, context: Context): Connection {
  const connection = heldConnection(folders, context)
  const session = readableSession(folders, context.organisation)
  return connection.client && session && isWorkload(session)
    ? followingFile(folders, context, connection, session)
    : connection
}

/** The same by the key that lies here now, whatever comes after it. */
export function heldConnection(folders: Folders, context: Context): Connection {
  const { machinesUrl: url, machinesRoot: root, organisation } = context
  const client = readClient(sessionFiles(folders, organisation))
  if (!client) return { url, root }
  checkPair(client, nextAfter(readableSession(folders, organisation)))
  return {
    url,
    root,
    client,
    async unknown() {
      noteUnknown(folders, organisation, client.certificate)
      return undefined
    },
  }
}

/**
 * Of a workload, whose client key another process of it may replace at any moment: each call goes by the one that lies here
 * then. It may have been replaced at the server a moment before it was here: so one that is refused is made once more by the newer one.
 */
function followingFile(folders: Folders, context: Context, own: Connection, session: WorkloadSession): Connection {
  const files = sessionFiles(folders, context.organisation)
  let latest = own
  const whoeverRenews = () => takeTurn(writersTurn(folders, context), PATIENCE_MS, async () => undefined)
  const byFile = () => {
    const now = readClient(files)
    const isSame = readableSession(folders, context.organisation)?.session === session.session
    if (now && isSame && now.certificate !== latest.client?.certificate) latest = { ...own, client: now }
    return latest
  }
  return {
    ...own,
    async current() {
      if (readNextKey(files) !== undefined) await whoeverRenews()
      if (readNextKey(files) === undefined) return byFile()
      // The key of before may be good for nothing but this renewal: the server would take whoever comes with it for a thief.
      throw new KeymanError('unavailable', `a renewal of ${principalOf(session)} has had no answer yet`, {
        hint: 'keyman ssh renew asks again',
      })
    },
    async unknown(refused) {
      await whoeverRenews()
      const now = byFile()
      if (now.client?.certificate !== refused.client?.certificate) return now
      noteUnknown(folders, context.organisation, refused.client?.certificate)
      return undefined
    },
  }
}

/** What whoever asked has to hear is the refusal itself. */
function noteUnknown(folders: Folders, organisation: string, certificate: string | undefined): void {
  try {
    if (certificate !== undefined) noteEnded(folders, organisation, certificate, new Date())
  } catch {
    // A damaged file, say.
  }
}

/** OpenSSL's own words for a damaged file would help nobody. */
function checkPair({ key, certificate }: Client, hint: string): void {
  try {
    createSecureContext({ key, cert: certificate })
  } catch (error) {
    throw new KeymanError('not-signed-in', "the session's client key and certificate are damaged", {
      hint,
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
  const { checkpoint } = await call(connection, api.auditTrail.checkpoint)
  const newest = verifyCheckpoint(checkpoint, logOf(context))
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
