import { existsSync } from 'node:fs'
import { equalBytes } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import { parseCertificate, parsePublicKey } from '#shared/ssh/index.ts'
import { type KeyPlace, nextAfter, type Session, sessionFiles } from '../context/context.ts'
import { readIfThere, remove, writeFile } from '../context/files.ts'
import type { Folders } from '../context/folders.ts'
import {
  addCertificateToAgent,
  addToAgent,
  agentOf,
  chooseAgent,
  isEnded,
  keysOf,
  namedAgent,
  type Taken,
} from '../ssh/agent.ts'
import { isNameable } from '../ssh/config.ts'
import { remark, shown } from '../terminal/terminal.ts'
import { takeKeysBack } from './forget-session.ts'
import { type LoginKeys, privateKeyFile } from './keys.ts'

/** Where a session's SSH key lies, from the login to the logout. */

/**
 * Puts the key where ssh finds it: into the ssh-agent with a lifetime where there is one that takes it, with `certificate` (one
 * line) beside it for clients that know agents alone; else, or with `inFile`, into a 0600 file. What the session
 * before it had is taken out first, so that nothing piles up.
 */
export async function placeKey(
  folders: Folders,
  organisation: string,
  keys: LoginKeys,
  given: { readonly lifetime: number; readonly inFile: boolean; readonly certificate?: CertificateToPlace | undefined },
): Promise<KeyPlace> {
  const files = sessionFiles(folders, organisation)
  const socket = given.inFile ? undefined : chooseAgent()
  const [stuck] = await takeKeysBack(folders, organisation, socket)
  const key = { fields: keys.ssh.fields, publicKey: keys.ssh.publicKey, comment: keys.ssh.comment }
  const taken = socket === undefined ? undefined : await give(socket, { ...key, lifetime: given.lifetime })
  if (socket !== undefined && taken?.isTaken) {
    remove(files.key)
    const { certificate } = given
    const lifetime = certificate && Math.floor((Date.parse(certificate.endsAt) - Date.now()) / 1000)
    const served =
      certificate &&
      lifetime !== undefined &&
      lifetime > 0 &&
      (await addCertificateToAgent(socket, {
        ...key,
        certificate: parseCertificate(certificate.line, 'certificate'),
        lifetime: Math.min(lifetime, given.lifetime),
      }))
    return { keyIn: 'agent', agent: { socket, ...(served ? { certificateUntil: certificate.endsAt } : {}) } }
  }
  writeFile(files.key, privateKeyFile(keys), 0o600)
  const mayBeIn = taken?.isTaken === false && taken.mayHave ? socket : stuck
  const place = { keyIn: 'file', ...(mayBeIn === undefined ? {} : { mayBeIn }) } as const
  if (socket === undefined || taken === undefined || taken.isTaken) return place
  // A file serves as well: nobody hears of it who has neither named the agent, nor has anything to do there.
  if (taken.mayHave || namedAgent() === socket)
    remark(
      `keyman: warning: the ssh-agent at ${shown(socket)} is not used (${shown(taken.why)}): the key is in a file${
        taken.mayHave
          ? '. It may have the key all the same; refuse what it asks, and keyman logout asks for it back'
          : ''
      }`,
    )
  return place
}

/** The ssh block names the agent, whichever one the terminal has in which ssh runs. */
const give = async (socket: string, key: Parameters<typeof addToAgent>[1]): Promise<Taken> =>
  isNameable(socket)
    ? addToAgent(socket, key)
    : { isTaken: false, why: "its path cannot stand in ssh's configuration", mayHave: false }

type CertificateToPlace = { readonly line: string; readonly endsAt: string }

/** Why ssh cannot use the certificate though it is good, for a person. An agent that does not answer may have the key all the same. */
export type KeyProblem = { readonly isGone: boolean; readonly says: string; readonly next: string }

/** `undefined` where the key is still where the login put it: agents end, and so do runtime folders. */
export async function keyProblem(
  folders: Folders,
  organisation: string,
  session: Session,
): Promise<KeyProblem | undefined> {
  const files = sessionFiles(folders, organisation)
  const gone = (says: string) => ({
    isGone: true,
    says: `the SSH key of this session is gone${says}`,
    next: nextAfter(session),
  })
  if (session.keyIn === 'file') return existsSync(files.key) ? undefined : gone(': its file was removed')
  const socket = agentOf(session)
  const line = readIfThere(files.publicKey)?.trim()
  const agent = `the ssh-agent${session.agent ? ` at ${session.agent.socket}` : ''}`
  // By it ssh and a renewal name the key, whatever the agent has.
  if (line === undefined) return gone(`: ${files.publicKey} was removed`)
  if (socket === undefined) return gone(` from ${agent}`)
  try {
    const { blob } = parsePublicKey(line, files.publicKey)
    const keys = await keysOf(socket)
    if (keys.some(key => equalBytes(key.blob, blob))) return undefined
    const problem = gone(` from ${agent}`)
    // One that is locked says that it has none, as one that has none does.
    return keys.length > 0 ? problem : { ...problem, next: `ssh-add -X if you have locked it, else ${problem.next}` }
  } catch (error) {
    // Nobody listens there any more: an agent keeps its keys in memory alone.
    if (isEnded(error)) return gone(` from ${agent}, which has ended`)
    const why = error instanceof Error ? error.message : ''
    return {
      isGone: false,
      says: `${agent} could not be asked for the SSH key of this session: ${why}`,
      next: 'see whether ssh-add -l answers; keyman login makes a new key',
    }
  }
}

/** Throws `not-signed-in` where the key is gone: no certificate helps without it. One that may be there is told. */
export async function requireKey(folders: Folders, organisation: string, session: Session): Promise<void> {
  const problem = await keyProblem(folders, organisation, session)
  if (problem?.isGone) throw new KeymanError('not-signed-in', problem.says, { hint: problem.next })
  if (problem !== undefined) remark(`keyman: warning: ${shown(problem.says)}; ${problem.next}`)
}
