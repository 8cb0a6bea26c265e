import { z } from 'zod'
import { parseIpAddress } from '../../ip-address.ts'
import {
  armoredSignature,
  base64,
  finding,
  fingerprint,
  hostName,
  hostText,
  id,
  keyId,
  krlBase64,
  login,
  MAX_FINDINGS,
  publicKeyLine,
  time,
  uint64,
  userPrincipal,
} from '../fields.ts'
import { route } from '../route.ts'
import { proof } from './login.ts'
import { certificateAnswer, clientCertificateAnswer } from './ssh.ts'
import { signedBundle } from './trust.ts'

/**
 * What a host's agent and the server say to each other. A server's word is data (invariant 14): the kinds of document are
 * a closed set; paths, owners, modes and commands stand in the host's own configuration.
 */
export const join = route({
  method: 'POST',
  path: '/v1/join',
  listeners: ['machines'],
  caller: 'anyone',
  action: 'host.join',
  status: 201,
  summary: 'Enrol a host with its join token, once',
  body: z.strictObject({
    token: z.string().max(200),
    clientPublicKey: base64,
    /** The host key that the proof is made with; every host key gets a certificate later by `hostCertificate`. */
    sshPublicKey: publicKeyLine,
    proof,
  }),
  answer: z.object({ host: hostName, organisation: z.string(), client: clientCertificateAnswer }),
})

/** How sshd can let somebody in. */
export const LOGIN_METHODS = [
  'certificate',
  'publickey',
  'password',
  'keyboard-interactive',
  'hostbased',
  'gssapi',
  'other',
] as const

const numberInRecord = z.int().min(1)

/** Somebody was let in by the host's sshd. `by` says how; of keys only fingerprints. */
export const loginOpened = z.strictObject({
  event: z.literal('opened'),
  /** Of the host's own record: each event has the next one. */
  number: numberInRecord,
  at: time,
  login,
  /** Where the client called from. */
  address: z
    .string()
    .max(45)
    .refine(text => parseIpAddress(text) !== undefined, { error: 'must be an IP address', abort: true }),
  port: z.int().min(1).max(65_535),
  by: z.discriminatedUnion('method', [
    z.strictObject({
      method: z.literal('certificate'),
      key: fingerprint,
      /** Absent where it is none that an organisation of KeyMan gives. */
      keyId: keyId.optional(),
      serial: uint64,
      authority: fingerprint,
    }),
    z.strictObject({ method: z.literal('publickey'), key: fingerprint }),
    z.strictObject({ method: z.enum(['password', 'keyboard-interactive', 'hostbased', 'gssapi', 'other']) }),
  ]),
})
export const loginEvent = z.discriminatedUnion('event', [
  loginOpened,
  z.strictObject({
    event: z.literal('closed'),
    number: numberInRecord,
    /** The number of the event that opened it. */
    opened: numberInRecord,
    at: time,
    /** The number of the order by which the host ended it. */
    order: uint64.optional(),
  }),
])
export type LoginOpened = z.infer<typeof loginOpened>
export type LoginEvent = z.infer<typeof loginEvent>
/** Of one report. */
export const MOST_LOGIN_EVENTS = 100

export const hostSelf = {
  join,
  renewClientCertificate: route({
    method: 'POST',
    path: '/v1/host/client-certificate',
    listeners: ['machines'],
    caller: 'host',
    action: 'own-host.certify',
    cost: 10,
    summary: "A new client certificate for the host's key",
    answer: clientCertificateAnswer,
  }),
  hostCertificate: route({
    method: 'POST',
    path: '/v1/host/ssh-certificates',
    listeners: ['machines'],
    caller: 'host',
    action: 'own-host.certify',
    cost: 10,
    summary: 'An SSH host certificate for one of its host keys, whose possession is proven (purpose `host-key`)',
    body: z.strictObject({ publicKey: publicKeyLine, challenge: z.string().max(200), signature: armoredSignature }),
    answer: certificateAnswer,
  }),
  reportRevoked: route({
    method: 'POST',
    path: '/v1/host/revoked',
    listeners: ['machines'],
    caller: 'host',
    action: 'own-host.report',
    cost: 10,
    summary: 'What a host has revoked of a history that was given up: what the log key had signed is revoked again',
    body: z.strictObject({ base64, signature: armoredSignature }),
    answer: z.object({ certificates: z.int(), keys: z.int() }),
  }),
  reportLogins: route({
    method: 'POST',
    path: '/v1/host/logins',
    listeners: ['machines'],
    caller: 'host',
    action: 'own-host.report',
    summary: 'Who was let in by its sshd, and whose sessions have ended, in order; what was told before is passed over',
    body: z.strictObject({
      /** The host's record; another one begins to count anew. */
      record: id,
      events: z.array(loginEvent).min(1).max(MOST_LOGIN_EVENTS),
    }),
    /** The number of the last event that the server has. */
    answer: z.object({ upTo: z.int() }),
  }),
}

/** `GET /v1/host/stream` on the machines' listener becomes a WebSocket; one JSON document a message. */
export const HOST_STREAM_PATH = '/v1/host/stream'

/** One line of a principals file, in parts: the agent checks each part again and writes the line by sshd's rules. */
export const principalsLine = z.strictObject({
  principal: userPrincipal,
  pty: z.boolean(),
  portForwarding: z.boolean(),
  agentForwarding: z.boolean(),
  x11Forwarding: z.boolean(),
  sourceAddress: z.array(z.string().max(64)).max(32).optional(),
  forceCommand: z.string().max(500).optional(),
  expiresAt: time.optional(),
})

/**
 * Of one login on one host, and of all its logins together: with the longest KRL and all bundles that fits into a message.
 * What would be more is refused where somebody asks for it, never found out by the host.
 */
export const MAX_PRINCIPALS = 5_000
export const MAX_PRINCIPALS_BYTES = 8 * 1024 * 1024
/** What a host takes as one message. */
export const MAX_FRAME_BYTES = 40 * 1024 * 1024

/** Whose open sessions end, by a number above all before it; whoever has done it once does not do it again. */
export const endOrder = z.union([
  /** A person's or a workload's, by whichever certificate. */
  z.strictObject({ number: uint64, of: userPrincipal }),
  z.strictObject({ number: uint64, session: id }),
  z.strictObject({ number: uint64, keyId }),
  z.strictObject({ number: uint64, serial: uint64, authority: fingerprint }),
  z.strictObject({ number: uint64, key: fingerprint }),
])
export type EndOrder = z.infer<typeof endOrder>
export const MOST_END_ORDERS = 1000

export const desiredState = z.strictObject({
  /** Goes only forward within one incarnation. */
  revision: z.int().min(1),
  incarnation: z.string().max(64),
  trust: z.strictObject({ bundles: z.array(signedBundle).min(1).max(64) }),
  /** Login name to lines; a login that is not named here has no principals file. */
  principals: z.record(login, z.array(principalsLine).max(MAX_PRINCIPALS)),
  krl: z.strictObject({
    /** The KRL's own version number, never lower than the last. */
    version: z.string().regex(/^[0-9]{1,20}$/),
    base64: krlBase64,
    /** SSHSIG by the log key, namespace `keyman-krl`, over the KRL's bytes. */
    signature: armoredSignature,
    /** The canary certificate, one line: a reader of the real KRL finds it revoked. */
    canary: z.array(z.string().max(20_000)).max(8),
  }),
  /** Only to hosts that see who logs in. */
  ends: z.array(endOrder).max(MOST_END_ORDERS).optional(),
})
export type DesiredState = z.infer<typeof desiredState>
export type PrincipalsLine = z.infer<typeof principalsLine>

export const checkpointFrame = z.strictObject({
  checkpoint: z.string().max(4000),
  /** From the agent's last size to this one, hex hashes. */ proof: z.array(z.string().length(64)).max(128),
})

const version = z.string().regex(/^[\x20-\x7e]*$/, 'printable ASCII')
export const frameToAgent = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('state'), state: desiredState, log: checkpointFrame.optional() }),
  /** The host holds the newest state already. */
  z.strictObject({ type: z.literal('current'), revision: z.int(), log: checkpointFrame.optional() }),
  z.strictObject({ type: z.literal('log'), log: checkpointFrame }),
  /** To hosts that want it: what its certificates are to carry beside its own name. */
  z.strictObject({ type: z.literal('names'), aliases: z.array(hostName).max(16) }),
])
export const frameToServer = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('hello'),
    revision: z.int().min(0),
    incarnation: z.string().max(64),
    checkpoint: z.string().max(4000).optional(),
    /** The host's own time: nothing is forgotten for good while most hosts' clocks disagree with the server's. */
    at: time.optional(),
    /** What the host is run by, for whoever looks at it. */
    agent: version.max(40),
    sshd: version.max(80),
    /** It wants to be told its names. */
    names: z.literal(true).optional(),
    /** It sees who logs in, and ends sessions. */
    logins: z.literal(true).optional(),
  }),
  /** In force: written, read back and checked. */
  z.strictObject({
    type: z.literal('in-force'),
    revision: z.int(),
    findings: z.array(finding).max(MAX_FINDINGS).optional(),
    /** It has not looked since it was started: what it found before stays. */
    looking: z.literal(true).optional(),
  }),
  z.strictObject({ type: z.literal('failed'), revision: z.int(), message: hostText(500) }),
])
export type FrameToAgent = z.infer<typeof frameToAgent>
export type FrameToServer = z.infer<typeof frameToServer>
