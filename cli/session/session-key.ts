import { existsSync } from 'node:fs'
import { KeymanError } from '#shared/errors.ts'
import { parseCertificate, parsePublicKey } from '#shared/ssh/index.ts'
import { type KeyPlace, readableSession, type Session, sessionFiles } from '../context/context.ts'
import { readIfThere, remove, writeFile } from '../context/files.ts'
import type { Folders } from '../context/folders.ts'
import { addCertificateToAgent, addToAgent, agentOf, chooseAgent, holds, removeFromAgent } from '../ssh/agent.ts'
import { isNameable } from '../ssh/config.ts'
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

/** Whether the key is still where the login put it: agents end, and so do runtime folders. */
export async function keyIsThere(folders: Folders, organisation: string, session: Session): Promise<boolean> {
  const files = sessionFiles(folders, organisation)
  if (session.keyIn === 'file') return existsSync(files.key)
  const socket = agentOf(session)
  const line = readIfThere(files.publicKey)?.trim()
  if (socket === undefined || line === undefined) return false
  return holds(socket, parsePublicKey(line, files.publicKey)).catch(() => false)
}

/** Why ssh cannot use the certificate though it is good, for a person. */
export const keyIsGone = (session: Session): string =>
  session.keyIn === 'file'
    ? 'the SSH key of this session is gone: its file was removed'
    : `the SSH key of this session is gone from the ssh-agent${session.agent ? ` at ${session.agent.socket}` : ''}`

/** Throws `not-signed-in` where the key is gone: no certificate helps without it. */
export async function requireKey(folders: Folders, organisation: string, session: Session): Promise<void> {
  if (await keyIsThere(folders, organisation, session)) return
  throw new KeymanError('not-signed-in', keyIsGone(session), { hint: 'run keyman login' })
}
