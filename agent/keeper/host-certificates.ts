import { readFileSync } from 'node:fs'
import { api } from '#shared/api/index.ts'
import { equalBytes, utf8 } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import {
  type Certificate,
  decodeKrl,
  isRevoked,
  type Krl,
  parseCertificate,
  type SshPublicKey,
  verifyCertificate,
} from '#shared/ssh/index.ts'
import { told } from '#shared/told.ts'
import type { AgentConfig } from '../config.ts'
import type { Log } from '../log.ts'
import { type Connection, call } from '../server/call.ts'
import { type ClientKey, renewalIsDue } from '../server/client-identity.ts'
import { sshdFiles } from '../sshd/files.ts'
import { prove, readHostKey } from '../sshd/host-keys.ts'
import { ensureFolder, removeFile, writeAtomically } from '../state/atomic-write.ts'

type Place = {
  readonly config: AgentConfig
  readonly client: ClientKey
  readonly connection: Connection
  readonly hostAuthorities: readonly SshPublicKey[]
  readonly log: Log
  readonly now: () => Date
  /** What a certificate should carry beside its own name, once the server has said so. */
  readonly aliases: readonly string[] | undefined
}

/**
 * Gets or renews the certificate of each host key where one is missing, past two thirds of its time, for another key, by an
 * authority that is no longer trusted, on the list of revoked ones that lies here, or with other names than the server says.
 * Says whether sshd has to read its configuration again. A key that fails is logged and left: plain host keys go on working.
 */
export async function renewHostCertificates(place: Place): Promise<boolean> {
  let changed = false
  const krl = readKrl(sshdFiles(place.config).krl)
  for (const file of place.config.hostKeys) {
    try {
      if (await renewOne(place, file, krl)) changed = true
    } catch (error) {
      place.log.warn(`host certificate for ${file}: ${told(error).message}`)
    }
  }
  return changed
}

async function renewOne(place: Place, file: string, krl: Krl | undefined): Promise<boolean> {
  const { config, connection, client } = place
  const key = readHostKey(file)
  const path = sshdFiles(config).hostCertificate(file)
  const held = readCertificate(path)
  // One that cannot be read must not stay named to sshd.
  if (!held) removeFile(path)
  const keeps = held && stillGood(held, place, key.publicKey) && hasNames(held, place) && !isOut(held, krl)
  if (keeps && !renewalIsDue(validity(held), place.now())) return false
  const { challenge } = await call(connection, api.login.challenge, {})
  const proof = await prove(config, key, client, 'host-key', challenge)
  const answer = await call(connection, api.hostSelf.hostCertificate, {
    body: { publicKey: key.line, challenge, signature: proof.sshSignature },
  })
  const certificate = parseCertificate(answer.certificate, 'certificate')
  if (!stillGood(certificate, place, key.publicKey))
    throw new KeymanError(
      'denied',
      "the server's answer is not a certificate of a trusted authority for this host's name and key, good by this host's clock",
    )
  ensureFolder(config.sshdFolder, 0o755)
  place.log.info(
    `host certificate for ${key.publicKey.type}, serial ${certificate.serial}, good until ${validity(certificate).notAfter.toISOString()}`,
  )
  return writeAtomically(path, utf8(`${answer.certificate.trim()}\n`), 0o644)
}

/** A host certificate for exactly this name and key, by a trusted authority, in its time. */
function stillGood(certificate: Certificate, place: Place, key: SshPublicKey): boolean {
  const { notBefore, notAfter } = validity(certificate)
  const now = place.now()
  return (
    certificate.kind === 'host' &&
    equalBytes(certificate.subjectKey.blob, key.blob) &&
    certificate.principals.includes(place.config.host) &&
    verifyCertificate(certificate, place.hostAuthorities) &&
    // Five minutes: the server's clock may be ahead of ours.
    notBefore.getTime() <= now.getTime() + 300_000 &&
    now < notAfter
  )
}

function hasNames(certificate: Certificate, { config, aliases }: Place): boolean {
  if (aliases === undefined) return true
  const others = new Set<string>(certificate.principals.filter(name => name !== config.host))
  return others.size === aliases.length && aliases.every(alias => others.has(alias))
}

/** Of a key that was revoked no other certificate is made. */
const isOut = (certificate: Certificate, krl: Krl | undefined): boolean =>
  krl !== undefined && isRevoked(krl, certificate) && !isRevoked(krl, certificate.subjectKey)

/** SSH's half-open interval in unix seconds as times. */
const validity = (certificate: Certificate) => ({
  notBefore: new Date(Number(certificate.validAfter) * 1000),
  notAfter: new Date(Number(certificate.validBefore) * 1000),
})

/** `undefined` where there is none, or none that can be read. */
export function readCertificate(path: string): Certificate | undefined {
  try {
    return parseCertificate(readFileSync(path, 'utf8').trim(), path)
  } catch {
    return undefined
  }
}

/** The same for the list of what is revoked: whoever keeps the files tells of that. */
function readKrl(path: string): Krl | undefined {
  try {
    return decodeKrl(readFileSync(path), path)
  } catch {
    return undefined
  }
}
