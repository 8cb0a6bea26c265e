import { existsSync } from 'node:fs'
import { KeymanError } from '#shared/errors.ts'
import { parseCertificate, parsePublicKey } from '#shared/ssh/index.ts'
import { type KeyPlace, nextAfter, readableSession, type Session, sessionFiles } from '../context/context.ts'
import { readIfThere, remove, writeFile } from '../context/files.ts'
import type { Folders } from '../context/folders.ts'
import {
  addCertificateToAgent,
  addToAgent,
  agentOf,
  chooseAgent,
  holds,
  isEnded,
  removeFromAgent,
} from '../ssh/agent.ts'
import { isNameable } from '../ssh/config.ts'
import { remark, shown } from '../terminal/terminal.ts'
import { agentComment, type LoginKeys, privateKeyFile } from './keys.ts'

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
  for (const old of new Set([socket, agentOf(readableSession(folders, organisation))]))
    if (old !== undefined) await removeFromAgent(old, agentComment(organisation))
  const key = { fields: keys.ssh.fields, publicKey: keys.ssh.publicKey, comment: keys.ssh.comment }
  // The ssh block names the agent, whichever one the terminal has in which ssh runs.
  if (socket !== undefined && isNameable(socket) && (await addToAgent(socket, { ...key, lifetime: given.lifetime }))) {
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
  return { keyIn: 'file' }
}
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
    return (await holds(socket, parsePublicKey(line, files.publicKey))) ? undefined : gone(` from ${agent}`)
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
