import { readFileSync } from 'node:fs'
import { fromBase64Url } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import { proofMessage } from '#shared/login-challenge.ts'
import { formatPublicKey, parsePublicKey, type SshPublicKey } from '#shared/ssh/index.ts'
import type { AgentConfig } from '../config.ts'
import type { ClientKey } from '../server/client-identity.ts'
import { proveClientKey } from '../server/client-identity.ts'
import { run } from './sshd.ts'

/** sshd's own host keys: the agent reads the public file and has `ssh-keygen` sign with the private one beside it. */
export type HostKey = { readonly file: string; readonly publicKey: SshPublicKey; readonly line: string }

const NAMESPACE = 'keyman-proof'

/** Throws `invalid-input` that names the file for a key that cannot be certified (RSA below 3072 bits, DSA). */
export function readHostKey(file: string): HostKey {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    throw new KeymanError('not-found', `the host key ${file} cannot be read`, { cause: error })
  }
  const publicKey = parsePublicKey(text.trim(), file)
  return { file, publicKey, line: formatPublicKey(publicKey) }
}

/** Shows that this machine holds the host key and the client key, for one challenge (base64url) and purpose. */
export async function prove(
  config: Pick<AgentConfig, 'sshKeygen'>,
  hostKey: HostKey,
  client: ClientKey,
  purpose: 'join' | 'host-key',
  challenge: string,
): Promise<{ challenge: string; sshSignature: string; clientSignature: string }> {
  const message = proofMessage({
    purpose,
    challenge: fromBase64Url(challenge),
    sshPublicKey: hostKey.publicKey.blob,
    clientSpki: client.spki,
  })
  return {
    challenge,
    sshSignature: await signWithHostKey(config, hostKey, message),
    clientSignature: proveClientKey(client, message),
  }
}

async function signWithHostKey(
  config: Pick<AgentConfig, 'sshKeygen'>,
  key: HostKey,
  message: Uint8Array,
): Promise<string> {
  const privateFile = key.file.replace(/\.pub$/, '')
  const { code, out } = await run(config.sshKeygen, ['-Y', 'sign', '-f', privateFile, '-n', NAMESPACE], message)
  const signature = /-----BEGIN SSH SIGNATURE-----[\s\S]*-----END SSH SIGNATURE-----/.exec(out)?.[0]
  if (code !== 0 || signature === undefined) {
    throw new KeymanError('denied', `ssh-keygen cannot sign with the host key ${privateFile}`, {
      hint: 'host keys belong to root: run keyman-agent as root, or name keys of your own by --host-key',
    })
  }
  return `${signature}\n`
}
