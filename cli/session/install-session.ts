import { createPrivateKey, X509Certificate } from 'node:crypto'
import type { z } from 'zod'
import type { schemas } from '#shared/api/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { logKeysOf, parseTrustDocument } from '#shared/trust/index.ts'
import { changeContext } from '../context/change-context.ts'
import { writeClient } from '../context/client-files.ts'
import {
  type Context,
  type KeyPlace,
  type Lasting,
  type PersonSession,
  type Session,
  sessionFiles,
  type WorkloadSession,
  writeSession,
} from '../context/context.ts'
import { remove, writeFile } from '../context/files.ts'
import type { Folders } from '../context/folders.ts'
import { writersTurn } from '../context/marks.ts'
import { takeTurn } from '../context/turn.ts'
import { refreshSshFiles, sshFiles } from '../ssh/files.ts'
import { writeRevokedHosts } from '../ssh/revoked-hosts.ts'
import { zoneOf } from '../terminal/times.ts'
import type { LoginKeys } from './keys.ts'
import type { LoginAnswer } from './login.ts'
import { placeKey } from './session-key.ts'

const PATIENCE_MS = 15_000

/** Puts a fresh login where ssh finds it: certificate and public key as files, the private key as `session-key.ts` says. */
export async function installLogin(
  folders: Folders,
  context: Context,
  keys: LoginKeys,
  answer: LoginAnswer,
  inFile: boolean,
): Promise<PersonSession> {
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
): Promise<PersonSession> {
  writeFile(sessionFiles(folders, context.organisation).clientCertificate, answer.client.certificate, 0o600)
  const { person, owner, passkeys } = answer.session
  return install(folders, context, answer, { person, owner, passkeys, ...lasting(answer), ...keyPlace(place) })
}

export type WorkloadAnswer = z.infer<typeof schemas.workloadLogin>

/**
 * What a workload gets at its join and at each renewal, for the client key `key` (PEM). That is in force first, whatever fails then: the
 * server takes no other one any more. Throws `denied` for a certificate that is not for it.
 */
export async function installWorkload(
  folders: Folders,
  context: Context,
  key: string,
  answer: WorkloadAnswer,
): Promise<WorkloadSession> {
  const files = sessionFiles(folders, context.organisation)
  const { session, client } = answer
  const x509 = certificateFor(key, client.certificate)
  writeClient(files, { key, certificate: client.certificate })
  writeFile(files.machinesRoot, `${context.machinesRoot.trim()}\n`, 0o644)
  return install(folders, context, answer, {
    workload: session.workload,
    clientStartsAt: x509.validFromDate.toISOString(),
    keyIn: 'file',
    ...lasting(answer),
  })
}

function certificateFor(key: string, pem: string): X509Certificate {
  try {
    const x509 = new X509Certificate(pem)
    if (x509.checkPrivateKey(createPrivateKey(key))) return x509
  } catch {
    // No certificate at all.
  }
  throw new KeymanError('denied', "the server's client certificate is not for the key that was made here", {
    hint: 'tell your administrator',
  })
}

type Granted = Pick<LoginAnswer, 'ssh' | 'hosts' | 'revokedHosts'>

async function install<S extends Session>(folders: Folders, context: Context, answer: Granted, session: S): Promise<S> {
  const files = sessionFiles(folders, context.organisation)
  if (answer.revokedHosts !== undefined)
    writeRevokedHosts(sshFiles(folders).revokedHosts(context.organisation), answer.revokedHosts, trustedList(context))
  if (answer.ssh) writeFile(files.certificate, `${answer.ssh.certificate}\n`, 0o644)
  else remove(files.certificate)
  await changeContext(folders, context.organisation, () => ({ hosts: answer.hosts.map(knownHost) }))
  refreshSshFiles(folders, { organisation: context.organisation, session })
  // Last: from here on the check says that the certificate is good.
  writeSession(folders, context.organisation, session)
  return session
}

/** What vouches for the list of revoked hosts: as the pinned bundle says it. */
const trustedList = ({ organisation, bundle, ...context }: Context) => ({
  logKeys: logKeysOf(context),
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

function lasting({ session, ssh, denial, client }: LoginAnswer | WorkloadAnswer): Lasting {
  return {
    session: session.session,
    startedAt: session.startedAt,
    endsAt: session.endsAt,
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
  }
}

/** Of what may be a whole session. */
const keyPlace = (place: KeyPlace): KeyPlace =>
  place.keyIn === 'file'
    ? { keyIn: 'file', ...(place.mayBeIn === undefined ? {} : { mayBeIn: place.mayBeIn }) }
    : { keyIn: 'agent', ...(place.agent ? { agent: place.agent } : {}) }
