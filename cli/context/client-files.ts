import { readIfThere, remove, writeDurably } from './files.ts'

/** PEM: the key by which this machine proves to the server whose session it has, and what certifies it. */
export type Client = { readonly key: string; readonly certificate: string }

type Files = {
  readonly clientKey: string
  readonly clientCertificate: string
  readonly client: string
  readonly nextClientKey: string
}

/**
 * A person's lie in two files, since both last as long as the session. A workload's key is replaced at each renewal, so it lies in one
 * file with its certificate, which one rename replaces: nobody reads a key with another one's certificate. Undefined where there is none.
 */
export function readClient(files: Files): Client | undefined {
  const both = readIfThere(files.client)
  if (both !== undefined) return parted(both)
  const key = readIfThere(files.clientKey)
  const certificate = readIfThere(files.clientCertificate)
  return key && certificate ? { key, certificate } : undefined
}

/** The certificate alone. */
export const readClientCertificate = (files: Files): string | undefined =>
  readClient(files)?.certificate ?? readIfThere(files.clientCertificate)

/** Undefined where it is damaged. */
function parted(text: string): Client | undefined {
  const at = text.indexOf(CERTIFICATE)
  return at > 0 ? { key: text.slice(0, at), certificate: text.slice(at) } : undefined
}
const CERTIFICATE = '-----BEGIN CERTIFICATE-----'

/** Key and certificate of a workload, from now on. The key that was made for it is pending no more. */
export function writeClient(files: Files, { key, certificate }: Client): void {
  writeDurably(files.client, `${key.trim()}\n${certificate.trim()}\n`, 0o600)
  remove(files.nextClientKey)
}

/**
 * The key for which a workload asks, or will ask, a certificate; undefined where none is pending. Whoever asked and heard no answer
 * asks for this very key again: a second new key would be that of a thief to the server, which may have taken the first one.
 */
export const readNextKey = (files: Files): string | undefined => readIfThere(files.nextClientKey)
/** On the disk before it is asked for. */
export const writeNextKey = (files: Files, key: string): void => writeDurably(files.nextClientKey, key, 0o600)
