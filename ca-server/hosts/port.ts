import type { z } from 'zod'
import type { By, SelectableHost } from '#server/access/index.ts'
import type { IssuedClientCertificate, Krl } from '#server/authority/index.ts'
import type { Act, HostCaller, Role } from '#server/identity/index.ts'
import type { Entry, Ledger } from '#server/ledger/index.ts'
import type { Queryable, Store } from '#server/store/index.ts'
import type { api, hostStream, Line, schemas } from '#shared/api/index.ts'
import type { LoginKeyType } from '#shared/login-key-types.ts'
import type { HostName, Labels, Place, SubjectPrincipal } from '#shared/names.ts'
import type { SshPublicKey } from '#shared/ssh/index.ts'

/** The types of this room's door, `index.ts`. */
export type { IssuedClientCertificate } from '#server/authority/index.ts'

export type HostView = z.infer<typeof schemas.host>
export type HostInForce = z.infer<typeof schemas.hostInForce>
export type { Finding } from '#shared/api/fields.ts'
export type SignedBundle = z.infer<typeof schemas.signedBundle>
export type NewHost = z.infer<typeof schemas.newHost>
export type HostChange = z.infer<NonNullable<typeof api.hosts.change.body>>
export type JoinRequest = z.infer<NonNullable<typeof hostStream.join.body>>
export type PrincipalsLine = hostStream.PrincipalsLine

/** A host as rooms and routes above meet it. `address` is where clients reach it if its name does not resolve. */
export type LivingHost = {
  readonly name: HostName
  /** Further names of it, under the same suffixes. */
  readonly aliases: readonly HostName[]
  readonly labels: Labels
  /** The project or environment that it is in. */
  readonly place: Place | undefined
  readonly port: number
  readonly address: string | undefined
}

/** What this room asks of the rooms below it. The services of those rooms fit, or compose adapts them. */
export type HostsDeps = {
  readonly store: Store
  readonly ledger: Pick<
    Ledger,
    | 'append'
    | 'appendIn'
    | 'takeEpochs'
    | 'readEpochs'
    | 'saysMore'
    | 'checkpoint'
    | 'consistencyProof'
    | 'hear'
    | 'vouched'
    | 'facts'
    | 'follow'
    | 'onFacts'
  >
  /** 32 bytes that only the servers of this organisation have: see `in-force.ts`. */
  readonly inForceKey: Uint8Array
  /** `identity.act`. */
  readonly act: Act
  readonly now: () => Date
  readonly random: (bytes: number) => Uint8Array
  readonly organisation: string
  /** The machines' address, which goes into join tokens. */
  readonly machinesUrl: string
  /** Under these may hosts be named (at least two labels each). */
  readonly hostSuffixes: readonly string[]
  /** Fingerprint of the root of trust, `SHA256:…`: goes into join tokens. */
  readonly rootFingerprint: () => string
  /** `access.principalsFor`. */
  readonly principalsFor: (host: SelectableHost) => Readonly<Record<string, readonly PrincipalsLine[]>>
  /** `access.assertFits`: throws where a host like this would have more persons than it can be told. */
  readonly assertFits: (host: SelectableHost) => void
  /** `access.places.assertIsThere`: throws `not-found`. */
  readonly assertIsThere: (place: Place) => void
  /** `access.may`: whether this person or workload may add a host there at the moment. */
  readonly mayAdd: (maker: SubjectPrincipal, place: Place | undefined) => boolean
  /** `access.requireRole` for that. Throws `denied`, and the try is recorded. */
  readonly roleToAdd: (
    maker: SubjectPrincipal,
    place: Place | undefined,
    by: Pick<Entry, 'actor' | 'requestId' | 'from'>,
  ) => Promise<Role>
  /** `authority.currentKrl`. */
  readonly currentKrl: () => Promise<Krl>
  /** The signed bundle in force, and those before it that changed the root, oldest first. */
  readonly trustBundles: () => Promise<readonly SignedBundle[]>
  /**
   * `access.onChange`: calls the listener after what `principalsFor` says may have changed. KRL and trust bundle are looked at
   * by this room's own ear for the notifications `revocations` and `trust`. Returns what ends it.
   */
  readonly onChange: (listener: () => void) => () => void
  /** `identity.proofs.checkBoth` with the purpose `join`: throws `denied` or `expired`. Gives the challenge's id, whose use the ledger keeps unique. */
  readonly checkJoinProof: (parts: {
    readonly sshPublicKey: SshPublicKey
    readonly clientSpki: Uint8Array
    readonly proof: JoinRequest['proof']
  }) => string | Promise<string>
  /** `authority.ready`: asked before a join token is used up. */
  readonly readyToSign: () => Promise<void>
  /** Record, sign, release. `proof` makes the challenge's use unique. */
  readonly issueHostClientCertificate: (parts: {
    readonly host: HostName
    readonly clientSpki: Uint8Array
    readonly epochs: readonly { readonly subject: string; readonly epoch: bigint }[]
    readonly by: By
    readonly proof?: string
  }) => Promise<IssuedClientCertificate>
  /**
   * Inside the transaction that takes a host out, after the epochs were bumped: puts all its live certificates on the
   * lists of revocation. Gives how many, and when the last of them ends.
   */
  readonly revokeHostIn: (
    t: Queryable,
    host: HostName,
    by: By,
  ) => Promise<{ readonly revoked: number; readonly goodUntil: Date }>
  /** By host: how often one may say what nobody asked it, which is written down, and shown where it is an alarm. */
  readonly failureLimiter: { take(key: string): void }
  /** Something that an operator must see: hosts know more than the database, a log that does not extend. */
  readonly alarm: (message: string) => void
  /** Hears of what failed in the background, and is tried again or was refused to a host: once, however many hosts it was for. */
  readonly onError: (error: unknown) => void
  /** A clock that does not go with the day's; for the age of what is held in memory. */
  readonly monotonic?: () => number
}

/** One side of a host's stream; `http/routes/host-stream.ts` puts a WebSocket behind it. */
export type HostChannel = {
  /** Where the host calls from, as the listener sees it. */
  readonly from: string
  /** Asks the other side to answer, for a few seconds: whether somebody is still there. */
  isThere(): Promise<boolean>
  /** Resolves when the text has left this process; a slow host so never makes frames pile up. */
  send(text: string): Promise<void>
  close(code: number, reason: string): void
  /** Throws if the certificate behind the stream has ended or was revoked. Asked at each frame, both ways. */
  check(): Promise<void>
}
export type HostConnection = {
  /** Each message of the host. Never throws: what does not fit closes the stream. */
  receive(text: string): Promise<void>
  /** The stream has ended. */
  closed(): void
}

/** The place in which it was decided that somebody may. */
export type DecidedIn = { readonly place: Place | undefined }

export interface Hosts {
  /** Loads the living hosts, and hears notifications, before anybody may call. */
  start(): Promise<void>
  /** Closes all streams (the hosts come back by themselves). */
  stop(): Promise<void>

  /**
   * Names a host and makes its join token, which is shown once. Throws `conflict` where a living host has the name or an alias,
   * `invalid-input` for a name outside the organisation's suffixes.
   */
  add(host: NewHost, by: By): Promise<{ host: HostView; token: string; endsAt: Date; command: string }>
  list(): Promise<HostView[]>
  /** Throws `not-found`. */
  show(name: HostName): Promise<HostView>
  /** Who gets in on such a host by what is granted already. Throws where `add` would. */
  addWords(on: Queryable, host: NewHost): Promise<Line[]>
  /**
   * Takes a host out: its certificates are revoked and its stream closes at once. Gives when the last of them would have ended:
   * until then whoever has not heard of it believes the host. `from`: the place that it was decided in. Throws `not-found`, `conflict`
   * where it is in another by now.
   */
  remove(name: HostName, by: By, from?: DecidedIn): Promise<{ readonly goodUntil: Date }>
  /**
   * Changes all that is named, or nothing. Gives who does not get in as somebody any more; and where the host lost a name,
   * until when whoever has not heard of it believes it by that: its certificates are revoked, and it gets new ones. Throws
   * `not-found`, `conflict` where a living host has the name already, nothing would change, or it is in another place than `from`,
   * `invalid-input`.
   */
  change(
    name: HostName,
    change: HostChange,
    by: By,
    from?: DecidedIn,
  ): Promise<{
    readonly host: HostView
    readonly outside: readonly SubjectPrincipal[]
    readonly namesGoodUntil: Date | undefined
  }>
  /** What a name stands for, as the rows say it now, for whoever is to touch a passkey for it; what becomes of it by a change. Throws as that does. */
  words(on: Queryable, name: HostName, change?: HostChange): Promise<Line[]>
  /** Exchanges a join token, once, while whoever added the host may still do so. Throws `denied` or `expired`. */
  join(
    request: JoinRequest,
    by: { readonly requestId: string; readonly from: string },
  ): Promise<{ host: HostName; organisation: string; client: IssuedClientCertificate }>
  renewClientCertificate(
    caller: HostCaller,
    by: { readonly requestId: string; readonly from: string },
  ): Promise<IssuedClientCertificate>

  /**
   * For `identity`: a living, joined host with exactly this client key, and its epoch; else `undefined`. In memory; throws
   * `unavailable` where that was read too long ago to let anybody in by it.
   */
  resolveHost(
    name: HostName,
    clientSpki: Uint8Array,
  ):
    | {
        readonly aliases: readonly HostName[]
        readonly epochs: readonly { readonly subject: string; readonly epoch: bigint }[]
      }
    | undefined
  /** Which types of keys these take, by their own word: of those alone that do not take all that a login makes. */
  keyTypes(names: readonly HostName[]): Promise<ReadonlyMap<string, readonly LoginKeyType[]>>
  /** Every living host, in memory: what `access` chooses from. */
  living(): readonly LivingHost[]
  /** The same by the rows of this transaction; and, in words, those that the log has and these do not show. */
  shown(t: Queryable): Promise<{ readonly hosts: readonly SelectableHost[]; readonly hidden: readonly string[] }>
  find(name: HostName): LivingHost | undefined
  /** The same by its name or an alias. */
  named(name: HostName): LivingHost | undefined

  /** In seconds, how far the clock of each host that has said so is ahead of the server's. */
  clocksApart(): readonly number[]
  /** A host's stream has opened. */
  connect(caller: HostCaller, channel: HostChannel): HostConnection
  /**
   * Waits until every joined host has this KRL (or a newer one) in force, at most `seconds`; answers at once with 0.
   * A host that is away is not waited for.
   */
  waitForKrl(krlVersion: bigint, seconds: number): Promise<HostInForce[]>
  /** The same for all that hosts should have by now, of those that `concerns` names. */
  waitForAll(seconds: number, concerns: (host: SelectableHost) => boolean): Promise<HostInForce[]>
}
