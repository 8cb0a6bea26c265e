import { hash } from 'node:crypto'
import type { CertificateFacts, Entry, Ledger } from '#server/ledger/index.ts'
import { parseKeyId } from '#shared/names.ts'
import { fingerprint, publicKeyFromSpki } from '#shared/ssh/index.ts'
import {
  assembleCertificate,
  type CertificateTemplate,
  encodeTbsCertificate,
  keyIdentifier,
  toPem,
} from '#shared/x509/index.ts'
import type { MachinesAuthority } from '../keys.ts'
import type { Signer } from '../sign.ts'

/** Every organisation's is named so; which is whose is told by the key, never by the name. */
const ISSUER = { commonName: 'KeyMan machine authority' } as const

export type X509Deps = {
  readonly ledger: Pick<Ledger, 'issue'>
  readonly signer: Signer
  readonly random: (bytes: number) => Uint8Array
}
export type X509Issue = Pick<CertificateTemplate, 'spki' | 'profile' | 'subjectAltNames' | 'notBefore' | 'notAfter'> & {
  readonly authority: Omit<MachinesAuthority, 'root'>
  readonly entry: Entry
  readonly keyId: string
  readonly holder: Pick<CertificateFacts, 'person' | 'session' | 'host'>
  readonly epochs: readonly { readonly subject: string; readonly epoch: bigint }[]
  readonly proof?: string
}

/** Record, then sign. Gives the PEM. Throws `EpochsChanged` where nothing was recorded, else as ledger and signer do. */
export async function recordAndSignX509(deps: X509Deps, issue: X509Issue): Promise<string> {
  const { authority, entry, spki, profile, subjectAltNames, notBefore, notAfter } = issue
  const serial = randomSerial(deps.random)
  const bytes = encodeTbsCertificate({
    serial,
    issuer: ISSUER,
    subject: profile === 'root' ? ISSUER : {},
    notBefore,
    notAfter,
    spki,
    profile,
    subjectAltNames,
    authorityKeyId: keyIdentifier(authority.spki),
    signatureAlgorithm: authority.algorithm,
  })
  const recorded = await deps.ledger.issue({
    entry,
    body: { key: authority, bytes, requestId: entry.requestId, serial },
    bodyHash: hash('sha256', bytes, 'buffer'),
    certificate: {
      authority: authority.label,
      serial,
      keyId: parseKeyId(issue.keyId, 'keyId'),
      subjectKey: fingerprint(publicKeyFromSpki(spki)),
      principals: subjectAltNames.map(name => ('uri' in name ? name.uri : 'dns' in name ? name.dns : name.ip)),
      validAfter: seconds(notBefore),
      // X.509's end is inclusive, the ledger's interval is half-open.
      validBefore: seconds(notAfter) + 1n,
      ...issue.holder,
    },
    epochs: issue.epochs,
    ...(issue.proof === undefined ? {} : { proof: issue.proof }),
  })
  const signature = await deps.signer.sign(recorded)
  return toPem(assembleCertificate(bytes, authority.algorithm, signature), 'CERTIFICATE')
}

/** RFC 5280 section 4.1.2.2: positive, at most 20 octets; 159 random bits can't be guessed and never meet again. */
function randomSerial(random: (bytes: number) => Uint8Array): bigint {
  const bytes = random(20)
  let serial = 0n
  for (const byte of bytes) serial = (serial << 8n) | BigInt(byte)
  return serial & ((1n << 159n) - 1n) || 1n
}

const seconds = (date: Date): bigint => BigInt(Math.floor(date.getTime() / 1000))
