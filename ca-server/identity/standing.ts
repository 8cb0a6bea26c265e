import type { Actor } from '#server/ledger/index.ts'
import type { Queryable } from '#server/store/index.ts'
import type { AuditRecord } from '#shared/audit/index.ts'
import type { ActingCaller, Epoch, PersonCaller, WorkloadCaller } from './caller.ts'

/** What whoever is calling may do: as it was looked at when the request came, and once more in the transaction. */

/** The request on whose behalf something happens, for the ledger. */
export type At = { readonly requestId: string; readonly from: string }
type Origin = { readonly requestId: string; readonly from?: string }
type ActorOf<Kind extends 'person' | 'workload'> = Extract<Actor, { kind: Kind }>
/** What somebody may do, as it was looked at when the request came; `act` looks once more. */
export type Standing<Who extends ActingCaller = ActingCaller> = {
  readonly caller: Who
  /** Where it takes a role: by what the caller has one. Without it one does what is one's own. */
  readonly role?: Role | undefined
  /** Of a route that wants one. A workload has no passkey: what it was given is all the consent there is. */
  readonly consent?: Consent | undefined
}
/** That somebody may do what the request asks for, as it was decided when it came; `access` makes it. */
export type Role = {
  /** What it was decided from. */
  readonly epochs: readonly Epoch[]
  /** Whether all that was heard of at this moment says the same. */
  holds(): boolean
  /** Whether it may be decided otherwise by what a record says: of what these may do (`person:…`, `team:…`), whom it is done to and by. */
  concerns(record: AuditRecord | undefined, subjects: ReadonlySet<string>): boolean
  /** Decided anew, by what is newest. Throws `denied`. */
  again(): Promise<Role>
}
/** A touch of a passkey for this very request, or a mandate. */
export type Consent = {
  /** `action_…` or `mandate_…`: what is done by it is recorded under this. */
  readonly id: string
  /** Inside the acting transaction: uses a touch up. Throws `conflict` where it does not hold any more. `by`: the request's ID. */
  use(t: Queryable, by: string): Promise<void>
}
export type PersonBy = Origin & { readonly actor: ActorOf<'person'>; readonly standing: Standing<PersonCaller> }
export type WorkloadBy = Origin & { readonly actor: ActorOf<'workload'>; readonly standing: Standing<WorkloadCaller> }
/** The same with who asks. That of a person or a workload is made from the caller: whoever changes something by it needs `act`. */
export type By =
  | PersonBy
  | WorkloadBy
  | (Origin & { readonly actor: Exclude<Actor, ActorOf<'person' | 'workload'>>; readonly standing?: never })

/** What one acting transaction is called and whose epochs it changes: see `Identity.act`. */
export type Acting = {
  readonly name: string
  readonly deadlineMs?: number
  /** `role:…`, own roles, whose epochs are changed; taken first of all. */
  readonly roles?: readonly string[]
  /** `team:…`, whose epochs are changed; taken after those and before anybody else's. See `changes`. */
  readonly teams?: readonly string[] | ((t: Queryable) => Promise<readonly string[]>)
  /** The others whose epochs are changed; asked for where it can be known only in the transaction, under the locks that were taken before. */
  readonly changes?: readonly string[] | ((t: Queryable) => Promise<readonly string[]>)
  /** It only ends what is the caller's own: that needs no passkey and no role. */
  readonly ends?: boolean
}
/**
 * Runs `work`, perhaps more than once, in a transaction that holds the epochs of whoever asks, and those that it changes; and in
 * which the session is open, the person active, the passkey there, and the role held. Throws `not-signed-in`,
 * `denied`, `conflict`, `unavailable`, and what `work` threw. Who is no person has no standing to be looked at.
 */
export type Act = <T>(by: By, how: Acting, work: (t: Queryable) => Promise<T>) => Promise<T>
