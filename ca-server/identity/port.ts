import type { z } from 'zod'
import type { Keystore } from '#server/keystore/index.ts'
import type { Entry, Fact, Ledger } from '#server/ledger/index.ts'
import type { Fence, Queryable, Store } from '#server/store/index.ts'
import type { Line, schemas } from '#shared/api/index.ts'
import type { ProofPurpose } from '#shared/login-challenge.ts'
import type { HostName, PersonIdentity } from '#shared/names.ts'
import type { SshPublicKey } from '#shared/ssh/index.ts'
import type {
  ActingCaller,
  BrowserCaller,
  Caller,
  Epoch,
  HostCaller,
  MachineCaller,
  PersonCaller,
  SessionCaller,
  WorkloadCaller,
  WorkloadSessions,
} from './caller.ts'
import type { Act, At, By, Consent, PersonBy, Role } from './standing.ts'

/** The types of this room's door, `index.ts`: what it does. Who comes is in `caller.ts`, what they may in `standing.ts`. */

/** What a touch is asked for. */
export type Asked = {
  readonly action: string
  /** Whether a mandate covers it, by what is known now: asked again in the transaction, where more may be known. */
  mandated(): boolean
  /** `requestText`. */
  readonly request: string
  /** The request in words, with what its IDs name as the rows say it now. */
  shown(on: Queryable): Promise<readonly Line[]>
  readonly from: string
}
export interface Touches {
  /**
   * The consent to this request: the touch that it names, or the session's mandate; or the answer that this request with this
   * touch got before. Throws `assertion-required` with a transaction where there is none, `too-large` for what can't be shown.
   */
  require(
    caller: Caller,
    asked: Asked,
    given: string | undefined,
  ): Promise<{ readonly consent: Consent } | { readonly answer: unknown }>
  /** For whoever sends the same request with the same touch again. */
  keepAnswer(touch: string, answer: unknown): Promise<void>
  /** By which a secret is known that is not shown. */
  digest(secret: string): string
  /** `lifetime`: seconds. */
  beginMandate(by: PersonBy, lifetime: number): Promise<{ readonly id: string; readonly endsAt: string }>
  endMandate(by: PersonBy): Promise<void>
}

export type WebauthnJson = Record<string, unknown>
export type LoginStart = z.infer<typeof schemas.loginStart>
export type LoginStarted = z.infer<typeof schemas.loginStarted>
export type LoginTransaction = z.infer<typeof schemas.loginTransaction>
export type LoginToken = z.infer<typeof schemas.loginToken>
export type ActionTransaction = z.infer<typeof schemas.actionTransaction>
export type SessionView = z.infer<typeof schemas.sessionAnswer>
export type PasskeyView = z.infer<typeof schemas.passkey>

export type PersonView = {
  readonly identity: PersonIdentity
  readonly owner: boolean
  readonly state: 'active' | 'disabled'
  readonly passkeys: number
  readonly createdAt: Date
  readonly lastLoginAt: Date | undefined
  /** Who has reset this owner, where the new passkey waits for the yes of another. */
  readonly resetBy?: string | undefined
}

export type Redeemed =
  | { readonly state: 'done'; readonly caller: MachineCaller }
  | { readonly state: 'pending' /** seconds */; readonly interval: number }
  | { readonly state: 'refused' }

/** What somebody is given who signed in to the pages: the cookie's value, a secret, and who that is. */
export type SignedIn = { readonly cookie: string; readonly caller: BrowserCaller }

export interface Proofs {
  /** A fresh challenge in base64url, good for two minutes. Nothing is stored. */
  challenge(): string
  /**
   * Checks that both keys were used for this challenge and purpose. Gives the challenge's ID, whose use the caller makes unique
   * (a unique column, or the ledger's `proof`). Throws `expired` for a challenge that is none of ours or has ended, `denied` for
   * a signature that does not fit.
   */
  checkBoth(parts: {
    readonly purpose: ProofPurpose
    readonly sshPublicKey: SshPublicKey
    readonly clientSpki: Uint8Array
    readonly proof: z.infer<typeof schemas.proof>
  }): string
  /** The same where the client key is proven by the connection already: the SSH key's signature alone. */
  checkSsh(parts: {
    readonly purpose: ProofPurpose
    readonly sshPublicKey: SshPublicKey
    readonly clientSpki: Uint8Array
    readonly challenge: string
    /** Armored SSHSIG. */
    readonly signature: string
  }): string
}

/** Login of a person's machine: see `shared/api/resources/login.ts`. */
export interface Logins {
  start(request: LoginStart, from: string): Promise<LoginStarted>
  /** Throws `not-found`. A device login is shown by its code alone, so that no link leads to the consent. */
  show(transaction: string): Promise<LoginTransaction>
  find(userCode: string): Promise<LoginTransaction>
  options(transaction: string): Promise<WebauthnJson>
  consent(
    transaction: string,
    assertion: WebauthnJson,
    at: At,
  ): Promise<{ readonly redirectTo?: string; readonly person: PersonIdentity }>
  refuse(transaction: string): Promise<{ readonly redirectTo?: string }>
  /** Makes the session and its record, once. Throws `denied` or `expired`. */
  redeem(request: LoginToken, at: At): Promise<Redeemed>
}

export interface SignIns {
  options(): Promise<WebauthnJson>
  /** `cookie`: the one that the browser has now; its session ends. */
  complete(assertion: WebauthnJson, at: At, cookie: string | undefined): Promise<SignedIn>
  /** Signs a browser out. (A machine's session has certificates to be revoked: that is `authority.revoke`.) */
  end(by: PersonBy): Promise<void>
}

/** A link by which somebody becomes a person, or makes a new passkey. */
export type SentLink = {
  readonly kind: 'invitation' | 'reset'
  readonly identity: string
  readonly owner: boolean
}

export interface Enrolment {
  /** Throws `expired` for a link that is none, was used or has ended. */
  open(secret: string): Promise<{
    readonly kind: 'administrator' | 'invitation' | 'reset'
    /** Of a server that has no owner yet. */
    readonly first: boolean
    readonly identity: string
    readonly identityFixed: boolean
    /** Whether it makes an owner, or makes the new passkey of one. */
    readonly owner: boolean
    /** Whether it is for a person who is here already. */
    readonly isHere: boolean
    /** Whether the new passkey waits for the yes of another owner. */
    readonly waits: boolean
    readonly endsAt: Date
    /** What to type in a terminal to sign in a machine. */
    readonly login: string
  }>
  options(secret: string, identity: PersonIdentity): Promise<WebauthnJson>
  complete(
    request: {
      readonly secret: string
      readonly identity: PersonIdentity
      readonly passkeyName: string
      readonly registration: WebauthnJson
    },
    at: At,
  ): Promise<SignedIn | 'waits'>
  /** `login` is the line that the invited person types. Throws `conflict` where the identity is taken. `lifetime`: seconds. */
  invite(
    invitation: { readonly identity: PersonIdentity; readonly owner: boolean; readonly lifetime: number },
    by: By,
  ): Promise<{
    readonly identity: PersonIdentity
    readonly link: string
    readonly login: string
    readonly endsAt: Date
  }>
  /**
   * A link with which somebody who is here makes a new passkey, for the same identity and rights; everything that the person had
   * ends, with `removePasskeys` the passkeys too. Of an owner the new passkey waits for the yes of another who is neither
   * of the two (`persons.enable`), where there is one. Throws `not-found`; `conflict` for oneself, and for who is disabled.
   */
  reset(
    identity: PersonIdentity,
    how: { readonly removePasskeys: boolean; readonly lifetime: number },
    by: By,
    within?: Within,
  ): Promise<{
    readonly identity: PersonIdentity
    readonly owner: boolean
    readonly waits: boolean
    readonly link: string
    readonly login: string
    readonly endsAt: Date
  }>
  /**
   * The operator's recovery, on the machine: a link for a new owner (`isNew`), or, with the identity of somebody who is
   * here, for a new passkey of that person, who becomes an active owner; everything that the person had ends. Good for 15
   * minutes, once. Throws `not-found` for a name of nobody unless it is new, `conflict` for a new one that is somebody's. `was`:
   * who the person was.
   */
  createAdminLink(
    identity: PersonIdentity | undefined,
    how: { readonly isNew: boolean },
    by: By,
    within?: Within,
  ): Promise<{
    readonly link: string
    readonly endsAt: Date
    readonly was: Pick<PersonView, 'owner' | 'state' | 'passkeys'> | undefined
  }>
  /** Links that somebody could still use, the newest first. */
  openLinks(): Promise<
    readonly {
      readonly id: string
      readonly identity: string
      readonly owner: boolean
      readonly createdBy: string
      readonly createdAt: Date
      readonly endsAt: Date
    }[]
  >
  /** Throws `not-found` for one that nobody could use any more. */
  endLink(id: string, by: By): Promise<void>
  /** For the server's start: a link, while no owner has a passkey; earlier ones end. */
  firstOwnerLink(proposal: string): Promise<string | undefined>
}

export interface Passkeys {
  list(person: PersonIdentity): Promise<PasskeyView[]>
  addOptions(caller: BrowserCaller): Promise<WebauthnJson>
  add(by: PersonBy, passkey: { readonly name: string; readonly registration: WebauthnJson }): Promise<PasskeyView>
  rename(by: PersonBy, id: string, name: string): Promise<PasskeyView>
  /**
   * Whoever has the passkey may have used it: all other sessions of the person end with it, and what was consented to and not
   * redeemed yet. In one transaction: epochs first, then the change, then `within`, which gets the IDs of these sessions (and
   * collects and revokes their certificates), then the record. Throws `conflict` for the last passkey.
   */
  remove(
    by: PersonBy,
    id: string,
    within?: (t: Queryable, sessions: readonly string[]) => Promise<readonly Entry[]>,
  ): Promise<void>
}

/** Consent: a touch of a passkey for one request of one session and client key. */
export interface Actions {
  show(transaction: string): Promise<ActionTransaction>
  options(transaction: string): Promise<WebauthnJson>
  /** `cookie`: the browser's, before; where the session is that browser's own, the new one comes back. */
  confirm(
    transaction: string,
    assertion: WebauthnJson,
    at: At,
    cookie: string | undefined,
  ): Promise<{ readonly transaction: ActionTransaction; readonly cookie: string | undefined }>
  refuse(transaction: string): Promise<ActionTransaction>
}

/** Runs inside the transaction after the change, and gives what else is to be recorded with it. */
export type Within = (t: Queryable) => Promise<readonly Entry[]>

export interface IdentityWords {
  person(on: Queryable, identity: PersonIdentity): Promise<Line[]>
  invitation(on: Queryable, id: string): Promise<Line[]>
  passkey(on: Queryable, owner: PersonIdentity, id: string): Promise<Line[]>
  session(on: Queryable, id: string): Promise<Line[]>
}

export interface Persons {
  list(): Promise<PersonView[]>
  /** Throws `not-found`. */
  show(identity: PersonIdentity): Promise<PersonView>
  /**
   * Forbids signing in and ends all sessions, in one transaction: epochs first, then the change, then `within` (which collects
   * and revokes the certificates), then the record. Throws `conflict` for the last owner, `not-found`.
   */
  disable(identity: PersonIdentity, by: By, within?: Within): Promise<PersonView>
  /** Of an owner who was reset the yes to the new passkey: throws `denied` for whoever has reset that person, `conflict` before there is one. */
  enable(identity: PersonIdentity, by: By): Promise<PersonView>
  /**
   * Makes somebody an owner, or no owner any more: sessions of such a person end, and links that the person made and nobody has used.
   * Throws `conflict` for the last one, `not-found`, and as `enable` for whoever was reset.
   */
  change(identity: PersonIdentity, to: { readonly owner: boolean }, by: By): Promise<PersonView>
}

/** A session stays what it is: a machine's stays a machine's. */
export interface Reload {
  (caller: WorkloadCaller): Promise<WorkloadCaller>
  (caller: MachineCaller): Promise<MachineCaller>
  (caller: SessionCaller): Promise<SessionCaller>
  (caller: BrowserCaller): Promise<BrowserCaller>
  (caller: HostCaller): Promise<HostCaller>
  (caller: PersonCaller): Promise<PersonCaller>
  (caller: ActingCaller): Promise<ActingCaller>
  (caller: Caller): Promise<Caller>
}

/** A session that is open, as it is shown. */
export type OpenSession = {
  readonly id: string
  readonly person: PersonIdentity
  readonly kind: 'machine' | 'browser'
  readonly device: string
  /** The peer's address, where it was kept. */
  readonly from?: string
  readonly startedAt: Date
  readonly endsAt: Date
  /** Of a machine its newest certificate, of a browser a request, to some minutes. */
  readonly lastUsedAt: Date
  readonly passkey?: { readonly id: string; readonly name: string }
}
/** A session that somebody means to end. `sshKey`: a machine's, `SHA256:…`. */
export type NamedSession = Pick<OpenSession, 'id' | 'person' | 'device'> & { readonly sshKey?: string }
export interface SessionList {
  /** Newest first, everybody's without a person; `more`: whether there are so many that older ones are left out. */
  list(
    person: PersonIdentity | undefined,
  ): Promise<{ readonly sessions: readonly OpenSession[]; readonly more: boolean }>
  /** Throws `not-found` where none is open, or where it is not this person's. */
  find(id: string, person?: PersonIdentity): Promise<NamedSession>
}

export interface Identity {
  readonly proofs: Proofs
  readonly logins: Logins
  readonly signIns: SignIns
  readonly enrolment: Enrolment
  readonly passkeys: Passkeys
  readonly actions: Actions
  readonly touches: Touches
  /** What an ID names, as the rows say it now. Each throws `not-found`. */
  readonly words: IdentityWords
  readonly persons: Persons
  readonly sessions: SessionList
  /** The one way to change something in somebody's name, for this room and those above it. */
  readonly act: Act

  /** Reads what has ended, before anybody may call; then again each second and at each notification. */
  start(): Promise<void>
  stop(): Promise<void>

  /**
   * Who a client certificate stands for, checked on this very request: chain, authority, not-before, not-after, name, session, key. At
   * once where the session is in memory. Throws `not-signed-in`; `unavailable` where what has ended was last read more than
   * five seconds ago. `der`: the same array for each request of a connection, so that it is parsed once. `renews`: a workload's renewal is asked for.
   */
  callerFromClientCertificate(der: Uint8Array, chainAuthorized: boolean, renews?: boolean): Caller | Promise<Caller>
  /** Throws `not-signed-in`. */
  callerFromCookie(cookie: string): Promise<BrowserCaller>
  /** Reads the caller's session anew, after `EpochsChanged`. Throws `not-signed-in` where it has ended. */
  readonly reload: Reload
  /** What `GET /v1/session` answers. */
  describe(caller: PersonCaller): Promise<SessionView>
  /**
   * Inside the transaction that revokes, after the epochs were bumped: ends these sessions, and what was consented to and not
   * redeemed yet; with a person's, also the invitations that the person made. Gives the sessions' IDs, and the facts that the caller records
   * with it. Other servers hear of it with the commit; call `refresh` after it.
   */
  endSessions(
    t: Queryable,
    by: { readonly person: PersonIdentity } | { readonly session: string },
  ): Promise<{ readonly sessions: readonly string[]; readonly facts: readonly Fact[] }>
  /** Reads at once what has ended. */
  refresh(): Promise<void>
  /** Takes away what nobody needs any more; once a minute, by the server whose turn it is. */
  sweep(fence: Fence): Promise<void>
}

export type IdentityDeps = {
  readonly store: Store
  readonly ledger: Pick<
    Ledger,
    | 'append'
    | 'appendIn'
    | 'sayIn'
    | 'bumpEpochs'
    | 'readEpochs'
    | 'forgetEpochs'
    | 'takeEpochs'
    | 'saysMore'
    | 'vouched'
    | 'facts'
    | 'follow'
    | 'assertFresh'
    | 'onFacts'
  >
  /** Each wraps the key that challenges are made with. */
  readonly keystores: readonly Pick<Keystore, 'wrapDataKey' | 'unwrapDataKey'>[]
  readonly now: () => Date
  readonly random: (bytes: number) => Uint8Array
  readonly organisation: string
  /** What browsers open: an origin without a slash at its end; its host is the RP ID. */
  readonly publicUrl: string
  /** For the line that an invited person types. */
  readonly machinesUrl: string
  readonly rootFingerprint: () => string
  /** By what whoever made this link may still do so, if they may: `access` decides. */
  readonly roleToSend: (sender: PersonIdentity, link: SentLink) => Role | undefined
  /** See `Authority.mayBeCertified`. */
  readonly mayBeCertified: (person: PersonIdentity) => boolean
  /** The longest session of a machine, in seconds. */
  readonly maxLifetime: number
  /** Assertions that are tried, by address and account together. */
  readonly assertionLimiter: { take(key: string): void }
  /** Refused sign-ins of a disabled person that are recorded, by person. */
  readonly denialLimiter: { take(key: string): void }
  /** PEM or DER of the machine authority's roots, those of today. */
  readonly machineRoots: () => readonly string[]
  /** `hosts.resolveHost`. */
  readonly resolveHost: (
    name: HostName,
    clientSpki: Uint8Array,
  ) => { readonly aliases?: readonly HostName[]; readonly epochs: readonly Epoch[] } | undefined
  readonly workloads: WorkloadSessions
  /** After somebody was enrolled; a failure here does not undo that. */
  readonly onEnrolled?: (person: {
    readonly identity: PersonIdentity
    readonly owner: boolean
    readonly first: boolean
  }) => Promise<void>
  /** Hears of failures in the background, and of alarms. */
  readonly onError?: (error: unknown) => void
  /** Milliseconds; `performance.now` unless given. */
  readonly monotonic?: () => number
}
