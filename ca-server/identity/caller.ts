import type { Queryable } from '#server/store/index.ts'
import { KeymanError } from '#shared/errors.ts'
import type { HostName, PersonIdentity, SubjectPrincipal, WorkloadName, WorkloadPrincipal } from '#shared/names.ts'

/** Who is calling: persons by machine or browser, workloads, hosts. */

export type Epoch = { readonly subject: string; readonly epoch: bigint }

type Person = {
  readonly kind: 'person'
  readonly identity: PersonIdentity
  readonly owner: boolean
  /** The session's ID: `session_` and 16 characters that fit into a key ID. */
  readonly session: string
  readonly startedAt: Date
  readonly endsAt: Date
  /** The last touch of a passkey that counts for this session. */
  readonly assertedAt: Date
  readonly device: string
  /** Of the person and of the session, read before what else stands here. */
  readonly epochs: readonly Epoch[]
}

/** An SSH key that a session has proven. */
export type SessionSshKey = {
  readonly blob: Uint8Array
  /** `SHA256:…` */
  readonly fingerprint: string
  /** As in a `.pub` file. */
  readonly line: string
}
/** A person's machine: a session that renews exactly these two keys until it ends. */
export type MachineCaller = Person & {
  readonly via: 'machine'
  readonly ssh: SessionSshKey
  /** Hex SHA-256 of the SubjectPublicKeyInfo. */
  readonly clientFingerprint: string
  readonly clientSpki: Uint8Array
}
/** A person's browser, known by its cookie. */
export type BrowserCaller = Person & { readonly via: 'browser' }
export type PersonCaller = MachineCaller | BrowserCaller
export type HostCaller = {
  readonly kind: 'host'
  readonly name: HostName
  /** Further names that were listed for it by whoever may change it. */
  readonly aliases?: readonly HostName[]
  readonly clientSpki: Uint8Array
  readonly clientFingerprint: string
  readonly epochs: readonly Epoch[]
}
/** A workload: a session that renews this SSH key, and takes a new client key each time. */
export type WorkloadCaller = {
  readonly kind: 'workload'
  readonly name: WorkloadName
  readonly principal: WorkloadPrincipal
  /** `session_` and 16 characters. */
  readonly session: string
  readonly startedAt: Date
  /** In any case, and unless it is renewed. */
  readonly endsAt: Date
  readonly idleEndsAt: Date
  readonly ssh: SessionSshKey
  /** The one that counts. */
  readonly clientSpki: Uint8Array
  /** With which it came where that is another one: to renew for the one above once more, and for nothing else. */
  readonly superseded?: SupersededKey
  /** Of the workload, read before what else stands here. */
  readonly epochs: readonly Epoch[]
}
/** Whoever is asking, with how and when it authenticated. */
export type Caller = PersonCaller | WorkloadCaller | HostCaller
/** Whoever has an SSH key, and is issued certificates for it. */
export type SessionCaller = MachineCaller | WorkloadCaller
/** Whoever may have roles. */
export type ActingCaller = PersonCaller | WorkloadCaller
/** The name by which they are given something, and which their certificates carry. */
export const principalOf = (caller: ActingCaller): SubjectPrincipal =>
  caller.kind === 'person' ? caller.identity : caller.principal

/** Somebody came with a client key of a workload that was replaced by a newer one: there is a copy of it, or of the newer one. */
export class SupersededKey extends KeymanError {
  readonly workload: WorkloadName
  readonly session: string
  readonly clientSpki: Uint8Array
  /** So long nobody is alarmed by it: it was replaced a moment ago. */
  readonly quietUntil: Date | undefined
  constructor(key: Pick<SupersededKey, 'workload' | 'session' | 'clientSpki' | 'quietUntil'>) {
    super('not-signed-in', `this client key of ${key.workload} was replaced by a newer one`, {
      hint: 'read the newer key and certificate, which lie where these lay',
    })
    this.workload = key.workload
    this.session = key.session
    this.clientSpki = key.clientSpki
    this.quietUntil = key.quietUntil
  }
}

/** What this room asks of the one that has the workloads. */
export interface WorkloadSessions {
  /** Who comes with a certificate that names this session. Throws `not-signed-in`, as `SupersededKey` where its key was replaced; `unavailable`. */
  resolve(named: {
    readonly name: WorkloadName
    readonly session: string
    readonly clientSpki: Uint8Array
    /** It is a renewal that is asked for. */
    readonly renews?: boolean
  }): WorkloadCaller | Promise<WorkloadCaller>
  /** The same by what is newest. */
  reload(caller: WorkloadCaller): Promise<WorkloadCaller>
  /** In a transaction that has taken the workload's epoch. Throws `not-signed-in` where its session is over. */
  assertStands(t: Queryable, caller: WorkloadCaller): Promise<void>
}
