import { generateKeyPairSync, randomBytes, sign } from 'node:crypto'
import {
  assembleCertificate,
  type CertificateTemplate,
  encodeTbsCertificate,
  keyIdentifier,
  type SubjectAltName,
  toPem,
} from '#shared/x509/index.ts'

/** PEM of a certificate and of its private key. */
export type TestIdentity = { cert: string; key: string }
export type TestAuthority = {
  /** PEM. */
  root: string
  server(names?: readonly SubjectAltName[], validity?: TestValidity): TestIdentity
  client(uri: string, validity?: TestValidity): TestIdentity
}
export type TestValidity = { notBefore: Date; notAfter: Date }

/** A machine authority with a key of its own, made at run time. */
export function newMachineAuthority(name = 'test machines'): TestAuthority {
  const authority = newKey()
  const now = Date.now()
  const usual: TestValidity = { notBefore: new Date(now - 60_000), notAfter: new Date(now + 3_600_000) }
  const issue = (
    spki: Uint8Array,
    part: Pick<CertificateTemplate, 'profile' | 'subject' | 'subjectAltNames'>,
    validity: TestValidity,
  ) => {
    const tbs = encodeTbsCertificate({
      ...part,
      ...validity,
      spki,
      serial: BigInt(`0x00${randomBytes(16).toString('hex')}`) + 1n,
      issuer: { commonName: name },
      authorityKeyId: keyIdentifier(authority.spki),
      signatureAlgorithm: 'ecdsa-p256',
    })
    const signature = sign('sha256', tbs, { key: authority.key, dsaEncoding: 'ieee-p1363' })
    return toPem(assembleCertificate(tbs, 'ecdsa-p256', Uint8Array.from(signature)), 'CERTIFICATE')
  }
  return {
    root: issue(authority.spki, { profile: 'root', subject: { commonName: name }, subjectAltNames: [] }, usual),
    server(names = [{ dns: 'localhost' }, { ip: '127.0.0.1' }], validity = usual) {
      const { spki, key } = newKey()
      return { key, cert: issue(spki, { profile: 'server', subject: {}, subjectAltNames: names }, validity) }
    },
    client(uri, validity = usual) {
      const { spki, key } = newKey()
      return { key, cert: issue(spki, { profile: 'client', subject: {}, subjectAltNames: [{ uri }] }, validity) }
    },
  }
}

function newKey(): { spki: Uint8Array; key: string } {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return {
    spki: Uint8Array.from(publicKey.export({ format: 'der', type: 'spki' })),
    key: privateKey.export({ format: 'pem', type: 'pkcs8' }),
  }
}
