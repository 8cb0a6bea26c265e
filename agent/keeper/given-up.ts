import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { api, type hostStream } from '#shared/api/index.ts'
import { utf8 } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import { told } from '#shared/told.ts'
import type { Log } from '../log.ts'
import { type Connection, call } from '../server/call.ts'
import { removeFile, writeAtomically } from '../state/atomic-write.ts'

/**
 * The revocation list of a history that was given up, until the server has heard of it: a restored backup may not know what it revoked. Kept
 * in `given-up.json` of the state folder, so that nothing is lost where this is cut off.
 */
const file = (stateFolder: string): string => join(stateFolder, 'given-up.json')
const schema = z.object({ base64: z.string(), signature: z.string() })

export function keepGivenUp(stateFolder: string, { base64, signature }: hostStream.DesiredState['krl']): void {
  writeAtomically(file(stateFolder), utf8(JSON.stringify({ base64, signature })), 0o600)
}

/** Reports it, where there is one. What the server refuses is told here once, and not asked again. */
export async function reportGivenUp(stateFolder: string, connection: Connection, log: Log): Promise<void> {
  if (!existsSync(file(stateFolder))) return
  try {
    const body = schema.parse(JSON.parse(readFileSync(file(stateFolder), 'utf8')))
    const { certificates, keys } = await call(connection, api.hostSelf.reportRevoked, { body })
    log.info(
      `the server has heard what was revoked before it was restored: ${certificates} intervals and ${keys} keys more`,
    )
  } catch (error) {
    const isFinal =
      error instanceof KeymanError && ['denied', 'conflict', 'invalid-input', 'too-large'].includes(error.code)
    if (!isFinal) throw error
    log.warn(`the server does not take what was revoked before it was restored: ${told(error).message}`)
  }
  removeFile(file(stateFolder))
}
