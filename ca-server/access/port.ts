import type { z } from 'zod'
import type { By, Role, SentLink } from '#server/identity/index.ts'
import type { Entry } from '#server/ledger/index.ts'
import type { Queryable } from '#server/store/index.ts'
import type { ActionName, hostStream, Line, RoleOf, schemas } from '#shared/api/index.ts'
import type {
  HostName,
  Labels,
  Login,
  PersonIdentity,
  Place,
  SubjectPrincipal,
  TeamName,
  UserPrincipal,
  WorkloadName,
  WorkloadPrincipal,
} from '#shared/names.ts'
import type { TlsName } from '#shared/tls-names/index.ts'

/** The types of this room's door, `index.ts`. */

export type Grant = z.infer<typeof schemas.grant>
/** Who may log in where. */
export type LoginGrant = Extract<Grant, { readonly kind: 'login' }>
/** What somebody may do beside what is their own. */
export type RoleGrant = Extract<Grant, { readonly kind: 'role' }>
/** Which names somebody's TLS certificates may have. Nothing gives one yet. */
export type NamesGrant = Extract<Grant, { readonly kind: 'names' }>
export type NewGrant = z.infer<typeof schemas.newGrant>
/** What somebody is given, whether it is so already or not. */
export type Given = Grant | NewGrant
export type GrantChange = z.infer<typeof schemas.grantChange>
/** One that is not built in, as its row and the log have it. */
export type OwnRole = {
  readonly name: string
  readonly of: RoleOf
  /** In the catalogue's order; those too that this release does not have any more. */
  readonly actions: readonly string[]
  readonly createdAt: Date
  readonly createdBy: string
}
export type RoleView = z.infer<typeof schemas.role>
export type NewRole = z.infer<typeof schemas.newRole>
export type RoleChange = z.infer<typeof schemas.roleChange>
export type Project = z.infer<typeof schemas.project>
export type NewProject = z.infer<typeof schemas.newProject>
export type Team = z.infer<typeof schemas.team>
export type TeamChange = { readonly add: readonly PersonIdentity[]; readonly remove: readonly PersonIdentity[] }
export type PrincipalsLine = hostStream.PrincipalsLine
export type Extension = 'permit-pty' | 'permit-port-forwarding' | 'permit-agent-forwarding' | 'permit-X11-forwarding'

/** On whose behalf, and what else a record says of the request. */
export type { By } from '#server/identity/index.ts'

/** A host as far as grants select it. `place`: where it is, if it is in a project. */
export type SelectableHost = {
  readonly name: HostName
  readonly labels: Labels
  readonly place?: Place | undefined
}

/** One thing to be done, and in which place: without one to the organisation itself; `anywhere`: it is asked whether there is any place at all. `until`: of what is given, Unix milliseconds, Infinity for good. */
export type Want = {
  readonly action: ActionName
  readonly in?: Place | 'anywhere' | undefined
  readonly until?: number
}

/** Whoever something is given to by a name of their own. */
export type NamedSubject =
  | { readonly kind: 'person'; readonly identity: PersonIdentity }
  | { readonly kind: 'workload'; readonly name: WorkloadName }
/** Who wants something: any `Caller` of `identity` fits, and so does a person named by an administrator who asks why. */
export type Subject =
  | NamedSubject
  | { readonly kind: 'host'; readonly name: HostName; readonly aliases?: readonly HostName[] }

/** `lifetime`: seconds asked for; a request can only narrow. */
export type CertificateAction = { readonly kind: 'ssh-certificate'; readonly lifetime?: number }
/** Without `login`: as whom at all. */
export type LoginAction = { readonly kind: 'ssh-login'; readonly host: SelectableHost; readonly login?: Login }
/** A host's certificate for its own name. */
export type HostCertificateAction = { readonly kind: 'ssh-host-certificate' }
/** What takes a role: all of these. */
export type RoleAction = { readonly kind: 'do'; readonly wants: readonly Want[] }
/** `in`: the place of the service that the certificate is for, if it is in one. `lifetime`: seconds asked for; a request can only narrow. */
export type TlsCertificateAction = {
  readonly kind: 'tls-certificate'
  readonly profile: TlsProfile
  readonly names: readonly TlsName[]
  readonly lifetime?: number
  readonly in?: Place | undefined
}
export type TlsProfile = z.infer<typeof schemas.tlsProfile>
export type Action = CertificateAction | LoginAction | HostCertificateAction | RoleAction | TlsCertificateAction

/** The number of a person or workload at the time of the decision; the ledger refuses what was decided by an older one. */
export type Epoch = { readonly subject: string; readonly epoch: bigint }

export type CertificateLimits = {
  /** Never empty. */
  readonly principals: readonly UserPrincipal[]
  /** Seconds; at most what was asked for. */
  readonly maxLifetime: number
  /** Which grant made it no longer, in words; absent where the request did. */
  readonly limitedBy?: string
  /** No later than this, where every grant ends. */
  readonly endsAt?: Date
  readonly extensions: readonly Extension[]
}
export type AllowedLogin = z.infer<typeof schemas.decisionAnswer>['allowed'][number]
export type LoginLimits = { readonly logins: readonly AllowedLogin[] }
export type HostCertificateLimits = { readonly principals: readonly HostName[]; readonly maxLifetime: number }
export type TlsCertificateLimits = {
  readonly profile: TlsProfile
  /** Never empty, each once: those that were asked for, and by which grant. */
  readonly names: readonly { readonly name: TlsName; readonly grant: string; readonly via: string }[]
  /** Seconds; at most what was asked for. */
  readonly maxLifetime: number
  /** Which grant made it no longer, in words; absent where the request did. */
  readonly limitedBy?: string
  /** No later than this, where the first of these grants ends. */
  readonly endsAt?: Date
}
export type NoLimits = Readonly<Record<never, never>>

export type Allow<Limits> = { readonly allow: true; readonly limits: Limits; readonly epochs: readonly Epoch[] }
/** `reasons` are for administrators; `message` is what the caller may read. */
export type Deny = { readonly allow: false; readonly reasons: readonly string[]; readonly message: string }
export type Decision<
  Limits = CertificateLimits | LoginLimits | HostCertificateLimits | NoLimits | TlsCertificateLimits,
> = Allow<Limits> | Deny

/** The one door of decisions. Deny by default: whatever is not allowed by a rule written here is denied. */
export interface Decide {
  (subject: Subject, action: CertificateAction): Decision<CertificateLimits>
  (subject: Subject, action: LoginAction): Decision<LoginLimits>
  (subject: Subject, action: HostCertificateAction): Decision<HostCertificateLimits>
  (subject: Subject, action: RoleAction): Decision<NoLimits>
  (subject: Subject, action: TlsCertificateAction): Decision<TlsCertificateLimits>
  (subject: Subject, action: Action): Decision
}

export type Why = {
  readonly host: HostName
  /** Who it is about: a person, or a workload. */
  readonly person: SubjectPrincipal
  readonly allowed: AllowedLogin[]
  readonly reasons: string[]
}

/** What this room needs to know of a person; `identity` owns it. */
export type PersonState = {
  readonly identity: PersonIdentity
  readonly owner: boolean
  readonly state: 'active' | 'disabled'
}

export interface Access {
  /** Decides by the snapshot in memory; throws `unavailable` before `start`. */
  readonly decide: Decide
  /** What a host's principals files hold: login to lines. Teams are expanded; disabled persons and ended grants are left out. */
  principalsFor(host: SelectableHost): Readonly<Record<string, readonly PrincipalsLine[]>>
  /** Throws `invalid-input` where a host with this name, place and labels would have more persons than a host can be told. */
  assertFits(host: SelectableHost): void
  /** The hosts where somebody may log in, and as whom; hosts without any are left out. */
  reachableBy(subject: Subject, hosts: readonly SelectableHost[]): { name: HostName; logins: string[] }[]
  /**
   * What `decide` returns for a login on this host, in words. Of somebody else only for `access.explain` (throws `denied`), and
   * the reasons in full for it alone: anybody else reads the message, and does not learn whether there is such a host.
   * `host`: the one of this name, if there is one. Throws `not-found` to whoever may know.
   */
  why(asker: SubjectPrincipal, person: SubjectPrincipal, name: HostName, host: SelectableHost | undefined): Why
  /** Whether somebody may do this at the moment, by what is known here. Nothing is recorded. */
  may(subject: Subject, want: Want): boolean
  /** Whether somebody may do this, and by which roles. Of somebody else for `access.explain` alone: throws `denied`. */
  whyDo(
    asker: SubjectPrincipal,
    person: SubjectPrincipal,
    want: Want,
  ): Omit<z.infer<typeof schemas.actionAnswer>, 'person' | 'in'>
  /**
   * What takes a role: `wants` says what, and is asked again when it is decided again. Who has none is refused: the try is recorded with its
   * reasons, and throws `denied` with what they may know. What comes back goes with whatever is done by it (`identity.act`).
   */
  requireRole(
    subject: Subject,
    wants: () => readonly Want[],
    by: Pick<Entry, 'actor' | 'requestId' | 'from'>,
  ): Promise<Role>
  /** What it takes to give this, or to change or take away what this ID names: the right to do so there. */
  readonly takes: {
    giving(grant: NewGrant): Want[]
    /** A login that is wider afterwards is given. */
    changing(id: string, change: GrantChange): Want[]
    takingAway(id: string): Want[]
    /** Of a host that is here: by its labels and its place it is chosen who gets in, so whoever changes these gives, and takes, on both sides. */
    changingHost(
      place: Place | undefined,
      change: { readonly labels?: object | undefined; readonly in?: Place | null | undefined },
    ): Want[]
    /** Environments take it in their project; a new project on the organisation. */
    addingPlaces(project: NewProject): Want[]
    /** To become this workload by a token: to give all that it was given. */
    becoming(name: WorkloadName): Want[]
    /** To let others have the logins of this person or team: to give these, as things are. */
    logins(who: PersonIdentity | `team:${string}`): Want[]
    /** To change whether and how this person is here. */
    touching(person: PersonIdentity): Want[]
  }
  /** What somebody can do by it afterwards: nobody gives what they don't have. */
  readonly gives: {
    grant(grant: NewGrant): Want[]
    /** The grant of this ID, with this change. Of one that is not known, all that a grant may give. */
    changed(id: string, change: Pick<GrantChange, 'endsAt'>): readonly Want[]
    /** The role of this name, with this change: what is new in it to everybody who has it, in each place and until each end. */
    role(name: string, change: Pick<RoleChange, 'add'>): Want[]
    /** Whoever comes by it gets what was given to that name before, its teams' too. */
    invitation(invited: { readonly identity: PersonIdentity; readonly owner: boolean }): Want[]
    /** To become this person by a link, or to come into this team. */
    being(who: SubjectPrincipal | `team:${string}`): Want[]
  }
  /** Those that are built in, and the organisation's own. */
  readonly roles: {
    /** Built-in ones first. */
    list(): RoleView[]
    /** Throws `conflict` where there is one. */
    add(role: NewRole, by: By): Promise<RoleView>
    /** Throws `not-found`, `conflict` where nothing would be otherwise, `invalid-input` for what it can't have. */
    change(name: string, change: RoleChange, by: By): Promise<RoleView>
    /** By the log, whatever became of its row. Throws `not-found`, and `conflict` where a grant gives it, which is named. */
    remove(name: string, by: By): Promise<void>
  }
  /** Projects and their environments. */
  readonly places: {
    list(): Project[]
    /** One with what is in it. Throws `not-found`. */
    show(project: Place): {
      readonly project: Project
      readonly hosts: readonly SelectableHost[]
      readonly grants: readonly Grant[]
      readonly workloads: readonly WorkloadName[]
    }
    /** Makes what is new of it. Throws `conflict` where all of it is there already. */
    add(project: NewProject, by: By): Promise<Project>
    /** Throws `not-found`, and `conflict` where something is left in it, or may be by the log: that is named. */
    remove(place: Place, by: By): Promise<void>
    /** Throws `not-found`. */
    assertIsThere(place: Place): void
    /** For whoever is to touch a passkey for its removal: throws `conflict` as that does. */
    inWords(on: Queryable, place: Place): Promise<Line[]>
  }
  /** Where this grant holds: whoever may read grants there may read it. */
  placeOf(grant: Given): Place | undefined
  /** See `IdentityDeps.roleToSend`. */
  roleToSend(sender: PersonIdentity, link: SentLink): Role | undefined

  listGrants(): Promise<Grant[]>
  /** The IDs of what is given to this workload, hidden rows or not. */
  grantsTo(on: Queryable, who: WorkloadPrincipal): Promise<readonly string[]>
  /** Throws `not-found` for a team, host or role that is not there, `conflict` where another gives just the same. Notifies `access`. */
  addGrant(grant: NewGrant, by: By): Promise<Grant>
  /** Throws where `addGrant` would, as far as it can be told beforehand: before somebody is asked to touch a passkey. */
  assertMayBeAdded(on: Queryable, grant: NewGrant): Promise<void>
  /**
   * Other limits, another end. Throws `not-found`, `invalid-input` for what its kind does not have, `conflict` where nothing would be
   * otherwise or another gives just that.
   */
  changeGrant(id: string, change: GrantChange, by: By): Promise<{ readonly before: Grant; readonly grant: Grant }>
  /** By the log, whatever became of its row. Gives what it gave, where its row or its record shows what the log says. Throws `not-found`. */
  removeGrant(id: string, by: By): Promise<Given | undefined>
  listTeams(): Promise<Team[]>
  teamsOf(person: PersonIdentity): string[]
  /** Throws `not-found` for somebody who is to be taken out and is not in it; then nothing was changed. */
  changeTeam(team: TeamName, change: TeamChange, by: By): Promise<Team>
  /** What an ID or a name stands for, as the rows say it now, for whoever is to touch a passkey for it. */
  readonly words: {
    /** Throws `not-found`. */
    grant(on: Queryable, id: string, change?: GrantChange): Promise<Line[]>
    /** What somebody has: teams, and what they and their own grants give. */
    person(on: Queryable, identity: PersonIdentity): Promise<Line[]>
    /** What is given to a workload. */
    workload(on: Queryable, who: WorkloadPrincipal): Promise<Line[]>
    /**
     * What an own role may do that is to be taken away; with a change, who has it, and what these gain and lose by it. Throws `not-found`, and
     * `conflict` where that would be refused: nobody is asked to touch a passkey for it.
     */
    role(on: Queryable, name: string, change?: RoleChange): Promise<Line[]>
    /** What a role may that is about to be given, built in or not. Throws `not-found`. */
    givenRole(on: Queryable, name: string): Promise<Line[]>
    /** Of a team that is not there yet, that it is new. */
    team(on: Queryable, name: TeamName): Promise<Line[]>
  }

  /** Waits until what the log says by now is decided by. */
  catchUp(): Promise<void>
  /** Reads everything anew; several calls at once read once more, not once each. */
  reload(): Promise<void>
  /** Called after each reload. Returns what ends it. */
  onChange(listener: () => void): () => void
  /** Loads the snapshot and follows the notifications `access`, and `identity` as far as persons change. */
  start(): Promise<void>
  stop(): Promise<void>
}
