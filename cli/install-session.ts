import { existsSync } from 'node:fs'
import type { Context, Session } from './context.ts'
import { sessionFiles, writeSession } from './context.ts'
import { remove, writeFile } from './files.ts'
import { type Folders, makeFolder } from './folders.ts'
import { type LoginKeys, privateKeyFile } from './keys.ts'
import type { LoginAnswer } from './login.ts'
import { addToAgent, localAgent, removeFromAgent } from './ssh-agent.ts'
import { refreshSshFiles } from './ssh-files.ts'

/**
 * Puts a fresh login where ssh finds it: certificate and public key as files, the private key into the local ssh-agent
 * with a lifetime where that agent takes and lists it, else into a 0600 file.
 */
export async function installLogin(
  folders: Folders,
  context: Context,
  keys: LoginKeys,
  answer: LoginAnswer,
): Promise<Session> {
  const files = sessionFiles(folders, context.organisation)
  makeFolder(files.folder)
  const lifetime = Math.max(1, Math.floor((Date.parse(answer.session.endsAt) - Date.now()) / 1000))
  const socket = localAgent()
  if (socket) await removeFromAgent(socket, keys.ssh.comment)
  const inAgent =
    socket !== undefined &&
    (await addToAgent(socket, {
      seed: keys.ssh.seed,
      publicKey: keys.ssh.publicKey,
      comment: keys.ssh.comment,
      lifetime,
    }))
  if (inAgent) remove(files.key)
  else writeFile(files.key, privateKeyFile(keys), 0o600)
  writeFile(files.publicKey, `${keys.ssh.line}\n`, 0o644)
  writeFile(files.clientKey, keys.client.pem, 0o600)
  return installAnswer(folders, context, answer, inAgent ? 'agent' : 'file')
}

/** The part that a renewal repeats: certificates, hosts, expiry. No agent is touched. */
export function installAnswer(
  folders: Folders,
  context: Context,
  answer: LoginAnswer,
  keyIn: Session['keyIn'],
): Session {
  const files = sessionFiles(folders, context.organisation)
  if (answer.ssh) writeFile(files.certificate, `${answer.ssh.certificate}\n`, 0o644)
  else if (existsSync(files.certificate)) remove(files.certificate)
  writeFile(files.clientCertificate, answer.client.certificate, 0o600)
  const session: Session = {
    person: answer.session.person,
    session: answer.session.session,
    administrator: answer.session.administrator,
    startedAt: answer.session.startedAt,
    endsAt: answer.session.endsAt,
    passkeys: answer.session.passkeys,
    ...(answer.ssh
      ? {
          ssh: {
            keyId: answer.ssh.keyId,
            serial: answer.ssh.serial,
            principals: answer.ssh.principals,
            startsAt: answer.ssh.startsAt,
            endsAt: answer.ssh.endsAt,
            ...(answer.ssh.limitedBy === undefined ? {} : { limitedBy: answer.ssh.limitedBy }),
          },
        }
      : {}),
    ...(answer.denial === undefined ? {} : { denial: answer.denial }),
    clientEndsAt: answer.client.endsAt,
    keyIn,
    hosts: answer.hosts.map(host => ({
      name: host.name,
      logins: host.logins,
      ...(host.port === undefined ? {} : { port: host.port }),
      ...(host.address === undefined ? {} : { address: host.address }),
    })),
  }
  refreshSshFiles(folders, context, session)
  // Last: from here on the check says that the certificate is good.
  writeSession(folders, context.organisation, session)
  return session
}
