import { api } from '#shared/api/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { type Context, readContext, readSession, renewalDue, requireSession, sessionFiles } from '../context/context.ts'
import { readIfThere, writeFile } from '../context/files.ts'
import type { Folders } from '../context/folders.ts'
import { isRecent, marksOf } from '../context/marks.ts'
import { takeTurn } from '../context/turn.ts'
import { call } from '../server/client.ts'
import { rememberCheckpoint, sessionConnection } from '../trust/checkpoint.ts'
import { followTrust } from '../trust/follow-trust.ts'
import { installAnswer, knownHost, writersTurn } from './install-session.ts'
import { requireKey } from './session-key.ts'

const PATIENCE_MS = 15_000
const BETWEEN_NEW_HOSTS_MS = 3_000
/** ssh waits for it. */
const NEW_HOSTS_MS = 5_000

/**
 * Renews both certificates for the same two keys, with the newest trust bundle and hosts. No passkey, no agent. `if due`: does
 * nothing where enough time is left, since another ssh may have just renewed; `for a new host`: nor where there is none. Throws `denied` where no grant gives a
 * certificate any more, `not-signed-in` where the session is over.
 */
export async function renewSession(
  folders: Folders,
  held: Context | undefined,
  when: 'now' | 'if due' | 'for a new host',
): Promise<void> {
  const { context } = requireSession(folders, new Date(), held)
  const done = await takeTurn(writersTurn(folders, context), PATIENCE_MS, async () => {
    if (when === 'if due' && !renewalDue(readSession(folders, context.organisation), new Date())) return true
    if (when === 'for a new host' && !(await areHostsOthers(folders, context))) return true
    // Read anew: a login or another renewal may have moved it forward while this one waited.
    await renew(folders, readContext(folders, context.organisation))
    return true
  })
  if (!done) throw new KeymanError('conflict', 'another keyman is renewing and does not come to an end')
}

/**
 * Whether the server knows other hosts for this person than are listed here. Asked by a look alone, which is not recorded, since
 * hosts that are none of ours may have names like ours; and once in a while, since such a name may be typed by fifty forks at once.
 */
async function areHostsOthers(folders: Folders, context: Context): Promise<boolean> {
  const { newHost } = marksOf(folders, context)
  if (isRecent(newHost, BETWEEN_NEW_HOSTS_MS, Date.now())) return false
  writeFile(newHost, `${Date.now()}\n`, 0o600)
  const { hosts } = await call(sessionConnection(folders, context), api.session.hosts, { deadline: NEW_HOSTS_MS })
  const inText = (known: Context['hosts']) =>
    known
      .map(({ name, port, address, logins }) => JSON.stringify([name, port, address, logins]))
      .sort()
      .join()
  return inText(hosts.map(knownHost)) !== inText(context.hosts)
}

async function renew(folders: Folders, known: Context | undefined): Promise<void> {
  const { context: held, session } = requireSession(folders, new Date(), known)
  await requireKey(folders, held.organisation, session)
  const context = await followTrust(folders, held)
  const connection = sessionConnection(folders, context)
  const publicKey = readIfThere(sessionFiles(folders, context.organisation).publicKey)?.trim() ?? ''
  const [ssh, client, { hosts, revokedHosts }, now] = await Promise.all([
    certificateOrDenial(call(connection, api.ssh.issueUserCertificate, { body: { publicKey } })),
    call(connection, api.session.renewClientCertificate),
    call(connection, api.session.hosts),
    call(connection, api.session.show),
  ])
  await installAnswer(folders, context, { session: now, ...ssh, client, hosts, revokedHosts }, session)
  await rememberCheckpoint(folders, context)
  if ('denial' in ssh) throw new KeymanError('denied', ssh.denial)
}

/** As the login's answer has it: without any grant there is no SSH certificate, but a session all the same. */
async function certificateOrDenial<T>(ssh: Promise<T>): Promise<{ ssh: T } | { denial: string }> {
  try {
    return { ssh: await ssh }
  } catch (error) {
    if (error instanceof KeymanError && error.code === 'denied') return { denial: error.message }
    throw error
  }
}
