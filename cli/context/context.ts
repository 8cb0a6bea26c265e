import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { KeymanError } from '#shared/errors.ts'
import { isLoginKeyType, type LoginKeyType } from '#shared/login-key-types.ts'
import type { Zone } from '../terminal/times.ts'
import { readClientCertificate } from './client-files.ts'
import { onFile } from './file-errors.ts'
import { readIfThere, remove, writeFile } from './files.ts'
import { type Folders, sessionHome } from './folders.ts'

/** What is pinned of an organisation: all of it follows from the newest bundle that its root vouched for. */
export type Pin = {
  readonly organisation: string
  readonly machinesUrl: string
  readonly publicUrl: string
  /** What is pinned: the fingerprint as the person compared it, and the newest bundle that the root vouched for. */
  readonly rootFingerprint: string
  readonly bundle: { readonly document: string; readonly signatures: readonly string[] }
  readonly bundleVersion: number
  readonly machinesRoot: string
  readonly logKey: { readonly name: string; readonly key: string }
  /** Left out in what an earlier release pinned. */
  readonly otherLogKeys?: readonly string[] | undefined
  readonly hostAuthorities: readonly string[]
}

/**
 * A context is an organisation that this person's machine knows: where its server is, and its pinned root of trust. It
 * outlives logins, or else the next one would trust blindly.
 */
export type Context = Pin & {
  /** The host names that the person has agreed to leave to this organisation. */
  readonly hostSuffixes: readonly string[]
  /** Those that the person could log in to at the last login or renewal. */
  readonly hosts: readonly Host[]
  /** The newest checkpoint of the log that this machine has seen; the log must extend it for ever. */
  readonly checkpoint?: string
  /** Of which type the person wants SSH keys here; else what this machine's ssh takes, and all of these hosts. */
  readonly keyType?: LoginKeyType
}

export type Host = {
  readonly name: string
  /** Further names, which its certificates carry. */
  readonly aliases?: readonly string[]
  readonly port?: number
  readonly address?: string
  readonly logins: readonly string[]
  /** By its own word, where it does not take all that a login makes. */
  readonly keyTypes?: readonly LoginKeyType[]
}

/** What lives as long as the session: who, until when, and where the key is. Read by `keyman status`, which loads nothing else. */
export type Session = PersonSession | WorkloadSession

export type PersonSession = { readonly person: string; readonly owner: boolean; readonly passkeys: number } & Lasting &
  KeyPlace

/** Of a machine identity. Its keys lie in files, never in an agent: nobody is there who has one. */
export type WorkloadSession = {
  /** Its name, without the prefix of its principal. */
  readonly workload: string
  /** Since when the client certificate is good: it is renewed at half of its life, and without that the session ends with it. */
  readonly clientStartsAt: string
  readonly keyIn: 'file'
} & Lasting

export type Lasting = {
  readonly session: string
  readonly startedAt: string
  /** When it ends in any case. */
  readonly endsAt: string
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
  /** Since when it is known that the server has ended it: revoked, or logged out elsewhere. */
  readonly endedByServer?: string
  /** Where this machine was at login, for `until`. */
  readonly zone?: Zone
}

export const isWorkload = (session: Session): session is WorkloadSession => 'workload' in session

/** Whose session it is, as its certificates and grants name it. */
export const principalOf = (session: Session): string =>
  isWorkload(session) ? `workload:${session.workload}` : session.person

/** What to do once it is over. */
export const nextAfter = (session: Session | undefined): string =>
  session && isWorkload(session)
    ? `ask for a new token (keyman workload token ${session.workload}), then run keyman workload join`
    : 'run keyman login'

/**
 * Where the SSH key is. `certificateUntil`: how long clients that ask the agent alone are served by what lies there. `mayBeIn`: the socket
 * of an agent that was given it, is not used, and may have it all the same.
 */
export type KeyPlace =
  | { readonly keyIn: 'file'; readonly mayBeIn?: string }
  | { readonly keyIn: 'agent'; readonly agent?: { readonly socket: string; readonly certificateUntil?: string } }

/** Every file of one context's session. The certificate always lies beside the key's public half (see `docs/login.md`). */
export function sessionFiles(folders: Folders, organisation: string) {
  const folder = join(sessionHome(folders, organisation), organisation)
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
    /** A workload's own (`client-files.ts`): client key and certificate in one file, the next key, and by whom the server is believed. */
    client: join(folder, 'client.pem'),
    nextClientKey: join(folder, 'next-client-key.pem'),
    machinesRoot: join(folder, 'machines-root.pem'),
    /** Two lines: when to renew, and when the certificate ends; Unix seconds. The check script reads it without starting Node. */
    validUntil: join(folder, 'valid-until'),
  }
}

const contextPath = (folders: Folders, organisation: string) => join(folders.config, 'contexts', `${organisation}.json`)

export function listContexts(folders: Folders): string[] {
  const folder = join(folders.config, 'contexts')
  return onFile(folder, 'read', () => (existsSync(folder) ? readdirSync(folder) : []))
    .filter(name => name.endsWith('.json'))
    .map(name => name.slice(0, -5))
    .sort()
}

/** All that can be read: a damaged one, which a login makes anew and `keyman doctor` names, takes nothing from the others. */
export const readableContexts = (folders: Folders): Context[] =>
  listContexts(folders).flatMap(name => readable(() => readContext(folders, name)) ?? [])
export const damagedContexts = (folders: Folders): string[] =>
  listContexts(folders).filter(name => readable(() => readContext(folders, name)) === undefined)

/** The context named by `--context` or KEYMAN_CONTEXT, else the one used last, else the only one. Undefined where there is none. */
export function currentContext(folders: Folders, name = process.env.KEYMAN_CONTEXT): Context | undefined {
  const all = listContexts(folders)
  if (name !== undefined && !all.includes(name))
    throw new KeymanError('not-found', `there is no context ${JSON.stringify(name)}`, {
      hint: all.length
        ? `the contexts here are ${all.join(', ')}`
        : 'run keyman login URL --fingerprint SHA256:… first',
    })
  const last = readIfThere(join(folders.config, 'current-context'))?.trim()
  const chosen = name ?? (last !== undefined && all.includes(last) ? last : all.length === 1 ? all[0] : undefined)
  return chosen === undefined ? undefined : readContext(folders, chosen)
}

/** The organisation that claims a host's name, unless one is named outright; else the current context. */
export function contextOfHost(folders: Folders, host: string): Context | undefined {
  if (process.env.KEYMAN_CONTEXT !== undefined) return currentContext(folders)
  const claimed = readableContexts(folders).find(context =>
    context.hostSuffixes.some(suffix => host.endsWith(`.${suffix}`)),
  )
  return claimed ?? currentContext(folders)
}

export const readContext = (folders: Folders, organisation: string): Context | undefined =>
  readOwn(contextPath(folders, organisation), (value): value is Context => isContext(value, organisation))
export const readSession = (folders: Folders, organisation: string): Session | undefined =>
  readOwn(sessionFiles(folders, organisation).session, isSession)
/** The same; undefined also where the file is damaged, which a login makes anew. */
export const readableSession = (folders: Folders, organisation: string): Session | undefined =>
  readable(() => readSession(folders, organisation))

function readable<T>(read: () => T): T | undefined {
  try {
    return read()
  } catch {
    return undefined
  }
}

// Both kinds of file are written by this program alone, whole or not at all, in folders that nobody else can write: so what
// is looked at is whether they are of this kind, and not each field in depth.
function readOwn<T>(path: string, isWhole: (value: unknown) => value is T): T | undefined {
  const text = readIfThere(path)
  if (text === undefined) return undefined
  const value = parsed(text)
  if (isWhole(value)) return value
  throw new KeymanError('internal', `${path} is damaged`, { hint: `remove it and run keyman login` })
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null
const haveTexts = (value: Record<string, unknown>, ...names: string[]): boolean =>
  names.every(name => typeof value[name] === 'string')
const isContext = (value: unknown, organisation: string): boolean =>
  isObject(value) &&
  value.organisation === organisation &&
  haveTexts(value, 'machinesUrl', 'publicUrl', 'rootFingerprint', 'machinesRoot') &&
  isObject(value.bundle) &&
  haveTexts(value.bundle, 'document') &&
  Array.isArray(value.bundle.signatures) &&
  isObject(value.logKey) &&
  [value.hostAuthorities, value.hostSuffixes, value.hosts, value.otherLogKeys ?? []].every(Array.isArray) &&
  (value.keyType === undefined || (typeof value.keyType === 'string' && isLoginKeyType(value.keyType)))
const isSession = (value: unknown): value is Session =>
  isObject(value) &&
  haveTexts(value, 'session', 'startedAt', 'endsAt', 'clientEndsAt') &&
  (haveTexts(value, 'person')
    ? value.workload === undefined
    : haveTexts(value, 'workload', 'clientStartsAt') && value.keyIn === 'file') &&
  (value.ssh === undefined || (isObject(value.ssh) && haveTexts(value.ssh, 'startsAt', 'endsAt')))

/** Puts a context there whole, whatever stood there. Only `change-context.ts` may: it looks at what stands there first. */
export function writeContext(folders: Folders, context: Context): void {
  writeFile(contextPath(folders, context.organisation), `${JSON.stringify(context, null, 2)}\n`, 0o600)
}

export function makeCurrent(folders: Folders, organisation: string): void {
  writeFile(join(folders.config, 'current-context'), `${organisation}\n`, 0o600)
}

export function writeSession(folders: Folders, organisation: string, session: Session): void {
  const files = sessionFiles(folders, organisation)
  writeFile(files.session, `${JSON.stringify(session, null, 2)}\n`, 0o600)
  writeFile(files.validUntil, validUntil(session), 0o600)
}

/** Whether a renewal would bring something: see `validUntil`. */
export function renewalDue(session: Session | undefined, now: Date): boolean {
  return session !== undefined && (now.getTime() / 1000 >= renewalAt(session) || clientRenewalDue(session, now))
}

/** Whether half of a workload's client certificate is over. A person's lasts as long as the session. */
export function clientRenewalDue(session: Session, now: Date): boolean {
  if (!isWorkload(session) || session.endedByServer !== undefined) return false
  const [starts, ends] = [Date.parse(session.clientStartsAt), Date.parse(session.clientEndsAt)]
  return ends < Date.parse(session.endsAt) && now.getTime() >= (starts + ends) / 2
}

const validUntil = (session: Session): string =>
  session.ssh && session.endedByServer === undefined
    ? `${renewalAt(session)}\n${Math.floor(Date.parse(session.ssh.endsAt) / 1000)}\n`
    : '0\n0\n'

/**
 * Unix seconds. Renewal is due when a third of the certificate's life is left, but not while more than four hours are, and
 * never before its end where it lasts as long as the session: a renewal would bring nothing.
 */
function renewalAt({ ssh, endsAt, endedByServer }: Session): number {
  if (!ssh || endedByServer !== undefined) return 0
  const starts = Date.parse(ssh.startsAt) / 1000
  const ends = Math.floor(Date.parse(ssh.endsAt) / 1000)
  const last = Date.parse(ssh.endsAt) >= Date.parse(endsAt)
  return last ? ends : Math.floor(ends - Math.min((ends - starts) / 3, 4 * 3600))
}

/** When a session ends unless it is renewed: a workload's with its client certificate, without which it can ask for nothing. */
export const endOf = (session: Session): string =>
  isWorkload(session) && Date.parse(session.clientEndsAt) < Date.parse(session.endsAt)
    ? session.clientEndsAt
    : session.endsAt

/** The session, while it has not ended as far as this machine knows. */
export const live = <S extends Session>(session: S | undefined, now: Date): S | undefined =>
  session && session.endedByServer === undefined && Date.parse(endOf(session)) > now.getTime() ? session : undefined

/**
 * Keeps that the server does not take the session of this client certificate any more: all its certificates are revoked then,
 * and of no use. One that a login or a renewal has put in its place meanwhile is left alone.
 */
export function noteEnded(folders: Folders, organisation: string, clientCertificate: string, now: Date): void {
  const held = readSession(folders, organisation)
  const certificate = readClientCertificate(sessionFiles(folders, organisation))
  if (held && held.endedByServer === undefined && certificate === clientCertificate)
    writeSession(folders, organisation, { ...held, endedByServer: now.toISOString() })
}

export function removeSession(folders: Folders, organisation: string): void {
  remove(sessionFiles(folders, organisation).folder)
}

/** The context and the live session, or a `not-signed-in` refusal that says what to type. */
export function requireSession(
  folders: Folders,
  now: Date,
  context = currentContext(folders),
): { context: Context; session: Session } {
  const session = context && readSession(folders, context.organisation)
  if (!context || !session)
    throw new KeymanError('not-signed-in', 'you are not signed in', { hint: 'run keyman login' })
  if (live(session, now)) return { context, session }
  const whose = isWorkload(session) ? `the session of ${principalOf(session)}` : 'your session'
  const why = session.endedByServer ? `the server has ended ${whose}` : `${whose} ended at ${endOf(session)}`
  throw new KeymanError('not-signed-in', why, { hint: nextAfter(session) })
}
