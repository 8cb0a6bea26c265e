import { api } from '#shared/api/index.ts'
import { fromBase64, fromHex } from '#shared/bytes.ts'
import { verifyCheckpoint, verifyConsistency } from '#shared/merkle/index.ts'
import { type Connection, call } from './client.ts'
import { type Context, sessionFiles, writeContext } from './context.ts'
import { readIfThere } from './files.ts'
import type { Folders } from './folders.ts'
import { remark } from './terminal.ts'

/** The person's own connection, with the session's client certificate. */
export function sessionConnection(folders: Folders, context: Context): Connection {
  const files = sessionFiles(folders, context.organisation)
  const key = readIfThere(files.clientKey)
  const certificate = readIfThere(files.clientCertificate)
  return {
    url: context.machinesUrl,
    root: context.machinesRoot,
    ...(key && certificate ? { client: { key, certificate } } : {}),
  }
}

export type LogMemory = { state: 'extends'; checkpoint: string } | { state: 'forked'; message: string }

/** Fetches the newest checkpoint and checks that it extends the one remembered here. */
export async function compareCheckpoint(folders: Folders, context: Context): Promise<LogMemory> {
  const connection = sessionConnection(folders, context)
  const trusted = { origin: context.logKey.name, logKey: fromBase64(context.logKey.key) }
  const { checkpoint } = await call(connection, api.auditTrail.checkpoint)
  const newest = verifyCheckpoint(checkpoint, trusted)
  if (context.checkpoint === undefined) return { state: 'extends', checkpoint }
  const held = verifyCheckpoint(context.checkpoint, trusted)
  const [from, to] = held.size <= newest.size ? [held, newest] : [newest, held]
  if (held.size > newest.size)
    return {
      state: 'forked',
      message: `the log has ${newest.size} records, but ${held.size} were seen from here before: records are gone`,
    }
  const { proof } = await call(connection, api.auditTrail.consistency, {
    query: { from: String(from.size), to: String(to.size) },
  })
  const extended = verifyConsistency(from, to, proof.map(fromHex))
  return extended
    ? { state: 'extends', checkpoint }
    : {
        state: 'forked',
        message: `the log of ${newest.size} records is not the continuation of the one of ${held.size} that was seen from here before`,
      }
}

/** Keeps the newest checkpoint after a login or renewal; a log that does not extend the last is said loudly. */
export async function rememberCheckpoint(folders: Folders, context: Context): Promise<void> {
  const memory = await compareCheckpoint(folders, context).catch(() => undefined)
  if (memory?.state === 'forked')
    remark(`keyman: warning: ${memory.message}. Tell your security team; keyman audit verify says more`)
  if (memory?.state === 'extends') writeContext(folders, { ...context, checkpoint: memory.checkpoint }, false)
}
