import { hash } from 'node:crypto'
import type { CertificateFacts, Entry, Ledger } from '#server/ledger/index.ts'
import {
  assembleCertificate,
  type CertificateBody,
  encodeCertificateBody,
  encodeSignature,
  fingerprint,
} from '#shared/ssh/index.ts'
import type { SshAuthority } from '../keys.ts'
import type { Signer } from '../sign.ts'

export type SshIssue = {
  readonly authority: SshAuthority
  readonly body: CertificateBody
  readonly entry: Entry
  readonly holder: Pick<CertificateFacts, 'person' | 'session' | 'host'>
  readonly epochs: readonly { readonly subject: string; readonly epoch: bigint }[]
  /** The id of a challenge whose use must be unique. */
  readonly proof?: string
  /** `SHA256:…` of the subject key, where it is known already. */
  readonly subjectKey?: string
}

/** Record, then sign. Gives the certificate's blob. Throws `EpochsChanged` where nothing was recorded, else as ledger and signer do. */
export async function recordAndSign(
  deps: { ledger: Pick<Ledger, 'issue'>; signer: Signer },
  issue: SshIssue,
): Promise<Uint8Array> {
  const { authority, body, entry } = issue
  const bytes = encodeCertificateBody(body)
  const recorded = await deps.ledger.issue({
    entry,
    body: { key: authority, bytes, requestId: entry.requestId, serial: body.serial },
    bodyHash: hash('sha256', bytes, 'buffer'),
    certificate: {
      authority: authority.label,
      serial: body.serial,
      keyId: body.keyId,
      subjectKey: issue.subjectKey ?? fingerprint(body.subjectKey),
      principals: body.principals,
      validAfter: body.validAfter,
      validBefore: body.validBefore,
      ...issue.holder,
    },
    epochs: issue.epochs,
    ...(issue.proof === undefined ? {} : { proof: issue.proof }),
  })
  const signature = await deps.signer.sign(recorded)
  return assembleCertificate(bytes, encodeSignature(authority.ssh, signature))
}
