import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { SelectableHost } from '#server/access/index.ts'
import { type Rooms as BuiltRooms, buildRooms } from '#server/build-rooms.ts'
import type { Identity, MachineCaller } from '#server/identity/index.ts'
import { type Keystore, type KeystoreConfig, openKeystore } from '#server/keystore/index.ts'
import { openPins } from '#server/pins/index.ts'
import { openStore, type Store, type StoreConfig } from '#server/store/index.ts'
import { type HostName, parseHostName, parsePersonIdentity } from '#shared/names.ts'
import { formatPublicKey, publicKeyFromSpki } from '#shared/ssh/index.ts'
import { fastFolder } from '../fast-folder.ts'
import { newPGlite } from '../programs/templates.ts'
import { insertPerson, insertSession } from './insert-rows.ts'

/** The server's rooms up to `authority`, each the real one, over a database and keystore of their own. */
export type Rooms = BuiltRooms & {
  readonly store: Store
  readonly keystore: Keystore
  readonly folder: string
  /** Alarms so far. */
  readonly said: readonly string[]
  /** The tests' clock; `ledger`, sessions and certificates go by it. */
  clock: { now: Date }
  addPerson(identity: string, other?: { owner?: boolean }): Promise<void>
  /** A session of a machine with fresh keys, as a login makes it. */
  addSession(identity: string, other?: { endsAt?: Date; sshPublicKey?: Uint8Array }): Promise<MachineCaller>
  close(): Promise<void>
}

export type RoomsOptions = {
  store?: StoreConfig
  keystore?: KeystoreConfig
  standbyKeystore?: KeystoreConfig
  algorithm?: 'ed25519' | 'ecdsa-p256'
  folder?: string
  hosts?: readonly HostName[]
  /** Those that grants choose from. */
  living?: readonly SelectableHost[]
  /** As the configuration of a server without a memory of its own names it. */
  rootFingerprint?: string
  machinesUrl?: string
  now?: () => Date
  /** Bytes, of the list of what is revoked. */
  longestKrl?: number
  /** By which the age of what is held in memory is told. */
  monotonic?: () => number
  /** Stands between authority and keystore, where a test has to see or spoil what passes. */
  wrapKeystore?: (keystore: Keystore) => Keystore
}

/** Where a start is refused, what it had opened is closed. */
export async function openRooms(options: RoomsOptions = {}): Promise<Rooms> {
  const opened: { close(): Promise<void> }[] = []
  try {
    return await open(options, opened)
  } catch (error) {
    for (const part of opened.reverse()) await part.close()
    throw error
  }
}

async function open(options: RoomsOptions, closing: { close(): Promise<void> }[]): Promise<Rooms> {
  const folder = options.folder ?? fastFolder('keyman-rooms-')
  const clock = { now: new Date(Math.floor(Date.now() / 1000) * 1000) }
  const now = options.now ?? (() => clock.now)
  const store = await openStore(options.store ?? (await newPGlite(join(folder, 'db'))))
  closing.push(store)
  const software: KeystoreConfig = {
    kind: 'software',
    folder: join(folder, 'keys'),
    unlock: { keyFile: join(folder, 'keys.key') },
  }
  const opened = await openKeystore(options.keystore ?? software)
  closing.push(opened)
  const keystore = options.wrapKeystore?.(opened) ?? opened
  const standbyKeystore = options.standbyKeystore && (await openKeystore(options.standbyKeystore))
  const said: string[] = []
  const hosts = new Set<string>(options.hosts ?? [])
  const rooms = await buildRooms(
    {
      store,
      keystore,
      standbyKeystore,
      logKeystores: [
        { name: 'keystore', keystore: opened },
        ...(standbyKeystore ? [{ name: 'keystore.standby', keystore: standbyKeystore }] : []),
      ],
      wrappingKeystores: [opened, ...(standbyKeystore ? [standbyKeystore] : [])],
      config: {
        organisation: 'acme',
        publicUrl: 'https://keyman.example.com',
        machines: { url: options.machinesUrl ?? 'https://keyman.example.com:4443' },
        hostSuffixes: [parseHostName('prod.example.com', 'test')],
        dataFolder: folder,
        limits: { assertionsPerMinute: 1_000_000 },
        authority: { algorithm: options.algorithm ?? 'ed25519' },
        trust: options.rootFingerprint === undefined ? {} : { rootFingerprint: options.rootFingerprint },
        session: { maxLifetime: 12 * 3600 },
        certificate: { defaultLifetime: 8 * 3600 },
      },
      pins: openPins(folder),
      // Tests put older databases under the same folder.
      memory: undefined,
      trusted: [],
      now,
      monotonic: options.monotonic ?? (() => performance.now()),
      random: bytes => new Uint8Array(randomBytes(bytes)),
      onEnrolled: async () => undefined,
      longestKrl: options.longestKrl,
      alarm: message => void said.push(message),
      onError: () => undefined,
    },
    () => ({
      resolveHost: () => undefined,
      find: name => (hosts.has(name) ? { name, labels: {} } : undefined),
      living: () => options.living ?? [],
      shown: async () => ({ hosts: options.living ?? [], hidden: [] }),
      clocksApart: () => [],
    }),
  )
  const { ledger, identity, access, authority, workloads } = rooms
  await identity.start()
  await access.start()
  await workloads.start()
  await authority.start()

  return {
    store,
    keystore,
    ...rooms,
    folder,
    said,
    clock,
    async addPerson(name, { owner = false } = {}) {
      await insertPerson({ store, ledger }, { identity: name, owner, at: now() })
      await access.reload()
    },
    async addSession(name, { endsAt = new Date(now().getTime() + 12 * 3_600_000), sshPublicKey } = {}) {
      const person = parsePersonIdentity(name, 'test')
      const id = await insertSession({ store, ledger }, { person, at: now(), endsAt, sshPublicKey })
      const row = await loadCaller(identity, id, person)
      return row
    },
    async close() {
      await authority.stop()
      await workloads.stop()
      await access.stop()
      await identity.stop()
      await ledger.stop()
      await store.close()
      await keystore.close()
      await standbyKeystore?.close()
      if (options.folder === undefined) await rm(folder, { recursive: true })
    },
  }
}

/** As whoever ends it names it. */
export const namedSession = ({ session: id, identity: person, device, ssh }: MachineCaller) => ({
  id,
  person,
  device,
  sshKey: ssh.fingerprint,
})

/** As the room reads it: a caller that knows only its name is read anew whole. */
function loadCaller(identity: Identity, session: string, person: MachineCaller['identity']): Promise<MachineCaller> {
  const nothing = new Uint8Array()
  const at = new Date(0)
  return identity.reload({
    kind: 'person',
    via: 'machine',
    identity: person,
    owner: false,
    session,
    startedAt: at,
    endsAt: at,
    assertedAt: at,
    device: '',
    epochs: [],
    ssh: { blob: nothing, fingerprint: '', line: '' },
    clientFingerprint: '',
    clientSpki: nothing,
  })
}

export const newSshPublicKey = (): string =>
  formatPublicKey(
    publicKeyFromSpki(new Uint8Array(generateKeyPairSync('ed25519').publicKey.export({ format: 'der', type: 'spki' }))),
  )
