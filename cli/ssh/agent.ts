import { randomBytes } from 'node:crypto'
import { realpathSync, statSync } from 'node:fs'
import { connect } from 'node:net'
import { basename, dirname, isAbsolute } from 'node:path'
import { equalBytes } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import {
  type AgentIdentity,
  agentProtocol,
  type Certificate,
  type PrivateFields,
  type SshPublicKey,
  SshWriter,
  verifySignature,
} from '#shared/ssh/index.ts'
import type { KeyPlace } from '../context/context.ts'

/**
 * The ssh-agent that a login puts its key into, if any. `KEYMAN_SSH_AGENT` names a socket, or says `none`; else it is the
 * person's running one. Only a local one is used, never one that was forwarded here (SSH_CONNECTION): a key
 * added there would leave this machine. What gpg-agent calls its socket is not even asked; by another name, and whatever else an
 * agent does, is found out by `addToAgent`.
 */
export function chooseAgent(env: NodeJS.ProcessEnv = process.env): string | undefined {
  if (env.KEYMAN_SSH_AGENT === 'none') return undefined
  const named = namedAgent(env)
  if (named !== undefined) return named
  if (env.SSH_CONNECTION || env.SSH_CLIENT) return undefined
  const socket = env.SSH_AUTH_SOCK || undefined
  return socket !== undefined && [socket, realpathOf(socket)].some(isOfGpg) ? undefined : socket
}

/** The one that `KEYMAN_SSH_AGENT` names: whoever does wants to hear that it cannot be used. */
export function namedAgent(env: NodeJS.ProcessEnv = process.env): string | undefined {
  const named = env.KEYMAN_SSH_AGENT || 'auto'
  if (named === 'auto' || named === 'none') return undefined
  if (isAbsolute(named)) return named
  throw new KeymanError('invalid-input', `KEYMAN_SSH_AGENT is ${JSON.stringify(named)}`, {
    hint: 'it is none, auto, or the path of a socket',
  })
}

const isOfGpg = (socket: string): boolean => basename(socket).startsWith('S.gpg-agent')

function realpathOf(path: string): string {
  try {
    return realpathSync(path)
  } catch {
    return path
  }
}

/** Those that may have a session's key, for all that it says. */
export const agentsOf = (session: KeyPlace | undefined): string[] =>
  [agentOf(session), session?.keyIn === 'file' ? session.mayBeIn : undefined].flatMap(socket => socket ?? [])

/** The agent that has a session's key; a session of an earlier release does not say which one it was. */
export const agentOf = (session: KeyPlace | undefined): string | undefined =>
  session?.keyIn === 'agent' ? (session.agent?.socket ?? chooseAgent()) : undefined

type Added = {
  readonly fields: PrivateFields
  readonly publicKey: SshPublicKey
  readonly comment: string
  readonly lifetime: number
}

/** What became of a key that an agent was given. `why` it is not used, for a person; `mayHave`: it may have the key all the same. */
export type Taken =
  | { readonly isTaken: true }
  | { readonly isTaken: false; readonly why: string; readonly mayHave: boolean }

/**
 * Adds the bare key, which OpenSSH finds by `CertificateFile`. Taken only where the agent took it, lists it, and signs with
 * it at once: some multiplexers say yes and keep nothing, some refuse a key with a lifetime, some ask the person each time. One that
 * fails is asked to give the key up again. One that did not answer in time may still take it, once somebody has answered it.
 */
export async function addToAgent(socket: string, key: Added): Promise<Taken> {
  const unusable = await whyUnusable(socket)
  if (unusable !== undefined) return { isTaken: false, why: unusable, mayHave: false }
  let why = 'it does not list the key that it took, or does not sign with it'
  let isDecided = false
  try {
    const added = await ask(socket, agentProtocol.encodeAddIdentityConstrained(key))
    isDecided = true
    if (!agentProtocol.decodeStatus(added)) why = 'it does not take a key with a lifetime, or is locked (ssh-add -X)'
    else if ((await holds(socket, key.publicKey)) && (await signs(socket, key.publicKey))) return { isTaken: true }
  } catch (error) {
    why = inWords(error)
  }
  const left = await removeFromAgent(socket, key.comment)
  return { isTaken: false, why, mayHave: !isDecided || left !== 0 }
}

/**
 * Why no key is given to the agent there, for a person; undefined where one is. It is asked for nothing but to remove a key that it
 * cannot have: gpg-agent says that it did, removes none ever, and keeps on disk what it is given.
 */
export async function whyUnusable(socket: string): Promise<string | undefined> {
  try {
    if (!isOwn(socket)) return "it or its folder is somebody else's"
    const nobodys = new SshWriter()
      .string('ssh-ed25519')
      .string(new Uint8Array(randomBytes(32)))
      .bytes()
    const isRemoved = agentProtocol.decodeStatus(await ask(socket, agentProtocol.encodeRemoveIdentity(nobodys)))
    return isRemoved ? 'it gives no key up that it was given, as gpg-agent, which keeps them for good' : undefined
  } catch (error) {
    return inWords(error)
  }
}

/**
 * Whether the socket and its folder belong to this person, or to root. A terminal may name one that has ended, below a folder where
 * everybody writes: whoever listens there now would be given the private key. Throws where there is none.
 */
function isOwn(socket: string): boolean {
  const real = realpathSync(socket)
  return [real, dirname(real)].every(path => [process.geteuid?.(), 0].includes(statSync(path).uid))
}

const inWords = (error: unknown): string => {
  if (isEnded(error)) return 'no ssh-agent listens there'
  return error instanceof Error ? error.message : 'it does not answer'
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
  return (await keysOf(socket)).some(identity => equalBytes(identity.blob, blob))
}

export const keysOf = async (socket: string): Promise<AgentIdentity[]> =>
  agentProtocol.decodeIdentitiesAnswer(await ask(socket, agentProtocol.encodeRequestIdentities()))

async function signs(socket: string, key: SshPublicKey): Promise<boolean> {
  const data = new Uint8Array(randomBytes(32))
  const signature = agentProtocol.decodeSignResponse(await ask(socket, agentProtocol.encodeSignRequest(key, data)))
  return signature !== undefined && verifySignature(key, data, signature)
}

/**
 * Removes every identity whose comment is ours for this organisation, so that old ones never pile up, and looks again. Gives
 * how many are still there, none where the agent has ended; undefined where that cannot be told, since it does not answer.
 */
export async function removeFromAgent(socket: string, comment: string): Promise<number | undefined> {
  try {
    const ours = async () => (await keysOf(socket)).filter(identity => identity.comment === comment)
    for (const identity of await ours()) await ask(socket, agentProtocol.encodeRemoveIdentity(identity.blob))
    return (await ours()).length
  } catch (error) {
    // It had its keys in memory alone.
    return isEnded(error) ? 0 : undefined
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
