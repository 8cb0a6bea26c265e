import { existsSync } from 'node:fs'
import { api } from '#shared/api/index.ts'
import { toBase64 } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import type { WorkloadToken } from '#shared/join-token.ts'
import type { LoginKeyType } from '#shared/login-key-types.ts'
import {
  type Context,
  isWorkload,
  live,
  principalOf,
  readableSession,
  removeSession,
  sessionFiles,
  type WorkloadSession,
} from '../context/context.ts'
import { writeDurably, writeFile } from '../context/files.ts'
import { type Folders, makeFolder, workloadsFolder } from '../context/folders.ts'
import { writersTurn } from '../context/marks.ts'
import { takeTurn } from '../context/turn.ts'
import { call } from '../server/client.ts'
import { forgetSession } from './forget-session.ts'
import { installWorkload } from './install-session.ts'
import { agentComment, makeLoginKeys, privateKeyFile, proveBoth } from './keys.ts'

const PATIENCE_MS = 15_000

/**
 * Makes place for a workload's session: from here on its folder is where this organisation's session lies. Throws `conflict` where
 * somebody else's session is live here. Gives what takes the folder away again where nothing came of it.
 */
export async function makePlace(
  folders: Folders,
  context: Pick<Context, 'organisation'>,
  workload: string,
): Promise<() => void> {
  const held = readableSession(folders, context.organisation)
  if (held && live(held, new Date()) && !(isWorkload(held) && held.workload === workload))
    throw new KeymanError(
      'conflict',
      `this home has the session of ${principalOf(held)} at ${context.organisation} already`,
      { hint: 'run keyman logout first, or join as another Unix user' },
    )
  if (held === undefined || !isWorkload(held)) await forgetSession(folders, context)
  makeFolder(`${workloadsFolder(folders)}/${context.organisation}`)
  return () => {
    if (!existsSync(sessionFiles(folders, context.organisation).session)) removeSession(folders, context.organisation)
  }
}

/** Uses the token: proves two new keys, and puts what comes back where ssh and `keyman` find it. */
export async function joinWorkload(
  folders: Folders,
  context: Context,
  { secret, name }: WorkloadToken,
  keyType: LoginKeyType,
): Promise<WorkloadSession> {
  const connection = { url: context.machinesUrl, root: context.machinesRoot }
  const keys = makeLoginKeys(agentComment(context.organisation), keyType)
  const { challenge } = await call(connection, api.login.challenge)
  const answer = await call(connection, api.workloadSelf.join, {
    body: {
      token: secret,
      sshPublicKey: keys.ssh.line,
      clientPublicKey: toBase64(keys.client.spki),
      proof: proveBoth(keys, 'workload', challenge),
    },
  })
  const { workload, organisation } = answer.session
  if (workload !== name || organisation !== context.organisation)
    throw new KeymanError(
      'denied',
      `the server took this machine for ${workload} of ${organisation}, the token is for ${name} of ${context.organisation}`,
    )
  const install = async () => {
    const files = sessionFiles(folders, context.organisation)
    writeDurably(files.key, privateKeyFile(keys), 0o600)
    writeFile(files.publicKey, `${keys.ssh.line}\n`, 0o644)
    return installWorkload(folders, context, keys.client.pem, answer)
  }
  // The token is used up: what it gave is not thrown away because a renewal hangs.
  return (await takeTurn(writersTurn(folders, context), PATIENCE_MS, install)) ?? install()
}
