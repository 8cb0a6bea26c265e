import type { Act, Role } from '#server/identity/index.ts'
import type { Ledger } from '#server/ledger/index.ts'
import { follow, type Store } from '#server/store/index.ts'
import { ORGANISATION_ROLES, PLACE_ROLES, ROLES } from '#shared/api/index.ts'
import { KeymanError } from '#shared/errors.ts'
import {
  type HostName,
  isPersonIdentity,
  type Place,
  type WorkloadName,
  workloadNamed,
  workloadPrincipal,
} from '#shared/names.ts'
import { addGrant, assertMayBeAdded } from './changes/add-grant.ts'
import type { ChangeDeps } from './changes/change.ts'
import { changeGrant } from './changes/change-grant.ts'
import { changeTeam } from './changes/change-team.ts'
import { addRole, changeRole, noSuchRole, removeRole, roleView, vouchedRoles } from './changes/own-roles.ts'
import {
  addProject,
  contentsOf,
  noSuchPlace,
  type PlaceDeps,
  placeInWords,
  removePlace,
  toProjects,
  vouchedPlaces,
} from './changes/places.ts'
import { grantIdsTo, removeGrant } from './changes/remove-grant.ts'
import { decide } from './decide.ts'
import { concernsAccess, concernsPowers, grantFact, grantId, memberFact } from './facts.ts'
import { assertFits } from './fits.ts'
import { createGiving } from './giving.ts'
import { accessWords } from './in-words.ts'
import type {
  Access,
  Action,
  CertificateAction,
  CertificateLimits,
  Decision,
  Grant,
  HostCertificateAction,
  HostCertificateLimits,
  LoginAction,
  LoginLimits,
  NoLimits,
  PersonState,
  Project,
  RoleAction,
  RoleView,
  SelectableHost,
  Subject,
  Team,
  TlsCertificateAction,
  TlsCertificateLimits,
  Want,
} from './port.ts'
import { principalsFor } from './principals.ts'
import { selectGrants, selectTeamRows, toTeams } from './records.ts'
import { makeSnapshot, personSubject, type Snapshot } from './snapshot.ts'
import { why, whyDo } from './why.ts'

export type AccessDeps = {
  readonly store: Store
  readonly ledger: Pick<
    Ledger,
    | 'append'
    | 'appendIn'
    | 'readEpochs'
    | 'saysMore'
    | 'vouched'
    | 'onFacts'
    | 'follow'
    | 'facts'
    | 'recordOf'
    | 'assertFresh'
  >
  readonly act: Act
  readonly now: () => Date
  /** Milliseconds, of a clock that only goes on: no jump of the day's makes an old snapshot young. */
  readonly monotonic?: () => number
  readonly random: (bytes: number) => Uint8Array
  /** Everybody who was enrolled, read from the database. */
  readonly persons: () => Promise<readonly PersonState[]>
  /** Every workload that there is, read from the database. */
  readonly workloads: () => Promise<readonly WorkloadName[]>
  /** See `ChangeDeps`. */
  readonly isWorkload: ChangeDeps['isWorkload']
  /** The living host of this name: a grant to one that is not there is a mistake. */
  readonly hostNamed: (name: HostName) => SelectableHost | undefined
  /** Every living host: whether a change makes more than one of them can be told. */
  readonly hosts: () => readonly SelectableHost[]
  /** The same by the rows of a transaction; and, in words, those that the log has and these do not show. */
  readonly hostsShown: PlaceDeps['hostsShown']
  /** Hears of a reload in the background that failed, and is tried again. */
  readonly onError?: (error: unknown) => void
}

/** Decisions by a snapshot in memory, and the changes of what it holds. */
export function createAccess(deps: AccessDeps): Access {
  let snapshot: Snapshot | undefined
  let stopHearing: (() => void) | undefined
  const changes: ChangeDeps = {
    ...deps,
    assertFits: (change, field) => assertFits(change(current()), deps.hosts(), deps.now(), field),
    assertIsThere,
    catchUp: () => catchUp(),
    ownRole: name => current().roles.get(name),
  }

  /** How often the log has said something of what is decided by, and how often it had when the snapshot was read. */
  let said = 0
  let read = -1
  const following = follow({
    store: deps.store,
    channels: ['access', 'identity'],
    // Sessions are nothing that is decided by.
    concerns: (channel, kind) => channel !== 'identity' || kind !== 'session',
    what: 'who may do what',
    async read() {
      await deps.ledger.follow()
      // A notification alone tells of nothing.
      if (read === said) return false
      const begun = said
      snapshot = await readSnapshot(deps)
      // Only a reading that came to its end catches up, and only with what had been said when it began.
      read = begun
      return true
    },
    monotonic: deps.monotonic,
    onError: deps.onError,
  })
  const catchUp = (): Promise<void> => following.read()
  const reload = (): Promise<void> => {
    said++
    return catchUp()
  }
  const current = (): Snapshot => {
    if (!snapshot) throw new KeymanError('unavailable', 'the server is starting', { retryAfter: 1 })
    deps.ledger.assertFresh()
    following.assertFresh()
    return snapshot
  }
  const changed = async <T>(result: Promise<T>): Promise<T> => {
    const value = await result
    // Whoever made the change sees it in force here at once; other servers hear the notification.
    await catchUp()
    return value
  }
  function decideNow(subject: Subject, action: CertificateAction): Decision<CertificateLimits>
  function decideNow(subject: Subject, action: LoginAction): Decision<LoginLimits>
  function decideNow(subject: Subject, action: HostCertificateAction): Decision<HostCertificateLimits>
  function decideNow(subject: Subject, action: RoleAction): Decision<NoLimits>
  function decideNow(subject: Subject, action: TlsCertificateAction): Decision<TlsCertificateLimits>
  function decideNow(subject: Subject, action: Action): Decision
  function decideNow(subject: Subject, action: Action): Decision {
    return decide(current(), deps.now(), subject, action)
  }

  /** What somebody may do at the moment, for the transaction in which it is done. */
  const roleOf = ({
    decided,
    epochs,
    again,
  }: Pick<Role, 'epochs' | 'again'> & { readonly decided: () => Decision<NoLimits> }): Role => ({
    epochs,
    // What the snapshot lacks was heard of, and is being read.
    holds: () => read === said && decided().allow,
    concerns: concernsPowers,
    // An epoch is bumped by what says nothing of who may do what, too: only a whole reading knows the new one.
    async again() {
      await reload()
      return again()
    },
  })

  const giving = createGiving({ current, now: deps.now, facts: deps.ledger.facts, hostNamed: deps.hostNamed })

  const contents = (place: Place) =>
    contentsOf(place, {
      hosts: deps.hosts(),
      grants: current().byId.values(),
      places: current().places.map(({ name }) => name),
      workloads: [...current().workloads.keys()].map(workloadNamed),
    })
  function assertIsThere(place: Place): void {
    if (!current().places.some(({ name }) => name === place)) throw noSuchPlace(place)
  }
  function projectNamed(name: Place): Project {
    const found = toProjects(current().places).find(project => project.name === name)
    if (!found) throw noSuchPlace(name)
    return found
  }

  const builtIn = [
    { name: 'owner', of: 'organisation', actions: ROLES.owner } as const,
    ...ORGANISATION_ROLES.map(name => ({ name, of: 'organisation', actions: ROLES[name] }) as const),
    ...PLACE_ROLES.map(name => ({ name, of: 'place', actions: ROLES[name] }) as const),
  ].map((role): RoleView => ({ ...role, actions: [...role.actions], builtIn: true, lapsed: [] }))
  const allRoles = (): RoleView[] => [...builtIn, ...[...current().roles.values()].map(roleView)]
  /** One that another server made a moment ago is there. */
  async function roleNamed(name: string): Promise<RoleView> {
    const find = () => allRoles().find(role => role.name === name)
    const found = find()
    if (found) return found
    await catchUp()
    const late = find()
    if (late) return late
    throw noSuchRole(name)
  }

  return {
    decide: decideNow,
    principalsFor: host => principalsFor(current(), host, deps.now()),
    assertFits: host => assertFits(current(), [host], deps.now(), 'labels'),
    reachableBy: (subject, hosts) =>
      hosts.flatMap(host => {
        const decision = decide(current(), deps.now(), subject, { kind: 'ssh-login', host })
        const logins = decision.allow ? [...new Set(decision.limits.logins.map(({ login }) => login))] : []
        return logins.length === 0 ? [] : [{ name: host.name, logins }]
      }),
    whyDo: (asker, person, want) => whyDo(current(), deps.now(), { asker, person, want }),
    why: (asker, person, name, host) => why(current(), deps.now(), { asker, person, name, host }),
    may: (subject, want) => decideNow(subject, { kind: 'do', wants: [want] }).allow,
    async requireRole(subject, wants, by) {
      const decided = () => decideNow(subject, { kind: 'do', wants: wants() })
      const held = (epochs: Role['epochs']): Role => roleOf({ decided, epochs, again: orDenied })
      const orDenied = async (): Promise<Role> => {
        const decision = decided()
        if (decision.allow) return held(decision.epochs)
        const reason = decision.reasons.join('; ')
        const target = wants()[0]?.action ?? 'nothing'
        await deps.ledger.append({ ...by, kind: 'denied', target, decision: 'deny', reason })
        throw new KeymanError('denied', decision.message, {
          hint: 'keyman role list names the roles that give it; ask somebody who has one, or an owner',
        })
      }
      const decision = decided()
      if (decision.allow) return held(decision.epochs)
      // Whoever was enrolled or given a role at this very moment, by this server or another, is told no 'no'.
      await catchUp()
      return orDenied()
    },
    ...giving,
    places: {
      list: () => toProjects(current().places),
      show: name => ({ project: projectNamed(name), ...contents(name) }),
      async add(project, by) {
        await changed(addProject(deps, project, by))
        return projectNamed(project.name)
      },
      remove: (place, by) => changed(removePlace(deps, place, by)),
      assertIsThere,
      inWords: (on, place) => placeInWords(deps, on, place),
    },
    roles: {
      list: allRoles,
      async add(role, by) {
        await changed(addRole(changes, role, by))
        return roleNamed(role.name)
      },
      async change(name, change, by) {
        await changed(changeRole(changes, name, change, by))
        return roleNamed(name)
      },
      remove: (name, by) => changed(removeRole(changes, name, by)),
    },
    roleToSend(sender, { kind, identity, owner }) {
      const wants = (): Want[] => [
        { action: kind === 'invitation' ? 'person.invite' : 'person.reset' },
        ...(isPersonIdentity(identity) ? [...giving.takes.logins(identity), ...giving.gives.being(identity)] : []),
        ...(owner ? [{ action: 'owner.change' } as const] : []),
      ]
      const decided = () => decideNow({ kind: 'person', identity: sender }, { kind: 'do', wants: wants() })
      const given = (): Role | undefined => {
        const decision = decided()
        return decision.allow ? roleOf({ decided, epochs: decision.epochs, again }) : undefined
      }
      const again = async (): Promise<Role> => {
        const role = given()
        if (role) return role
        throw new KeymanError('denied', `${sender} may not send this link any more`)
      }
      return given()
    },

    listGrants: () => vouchedGrants(deps),
    grantsTo: (on, who) => grantIdsTo(deps.ledger, on, who),
    addGrant: (grant, by) => changed(addGrant(changes, grant, by)),
    assertMayBeAdded: (on, grant) => assertMayBeAdded(changes, on, grant),
    changeGrant: (id, change, by) => changed(changeGrant(changes, id, change, by)),
    removeGrant: (id, by) => changed(removeGrant(changes, id, by)),
    listTeams: () => vouchedTeams(deps),
    teamsOf: person => [...(current().persons.get(person)?.teams ?? [])],
    changeTeam: (team, members, by) => changed(changeTeam(changes, team, members, by)),
    words: accessWords(deps.ledger),

    catchUp,
    reload,
    onChange: listener => following.onChange(listener),
    async start() {
      // What the log says of what is decided by, however it came to be followed.
      const hear = (ids: readonly string[]) => {
        if (!ids.some(concernsAccess)) return
        said++
        following.hear()
      }
      stopHearing = deps.ledger.onFacts(hear)
      await following.start()
    },
    async stop() {
      stopHearing?.()
      await following.stop()
    },
  }
}

/**
 * The numbers are read before what they stand for: so a change in between makes the snapshot newer than its numbers, and
 * what is decided by it is decided anew; never the other way round.
 */
async function readSnapshot(deps: AccessDeps): Promise<Snapshot> {
  const { ledger, persons } = deps
  const subjects = [
    ...(await persons()).map(person => personSubject(person.identity)),
    ...(await deps.workloads()).map(workloadPrincipal),
  ]
  const epochs = subjects.length === 0 ? new Map<string, bigint>() : await ledger.readEpochs(subjects)
  return makeSnapshot({
    epochs,
    persons: await persons(),
    workloads: await deps.workloads(),
    teams: await vouchedTeams(deps),
    grants: await vouchedGrants(deps),
    roles: await vouchedRoles(deps),
    places: await vouchedPlaces(deps),
  })
}

const vouchedGrants = ({ store, ledger, onError }: AccessDeps): Promise<Grant[]> =>
  ledger.vouched(
    () => selectGrants(store, onError),
    grant => [grantFact(grant)],
    grantId(''),
  )

const vouchedTeams = async ({ store, ledger }: AccessDeps): Promise<Team[]> =>
  toTeams(
    await ledger.vouched(
      () => selectTeamRows(store),
      ({ name, person }) => (person === null ? [] : [memberFact(name, person)]),
      'member:',
    ),
  )
