import type { HostCaller } from '#server/identity/index.ts'
import { coalesce } from '#shared/coalesce.ts'
import { KeymanError } from '#shared/errors.ts'
import { labelsText } from '#shared/grant-text.ts'
import type { HostName } from '#shared/names.ts'
import { addInWords, changeHost, changeInWords } from './change-host.ts'
import { hiddenHosts, hostFact, idOfName } from './facts.ts'
import { inForceSeal } from './in-force.ts'
import { joinHost } from './join-host.ts'
import { viewsOf } from './join-remarks.ts'
import { addHost, assertMayBeAdded, noSuchHost, removeHost } from './name-host.ts'
import type { Hosts, HostsDeps, LivingHost } from './port.ts'
import {
  type ContentToNumber,
  type HostStream,
  numberContents,
  type OpenedStream,
  type SaidInForce,
  selectByName,
  selectKeyTypes,
  selectLiving,
  setConnected,
  setInForce,
  setOpened,
} from './records.ts'
import { HostSnapshot } from './snapshot.ts'
import { HostClocks } from './streams/clocks.ts'
import { CLOSE, Connection, type Held } from './streams/connection.ts'
import { LogHead } from './streams/log-head.ts'
import { inSlices } from './streams/slices.ts'
import { Streams } from './streams/streams.ts'
import { batched } from './streams/together.ts'
import { vouchedHost, vouchedHosts } from './vouched.ts'
import { waitForAll, waitForKrl } from './wait-in-force.ts'

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
  const told = new WeakSet<object>()
  /** An error that many hosts share, as they share what was asked, is told once; after the end nobody waits for anything. */
  function failed(error: unknown): void {
    if (!started) return
    if (typeof error === 'object' && error !== null) {
      if (told.has(error)) return
      told.add(error)
    }
    deps.onError(error)
  }
  const snapshot = new HostSnapshot({ ...deps, onError: failed })
  const log = new LogHead(deps.ledger, failed)
  const streams = new Streams(deps.alarm)
  const dirty = new Set<Connection>()
  const endings: (() => unknown)[] = []
  let answers = Promise.withResolvers<void>()
  let running = 0
  let started = false
  /** Streams that closed are written down one batch after the other: the last of these. */
  let written: Promise<unknown> = Promise.resolve()

  const closed = batched((streams: readonly HostStream[]) => setConnected(store, streams, false, now()), AT_ONCE)
  const events = {
    failed,
    inTurn: inSlices(),
    number: batched((contents: readonly ContentToNumber[]) => numberContents(store, contents), AT_ONCE),
    opened: batched((streams: readonly OpenedStream[]) => setOpened(store, streams, now()), AT_ONCE),
    inForce: batched((said: readonly SaidInForce[]) => {
      const sealed = said.map(one => ({ ...one, seal: inForceSeal(given.inForceKey, one) }))
      return setInForce(store, sealed, now())
    }, AT_ONCE),
    held: new Map<HostName, Held>(),
    told: new Map<HostName, number>(),
    clocks: new HostClocks(deps.monotonic),
    living: (name: HostName) => snapshot.find(name),
    answered() {
      answers.resolve()
      answers = Promise.withResolvers<void>()
    },
    ended(connection: Connection) {
      const left = streams.delete(connection)
      dirty.delete(connection)
      if (connection.stream !== undefined && started)
        written = closed(connection.stream)
          .then(() => left?.setDoubled(undefined))
          .catch(failed)
          .finally(events.answered)
    },
  }

  const waiting = { ...deps, inTurn: events.inTurn, told: events.told, nextAnswer: () => answers.promise }

  /** Every stream of these hosts looks whether they should have something new, a few at a time. */
  function changedFor(concerns: (host: LivingHost) => boolean): void {
    for (const connection of streams.all()) {
      const host = snapshot.find(connection.caller.name)
      if (host && concerns(host)) dirty.add(connection)
    }
    while (running < AT_ONCE && dirty.size > 0) work().catch(failed)
  }
  const allChanged = () => changedFor(() => true)
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

  function closeGone(): void {
    for (const connection of streams.all())
      if (!snapshot.knows(connection.caller.name, connection.caller.clientSpki))
        connection.close(CLOSE.policy, 'this host is gone')
    for (const known of [events.held, events.told])
      for (const name of known.keys()) if (!snapshot.find(name)) known.delete(name)
    events.clocks.forgetUnless(name => snapshot.find(name) !== undefined)
  }
  function hostsChanged(): void {
    closeGone()
    for (const connection of streams.all()) connection.hostsChanged().catch(failed)
  }

  async function sweep(): Promise<void> {
    // Nobody is let in while the database cannot be read; those who are in need not all leave and come back for that.
    if (!snapshot.isFresh()) return
    for (const connection of streams.all()) await connection.check().catch(failed)
    const there = streams.all()
    // A host that takes its time, or is closing, is not waited for: it must not keep the others from being looked at.
    for (const connection of there) connection.sendLog().catch(failed)
    const open = there.flatMap(({ stream }) => stream ?? [])
    if (open.length > 0) await setConnected(store, open, true, now())
    allChanged()
  }

  return {
    async start() {
      started = true
      endings.push(snapshot.onChange(hostsChanged))
      // By the log alone, however long the rows take to be read.
      endings.push(deps.ledger.onFacts(ids => void (ids.some(id => id.startsWith('host:')) && closeGone())))
      await snapshot.start()
      endings.push(() => snapshot.stop())
      // KRL and trust bundle are read from the database when a state is made, so the notification alone is enough.
      endings.push(await store.listen('revocations', allChanged))
      endings.push(await store.listen('trust', allChanged))
      endings.push(deps.onChange(allChanged))
      const sweeping = setInterval(() => void sweep().catch(failed), SWEEP_MS)
      sweeping.unref()
      log.start()
      endings.push(
        () => clearInterval(sweeping),
        () => log.stop(),
      )
    },

    async stop() {
      for (const end of endings.splice(0)) await end()
      for (const connection of streams.all()) connection.close(CLOSE.goingAway, 'the server is stopping')
      await written
      started = false
    },

    async add(host, by) {
      const added = await addHost(deps, host, by)
      await changed()
      return added
    },
    async list() {
      return viewsOf(deps, await vouchedHosts(deps))
    },
    async show(name) {
      const [host] = await viewsOf(deps, await vouchedHost(deps, name))
      if (!host) throw noSuchHost(name)
      return host
    },
    async remove(name, by, from) {
      const removed = await removeHost(deps, name, by, from)
      await changed({ revoked: true })
      return removed
    },
    async change(name, change, by, from) {
      const made = await changeHost(deps, name, change, by, from)
      await changed({ revoked: made.namesGoodUntil !== undefined })
      return made
    },
    async addWords(on, host) {
      await assertMayBeAdded(deps, on, host)
      return addInWords(deps, host)
    },
    async words(on, name, change) {
      if (change !== undefined) return changeInWords(deps, on, name, change)
      const row = await selectByName(on, name)
      if (row?.name !== name || !deps.ledger.facts.holds(hostFact(row))) {
        const id = idOfName(deps.ledger.facts, name)
        if (id === undefined) throw noSuchHost(name)
        return [
          { name: 'Host', value: `${name}: the database does not say what the audit log says of it` },
          { name: 'Known here as', value: id },
        ]
      }
      return [
        { name: 'Host', value: `${name} with the labels ${labelsText(row.labels) || 'none'}` },
        ...(row.place === undefined ? [] : [{ name: 'In', value: row.place }]),
        ...(row.aliases.length > 0 ? [{ name: 'Also called', value: row.aliases.join(', ') }] : []),
        { name: 'Known here as', value: row.id },
      ]
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
    keyTypes: names => selectKeyTypes(store, names),
    living: () => snapshot.all(),
    async shown(t) {
      const hosts = (await selectLiving(t)).filter(row => deps.ledger.facts.holds(hostFact(row)))
      return { hosts, hidden: hiddenHosts(deps.ledger.facts, new Set(hosts.map(({ id }) => id))) }
    },
    find: name => snapshot.find(name),
    named: name => snapshot.find(name) ?? snapshot.all().find(host => host.aliases.includes(name)),

    clocksApart: () => events.clocks.apart(now()),
    connect(caller: HostCaller, channel) {
      const connection = new Connection(caller, channel, deps, log, events)
      streams.add(connection).catch(failed)
      if (!snapshot.knows(caller.name, caller.clientSpki)) connection.close(CLOSE.policy, 'this host is gone')
      return { receive: text => connection.receive(text), closed: () => connection.closed() }
    },
    waitForKrl: (krlVersion, seconds) => waitForKrl(waiting, krlVersion, seconds),
    waitForAll(seconds, concerns) {
      // What ends by the clock has changed nothing that anybody was told of.
      changedFor(concerns)
      return waitForAll(waiting, seconds, concerns)
    },
  }

  /** Here at once, elsewhere by the notification: by what the log says, whatever became of the row. */
  async function changed({ revoked = false }: { readonly revoked?: boolean } = {}): Promise<void> {
    await deps.ledger.follow()
    await snapshot.reload()
    await store.notify('hosts', '')
    if (revoked) await store.notify('revocations', '')
  }
}
