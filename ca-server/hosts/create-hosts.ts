import { coalesce } from '#shared/coalesce.ts'
import { KeymanError } from '#shared/errors.ts'
import { CLOSE, Connection } from './connection.ts'
import { joinHost } from './join-host.ts'
import { LogHead } from './log-head.ts'
import { addHost, noSuchHost, removeHost } from './name-host.ts'
import type { HostCaller, Hosts, HostsDeps } from './port.ts'
import {
  type ContentToNumber,
  type InForce,
  numberContents,
  selectByName,
  selectLiving,
  setConnected,
  setInForce,
  viewOf,
} from './records.ts'
import { HostSnapshot } from './snapshot.ts'
import { batched } from './together.ts'
import { waitInForce } from './wait-in-force.ts'

const LOOK_FOR_CHANGES_MS = 1_000
/** Certificates end and notifications get lost: each stream is looked at this often even if nobody says anything. */
const SWEEP_MS = 30_000
/** Hosts whose state is made, and numbered by one statement, at the same time. */
const AT_ONCE = 128

export function createHosts(given: HostsDeps): Hosts {
  const { store, now } = given
  const deps: HostsDeps = {
    ...given,
    currentKrl: coalesce(given.currentKrl),
    trustBundles: coalesce(given.trustBundles),
  }
  const snapshot = new HostSnapshot(store, deps.ledger)
  const log = new LogHead(deps.ledger)
  const connections = new Map<string, Connection>()
  const dirty = new Set<Connection>()
  const endings: (() => unknown)[] = []
  let answers = Promise.withResolvers<void>()
  let running = 0
  let started = false

  const gone = batched((ids: readonly string[]) => setConnected(store, ids, false, now()), AT_ONCE)
  const events = {
    number: batched((contents: readonly ContentToNumber[]) => numberContents(store, contents), AT_ONCE),
    connected: batched((ids: readonly string[]) => setConnected(store, ids, true, now()), AT_ONCE),
    inForce: batched((said: readonly InForce[]) => setInForce(store, said, now()), AT_ONCE),
    answered() {
      answers.resolve()
      answers = Promise.withResolvers<void>()
    },
    ended(connection: Connection) {
      if (connections.get(connection.caller.name) !== connection) return
      connections.delete(connection.caller.name)
      dirty.delete(connection)
      if (connection.id !== undefined && started)
        gone(connection.id)
          .catch(() => undefined)
          .finally(events.answered)
    },
  }

  /** Every stream looks whether its host should have something new, a few at a time. */
  function allChanged(): void {
    for (const connection of connections.values()) dirty.add(connection)
    while (running < AT_ONCE && dirty.size > 0) void work()
  }
  async function work(): Promise<void> {
    running++
    try {
      for (const connection of dirty) {
        dirty.delete(connection)
        if (await connection.check()) await connection.changed()
      }
    } finally {
      running--
    }
  }

  async function hostsChanged(): Promise<void> {
    await snapshot.reload()
    for (const connection of [...connections.values()])
      if (!snapshot.resolve(connection.caller.name, connection.caller.clientSpki))
        connection.close(CLOSE.policy, 'this host is gone')
  }
  const quietly = (work: () => Promise<unknown>) => () => void work().catch(() => undefined)

  async function sweep(): Promise<void> {
    const there: string[] = []
    for (const connection of [...connections.values()]) {
      if (!(await connection.check())) continue
      if (connection.id !== undefined) there.push(connection.id)
      await connection.sendLog()
    }
    if (there.length > 0) await setConnected(store, there, true, now())
    allChanged()
  }

  return {
    async start() {
      started = true
      await snapshot.reload()
      endings.push(await store.listen('hosts', quietly(hostsChanged)))
      // KRL and trust bundle are read from the database when a state is made, so the notification alone is enough.
      endings.push(await store.listen('revocations', allChanged))
      endings.push(await store.listen('trust', allChanged))
      endings.push(deps.onChange(allChanged))
      const looking = setInterval(
        quietly(async () => {
          if (await snapshot.reloadIfChanged()) await hostsChanged()
        }),
        LOOK_FOR_CHANGES_MS,
      )
      const sweeping = setInterval(quietly(sweep), SWEEP_MS)
      looking.unref()
      sweeping.unref()
      log.start()
      endings.push(
        () => clearInterval(looking),
        () => clearInterval(sweeping),
        () => log.stop(),
      )
    },

    async stop() {
      for (const end of endings.splice(0)) await end()
      const there = [...connections.values()]
      for (const connection of there) connection.close(CLOSE.goingAway, 'the server is stopping')
      started = false
    },

    async add(host, by) {
      const added = await addHost(deps, host, by)
      await changed()
      return added
    },
    async list() {
      return (await selectLiving(store)).map(row => viewOf(row, now()))
    },
    async show(name) {
      const row = await selectByName(store, name)
      if (!row) throw noSuchHost(name)
      return viewOf(row, now())
    },
    async remove(name, by) {
      await removeHost(deps, name, by)
      // Here at once, elsewhere by the notification.
      await hostsChanged()
      await store.notify('hosts', '')
      await store.notify('revocations', '')
    },
    async join(request, by) {
      const joined = await joinHost(deps, request, by)
      await changed()
      return joined
    },
    async renewClientCertificate(caller, by) {
      const now = snapshot.resolve(caller.name, caller.clientSpki)
      if (!now) throw new KeymanError('denied', `${caller.name} is no host of this organisation any more`)
      const actor = { kind: 'host', name: caller.name } as const
      return deps.issueHostClientCertificate({
        host: caller.name,
        clientSpki: caller.clientSpki,
        epochs: now.epochs,
        by: { actor, ...by },
      })
    },

    resolveHost: (name, clientSpki) => snapshot.resolve(name, clientSpki),
    living: () => snapshot.all(),
    find: name => snapshot.find(name),

    connect(caller: HostCaller, channel) {
      const connection = new Connection(caller, channel, deps, log, events)
      const before = connections.get(caller.name)
      connections.set(caller.name, connection)
      before?.close(CLOSE.replaced, 'this host has opened another stream')
      if (!snapshot.resolve(caller.name, caller.clientSpki)) connection.close(CLOSE.policy, 'this host is gone')
      return { receive: text => connection.receive(text), closed: () => connection.closed() }
    },
    waitInForce: ({ krlVersion }, seconds) => waitInForce(deps, krlVersion, seconds, () => answers.promise),
  }

  async function changed(): Promise<void> {
    await snapshot.reload()
    await store.notify('hosts', '')
  }
}
