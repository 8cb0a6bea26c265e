import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { schemas } from '#shared/api/index.ts'
import { utf8 } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import { writeAtomically } from './atomic-write.ts'

/** What this host remembers so that nobody can lead it backwards: `memory.json` in the state folder. */
const schema = z.strictObject({
  /** The newest trust bundle; it holds the pinned roots. */
  bundle: schemas.signedBundle,
  incarnation: z.string(),
  /** The last revision that was in force; 0 before the first. */
  revision: z.int().min(0),
  krlVersion: z.string().regex(/^[0-9]{1,20}$/),
  /** The newest signed tree head that extended the one before. */
  checkpoint: z.string().optional(),
  /** Canary certificates, one line each: what a reader of the real KRL finds revoked. */
  canary: z.array(z.string()),
  /** Hex SHA-256 over what was written for sshd: tells whether somebody else has changed it. */
  filesHash: z.string().optional(),
  /** sshd has not read its newest configuration yet. */
  reloadPending: z.boolean(),
})
export type Memory = z.infer<typeof schema>

const file = (stateFolder: string): string => join(stateFolder, 'memory.json')

/** Throws `internal` where it is missing or damaged: without it this host would trust blindly, so it has to join again. */
export function loadMemory(stateFolder: string): Memory {
  try {
    return schema.parse(JSON.parse(readFileSync(file(stateFolder), 'utf8')))
  } catch (error) {
    throw new KeymanError('internal', `${file(stateFolder)} is missing or damaged`, {
      hint: 'what sshd has stays in force; let the host join again with a new token',
      cause: error,
    })
  }
}

export function saveMemory(stateFolder: string, memory: Memory): void {
  writeAtomically(file(stateFolder), utf8(JSON.stringify(memory)), 0o600)
}
