import { join } from 'node:path'
import { parseTrustDocument } from '#shared/trust/index.ts'
import { changeContext } from '../context/change-context.ts'
import { type Context, type KeyPlace, type Session, sessionFiles, writeSession } from '../context/context.ts'
import { remove, writeFile } from '../context/files.ts'
import type { Folders } from '../context/folders.ts'
import { takeTurn } from '../context/turn.ts'
import { refreshSshFiles, sshFiles } from '../ssh/files.ts'
import { writeRevokedHosts } from '../ssh/revoked-hosts.ts'
import { zoneOf } from '../terminal/times.ts'
import type { LoginKeys } from './keys.ts'
import type { LoginAnswer } from './login.ts'
import { placeKey } from './session-key.ts'

/** Logins and renewals write the same files, one after the other. */
export const writersTurn = (folders: Folders, context: Context): string =>
  join(folders.runtime, `${context.organisation}.write.lock`)
const PATIENCE_MS = 15_000
/** One login at a time asks for a passkey. (`ssh-check.ts` has a turn of its own around the login that it starts.) */
export const signInTurn = (folders: Folders, context: Context): string =>
  join(folders.runtime, `${context.organisation}.sign-in.lock`)

/** Puts a fresh login where ssh finds it: certificate and public key as files, the private key as `session-key.ts` says. */
export async function installLogin(
  folders: Folders,
  context: Context,
  keys: LoginKeys,
  answer: LoginAnswer,
  inFile: boolean,
): Promise<Session> {
  const install = async () => {
    const files = sessionFiles(folders, context.organisation)
    const lifetime = Math.max(1, Math.floor((Date.parse(answer.session.endsAt) - Date.now()) / 1000))
    const certificate = answer.ssh && { line: answer.ssh.certificate, endsAt: answer.ssh.endsAt }
    const place = await placeKey(folders, context.organisation, keys, { lifetime, inFile, certificate })
    writeFile(files.publicKey, `${keys.ssh.line}\n`, 0o644)
    writeFile(files.clientKey, keys.client.pem, 0o600)
    return installAnswer(folders, context, answer, place)
  }
  // Somebody has touched a passkey for these keys: they are not thrown away because a renewal hangs.
  return (await takeTurn(writersTurn(folders, context), PATIENCE_MS, install)) ?? install()
}

/** The part that a renewal repeats: certificates, hosts, expiry. No agent is touched. */
export async function installAnswer(
  folders: Folders,
  context: Context,
  answer: LoginAnswer,
  place: KeyPlace,
): Promise<Session> {
  const files = sessionFiles(folders, context.organisation)
  if (answer.revokedHosts !== undefined)
    writeRevokedHosts(sshFiles(folders).revokedHosts(context.organisation), answer.revokedHosts, trustedList(context))
  if (answer.ssh) writeFile(files.certificate, `${answer.ssh.certificate}\n`, 0o644)
  else remove(files.certificate)
  writeFile(files.clientCertificate, answer.client.certificate, 0o600)
  await changeContext(folders, context.organisation, () => ({ hosts: answer.hosts.map(knownHost) }))
  const session = sessionOf(answer, place)
  refreshSshFiles(folders, { organisation: context.organisation, session })
  // Last: from here on the check says that the certificate is good.
  writeSession(folders, context.organisation, session)
  return session
}

/** What vouches for the list of revoked hosts: as the pinned bundle says it. */
const trustedList = ({ organisation, bundle, logKey }: Context) => ({
  logKey: logKey.key,
  history: `keyman ${organisation} ${parseTrustDocument(bundle.document).incarnation}`,
})

export const knownHost = ({
  name,
  aliases,
  logins,
  port,
  address,
  keyTypes,
}: LoginAnswer['hosts'][number]): Context['hosts'][number] => ({
  name,
  ...(aliases === undefined ? {} : { aliases }),
  logins,
  ...(port === undefined ? {} : { port }),
  ...(address === undefined ? {} : { address }),
  ...(keyTypes === undefined ? {} : { keyTypes }),
})

function sessionOf({ session, ssh, denial, client }: LoginAnswer, place: KeyPlace): Session {
  return {
    person: session.person,
    session: session.session,
    owner: session.owner,
    startedAt: session.startedAt,
    endsAt: session.endsAt,
    passkeys: session.passkeys,
    ...(ssh
      ? {
          ssh: {
            keyId: ssh.keyId,
            serial: ssh.serial,
            principals: ssh.principals,
            startsAt: ssh.startsAt,
            endsAt: ssh.endsAt,
            ...(ssh.limitedBy === undefined ? {} : { limitedBy: ssh.limitedBy }),
          },
        }
      : {}),
    ...(denial === undefined ? {} : { denial }),
    clientEndsAt: client.endsAt,
    zone: zoneOf(new Date()),
    ...(place.keyIn === 'file'
      ? { keyIn: 'file' }
      : { keyIn: 'agent', ...(place.agent ? { agent: place.agent } : {}) }),
  }
}
