import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, statSync } from 'node:fs'
import { hostname } from 'node:os'
import type { By } from '#server/access/index.ts'
import { type Access, accessRows, createAccess } from '#server/access/index.ts'
import {
  type Authority,
  authorityRows,
  createAuthority,
  createTrust,
  openBundles,
  openLogKey,
  rootKeyFileIn,
  serialRows,
  type Trust,
} from '#server/authority/index.ts'
import { createHosts, type Hosts, hostRows } from '#server/hosts/index.ts'
import { createIdentity, type Identity, identityRows } from '#server/identity/index.ts'
import { compareRows, doElected } from '#server/jobs/index.ts'
import type { Keystore } from '#server/keystore/index.ts'
import {
  createLedger,
  isEmptyLog,
  type Ledger,
  logName,
  openLogMemory,
  openSealKey,
  type StatedRows,
  serverSecret,
} from '#server/ledger/index.ts'
import { openPins } from '#server/pins/index.ts'
import { openLease, type Store } from '#server/store/index.ts'
import { KeymanError } from '#shared/errors.ts'
import type { HostName, PersonIdentity } from '#shared/names.ts'
import type { ServerConfig } from './config/index.ts'
import { createRateLimiter } from './http/connections/rate-limit.ts'
import type { Log } from './log.ts'
import { openBase } from './open-base.ts'

/** Every service of the server, built once. The only place that knows every adapter. */
export type Services = {
  readonly config: ServerConfig
  readonly store: Store
  readonly keystore: Keystore
  readonly ledger: Ledger
  readonly identity: Identity
  readonly access: Access
  readonly authority: Authority
  readonly trust: Trust
  readonly hosts: Hosts
  /** The tables that an auditor holds against the log. */
  readonly stated: readonly StatedRows[]
  /** What an operator should know of this set-up, a sentence each. */
  readonly remarks: readonly string[]
  /** The same of what is in the first keystore alone, where there is a second. */
  readonly lostWithKeystore: readonly string[]
  requestId(): string
  close(): Promise<void>
}

export type ComposeOptions = {
  readonly config: ServerConfig
  readonly log: Log
  readonly now?: () => Date
  /** A checkpoint that the operator trusts, a signed note: for a server that remembers nothing of this database's log. */
  readonly checkpoint?: string | undefined
  /** After somebody was enrolled; `npm start` gives the first owner a login on the demo host. */
  readonly onEnrolled?: (
    services: Services,
    person: { identity: PersonIdentity; owner: boolean; first: boolean },
  ) => Promise<void>
}

/** How often the whole log is read again; one reading is over long before the next. `docs/internals/bounds.md`. */
const CHECK_HISTORY_MS = 3_600_000
const SWEEP_MS = 60_000
const LOST_WITH =
  'the log key, or what wraps the secrets of the servers, is in the first keystore alone: without that one certificates go on after a switch to the standby keys, but no head of the log is signed, no revocation reaches a host, and no server can be started again: docs/server.md'
const PRUNE_KRL_MS = 3_600_000
/** For another server to make its keys. */
const FIRST_KEYS_MS = 60_000

const random = (bytes: number): Uint8Array => new Uint8Array(randomBytes(bytes))
/** For people to know it by, and of one process alone. */
const holderName = (): string => `${hostname()} ${process.pid} ${randomBytes(6).toString('hex')}`
const requestId = (): string => `req_${randomBytes(12).toString('base64url')}`

/** Whoever can write here can put another database or keystore in the place of ours. (Reading is kept from others file by file.) */
export function checkDataFolder(path: string): void {
  const refuse = (message: string, hint: string) =>
    new KeymanError('unavailable', message, { hint, fields: [{ field: 'data_folder', message }] })
  const { uid, mode } = statSync(path)
  if (uid !== process.geteuid?.() && uid !== 0)
    throw refuse(
      `${path} belongs to another user (uid ${uid})`,
      "chown it to the server's user, or run this as that user",
    )
  if ((mode & 0o022) !== 0)
    throw refuse(`${path} has mode ${(mode & 0o7777).toString(8)}: others may write there`, `chmod 700 ${path}`)
}

/** Opens database and keystore, makes what a first start makes, and loads what has to be known before anybody may call. */
export async function compose(options: ComposeOptions): Promise<Services> {
  const { config, log } = options
  const now = options.now ?? (() => new Date())
  // What was found wrong with the log is one error for everybody who meets it: it is told once.
  const told = new WeakSet<object>()
  const onError = (error: unknown) => {
    if (typeof error === 'object' && error !== null) {
      if (told.has(error)) return
      told.add(error)
    }
    log.error('a background job failed; it tries again', error)
  }
  mkdirSync(config.dataFolder, { recursive: true, mode: 0o700 })
  checkDataFolder(config.dataFolder)
  const pins = openPins(config.dataFolder)
  const closing: (() => Promise<void>)[] = []
  const close = async () => {
    for (const end of closing.reverse()) await end().catch(error => log.error('could not be ended in order', error))
  }
  try {
    const { keystore, standbyKeystore, logKeystore, wrappingKeystore, store, remarks, ...base } = await openBase(
      config,
      onError,
    )
    closing.push(() => base.close())
    const sawEmpty = await isEmptyLog(store)
    // No token refuses a second key of one name: what is missing is made by one server at a time.
    const unlock = await store.lock('first keys', FIRST_KEYS_MS)
    closing.push(unlock)
    const alarm = (message: string) => log.error(message)
    const logKey = await openLogKey(logKeystore, logName(config.organisation, store.incarnation))
    const sealKey = await openSealKey({ store, keystore: wrappingKeystore, random, now })
    const lease = openLease(store, 'common work', holderName())
    const ledger = await createLedger({
      store,
      fence: lease.fence,
      origin: logKey.name,
      logKey,
      sealKey,
      memory: await openLogMemory(pins),
      sawEmpty,
      trusted: options.checkpoint === undefined ? [] : [options.checkpoint],
      now,
      onError,
      alarm,
    })
    // Before anything is made or signed on the database's word.
    const bundles = await openBundles({
      store,
      ...(sawEmpty ? { ledger } : {}),
      pins,
      dataFolder: config.dataFolder,
      rootFingerprint: config.trust.rootFingerprint,
      alarm,
    })

    // Rooms know only the rooms below them. What a lower room must ask of a higher one is handed in here, and asked only
    // once all are built.
    const services = {} as { -readonly [Name in keyof Services]: Services[Name] }
    const { maxLifetime } = config.session
    services.identity = await createIdentity({
      store,
      ledger,
      keystore: wrappingKeystore,
      now,
      random,
      maxLifetime,
      onError,
      organisation: config.organisation,
      publicUrl: config.publicUrl,
      machinesUrl: config.machines.url,
      rootFingerprint: () => services.trust.rootFingerprint(),
      assertionLimiter: createRateLimiter({
        burst: config.limits.assertionsPerMinute,
        perMinute: config.limits.assertionsPerMinute,
        now: () => performance.now(),
      }),
      denialLimiter: createRateLimiter({ burst: 5, perMinute: 2, now: () => performance.now() }),
      machineRoots: () => services.authority.machineRoots(),
      resolveHost: (name, spki) => services.hosts.resolveHost(name, spki),
      maySend: (sender, link) => services.access.maySend(sender, link),
      onEnrolled: async person => options.onEnrolled?.(services, person),
    })
    const { identity } = services
    services.access = createAccess({
      store,
      ledger,
      act: identity.act,
      now,
      random,
      onError,
      persons: () => identity.persons.list(),
      hostNamed: (name: HostName) => services.hosts.find(name),
      hosts: () => services.hosts.living(),
    })
    const { access } = services
    services.authority = await createAuthority({
      store,
      ledger,
      keystore,
      ...(standbyKeystore ? { standbyKeystore } : {}),
      verifiedBundle: () => bundles.current(),
      hostClocks: () => services.hosts.clocksApart(),
      alarm,
      logKey,
      access,
      now,
      random,
      onError,
      organisation: config.organisation,
      algorithm: config.authority.algorithm,
      defaultLifetime: config.certificate.defaultLifetime,
      identity,
    })
    const { authority } = services
    services.trust = await createTrust({
      store,
      ledger,
      act: identity.act,
      authority,
      logKey,
      now,
      random,
      bundles,
      rootKeyFile: rootKeyFileIn(config.dataFolder),
      organisation: config.organisation,
      publicUrl: config.publicUrl,
      machinesUrl: config.machines.url,
      hostSuffixes: config.hostSuffixes,
      onError,
    })
    const { trust } = services
    const lostWith = standbyKeystore && (logKeystore === keystore || wrappingKeystore === keystore) ? [LOST_WITH] : []
    await keystore.health()
    await unlock()
    services.hosts = createHosts({
      store,
      ledger,
      inForceKey: await serverSecret({ store, keystore: wrappingKeystore, random, now }, 'in force'),
      act: identity.act,
      now,
      random,
      organisation: config.organisation,
      machinesUrl: config.machines.url,
      hostSuffixes: config.hostSuffixes,
      rootFingerprint: () => trust.rootFingerprint(),
      principalsFor: host => access.principalsFor(host),
      assertFits: host => access.assertFits(host),
      assertIsThere: place => access.places.assertIsThere(place),
      mayAdd: (identity, place) => access.may({ kind: 'person', identity }, { action: 'host.add', in: place }),
      roleToAdd: (identity, place, by) =>
        access.requireRole({ kind: 'person', identity }, () => [{ action: 'host.add', in: place }], by),
      currentKrl: () => authority.currentKrl(),
      trustBundles: async () =>
        (await trust.bundles()).map(({ document, signatures }) => ({ document, signatures: [...signatures] })),
      onChange: listener => access.onChange(listener),
      checkJoinProof: parts => identity.proofs.checkBoth({ purpose: 'join', ...parts }),
      readyToSign: () => authority.ready(),
      issueHostClientCertificate: parts => authority.issueHostClientCertificate(parts),
      revokeHostIn: (t, host, by: By) => authority.revokeHostIn(t, host, by),
      failureLimiter: createRateLimiter({ burst: 20, perMinute: 10, now: () => performance.now() }),
      alarm,
      onError,
    })
    const { hosts } = services

    for (const part of [identity, access, hosts, authority, trust]) {
      await part.start()
      closing.push(() => part.stop())
    }
    const elected = doElected({
      lease,
      jobs: [
        { everyMs: SWEEP_MS, run: fence => identity.sweep(fence) },
        { everyMs: PRUNE_KRL_MS, run: fence => authority.pruneKrl(fence) },
      ],
      say: message => log.info(message),
      onError,
    })
    await elected.start()
    closing.push(() => elected.stop())
    ledger.start()
    closing.push(() => ledger.stop())
    const comparing = compareRows({
      store,
      ledger,
      tables: [...identityRows, ...accessRows, ...hostRows, ...serialRows],
      alarm,
      onError,
    })
    comparing.start()
    closing.push(async () => comparing.stop())
    const history = setInterval(() => void ledger.checkHistory().catch(onError), CHECK_HISTORY_MS)
    history.unref()
    closing.push(async () => clearInterval(history))
    return Object.assign(services, {
      config,
      store,
      keystore,
      ledger,
      stated: [...identityRows, ...accessRows, ...hostRows, ...authorityRows],
      requestId,
      close,
      lostWithKeystore: lostWith,
      remarks: [
        ...remarks,
        ...lostWith,
        ...(standbyKeystore ? [] : ['the authority keys have no standby: keystore.standby names a second keystore']),
        ...store.remarks,
        ...(await trustRemarks(trust)),
      ],
    })
  } catch (error) {
    await close()
    throw error
  }
}

/** What `npm start` makes easy and an operator should know. */
async function trustRemarks(trust: Trust): Promise<string[]> {
  const remarks: string[] = []
  if (await trust.holdsRootKey())
    remarks.push(
      `the root of trust is a software key on this machine (${trust.rootKeyFile}): whoever takes the server has it; docs/trust.md moves it`,
    )
  else if (existsSync(trust.rootKeyFile))
    remarks.push(`the root of trust has moved, but its old key is still there: destroy ${trust.rootKeyFile}`)
  if ((await trust.pending()) !== undefined)
    remarks.push('a new trust bundle waits for the root to sign it: keyman trust sign')
  return remarks
}
