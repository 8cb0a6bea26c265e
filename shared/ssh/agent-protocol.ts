import type { Certificate } from './certificate.ts'
import type { PrivateFields } from './private-fields.ts'
import type { SshPublicKey } from './public-key.ts'
import { SshReader, SshWriter } from './wire.ts'

/** Pure: the few messages of the ssh-agent protocol that we use (draft-ietf-sshm-ssh-agent). Messages stand without their length prefix. */
const REQUEST_IDENTITIES = 11
const IDENTITIES_ANSWER = 12
const SIGN_REQUEST = 13
const SIGN_RESPONSE = 14
const REMOVE_IDENTITY = 18
const ADD_ID_CONSTRAINED = 25
const CONSTRAIN_LIFETIME = 1
const SUCCESS = 6
/** RFC 8332 by flag. */
const RSA_SHA2_512 = 4

export type AgentIdentity = { readonly blob: Uint8Array; readonly comment: string }

const MAX_IDENTITIES = 2048
/** As OpenSSH's agent. */
const MAX_MESSAGE = 256 * 1024

export const agentProtocol = {
  /**
   * A key, which the agent forgets after `lifetime` seconds by itself. With a certificate of it the identity is that
   * certificate, beside the bare key's (`ssh-ed25519-cert-v01@openssh.com`, as `ssh-add` adds both).
   */
  encodeAddIdentityConstrained(key: {
    fields: PrivateFields
    certificate?: Certificate
    comment: string
    lifetime: number
  }): Uint8Array {
    const { fields, lifetime, certificate } = key
    // An agent takes 0 as "for ever", and so does one that knows no constraints.
    if (lifetime === 0) throw new RangeError('a key in an agent needs a lifetime')
    const writer = new SshWriter().byte(ADD_ID_CONSTRAINED)
    if (certificate) writer.string(certificate.type).string(certificate.blob).raw(fields.behindCertificate)
    else writer.string(fields.publicKey.type).raw(fields.plain)
    return writer.string(key.comment).byte(CONSTRAIN_LIFETIME).uint32(lifetime).bytes()
  },
  encodeRequestIdentities: (): Uint8Array => Uint8Array.of(REQUEST_IDENTITIES),
  /** Asks for a signature by the bare key over `data`: with RSA by SHA-512, since an agent takes SHA-1 otherwise. */
  encodeSignRequest: (key: SshPublicKey, data: Uint8Array): Uint8Array =>
    new SshWriter()
      .byte(SIGN_REQUEST)
      .string(key.blob)
      .string(data)
      .uint32(key.type === 'ssh-rsa' ? RSA_SHA2_512 : 0)
      .bytes(),
  /** The signature as SSH encodes it; undefined where the agent refused. */
  decodeSignResponse(message: Uint8Array): Uint8Array | undefined {
    const reader = new SshReader(message, 'ssh-agent')
    if (reader.byte() !== SIGN_RESPONSE) return undefined
    const signature = reader.string()
    reader.end()
    return signature
  },
  encodeRemoveIdentity: (blob: Uint8Array): Uint8Array => new SshWriter().byte(REMOVE_IDENTITY).string(blob).bytes(),

  /** Throws `invalid-input` for anything but a well-formed list. */
  decodeIdentitiesAnswer(message: Uint8Array): AgentIdentity[] {
    const reader = new SshReader(message, 'ssh-agent')
    if (reader.byte() !== IDENTITIES_ANSWER) reader.fail('the ssh-agent did not list its keys')
    const count = reader.uint32()
    if (count > MAX_IDENTITIES) reader.fail(`the ssh-agent lists ${count} keys`)
    const identities: AgentIdentity[] = []
    // Other programs' comments are in whatever encoding their users had: one of them must not hide our own keys.
    for (let i = 0; i < count; i++)
      identities.push({ blob: reader.string(), comment: new TextDecoder().decode(reader.string()) })
    reader.end()
    return identities
  },
  /** Whether the agent did what it was asked. */
  decodeStatus: (message: Uint8Array): boolean => message.length === 1 && message[0] === SUCCESS,
  /** With the length that goes before it on the socket. */
  frame: (message: Uint8Array): Uint8Array => new SshWriter().string(message).bytes(),
  /** The first whole message of what has been received so far; undefined until it is there. Throws `invalid-input` for one that is too long. */
  unframe(received: Uint8Array): Uint8Array | undefined {
    if (received.length < 4) return undefined
    const reader = new SshReader(received, 'ssh-agent')
    const length = reader.uint32()
    if (length > MAX_MESSAGE) reader.fail(`it announces a message of ${length} bytes`)
    return reader.remaining < length ? undefined : reader.bytes(length)
  },
}
