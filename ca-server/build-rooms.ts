import { type Access, type AccessDeps, createAccess, subjectNamed } from '#server/access/index.ts'
import {
  type Authority,
  type AuthorityDeps,
  createAuthority,
  createLogKeys,
  createTrust,
  openBundles,
  openLogKeys,
  pinnedBundle,
  rootKeyFileIn,
  type Trust,
  type TrustDeps,
  type VerifiedBundles,
} from '#server/authority/index.ts'
import type { HostsDeps } from '#server/hosts/index.ts'
import { createIdentity, type Identity, type IdentityDeps } from '#server/identity/index.ts'
import type { AwayKeystore } from '#server/keystore/index.ts'
import {
  createLedger,
  isEmptyLog,
  type Ledger,
  type LedgerDeps,
  logName,
  openSealKey,
  serverSecret,
} from '#server/ledger/index.ts'
import { createLogins, type Logins } from '#server/logins/index.ts'
import type { Pins } from '#server/pins/index.ts'
import { createWorkloads, type Workloads, type WorkloadsDeps } from '#server/workloads/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { told } from '#shared/told.ts'
import type { ServerConfig } from './config/index.ts'
import { createRateLimiter } from './http/connections/rate-limit.ts'
import type { Base } from './open-base.ts'

/** What the rooms stand on, opened already. */
export type Parts = Pick<Base, 'store' | 'keystore' | 'standbyKeystore' | 'logKeystores' | 'wrappingKeystores'> &
  Partial<Pick<Base, 'awayKeystore'>> & {
    readonly config: RoomsConfig
    readonly pins: Pins
    /** What this server remembers of its log, and what of it an operator trusts. */
    readonly memory: LedgerDeps['memory']
    readonly trusted: readonly string[]
    /** For a head of the log; where it is left out, this server is the only one. */
    readonly fence?: NonNullable<LedgerDeps['fence']>
    readonly now: () => Date
    /** Milliseconds, of a clock that only goes on. */
    readonly monotonic: () => number
    readonly random: (bytes: number) => Uint8Array
    readonly onEnrolled: NonNullable<IdentityDeps['onEnrolled']>
    /** Of the list of what is revoked, where it is not what hosts and laptops read. */
    readonly longestKrl?: AuthorityDeps['longestKrl']
    /** Hears of what an operator must see. */
    readonly alarm: (message: string) => void
    /** Hears of failures in the background. */
    readonly onError: (error: unknown) => void
  }

type RoomsConfig = Pick<
  ServerConfig,
  'organisation' | 'publicUrl' | 'hostSuffixes' | 'dataFolder' | 'authority' | 'trust' | 'session' | 'certificate'
> & {
  readonly machines: Pick<ServerConfig['machines'], 'url'>
  readonly limits: Pick<ServerConfig['limits'], 'assertionsPerMinute'>
}

/** The rooms below `hosts`. */
export type Rooms = {
  readonly ledger: Ledger
  readonly identity: Identity
  readonly access: Access
  readonly authority: Authority
  readonly trust: Trust
  readonly workloads: Workloads
  readonly logins: Logins
}

/** What the rooms below `hosts` ask of it. */
export type AskedOfHosts = Pick<IdentityDeps, 'resolveHost'> & {
  readonly find: AccessDeps['hostNamed']
  readonly living: AccessDeps['hosts']
  readonly shown: AccessDeps['hostsShown']
  readonly clocksApart: NonNullable<AuthorityDeps['hostClocks']>
}

/** Of one host: logins and their ends. Each is a record; a host that has been away tells of many at once. */
const LOGINS_PER_HOST = { burst: 12_000, perMinute: 1_200 }

/** For another server to make its keys. */
const FIRST_KEYS_MS = 60_000

/** Makes what a first start makes, and the rooms over it; nothing runs yet. `createHosts` is the room of that name, or what stands for it. */
export async function buildRooms<Hosts extends AskedOfHosts>(
  parts: Parts,
  createHosts: (deps: HostsDeps) => Hosts,
): Promise<Rooms & { readonly hosts: Hosts }> {
  const sawEmpty = await isEmptyLog(parts.store)
  // No token refuses a second key of one name: what is missing is made by one server at a time.
  const unlock = await parts.store.lock('first keys', FIRST_KEYS_MS)
  try {
    return await build(parts, createHosts, sawEmpty)
  } finally {
    await unlock()
  }
}

async function build<Hosts extends AskedOfHosts>(
  parts: Parts,
  createHosts: (deps: HostsDeps) => Hosts,
  sawEmpty: boolean,
): Promise<Rooms & { readonly hosts: Hosts }> {
  const { store, config, pins, fence, now, monotonic, random, alarm, onError } = parts
  // Keys are made in the first of two, which has to be there then.
  if (sawEmpty && parts.awayKeystore) throw parts.awayKeystore.error
  const openTrust = (ledger?: Ledger) =>
    openBundles({
      store,
      ...(ledger ? { ledger } : {}),
      pins,
      dataFolder: config.dataFolder,
      rootFingerprint: config.trust.rootFingerprint,
      alarm,
    })
  // Heads of the log may be signed by a key of a keystore that was lost since, which the bundle names. That which is pinned here is enough: whether
  // the log lost records is to be said before that the bundle did.
  const pinned = sawEmpty ? undefined : await pinnedBundle(pins)
  let bundles: VerifiedBundles | undefined = sawEmpty || pinned ? undefined : await openTrust()
  const logKeys = createLogKeys({
    name: logName(config.organisation, store.incarnation),
    held: await openLogKeys(parts.logKeystores),
    bundle: () => bundles?.current() ?? pinned,
    alarm,
  })
  const keystores = parts.wrappingKeystores
  const ledger = await createLedger({
    store,
    origin: logKeys.name,
    logKeys,
    sealKey: await openSealKey({ store, keystores, random, now }).catch((error: unknown) => {
      throw parts.awayKeystore ? notWithout(parts.awayKeystore, error) : error
    }),
    memory: parts.memory,
    trusted: parts.trusted,
    sawEmpty,
    ...(fence ? { fence } : {}),
    now,
    monotonic,
    alarm,
    onError,
  })
  // Before anything is made or signed on the database's word.
  bundles ??= await openTrust(sawEmpty ? ledger : undefined)

  // Rooms know only the rooms below them. What a lower room must ask of a higher one is handed in here, and asked only
  // once all are built.
  const identity = await createIdentity({
    store,
    ledger,
    keystores,
    now,
    monotonic,
    random,
    onError,
    organisation: config.organisation,
    publicUrl: config.publicUrl,
    machinesUrl: config.machines.url,
    maxLifetime: config.session.maxLifetime,
    assertionLimiter: createRateLimiter({
      burst: config.limits.assertionsPerMinute,
      perMinute: config.limits.assertionsPerMinute,
      now: monotonic,
    }),
    denialLimiter: createRateLimiter({ burst: 5, perMinute: 2, now: monotonic }),
    rootFingerprint: () => trust.rootFingerprint(),
    machineRoots: () => authority.machineRoots(),
    resolveHost: (name, spki) => hosts.resolveHost(name, spki),
    workloads: {
      resolve: named => workloads.resolve(named),
      reload: caller => workloads.reload(caller),
      assertStands: (t, caller) => workloads.assertStands(t, caller),
    },
    roleToSend: (sender, link) => access.roleToSend(sender, link),
    mayBeCertified: person => authority.mayBeCertified(person),
    onEnrolled: parts.onEnrolled,
  })
  const access = createAccess({
    store,
    ledger,
    act: identity.act,
    now,
    monotonic,
    random,
    onError,
    persons: () => identity.persons.list(),
    workloads: () => workloads.names(),
    isWorkload: (t, name) => workloads.isWorkload(t, name),
    hostNamed: name => hosts.find(name),
    hosts: () => hosts.living(),
    hostsShown: t => hosts.shown(t),
  })
  const below = { ...parts, ledger, logKeys, bundles, identity, access }
  const workloads: Workloads = createWorkloads(
    workloadsDeps({
      ...below,
      mayBeCertified: workload => authority.mayBeCertified(workload),
      revokeAllIn: (t, whose, by, hostSessions) => authority.revokeAllIn(t, whose, by, hostSessions),
      readyToSign: () => authority.ready(),
      rootFingerprint: () => trust.rootFingerprint(),
    }),
  )
  const authority = await createAuthority({
    ...authorityDeps({ ...below, workloads }),
    hostClocks: () => hosts.clocksApart(),
    longestKrl: parts.longestKrl,
  })
  const trust = await createTrust(trustDeps({ ...below, authority }))
  const logins = createLogins({
    store,
    ledger,
    authorityOf: fingerprint => authority.labelOf(fingerprint),
    now,
    limiter: createRateLimiter({ ...LOGINS_PER_HOST, now: monotonic }),
    alarmLimiter: createRateLimiter({ burst: 5, perMinute: 2, now: monotonic }),
    alarm,
  })
  const hosts = createHosts(await hostsDeps({ ...below, authority, trust, workloads }))
  await parts.keystore.health()
  return { ledger, identity, access, authority, trust, workloads, logins, hosts }
}

/** What only the keystore that is away could open: one that came beside it has not been there at any start. */
function notWithout({ name, error }: AwayKeystore, cause: unknown): KeymanError {
  return new KeymanError('unavailable', `${name} is away (${error.message}), and without it: ${told(cause).message}`, {
    hint: 'bring it back: what servers share is wrapped by a second keystore when a server starts with both',
    cause,
  })
}

type Opened = Pick<TrustDeps, 'bundles' | 'logKeys'> & Pick<AuthorityDeps, 'logKeys'>

/** What `authority` needs; as for the two below, for whoever builds one more of these rooms beside the others, too. */
export function authorityDeps(
  of: Pick<
    Parts,
    'store' | 'keystore' | 'standbyKeystore' | 'awayKeystore' | 'config' | 'now' | 'random' | 'alarm' | 'onError'
  > &
    Pick<Rooms, 'ledger' | 'identity' | 'access' | 'workloads'> &
    Opened,
): AuthorityDeps {
  const { store, ledger, keystore, standbyKeystore, awayKeystore, bundles, logKeys, config } = of
  const { identity, access, workloads, now, random, alarm, onError } = of
  return {
    store,
    ledger,
    keystore,
    ...(standbyKeystore ? { standbyKeystore } : {}),
    ...(awayKeystore ? { awayKeystore } : {}),
    verifiedBundle: () => bundles.current(),
    logKeys,
    identity,
    access,
    workloads,
    now,
    random,
    alarm,
    onError,
    organisation: config.organisation,
    algorithm: config.authority.algorithm,
    defaultLifetime: config.certificate.defaultLifetime,
  }
}

export function trustDeps(
  of: Pick<Parts, 'store' | 'config' | 'now' | 'random' | 'onError'> &
    Pick<Rooms, 'ledger' | 'identity' | 'authority'> &
    Opened,
): TrustDeps {
  const { store, ledger, identity, authority, logKeys, bundles, config, now, random, onError } = of
  return {
    store,
    ledger,
    act: identity.act,
    authority,
    logKeys,
    bundles,
    now,
    random,
    onError,
    rootKeyFile: rootKeyFileIn(config.dataFolder),
    organisation: config.organisation,
    publicUrl: config.publicUrl,
    machinesUrl: config.machines.url,
    hostSuffixes: config.hostSuffixes,
  }
}

export async function hostsDeps(
  of: Pick<Parts, 'store' | 'wrappingKeystores' | 'config' | 'now' | 'monotonic' | 'random' | 'alarm' | 'onError'> &
    Omit<Rooms, 'logins'>,
): Promise<HostsDeps> {
  const { store, ledger, identity, access, authority, trust, config } = of
  const { now, monotonic, random, alarm, onError } = of
  return {
    store,
    ledger,
    inForceKey: await serverSecret({ store, keystores: of.wrappingKeystores, random, now }, 'in force'),
    act: identity.act,
    now,
    monotonic,
    random,
    alarm,
    onError,
    organisation: config.organisation,
    machinesUrl: config.machines.url,
    hostSuffixes: config.hostSuffixes,
    rootFingerprint: () => trust.rootFingerprint(),
    principalsFor: host => access.principalsFor(host),
    assertFits: host => access.assertFits(host),
    assertIsThere: place => access.places.assertIsThere(place),
    mayAdd: (maker, place) => access.may(subjectNamed(maker), { action: 'host.add', in: place }),
    roleToAdd: (maker, place, by) =>
      access.requireRole(subjectNamed(maker), () => [{ action: 'host.add', in: place }], by),
    currentKrl: () => authority.currentKrl(),
    trustBundles: async () =>
      (await trust.bundles()).map(({ document, signatures }) => ({ document, signatures: [...signatures] })),
    onChange: listener => access.onChange(listener),
    checkJoinProof: parts => identity.proofs.checkBoth({ purpose: 'join', ...parts }),
    readyToSign: () => authority.ready(),
    issueHostClientCertificate: parts => authority.issueHostClientCertificate(parts),
    revokeHostIn: (t, host, by) => authority.revokeHostIn(t, host, by),
    failureLimiter: createRateLimiter({ burst: 20, perMinute: 10, now: monotonic }),
  }
}

export function workloadsDeps(
  of: Pick<Parts, 'store' | 'now' | 'monotonic' | 'random' | 'alarm' | 'onError'> & {
    readonly config: Pick<RoomsConfig, 'machines'>
  } & Pick<Rooms, 'ledger' | 'identity' | 'access'> &
    Pick<WorkloadsDeps, 'mayBeCertified' | 'revokeAllIn' | 'readyToSign' | 'rootFingerprint'>,
): WorkloadsDeps {
  const { store, ledger, identity, access, config, now, monotonic, random, alarm, onError } = of
  const { mayBeCertified, revokeAllIn, readyToSign, rootFingerprint } = of
  return {
    store,
    ledger,
    act: identity.act,
    now,
    monotonic,
    random,
    alarm,
    onError,
    machinesUrl: config.machines.url,
    rootFingerprint,
    assertIsThere: place => access.places.assertIsThere(place),
    grantsTo: (on, who) => access.grantsTo(on, who),
    becoming: name => access.takes.becoming(name),
    roleOf: (maker, wants, by) => access.requireRole(maker, wants, by),
    given: (on, who) => access.words.workload(on, who),
    checkProof: parts => identity.proofs.checkBoth({ purpose: 'workload', ...parts }),
    readyToSign,
    mayBeCertified,
    revokeAllIn,
    failureLimiter: createRateLimiter({ burst: 20, perMinute: 10, now: monotonic }),
  }
}
