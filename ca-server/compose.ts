import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync } from 'node:fs'
import { hostname } from 'node:os'
import { accessRows } from '#server/access/index.ts'
import { authorityRows, serialRows, type Trust } from '#server/authority/index.ts'
import { createHosts, type Hosts, hostRows } from '#server/hosts/index.ts'
import { identityRows } from '#server/identity/index.ts'
import { compareRows, doElected } from '#server/jobs/index.ts'
import type { AwayKeystore, Keystore } from '#server/keystore/index.ts'
import { openLogMemory, type StatedRows } from '#server/ledger/index.ts'
import { openPins } from '#server/pins/index.ts'
import { openLease, type Store } from '#server/store/index.ts'
import { workloadRows } from '#server/workloads/index.ts'
import type { PersonIdentity } from '#shared/names.ts'
import { buildRooms, type Rooms } from './build-rooms.ts'
import type { ServerConfig } from './config/index.ts'
import { checkDataFolder } from './data-folder.ts'
import type { Log } from './log.ts'
import { openBase } from './open-base.ts'

/** Every service of the server, built once. */
export type Services = Rooms & {
  readonly config: ServerConfig
  readonly store: Store
  readonly keystore: Keystore
  readonly hosts: Hosts
  /** The tables that an auditor holds against the log. */
  readonly stated: readonly StatedRows[]
  /** What an operator should know of this set-up, a sentence each. */
  readonly remarks: readonly string[]
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
const PRUNE_MS = 3_600_000
const random = (bytes: number): Uint8Array => new Uint8Array(randomBytes(bytes))
/** For people to know it by, and of one process alone. */
const holderName = (): string => `${hostname()} ${process.pid} ${randomBytes(6).toString('hex')}`
const requestId = (): string => `req_${randomBytes(12).toString('base64url')}`

/** Opens database and keystore, makes what a first start makes, and loads what has to be known before anybody may call. */
export async function compose(options: ComposeOptions): Promise<Services> {
  const { config, log } = options
  const onError = toldOnce(error => log.error('a background job failed; it tries again', error))
  const alarm = (message: string) => log.error(message)
  mkdirSync(config.dataFolder, { recursive: true, mode: 0o700 })
  checkDataFolder(config.dataFolder)
  const pins = openPins(config.dataFolder)
  const closing: (() => Promise<void>)[] = []
  const close = async () => {
    for (const end of closing.reverse()) await end().catch(error => log.error('could not be ended in order', error))
  }
  try {
    const base = await openBase(config, onError, 'mayBeAway')
    closing.push(() => base.close())
    const { store, keystore, standbyKeystore, awayKeystore } = base
    const lease = openLease(store, 'common work', holderName())
    const rooms = await buildRooms(
      {
        ...base,
        config,
        pins,
        memory: await openLogMemory(pins),
        trusted: options.checkpoint === undefined ? [] : [options.checkpoint],
        fence: lease.fence,
        now: options.now ?? (() => new Date()),
        monotonic: () => performance.now(),
        random,
        onEnrolled: async person => options.onEnrolled?.(services, person),
        alarm,
        onError,
      },
      createHosts,
    )
    const { ledger, identity, access, workloads, logins, hosts, authority, trust } = rooms
    for (const part of [identity, access, workloads, hosts, authority, trust]) {
      await part.start()
      closing.push(() => part.stop())
    }
    const elected = doElected({
      lease,
      jobs: [
        { everyMs: SWEEP_MS, run: fence => identity.sweep(fence) },
        { everyMs: PRUNE_MS, run: fence => authority.pruneKrl(fence) },
        { everyMs: PRUNE_MS, run: fence => logins.sweep(fence) },
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
      tables: [...identityRows, ...accessRows, ...hostRows, ...workloadRows, ...serialRows],
      alarm,
      onError,
    })
    comparing.start()
    closing.push(async () => comparing.stop())
    const history = setInterval(() => void ledger.checkHistory().catch(onError), CHECK_HISTORY_MS)
    history.unref()
    closing.push(async () => clearInterval(history))
    const services: Services = {
      ...rooms,
      config,
      store,
      keystore,
      stated: [...identityRows, ...accessRows, ...hostRows, ...workloadRows, ...authorityRows],
      requestId,
      close,
      remarks: [
        ...base.remarks,
        ...(awayKeystore ? [awayRemark(awayKeystore)] : []),
        ...(standbyKeystore || awayKeystore
          ? []
          : ['the authority keys have no standby: keystore.standby names a second keystore']),
        ...store.remarks,
        ...(await trustRemarks(trust)),
      ],
    }
    return services
  } catch (error) {
    await close()
    throw error
  }
}

const awayRemark = ({ name, error }: AwayKeystore): string =>
  `${name} is away (${error.message}), and this server runs without it: once it is back, start the server again; if it is lost, name another in its place, where the next start makes standby keys: docs/server.md`

/** What was found wrong with the log is one error for everybody who meets it: it is told once. */
function toldOnce(tell: (error: unknown) => void): (error: unknown) => void {
  const told = new WeakSet<object>()
  return error => {
    if (typeof error === 'object' && error !== null) {
      if (told.has(error)) return
      told.add(error)
    }
    tell(error)
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
