import { connect } from 'node:net'
import { equalBytes } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import { agentProtocol, type SshPublicKey } from '#shared/ssh/index.ts'

/**
 * The person's running ssh-agent. Only a local one is used, never one that was forwarded here (SSH_CONNECTION): a key
 * added there would leave this machine. The agent is asked to forget the key by itself (a lifetime) and is believed only
 * when it then lists the key: some multiplexers refuse constrained keys, some agents keep keys for good.
 */
export const localAgent = (env: NodeJS.ProcessEnv = process.env): string | undefined =>
  env.SSH_CONNECTION || env.SSH_CLIENT ? undefined : env.SSH_AUTH_SOCK || undefined

/** Adds the bare key (no certificate: it is named by `CertificateFile`). True only where the agent took it and lists it. */
export async function addToAgent(
  socket: string,
  key: { seed: Uint8Array; publicKey: SshPublicKey; comment: string; lifetime: number },
): Promise<boolean> {
  try {
    const added = await ask(socket, agentProtocol.encodeAddIdentityConstrained(key))
    if (!agentProtocol.decodeStatus(added)) return false
    return await holds(socket, key.publicKey)
  } catch {
    return false
  }
}

export async function holds(socket: string, key: SshPublicKey): Promise<boolean> {
  const identities = agentProtocol.decodeIdentitiesAnswer(await ask(socket, agentProtocol.encodeRequestIdentities()))
  return identities.some(identity => equalBytes(identity.blob, key.blob))
}

/** Removes every identity whose comment is ours for this organisation, so that old ones never pile up. Gives how many. */
export async function removeFromAgent(socket: string, comment: string): Promise<number> {
  try {
    const identities = agentProtocol.decodeIdentitiesAnswer(await ask(socket, agentProtocol.encodeRequestIdentities()))
    const ours = identities.filter(identity => identity.comment === comment)
    for (const identity of ours) await ask(socket, agentProtocol.encodeRemoveIdentity(identity.blob))
    return ours.length
  } catch {
    return 0
  }
}

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
