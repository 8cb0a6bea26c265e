import { randomBytes } from 'node:crypto'
import { realpathSync, statSync } from 'node:fs'
import { connect } from 'node:net'
import { basename, dirname, isAbsolute } from 'node:path'
import { equalBytes } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import {
  agentProtocol,
  type Certificate,
  type PrivateFields,
  type SshPublicKey,
  verifySignature,
} from '#shared/ssh/index.ts'
import type { KeyPlace } from '../context/context.ts'

/**
 * The ssh-agent that a login puts its key into, if any. `KEYMAN_SSH_AGENT` names a socket, or says `none`; else it is the
 * person's running one. Only a local one is used, never one that was forwarded here (SSH_CONNECTION): a key
 * added there would leave this machine. gpg-agent is left out: it asks for a passphrase for each key that is added, and keeps it for
 * good. Whatever else an agent does is found out by `addToAgent`.
 */
export function chooseAgent(env: NodeJS.ProcessEnv = process.env): string | undefined {
  const named = env.KEYMAN_SSH_AGENT || 'auto'
  if (named === 'none') return undefined
  if (named !== 'auto') {
    if (isAbsolute(named)) return named
    throw new KeymanError('invalid-input', `KEYMAN_SSH_AGENT is ${JSON.stringify(named)}`, {
      hint: 'it is none, auto, or the path of a socket',
    })
  }
  if (env.SSH_CONNECTION || env.SSH_CLIENT) return undefined
  const socket = env.SSH_AUTH_SOCK || undefined
  return socket !== undefined && basename(socket).startsWith('S.gpg-agent') ? undefined : socket
}

/** The agent that has a session's key; a session of an earlier release does not say which one it was. */
export const agentOf = (session: KeyPlace | undefined): string | undefined =>
  session?.keyIn === 'agent' ? (session.agent?.socket ?? chooseAgent()) : undefined

type Added = {
  readonly fields: PrivateFields
  readonly publicKey: SshPublicKey
  readonly comment: string
  readonly lifetime: number
}

/**
 * Adds the bare key, which OpenSSH finds by `CertificateFile`. True only where the agent took it, lists it, and signs with
 * it at once: some multiplexers say yes and keep nothing, some refuse a key with a lifetime, some ask the person each time. One that
 * fails is asked to give the key up again.
 */
export async function addToAgent(socket: string, key: Added): Promise<boolean> {
  if (!isOwn(socket)) return false
  try {
    const added = await ask(socket, agentProtocol.encodeAddIdentityConstrained(key))
    if (!agentProtocol.decodeStatus(added)) return false
    if ((await holds(socket, key.publicKey)) && (await signs(socket, key.publicKey))) return true
  } catch {
    // As if it had refused.
  }
  await removeFromAgent(socket, key.comment)
  return false
}

/**
 * Whether the socket and its folder belong to this person, or to root. A terminal may name one that has ended, below a folder where
 * everybody writes: whoever listens there now would be given the private key.
 */
function isOwn(socket: string): boolean {
  try {
    const real = realpathSync(socket)
    return [real, dirname(real)].every(path => [process.geteuid?.(), 0].includes(statSync(path).uid))
  } catch {
    return false
  }
}

/**
 * Adds the certificate as an identity of its own beside its key: clients that ask the agent alone get in by that. An agent takes it only
 * with the private key, so a renewal cannot replace it. Says whether it is there.
 */
export async function addCertificateToAgent(
  socket: string,
  key: Added & { readonly certificate: Certificate },
): Promise<boolean> {
  try {
    const added = await ask(socket, agentProtocol.encodeAddIdentityConstrained(key))
    return agentProtocol.decodeStatus(added) && (await lists(socket, key.certificate.blob))
  } catch {
    return false
  }
}

export const holds = (socket: string, key: SshPublicKey): Promise<boolean> => lists(socket, key.blob)

async function lists(socket: string, blob: Uint8Array): Promise<boolean> {
  return (await identitiesOf(socket)).some(identity => equalBytes(identity.blob, blob))
}

const identitiesOf = async (socket: string) =>
  agentProtocol.decodeIdentitiesAnswer(await ask(socket, agentProtocol.encodeRequestIdentities()))

async function signs(socket: string, key: SshPublicKey): Promise<boolean> {
  const data = new Uint8Array(randomBytes(32))
  const signature = agentProtocol.decodeSignResponse(await ask(socket, agentProtocol.encodeSignRequest(key, data)))
  return signature !== undefined && verifySignature(key, data, signature)
}

/**
 * Removes every identity whose comment is ours for this organisation, so that old ones never pile up, and looks again. Gives
 * how many are still there; undefined where that cannot be told, since no agent answers.
 */
export async function removeFromAgent(socket: string, comment: string): Promise<number | undefined> {
  try {
    const ours = async () => (await identitiesOf(socket)).filter(identity => identity.comment === comment)
    for (const identity of await ours()) await ask(socket, agentProtocol.encodeRemoveIdentity(identity.blob))
    return (await ours()).length
  } catch {
    return undefined
  }
}

/** Whether an error says that no agent listens there any more. */
export const isEnded = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && ['ENOENT', 'ENOTDIR', 'ECONNREFUSED'].includes(String(error.code))

/** One message to the agent and its answer, both without the length prefix. Throws where the agent does not answer within two seconds. */
function ask(socket: string, message: Uint8Array): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const connection = connect(socket)
    let received: Uint8Array<ArrayBuffer> = new Uint8Array(0)
    connection.setTimeout(2000, () =>
      connection.destroy(new KeymanError('unavailable', 'the ssh-agent does not answer')),
    )
    connection.on('error', reject)
    connection.on('end', () => reject(new KeymanError('unavailable', 'the ssh-agent hung up')))
    connection.on('data', (chunk: Uint8Array) => {
      const joined = new Uint8Array(received.length + chunk.length)
      joined.set(received)
      joined.set(chunk, received.length)
      received = joined
      try {
        const answer = agentProtocol.unframe(received)
        if (!answer) return
        connection.destroy()
        resolve(answer)
      } catch (error) {
        connection.destroy()
        reject(error)
      }
    })
    connection.write(agentProtocol.frame(message))
  })
}
