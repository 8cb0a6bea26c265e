import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign,
  X509Certificate,
} from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { equalBytes, toBase64, utf8 } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import { machineUri } from '#shared/x509/index.ts'
import { writeAtomically } from '../state/atomic-write.ts'

/** The host's client key and certificate for the API: `client.key` (0600) and `client.crt` in the state folder. */
export type ClientKey = { readonly privateKey: KeyObject; readonly spki: Uint8Array; readonly pem: string }
export type ClientIdentity = ClientKey & {
  readonly certificate: string
  readonly notBefore: Date
  readonly notAfter: Date
}

const keyFile = (stateFolder: string): string => join(stateFolder, 'client.key')
const certificateFile = (stateFolder: string): string => join(stateFolder, 'client.crt')

/** A new P-256 key; it never leaves this machine. Kept only once the server has taken it: a refused join changes nothing. */
export const makeClientKey = (): ClientKey => clientKey(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey)

export function saveClientKey(stateFolder: string, key: ClientKey): void {
  writeAtomically(keyFile(stateFolder), utf8(key.pem), 0o600)
}

function clientKey(privateKey: KeyObject): ClientKey {
  return {
    privateKey,
    spki: spkiOf(privateKey),
    pem: privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
  }
}

const spkiOf = (privateKey: KeyObject): Uint8Array =>
  new Uint8Array(createPublicKey(privateKey).export({ format: 'der', type: 'spki' }))

/** Throws `not-found` where there is none. */
export function loadIdentity(stateFolder: string): ClientIdentity {
  try {
    const key = clientKey(createPrivateKey(readFileSync(keyFile(stateFolder), 'utf8')))
    const certificate = readFileSync(certificateFile(stateFolder), 'utf8')
    const x509 = new X509Certificate(certificate)
    return { ...key, certificate, notBefore: x509.validFromDate, notAfter: x509.validToDate }
  } catch (error) {
    throw new KeymanError('not-found', `this host's client key or certificate in ${stateFolder} cannot be read`, {
      hint: 'let the host join again with a new token',
      cause: error,
    })
  }
}

/** Keeps a certificate that the server gave, once it is for our key and our name. Throws `denied` for any other. */
export function saveCertificate(
  stateFolder: string,
  pem: string,
  expected: { readonly organisation: string; readonly host: string; readonly spki: Uint8Array },
): void {
  const x509 = new X509Certificate(pem)
  const ours = equalBytes(new Uint8Array(x509.publicKey.export({ format: 'der', type: 'spki' })), expected.spki)
  const name = `URI:${machineUri.host(expected.organisation, expected.host)}`
  if (!ours || x509.subjectAltName !== name)
    throw new KeymanError('denied', "the server's client certificate is not for this host's key and name")
  writeAtomically(certificateFile(stateFolder), utf8(x509.toString()), 0o600)
}

/** ECDSA over SHA-256, IEEE P1363, in base64: as `shared/api/resources/login.ts` says. */
export const proveClientKey = (key: ClientKey, message: Uint8Array): string =>
  toBase64(sign('sha256', message, { key: key.privateKey, dsaEncoding: 'ieee-p1363' }))

/** At two thirds of its time: a server that is away for days then still leaves the last third. */
export const renewalIsDue = (validity: { readonly notBefore: Date; readonly notAfter: Date }, now: Date): boolean => {
  const from = validity.notBefore.getTime()
  return now.getTime() >= from + ((validity.notAfter.getTime() - from) * 2) / 3
}
