import { api } from '#shared/api/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { readNextKey } from '../context/client-files.ts'
import {
  type Context,
  clientRenewalDue,
  isWorkload,
  type PersonSession,
  readContext,
  readSession,
  renewalDue,
  requireSession,
  sessionFiles,
} from '../context/context.ts'
import { readIfThere, writeFile } from '../context/files.ts'
import type { Folders } from '../context/folders.ts'
import { isRecent, marksOf, writersTurn } from '../context/marks.ts'
import { takeTurn } from '../context/turn.ts'
import { call } from '../server/client.ts'
import { heldConnection, rememberCheckpoint, sessionConnection } from '../trust/checkpoint.ts'
import { followTrust } from '../trust/follow-trust.ts'
import { installAnswer, knownHost } from './install-session.ts'
import { renewWorkload } from './renew-workload.ts'
import { requireKey } from './session-key.ts'

const PATIENCE_MS = 15_000
const BETWEEN_NEW_HOSTS_MS = 3_000
/** ssh waits for it. */
const NEW_HOSTS_MS = 5_000

type When = 'now' | 'if due' | 'for a new host' | 'before a call'

/**
 * Renews both certificates with the newest trust bundle and hosts: a person's for the same two keys, a workload's for a new client
 * key. No passkey, no agent. `if due`: does nothing where enough time is left, since another ssh may have just renewed; `for a new
 * host`: nor where there is none. Throws `denied` where no grant gives a certificate any more, `not-signed-in` where the session is over.
 */
export async function renewSession(folders: Folders, held: Context | undefined, when: When): Promise<void> {
  const { context } = requireSession(folders, new Date(), held)
  const done = await takeTurn(writersTurn(folders, context), PATIENCE_MS, async () => {
    if (!(await isDue(folders, context, when))) return {}
    // Read anew: a login or another renewal may have moved it forward while this one waited.
    return renew(folders, readContext(folders, context.organisation))
  })
  if (!done) throw new KeymanError('conflict', 'another keyman is renewing and does not come to an end')
  if (done.checkpoint) await rememberCheckpoint(folders, context)
  // Whoever asks for something else has what it takes.
  if (done.denial !== undefined && when !== 'before a call') throw new KeymanError('denied', done.denial)
}

/**
 * Before anything is asked in the session's name. A workload's client key is renewed at half of its certificate's life, and where a
 * renewal has had no answer it is asked for again first: the server may have given that key up, and takes whoever comes with it for a thief.
 * Gives the context as it is then.
 */
export async function readyToAsk(folders: Folders, context: Context): Promise<Context> {
  if (!isClientDue(folders, context)) return context
  await renewSession(folders, context, 'before a call')
  return readContext(folders, context.organisation) ?? context
}

function isClientDue(folders: Folders, { organisation }: Context): boolean {
  const session = readSession(folders, organisation)
  const isPending = readNextKey(sessionFiles(folders, organisation)) !== undefined
  return session !== undefined && isWorkload(session) && (isPending || clientRenewalDue(session, new Date()))
}

async function isDue(folders: Folders, context: Context, when: When): Promise<boolean> {
  const session = readSession(folders, context.organisation)
  if (isClientDue(folders, context)) return true
  switch (when) {
    case 'now':
      return true
    case 'if due':
      return renewalDue(session, new Date())
    case 'before a call':
      return false
    case 'for a new host':
      return areHostsOthers(folders, context)
  }
}

/**
 * Whether the server knows other hosts for this session than are listed here. Asked by a look alone, which is not recorded, since
 * hosts that are none of ours may have names like ours; and once in a while, since such a name may be typed by fifty forks at once.
 */
async function areHostsOthers(folders: Folders, context: Context): Promise<boolean> {
  const { newHost } = marksOf(folders, context)
  if (isRecent(newHost, BETWEEN_NEW_HOSTS_MS, Date.now())) return false
  writeFile(newHost, `${Date.now()}\n`, 0o600)
  // In the writers' turn: by what lies here, since nobody else replaces it, and waiting for them would be waiting for ourselves.
  const { hosts } = await call(heldConnection(folders, context), api.session.hosts, { deadline: NEW_HOSTS_MS })
  const inText = (known: Context['hosts']) =>
    known
      .map(({ name, port, address, logins }) => JSON.stringify([name, port, address, logins]))
      .sort()
      .join()
  return inText(hosts.map(knownHost)) !== inText(context.hosts)
}

/** `checkpoint`: that it is still to be asked for, when the turn is over. */
type Renewed = { readonly denial?: string; readonly checkpoint?: true }

async function renew(folders: Folders, known: Context | undefined): Promise<Renewed> {
  const { context: held, session } = requireSession(folders, new Date(), known)
  await requireKey(folders, held.organisation, session)
  if (!isWorkload(session)) return renewPerson(folders, held, session)
  const { denial } = await renewWorkload(folders, held, session)
  return { checkpoint: true, ...(denial === undefined ? {} : { denial }) }
}

async function renewPerson(folders: Folders, held: Context, session: PersonSession): Promise<Renewed> {
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
  return 'denial' in ssh ? { denial: ssh.denial } : {}
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
