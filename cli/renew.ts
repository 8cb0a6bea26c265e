import { api } from '#shared/api/index.ts'
import { rememberCheckpoint, sessionConnection } from './checkpoint.ts'
import { call } from './client.ts'
import { requireSession, sessionFiles, writeContext } from './context.ts'
import { readIfThere } from './files.ts'
import type { Folders } from './folders.ts'
import { installAnswer } from './install-session.ts'
import { fetchTrust } from './trust-store.ts'

/** Renews both certificates for the same two keys, with the newest trust bundle and hosts. No passkey, no agent. */
export async function renewSession(folders: Folders): Promise<void> {
  const { context: held, session } = requireSession(folders, new Date())
  const context = await fetchTrust(held, held)
  writeContext(folders, context, false)
  const connection = sessionConnection(folders, context)
  const publicKey = readIfThere(sessionFiles(folders, context.organisation).publicKey) ?? ''
  const [ssh, client, hosts, now] = await Promise.all([
    call(connection, api.ssh.issueUserCertificate, { body: { publicKey: publicKey.trim() } }),
    call(connection, api.session.renewClientCertificate),
    call(connection, api.session.hosts),
    call(connection, api.session.show),
  ])
  installAnswer(folders, context, { session: now, ssh, client, hosts: hosts.hosts }, session.keyIn)
  await rememberCheckpoint(folders, context)
}
