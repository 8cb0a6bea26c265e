/** The door: names, certificates and keys of X.509, written by a small DER writer and read strictly. Pure. */
export {
  assembleCertificate,
  type CertificateTemplate,
  encodeTbsCertificate,
  type Name,
  type SignatureAlgorithm,
  type SubjectAltName,
} from './certificate.ts'
export { isOrganisation, type MachineIdentity, machineUri } from './machine-uri.ts'
export { fromPem, type PemLabel, toPem } from './pem.ts'
export { keyIdentifier, parseClientKey, readSpki, type SpkiAlgorithm, type SpkiInfo } from './spki.ts'
