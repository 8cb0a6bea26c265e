import { z } from 'zod'
import { armoredSignature, hostName, keyTypes, krlBase64, publicKeyLine, seconds, time } from '../fields.ts'
import { route } from '../route.ts'

export const certificateAnswer = z.object({
  /** One line as in a `-cert.pub` file. */
  certificate: z.string(),
  serial: z.string(),
  keyId: z.string(),
  principals: z.array(z.string()),
  startsAt: time,
  endsAt: time,
  /** Which grant made it no longer, in words. */
  limitedBy: z.string().optional(),
})

export const clientCertificateAnswer = z.object({ /** PEM, leaf only. */ certificate: z.string(), endsAt: time })

export const reachableHost = z.object({
  name: hostName,
  /** Further names of it, which its certificates carry. */
  aliases: z.array(hostName).optional(),
  port: z.int().min(1).max(65_535).optional(),
  /** Where it is reached if the name does not resolve by itself. */
  address: z.string().max(253).optional(),
  logins: z.array(z.string()),
  /** By its own word: which keys it takes, where it does not take all that a login makes. */
  keyTypes: keyTypes.optional(),
})

/** A KRL of host certificates and of keys, signed beside by the log key; a server of before does not say it. */
export const revokedHosts = z.object({
  base64: krlBase64,
  /** SSHSIG in the namespace `keyman-revoked-hosts`. */
  signature: armoredSignature,
})

export const ssh = {
  issueUserCertificate: route({
    method: 'POST',
    path: '/v1/ssh/user-certificates',
    listeners: ['machines'],
    caller: 'person',
    action: 'ssh.issue',
    cost: 10,
    summary: "A new SSH user certificate for this session's key; a request can only narrow",
    body: z.strictObject({ publicKey: publicKeyLine, /** seconds */ lifetime: seconds.optional() }),
    answer: certificateAnswer,
  }),
}
