import { concat } from '../bytes.ts'
import type { SshPublicKey } from './public-key.ts'
import { SshReader, SshWriter } from './wire.ts'

/** Pure: the few messages of the ssh-agent protocol that we use (draft-ietf-sshm-ssh-agent). Messages stand without their length prefix. */
const REQUEST_IDENTITIES = 11
const IDENTITIES_ANSWER = 12
const REMOVE_IDENTITY = 18
const ADD_ID_CONSTRAINED = 25
const CONSTRAIN_LIFETIME = 1
const SUCCESS = 6

export type AgentIdentity = { readonly blob: Uint8Array; readonly comment: string }

const MAX_IDENTITIES = 2048

export const agentProtocol = {
  /** The bare Ed25519 key, which the agent forgets after `lifetime` seconds by itself. `seed`: the 32 bytes of RFC 8032. */
  encodeAddIdentityConstrained(key: {
    seed: Uint8Array
    publicKey: SshPublicKey
    comment: string
    lifetime: number
  }): Uint8Array {
    const { publicKey } = key
    if (publicKey.type !== 'ssh-ed25519') throw new TypeError('only Ed25519 keys are added to an agent')
    return new SshWriter()
      .byte(ADD_ID_CONSTRAINED)
      .string(publicKey.type)
      .string(publicKey.point)
      .string(concat(key.seed, publicKey.point))
      .string(key.comment)
      .byte(CONSTRAIN_LIFETIME)
      .uint32(key.lifetime)
      .bytes()
  },
  encodeRequestIdentities: (): Uint8Array => Uint8Array.of(REQUEST_IDENTITIES),
  encodeRemoveIdentity: (blob: Uint8Array): Uint8Array => new SshWriter().byte(REMOVE_IDENTITY).string(blob).bytes(),

  /** Throws `invalid-input` for anything but a well-formed list. */
  decodeIdentitiesAnswer(message: Uint8Array): AgentIdentity[] {
    const reader = new SshReader(message, 'ssh-agent')
    if (reader.byte() !== IDENTITIES_ANSWER) reader.fail('the ssh-agent did not list its keys')
    const count = reader.uint32()
    if (count > MAX_IDENTITIES) reader.fail(`the ssh-agent lists ${count} keys`)
    const identities: AgentIdentity[] = []
    for (let i = 0; i < count; i++) identities.push({ blob: reader.string(), comment: reader.text() })
    reader.end()
    return identities
  },
  /** Whether the agent did what it was asked. */
  decodeStatus: (message: Uint8Array): boolean => message.length === 1 && message[0] === SUCCESS,
  /** With the length that goes before it on the socket. */
  frame: (message: Uint8Array): Uint8Array => new SshWriter().string(message).bytes(),
}
