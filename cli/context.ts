import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { KeymanError } from '#shared/errors.ts'
import { readIfThere, remove, writeFile } from './files.ts'
import type { Folders } from './folders.ts'

/**
 * A context is an organisation that this person's machine knows: where its server is, and its pinned root of trust. It
 * outlives logins, or else the next one would trust blindly.
 */
export type Context = {
  readonly organisation: string
  readonly machinesUrl: string
  readonly publicUrl: string
  /** What is pinned: the fingerprint as the person compared it, and the newest bundle that the root vouched for. */
  readonly rootFingerprint: string
  readonly bundle: { readonly document: string; readonly signatures: readonly string[] }
  readonly bundleVersion: number
  readonly machinesRoot: string
  readonly logKey: { readonly name: string; readonly key: string }
  readonly hostAuthorities: readonly string[]
  /** The host names that the person has agreed to leave to this organisation. */
  readonly hostSuffixes: readonly string[]
  /** The newest checkpoint of the log that this machine has seen; the log must extend it for ever. */
  readonly checkpoint?: string
}

/** What lives as long as the session: who, until when, and where the key is. Read by `keyman status`, which loads nothing else. */
export type Session = {
  readonly person: string
  readonly session: string
  readonly administrator: boolean
  readonly startedAt: string
  readonly endsAt: string
  readonly passkeys: number
  readonly ssh?: {
    readonly keyId: string
    readonly serial: string
    readonly principals: readonly string[]
    readonly startsAt: string
    readonly endsAt: string
    readonly limitedBy?: string
  }
  readonly denial?: string
  readonly clientEndsAt: string
  readonly keyIn: 'agent' | 'file'
  readonly hosts: readonly { name: string; port?: number; address?: string; logins: readonly string[] }[]
}

/** Every file of one context's session. The certificate always lies beside the key's public half (see `docs/internals/laptop.md`). */
export function sessionFiles(folders: Folders, organisation: string) {
  const folder = join(folders.runtime, organisation)
  const key = join(folder, 'id_ed25519')
  return {
    folder,
    session: join(folder, 'session.json'),
    /** Present only where no agent took the key. */
    key,
    publicKey: `${key}.pub`,
    certificate: `${key}-cert.pub`,
    clientKey: join(folder, 'client-key.pem'),
    clientCertificate: join(folder, 'client-certificate.pem'),
    /** Two lines: when to renew, and when the certificate ends; Unix seconds. The ssh check reads it without starting Node. */
    validUntil: join(folder, 'valid-until'),
  }
}

const contextPath = (folders: Folders, organisation: string) => join(folders.config, 'contexts', `${organisation}.json`)

export function listContexts(folders: Folders): string[] {
  try {
    return readdirSync(join(folders.config, 'contexts'))
      .filter(name => name.endsWith('.json'))
      .map(name => name.slice(0, -5))
      .sort()
  } catch {
    return []
  }
}

/** The context named by `--context` or KEYMAN_CONTEXT, else the one used last, else the only one. Undefined where there is none. */
export function currentContext(folders: Folders, name = process.env.KEYMAN_CONTEXT): Context | undefined {
  const chosen = name ?? readIfThere(join(folders.config, 'current-context'))?.trim()
  const all = listContexts(folders)
  if (name !== undefined && !all.includes(name))
    throw new KeymanError('not-found', `there is no context ${JSON.stringify(name)}`, {
      hint: all.length
        ? `the contexts here are ${all.join(', ')}`
        : 'run keyman login URL --fingerprint SHA256:… first',
    })
  const organisation = chosen !== undefined && all.includes(chosen) ? chosen : all.length === 1 ? all[0] : undefined
  return organisation === undefined ? undefined : readContext(folders, organisation)
}

export function readContext(folders: Folders, organisation: string): Context | undefined {
  const text = readIfThere(contextPath(folders, organisation))
  // Written by this program alone, in a folder that nobody else can write.
  return text === undefined ? undefined : (JSON.parse(text) as Context)
}

export function writeContext(folders: Folders, context: Context, makeCurrent = true): void {
  writeFile(contextPath(folders, context.organisation), `${JSON.stringify(context, null, 2)}\n`, 0o600)
  if (makeCurrent) writeFile(join(folders.config, 'current-context'), `${context.organisation}\n`, 0o600)
}

export function readSession(folders: Folders, organisation: string): Session | undefined {
  const text = readIfThere(sessionFiles(folders, organisation).session)
  return text === undefined ? undefined : (JSON.parse(text) as Session)
}

export function writeSession(folders: Folders, organisation: string, session: Session): void {
  const files = sessionFiles(folders, organisation)
  writeFile(files.session, `${JSON.stringify(session, null, 2)}\n`, 0o600)
  writeFile(files.validUntil, validUntil(session), 0o600)
}

/** Renewal is due when a third of the certificate's life is left, but not while more than four hours are. */
function validUntil(session: Session): string {
  if (!session.ssh) return '0\n0\n'
  const starts = Date.parse(session.ssh.startsAt) / 1000
  const ends = Math.floor(Date.parse(session.ssh.endsAt) / 1000)
  const lastOfSession = session.ssh.endsAt >= session.endsAt
  const renewal = lastOfSession ? ends : Math.floor(ends - Math.min((ends - starts) / 3, 4 * 3600))
  return `${renewal}\n${ends}\n`
}

export function removeSession(folders: Folders, organisation: string): void {
  remove(sessionFiles(folders, organisation).folder)
}

/** The context and the live session, or a `not-signed-in` refusal that says what to type. */
export function requireSession(folders: Folders, now: Date): { context: Context; session: Session } {
  const context = currentContext(folders)
  const session = context && readSession(folders, context.organisation)
  if (!context || !session)
    throw new KeymanError('not-signed-in', 'you are not signed in', { hint: 'run keyman login' })
  if (Date.parse(session.endsAt) <= now.getTime())
    throw new KeymanError('not-signed-in', `your session ended at ${session.endsAt}`, { hint: 'run keyman login' })
  return { context, session }
}
