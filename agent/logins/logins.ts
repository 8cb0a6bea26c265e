import { setTimeout as delay } from 'node:timers/promises'
import type { hostStream } from '#shared/api/index.ts'
import { KeymanError } from '#shared/errors.ts'
import type { Krl } from '#shared/ssh/index.ts'
import { told } from '#shared/told.ts'
import type { Log } from '../log.ts'
import { isThere, openConnections, type Process, processesOf, signal as send, sshdProcess } from './connections.ts'
import type { LogLine, LogSource } from './log-source.ts'
import { endedBy, isOnList } from './order.ts'
import { LoginRecord, type Opened, type OpenLogin } from './record.ts'
import { peerKey, readSshdMessage } from './sshd-message.ts'

/** Between two looks whether those who are logged in still are. */
const LOOK_MS = 5000
/** What is asked to end has this long for it. */
const GRACE_MS = 1000
const LOOK_WHETHER_GONE_MS = 20

/** Who logs in on this host, and the end of their sessions where the server orders it. */
export class Logins {
  readonly record: LoginRecord
  readonly #log: Log
  readonly #now: () => Date
  readonly #krl: () => Krl | undefined
  readonly #onEvent = new Set<() => void>()
  /** Closed by an order, of which nobody else says that they closed by themselves. */
  readonly #ending = new Set<number>()
  /** Orders that were done: a login of before may be read in sshd's log after it. */
  #done: readonly hostStream.EndOrder[] = []

  /** `krl`: the list that sshd refuses by now, where it can be read. */
  constructor(stateFolder: string, log: Log, now: () => Date, krl: () => Krl | undefined) {
    this.#krl = krl
    this.record = new LoginRecord(stateFolder, message => log.warn(message))
    this.#log = log
    this.#now = now
  }

  /** Reads what sshd says, and looks who has gone, until `signal`. */
  watch(source: LogSource, signal: AbortSignal): void {
    source.follow(this.record.cursor, line => this.#take(line), signal)
    const timer = setInterval(() => this.#look(), LOOK_MS)
    timer.unref()
    signal.addEventListener(
      'abort',
      () => {
        clearInterval(timer)
        this.record.keepCursor()
      },
      { once: true },
    )
  }

  /** Hears that there is something to tell. */
  onEvent(listener: () => void): () => void {
    this.#onEvent.add(listener)
    return () => void this.#onEvent.delete(listener)
  }

  #take({ message, at = this.#now(), pid, cursor }: LogLine): void {
    const read = readSshdMessage(message)
    if (read?.kind === 'accepted') {
      // Whoever had this address and port before is gone: two cannot have it at once.
      this.#closeWhere(login => peerKey(login) === peerKey(read.peer))
      const opened = this.record.opened(
        { at: at.toISOString(), login: read.login, ...read.peer, by: read.by },
        cursor,
        pid === undefined ? undefined : sshdProcess(pid),
      )
      this.#tell()
      const late = this.#done.findLast(order => endedBy(order, opened))
      const krl = late && this.#krl()
      if (late && krl && isOnList(krl, opened))
        this.#endAll([{ login: opened, order: BigInt(late.number) }]).catch(error =>
          this.#log.error(told(error).message),
        )
    } else {
      if (read) this.#closeWhere(login => peerKey(login) === peerKey(read.peer), at)
      this.record.readTo(cursor)
    }
  }

  /** Those whose connection is there no more. Where the system does not say, sshd's log has to. */
  #look(): void {
    if (this.record.open.length === 0) return
    const there = openConnections()
    if (there) this.#closeWhere(login => !there.has(peerKey(login)))
  }

  #closeWhere(isClosed: (login: OpenLogin) => boolean, at = this.#now()): void {
    const gone = this.record.open.filter(login => !this.#ending.has(login.number) && isClosed(login))
    for (const login of gone) this.record.closed(login, at)
    if (gone.length > 0) this.#tell()
  }

  /**
   * Ends the sessions that these orders name, of which those that were done before are passed over. Throws `unavailable` where one of them is still there
   * afterwards. What the connection itself has started ends with it; what has left it before goes on.
   */
  async end(orders: readonly hostStream.EndOrder[]): Promise<void> {
    const done = this.record.ended
    const fresh = orders.filter(({ number }) => BigInt(number) > done)
    if (fresh.length === 0) {
      this.#done = orders
      return
    }
    this.#look()
    const ended = this.record.open.flatMap(login => {
      const order = fresh.find(each => endedBy(each, login))
      return order ? [{ login, order: BigInt(order.number) }] : []
    })
    await this.#endAll(ended)
    this.#done = orders
    let newest = done
    for (const { number } of fresh) if (BigInt(number) > newest) newest = BigInt(number)
    this.record.setEnded(newest)
  }

  async #endAll(ended: readonly { readonly login: OpenLogin; readonly order: bigint }[]): Promise<void> {
    for (const { login } of ended) this.#ending.add(login.number)
    try {
      await endConnections(ended.map(({ login }) => login))
      for (const { login, order } of ended) {
        this.record.closed(login, this.#now(), order)
        this.#log.info(`ended the session of ${nameOf(login)} as ${login.login} from ${login.address}`)
      }
      if (ended.length > 0) this.#tell()
    } finally {
      for (const { login } of ended) this.#ending.delete(login.number)
    }
  }

  #tell(): void {
    for (const listener of this.#onEvent) listener()
  }
}

const nameOf = ({ by }: Opened): string => ('keyId' in by && by.keyId) || by.method

async function endConnections(logins: readonly OpenLogin[]): Promise<void> {
  const left = () => {
    const there = openConnections() ?? new Map<string, string>()
    return new Set(logins.flatMap(login => there.get(peerKey(login)) ?? []))
  }
  const known = logins.flatMap(({ process }) => process ?? [])
  const first = left()
  if (first.size === 0) return
  const found = processesOf(known, first)
  // A shell ends with its terminal; sshd closes what PAM opened.
  for (const process of found) send(process, process.name.startsWith('sshd') ? 'SIGTERM' : 'SIGHUP')
  if (await areGone(left, found)) return
  const all = [...found, ...processesOf(known, left())]
  for (const process of all) send(process, 'SIGKILL')
  if (await areGone(left, all)) return
  throw new KeymanError('unavailable', `${left().size} sessions that were to end are still open`, {
    hint: 'the agent has to be root to end the sessions of others',
  })
}

async function areGone(left: () => ReadonlySet<string>, processes: readonly Process[]): Promise<boolean> {
  const until = performance.now() + GRACE_MS
  for (;;) {
    if (left().size === 0 && !processes.some(isThere)) return true
    if (performance.now() >= until) return false
    await delay(LOOK_WHETHER_GONE_MS)
  }
}
