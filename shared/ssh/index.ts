/** The formats of OpenSSH: keys, certificates, revocation lists, signatures, the agent's messages. Pure. */
export { type AgentIdentity, agentProtocol } from './agent-protocol.ts'
export {
  assembleCertificate,
  type Certificate,
  type CertificateBody,
  type CriticalOptions,
  certificateType,
  decodeCertificate,
  EXTENSIONS,
  type Extension,
  encodeCertificateBody,
  formatCertificate,
  type HostCertificateBody,
  parseCertificate,
  type UserCertificateBody,
  verifyCertificate,
} from './certificate.ts'
export { decodeKrl, encodeKrl, isRevoked, type Krl, type KrlSection, type SerialRange } from './krl.ts'
export { type PrivateFields, privateFields } from './private-fields.ts'
export {
  decodeOpensshPrivateKey,
  type Ed25519Private,
  encodeOpensshPrivateKey,
  encodePrivateKeyFile,
  publicKeyOf,
  toPrivateKeyObject,
} from './private-key.ts'
export {
  decodePublicKey,
  ed25519Key,
  fingerprint,
  formatPublicKey,
  parsePublicKey,
  publicKeyFromSpki,
  type SshKeyType,
  type SshPublicKey,
  toKeyObject,
} from './public-key.ts'
export { decodeSessionKey } from './session-key.ts'
export { encodeSignature, verifySignature } from './signature.ts'
export { isSshdPath, SSHD_PATH_EXPECTED } from './sshd-path.ts'
export {
  armorSshsig,
  decodeSshsig,
  encodeSshsig,
  parseSshsig,
  type Sshsig,
  sshsigSignedData,
  verifySshsig,
  verifySshsigByAny,
} from './sshsig.ts'
export { SshReader, SshWriter } from './wire.ts'
