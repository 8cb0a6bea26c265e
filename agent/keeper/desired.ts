import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { hostStream } from '#shared/api/index.ts'
import { utf8 } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import { writeAtomically } from '../state/atomic-write.ts'

/**
 * The desired state that was accepted last, as the server sent it: `desired.json` in the state folder. By it this host
 * writes again what somebody changed, whether the server is there or not. It is verified at each use like one that comes anew.
 */
const file = (stateFolder: string): string => join(stateFolder, 'desired.json')

export function saveDesired(stateFolder: string, state: hostStream.DesiredState): void {
  writeAtomically(file(stateFolder), utf8(JSON.stringify(state)), 0o600)
}

/** Throws `unavailable` where there is none that can be read: then the server has to be asked for all of it. */
export function loadDesired(stateFolder: string): hostStream.DesiredState {
  try {
    return hostStream.desiredState.parse(JSON.parse(readFileSync(file(stateFolder), 'utf8')))
  } catch (cause) {
    throw new KeymanError('unavailable', `${file(stateFolder)} is missing or damaged`, { cause })
  }
}
