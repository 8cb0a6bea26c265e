import type { z } from 'zod'
import type { By, Subject, Want } from '#server/access/index.ts'
import type { HostSessions, RevokedWith, WorkloadEnds } from '#server/authority/index.ts'
import type { Act, Proofs, Role, SupersededKey, WorkloadCaller, WorkloadSessions } from '#server/identity/index.ts'
import type { Ledger } from '#server/ledger/index.ts'
import type { Queryable, Store } from '#server/store/index.ts'
import type { Line, schemas } from '#shared/api/index.ts'
import type { Place, WorkloadName, WorkloadPrincipal } from '#shared/names.ts'

/** The types of this room's door, `index.ts`. */

export type WorkloadView = z.infer<typeof schemas.workload>
export type NewWorkload = z.infer<typeof schemas.newWorkload>
export type WorkloadChange = z.infer<typeof schemas.workloadChange>
type JoinBody = {
  readonly token: string
  readonly sshPublicKey: string
  readonly clientPublicKey: string
  readonly proof: z.infer<typeof schemas.proof>
}
/** A token is shown once. */
export type Invited = {
  readonly workload: WorkloadView
  readonly token: string
  readonly endsAt: Date
  readonly command: string
}
type At = { readonly requestId: string; readonly from: string }
/** Whoever has proven these keys, and how: the challenge, to be used with the certificate that is made for it. */
export type Proven = { readonly caller: WorkloadCaller; readonly proof: string }

export type WorkloadsDeps = {
  readonly store: Store
  readonly ledger: Pick<
    Ledger,
    'append' | 'appendIn' | 'facts' | 'follow' | 'onFacts' | 'readEpochs' | 'saysMore' | 'takeEpochs' | 'vouched'
  >
  readonly act: Act
  readonly now: () => Date
  /** Milliseconds, of a clock that only goes on. */
  readonly monotonic?: (() => number) | undefined
  readonly random: (bytes: number) => Uint8Array
  /** Hears that somebody came with a key that was replaced. */
  readonly alarm: (message: string) => void
  readonly onError: (error: unknown) => void
  readonly machinesUrl: string
  readonly rootFingerprint: () => string
  /** Throws `not-found` for a project or environment that is not there. */
  readonly assertIsThere: (place: Place) => void
  /** What is given to it, by rows of this transaction and by the log. */
  readonly grantsTo: (on: Queryable, who: WorkloadPrincipal) => Promise<readonly string[]>
  /** What it takes to become this workload by a token. */
  readonly becoming: (name: WorkloadName) => readonly Want[]
  /** By which role whoever made a token may still do so. Throws `denied`, which is recorded. */
  readonly roleOf: (
    maker: Subject,
    wants: () => readonly Want[],
    by: At & { readonly actor: { readonly kind: 'workload'; readonly identity: WorkloadPrincipal } },
  ) => Promise<Role>
  /** What a workload is given, in words. */
  readonly given: (on: Queryable, who: WorkloadPrincipal) => Promise<Line[]>
  readonly checkProof: (parts: Omit<Parameters<Proofs['checkBoth']>[0], 'purpose'>) => string
  /** Throws `unavailable` where nothing can be signed: asked before a token is used up. */
  readonly readyToSign: () => Promise<void>
  /** See `Authority.mayBeCertified`. */
  readonly mayBeCertified: (workload: WorkloadPrincipal) => boolean
  /** See `Authority.revokeAllIn`. */
  readonly revokeAllIn: (
    t: Queryable,
    whose: WorkloadPrincipal,
    by: By,
    hostSessions?: HostSessions,
  ) => Promise<RevokedWith>
  /** Tries with a token that is good no more, by workload: each is recorded. */
  readonly failureLimiter: { take(key: string): void }
}

/** Which workloads there are, how they begin their sessions, renew them and end. */
export interface Workloads extends WorkloadSessions, WorkloadEnds {
  start(): Promise<void>
  stop(): Promise<void>
  /** Every name that there is, read from the database. */
  names(): Promise<WorkloadName[]>
  /** Whether there is one of this name, in this transaction. */
  isWorkload(t: Queryable, name: WorkloadName): Promise<boolean>

  list(): Promise<WorkloadView[]>
  /** Throws `not-found`. */
  show(name: WorkloadName): Promise<WorkloadView>
  /** Names a workload and makes its token. Throws `conflict` where there is one of this name, or something is given to that name. */
  add(workload: NewWorkload, by: By): Promise<Invited>
  /** A new token: the former ones are good no more; once it is used, the session that there is ends. Seconds. Throws `not-found`. */
  invite(name: WorkloadName, tokenLifetime: number, by: By): Promise<Invited>
  /** Changes how long its session lasts; one that is over stays so. Throws `not-found`, `conflict` where nothing would change. */
  change(name: WorkloadName, change: WorkloadChange, by: By): Promise<WorkloadView>
  /** Takes it away. Throws `not-found`, `conflict` where something is given to it, which is named. */
  remove(name: WorkloadName, by: By): Promise<{ readonly revoked: number; readonly goodUntil: Date }>
  /** What a name stands for, for whoever is to touch a passkey for it. Throws `not-found`. */
  words(on: Queryable, name: WorkloadName): Promise<Line[]>

  /** Begins a session with a token, once, while whoever made it may still do so. Throws `denied`, `expired`. */
  join(request: JoinBody, at: At): Promise<Proven>
  /**
   * Puts a new client key in the place of the one that asks. Who comes once more for the same new key, by the old one too, is given the same:
   * an answer may be lost. Throws `not-signed-in` for an old key that asks for another.
   */
  renew(caller: WorkloadCaller, request: Pick<JoinBody, 'clientPublicKey' | 'proof'>, at: At): Promise<Proven>
  /** Ends one's own session. */
  leave(caller: WorkloadCaller, at: At): Promise<void>
  /** Somebody came with a key that was replaced: unless that was a moment ago, the session ends, and it is told as an alarm. */
  ring(key: SupersededKey, at: At): Promise<void>
}
