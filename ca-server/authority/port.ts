import type { z } from 'zod'
import type { Access, By } from '#server/access/index.ts'
import type {
  Epoch,
  HostCaller,
  Identity,
  NamedSession,
  Persons,
  Proofs,
  SessionCaller,
} from '#server/identity/index.ts'
import type { AwayKeystore, Keystore } from '#server/keystore/index.ts'
import type { Entry, Fact, Ledger, LogKeys } from '#server/ledger/index.ts'
import type { Fence, Queryable, Store } from '#server/store/index.ts'
import type { Line, schemas } from '#shared/api/index.ts'
import type { HostName, KeyId, PersonIdentity, SubjectPrincipal, WorkloadName } from '#shared/names.ts'
import type { SshPublicKey } from '#shared/ssh/index.ts'
import type { TrustBundle } from '#shared/trust/index.ts'
import type { Switched } from './switch-to-standby.ts'

/** The types of this room's door, `index.ts`. */

type Epochs = readonly Epoch[]

export type IssuedSshCertificate = z.infer<typeof schemas.certificateAnswer>
/** PEM, leaf only. */
export type IssuedClientCertificate = { readonly pem: string; readonly endsAt: Date }
export type Origin = { readonly requestId: string; readonly from?: string }

export type UserCertificateRequest = Origin & {
  /** One line; where it is given it must be the session's own key. */
  readonly publicKey?: string
  /** Seconds; can only narrow. */
  readonly lifetime?: number
}
export type HostCertificateRequest = Origin & {
  readonly publicKey: string
  readonly challenge: string
  /** Armored SSHSIG in the namespace `keyman-proof`. */
  readonly signature: string
}

export type RevocationTarget =
  | { readonly person: PersonIdentity }
  | { readonly session: NamedSession }
  | { readonly workload: WorkloadName }
  | { readonly keyId: KeyId }
  /** Of a user certificate. */
  | { readonly serial: bigint }
  | { readonly publicKey: SshPublicKey }
/** What becomes of the sessions on hosts that were let in by what is revoked. */
export type HostSessions = 'end' | 'keep'
export type Revocation = {
  readonly id: string
  /** In words. */
  readonly target: string
  /** How many SSH certificates, and sessions, ended by it. */
  readonly revoked: number
  readonly sessions: number
  /** In force where a host has this KRL or a newer one. */
  readonly krlVersion: bigint
  /** The number of the order by which hosts end open sessions, where there is one. */
  readonly order?: bigint | undefined
  /** When the last of the certificates would have ended; where it is not known, nothing. */
  readonly goodUntil?: Date | undefined
}
/** What is recorded with a change that revokes, how many certificates, and when the last of them would have ended; of none, the time of asking. */
export type RevokedWith = {
  readonly entries: readonly Entry[]
  readonly revoked: number
  readonly goodUntil: Date
  /** The number of the order by which hosts end open sessions, where there is one. */
  readonly order?: bigint | undefined
}

export type Krl = {
  /** Only forward; one version has one content. */
  readonly version: bigint
  readonly bytes: Uint8Array
  /** The part about hosts alone, for their clients: header only where no host's certificate is revoked. Signed in `keyman-revoked-hosts`. */
  readonly ofHosts: { readonly bytes: Uint8Array; readonly signature: string }
  /** Armored SSHSIG by a log key, namespace `keyman-krl`. */
  readonly signature: string
  /** The canary certificates, one line each: a reader of the real KRL finds them revoked. */
  readonly canaries: readonly string[]
}

/** What this room asks of the one that has the workloads. */
export type WorkloadEnds = {
  /** Throws `not-found`. */
  assertIsThere(name: WorkloadName): void
  /**
   * In a transaction that has changed the workload's epoch: ends its session, and tokens that nobody has used. Gives how many sessions that were,
   * and what is to be recorded with it.
   */
  endIn(
    t: Queryable,
    name: WorkloadName,
    why: string,
  ): Promise<{ readonly sessions: number; readonly facts: readonly Fact[] }>
}

export type AuthorityDeps = {
  readonly store: Store
  readonly ledger: Pick<
    Ledger,
    | 'append'
    | 'appendIn'
    | 'issue'
    | 'liveCertificates'
    | 'liveKeys'
    | 'liveSessions'
    | 'takeEpochs'
    | 'vouched'
    | 'facts'
    | 'follow'
    | 'newestAt'
    | 'onFacts'
  >
  readonly keystore: Keystore
  /** A second one of the same class: a standby key of each purpose lies there, which everybody trusts beforehand. */
  readonly standbyKeystore?: Keystore
  /** Of two the one that could not be opened: `keystore` is the other then, and keys that sign have to be there. */
  readonly awayKeystore?: AwayKeystore
  /** The newest that the root of trust signed; undefined at the very first start. */
  readonly verifiedBundle: () => TrustBundle | undefined
  /** In seconds, how far the clocks of hosts are ahead of the server's, as far as they have said so. */
  readonly hostClocks?: () => readonly number[]
  /** Hears of rows that are no authority keys. */
  readonly alarm?: (message: string) => void
  /** Bytes, of the list of what is revoked; what hosts and laptops read unless given. */
  readonly longestKrl?: number | undefined
  readonly logKeys: Pick<LogKeys, 'believed' | 'sign'>
  readonly access: Pick<Access, 'decide' | 'reload'>
  readonly now: () => Date
  readonly random: (bytes: number) => Uint8Array
  readonly organisation: string
  /** Of the SSH authorities; the machine authority is always P-256. */
  readonly algorithm: 'ed25519' | 'ecdsa-p256'
  /** Seconds, of a user certificate where the request names none. */
  readonly defaultLifetime: number
  readonly identity: Pick<Identity, 'act' | 'reload' | 'endSessions' | 'refresh'> & {
    readonly proofs: Pick<Proofs, 'checkSsh'>
    readonly persons: Pick<Persons, 'show'>
  }
  readonly workloads: WorkloadEnds
  /** Hears of failures in the background. */
  readonly onError?: (error: unknown) => void
}

export interface Authority {
  /** Throws `unavailable` where nothing can be signed at the moment: to be asked before a code or token is used up. */
  ready(): Promise<void>
  /**
   * Decide, record, sign. Throws `denied` (no grant, another key than the session's), `conflict` where what the decision
   * was made from changed three times meanwhile, `unavailable`.
   */
  issueUserCertificate(caller: SessionCaller, request: UserCertificateRequest): Promise<IssuedSshCertificate>
  /** For the host's own exact name and its aliases, 30 days. Throws `denied`, `expired` for a challenge that was used. */
  issueHostCertificate(caller: HostCaller, request: HostCertificateRequest): Promise<IssuedSshCertificate>
  /**
   * For the session's client key, until the session ends. Throws `denied` for a key that was revoked. `proof`: the id of the challenge
   * that a workload's key was proven with.
   */
  issueSessionClientCertificate(
    caller: SessionCaller,
    origin: Origin & { readonly proof?: string },
  ): Promise<IssuedClientCertificate>
  /** For 30 days. `proof`: the id of the challenge that joining used. */
  issueHostClientCertificate(parts: {
    readonly host: HostName
    readonly clientSpki: Uint8Array
    readonly epochs: Epochs
    readonly by: By
    readonly proof?: string
  }): Promise<IssuedClientCertificate>
  /**
   * The machines' listener's own certificate: a key in memory, 30 days, made anew at two thirds; `onRenewed` then hands
   * it to the listener without a restart. `names`: exact DNS names or IP addresses.
   */
  serverCertificate(names: readonly string[], onRenewed: (pair: ServerCertificate) => void): Promise<ServerCertificate>

  /** By what name records have the user authority with this key, active or not; `undefined` where it is none of ours. */
  labelOf(fingerprint: string): string | undefined
  /** Whose certificates a revocation of this would end, as the rows say it now, for whoever is to touch a passkey for it. */
  words(on: Queryable, target: RevocationTarget): Promise<Line[]>
  /**
   * Open sessions on hosts end with all that a person or a workload has, and go on otherwise, unless it is said. Throws `not-found` for a person who is none, and where nothing
   * that lives has this key ID or serial.
   */
  revoke(target: RevocationTarget, reason: string | undefined, by: By, hostSessions?: HostSessions): Promise<Revocation>
  /**
   * Inside somebody else's transaction, after the epochs were bumped: puts the certificates of a person or a workload on the lists. Gives
   * what is to be recorded with it.
   */
  revokeAllIn(t: Queryable, whose: SubjectPrincipal, by: By, hostSessions?: HostSessions): Promise<RevokedWith>
  /** The same for some sessions of a person. */
  revokeSessionsIn(t: Queryable, sessions: readonly string[], by: By): Promise<RevokedWith>
  /** The same for a host that is taken out; records it, too. Gives how many. */
  revokeHostIn(t: Queryable, host: HostName, by: By): Promise<{ revoked: number; goodUntil: Date }>
  /**
   * When the last certificate of these persons and workloads ends, the time of asking where none is out; `undefined` where one of them still
   * gets new ones.
   */
  certificatesEnd(whose: readonly SubjectPrincipal[]): Promise<Date | undefined>
  /** Revokes again what a host still knows from before a restore: see `adopt-list.ts`. */
  adoptList(
    list: { readonly bytes: Uint8Array; readonly signature: string },
    by: { readonly host: HostName; readonly requestId: string; readonly from: string },
  ): Promise<{ readonly certificates: number; readonly keys: number }>
  findRevocation(id: string): Promise<Revocation | undefined>
  currentKrl(): Promise<Krl>
  /** Whether a session of theirs, begun now, may have certificates: then its key is recorded with it (`sessionKeyFact`). */
  mayBeCertified(whose: SubjectPrincipal): boolean
  /** Whether a certificate was made for this key, or a session begun with it, that may be good still: else it is a stranger's. */
  knowsKey(publicKey: SshPublicKey): Promise<boolean>

  /** Reads the authority keys anew, as each half minute by itself. Throws `denied` where one that is trusted is gone. */
  reload(): Promise<void>
  /** Called once `trusted` is another. Gives what ends it. */
  onChange(listener: () => void): () => void
  /** Authority keys that others are to trust. SSH keys as lines without comment, roots as PEM. */
  trusted(): AuthorityKeys
  /** The machine authority's roots, PEM: the same array until the keys are read anew. */
  machineRoots(): readonly string[]
  /** What `switchToStandby` would do. Throws as it does. */
  standby(): Promise<Switched[]>
  /** For when the keystore of those that sign is lost: see `switch-to-standby.ts`. `confirmed`: labels of the keys that somebody has looked at. */
  switchToStandby(by: By, confirmed: readonly string[]): Promise<Switched[]>
  /** Takes off the KRL what ended long ago; once an hour, by the server whose turn it is. */
  pruneKrl(fence: Fence): Promise<unknown>
  start(): Promise<void>
  stop(): Promise<void>
}

type Keys = readonly { readonly key: string; readonly state: 'active' | 'standby' | 'retired' }[]
export type AuthorityKeys = {
  readonly userAuthorities: Keys
  readonly hostAuthorities: Keys
  readonly machines: readonly { readonly certificate: string; readonly state: 'active' | 'standby' | 'retired' }[]
}
/** Both PEM. */
export type ServerCertificate = { readonly key: string; readonly certificate: string; readonly endsAt: Date }
