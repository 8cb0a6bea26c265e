import type { HostCaller } from '#server/identity/index.ts'
import { hostStream } from '#shared/api/index.ts'
import { equalBytes, toBase64Url } from '#shared/bytes.ts'
import { canonicalJson } from '#shared/canonical-json.ts'
import { KeymanError } from '#shared/errors.ts'
import type { HostName } from '#shared/names.ts'
import { told } from '#shared/told.ts'
import { type Content, contentFor, type NumberedContent } from '../desired-state.ts'
import { hostId } from '../facts.ts'
import type { HostChannel, HostsDeps, LivingHost } from '../port.ts'
import {
  type ContentToNumber,
  type HostRow,
  type HostStream,
  type OpenedStream,
  type SaidInForce,
  setFailed,
} from '../records.ts'
import { vouchedHost } from '../vouched.ts'
import type { HostClocks } from './clocks.ts'
import { HostLog } from './host-log.ts'
import type { LogHead } from './log-head.ts'
import type { InTurn } from './slices.ts'

/** A host that has said no hello, or not what became of a state, within this time is gone. */
const ANSWER_MS = 60_000
/** Messages that wait for their turn. An honest host says one thing and waits; each that a hostile one piles up costs memory. */
const MAX_UNREAD = 32

/** How often a state is made and numbered, where another server is ahead each time. */
const NUMBERED = 3
/** No host is told of so much in its life; after the last number that there is it could be told of nothing any more. */
const AHEAD = 2 ** 40

/** RFC 6455, section 7.4.1; 4000 and above are ours. */
export const CLOSE = { goingAway: 1001, policy: 1008, tryAgain: 1013, replaced: 4000 } as const

/** What a host has in force by its own word. Of no content where this server has not sent it. */
export type Held = { readonly revision: number; readonly hash: Uint8Array | undefined }

/** What all streams of a server do together. */
export type ConnectionEvents = {
  /** Gives a content its revision; `undefined` where another server knows more, or the host is gone. */
  number(content: ContentToNumber): Promise<number | undefined>
  /** What each host that there is has said to this server that it has in force, by its name. */
  readonly held: Map<HostName, Held>
  /** The revision that each of them came with or was sent last, here: a row that says an older one is in force is an old one. */
  readonly told: Map<HostName, number>
  /** The host of this name as it is now. */
  living(name: HostName): Pick<LivingHost, 'name' | 'labels' | 'place' | 'aliases'> | undefined
  /** What time each host said it was. */
  readonly clocks: HostClocks
  /** Makes a state: those of a whole fleet are not made at once. */
  readonly inTurn: InTurn
  /** Writes down that a host is there. */
  opened(stream: OpenedStream): Promise<unknown>
  /** Writes down what a host said is in force. */
  inForce(said: SaidInForce): Promise<unknown>
  /** The host said what became of a revision. */
  answered(): void
  ended(connection: Connection): void
  /** Something failed that is the server's, not the host's. */
  failed(error: unknown): void
}

/**
 * One host's stream, without its transport. At most one state is on its way: the next one is made when the host has said
 * what became of the last, from what holds then. So a slow host gets the newest state only, and nothing piles up here.
 */
export class Connection {
  readonly caller: HostCaller
  readonly #channel: HostChannel
  readonly #deps: HostsDeps
  readonly #log: HostLog
  readonly #events: ConnectionEvents
  readonly #stream: string
  #host: HostRow | undefined
  /** Set while a state or `current` waits for the host's word. */
  #waiting: NumberedContent | undefined
  #holds: Held = { revision: 0, hash: undefined }
  /** What the host answered last, and whether it has said since that it failed: then it may say later that it came right. */
  #answered: { readonly content: NumberedContent; readonly failed: boolean; readonly findings: string } | undefined
  /** Why nothing of this host is called in force, whatever it says: another machine has its key too. */
  #doubled: string | undefined
  #saidWrong = false
  #greeted = false
  #wantsNames = false
  #seesLogins = false
  /** What of the host counted when it was last looked what it should be told. */
  #toldAs: string | undefined
  #toldNames: string | undefined
  #opened: OpenedStream | undefined
  #dirty = false
  #pumping = false
  #ended = false
  #inbox: Promise<void> = Promise.resolve()
  #unread = 0
  #deadline: NodeJS.Timeout

  constructor(caller: HostCaller, channel: HostChannel, deps: HostsDeps, log: LogHead, events: ConnectionEvents) {
    this.caller = caller
    this.#channel = channel
    this.#deps = deps
    this.#log = new HostLog({
      ...{ name: caller.name, ledger: deps.ledger, head: log, now: deps.now },
      mayBeHeard: () => this.#mayBeHeard(),
      alarm: message => deps.alarm(message),
      failed: error => events.failed(error),
    })
    this.#events = events
    this.#stream = toBase64Url(deps.random(12))
    this.#deadline = this.#startDeadline()
  }

  /** Once the host has said hello. */
  get stream(): HostStream | undefined {
    return this.#host && { id: this.#host.id, stream: this.#stream }
  }

  close(code: number, reason: string): void {
    if (this.#ended) return
    this.#channel.close(code, reason)
    this.closed()
  }

  closed(): void {
    if (this.#ended) return
    this.#ended = true
    clearTimeout(this.#deadline)
    this.#events.ended(this)
  }

  get from(): string {
    return this.#channel.from
  }

  isThere(): Promise<boolean> {
    return this.#ended ? Promise.resolve(false) : this.#channel.isThere()
  }

  /** With a reason, what the host says is in force is not believed from now on; without one it is asked once more. */
  async setDoubled(reason: string | undefined): Promise<void> {
    if (this.#doubled === reason) return
    this.#doubled = reason
    if (!this.#host || this.#ended) return
    if (reason !== undefined)
      return setFailed(this.#deps.store, this.#host.id, this.#holds.revision, reason, this.#deps.now())
    // The row is the other stream's, which has ended.
    if (this.#opened) await this.#events.opened(this.#opened)
    this.#dirty = true
    await this.pump(true)
  }

  /** Throws nothing: closes where the certificate behind the stream is good no more. */
  async check(): Promise<boolean> {
    if (this.#ended) return false
    try {
      await this.#channel.check()
      return !this.#ended
    } catch (error) {
      const later = error instanceof KeymanError && error.code === 'unavailable'
      this.close(later ? CLOSE.tryAgain : CLOSE.policy, told(error).message.slice(0, 100))
      return false
    }
  }

  /** One message after the other, in their order. */
  receive(text: string): Promise<void> {
    if (this.#ended) return Promise.resolve()
    if (this.#unread >= MAX_UNREAD) {
      this.close(CLOSE.policy, 'too many messages at once')
      return Promise.resolve()
    }
    this.#unread++
    this.#inbox = this.#inbox
      .then(() => this.#take(text))
      .finally(() => {
        this.#unread--
      })
    return this.#inbox
  }

  async #take(text: string): Promise<void> {
    if (!(await this.check())) return
    const frame = parse(text)
    if (!frame) return this.close(CLOSE.policy, 'not a frame of the host stream')
    try {
      if (frame.type === 'hello') await this.#hello(frame)
      else await this.#answer(frame)
    } catch (error) {
      // The database is away, most likely: the host keeps what it has and comes back.
      this.#fail(error)
    }
  }

  async #hello(hello: Extract<hostStream.FrameToServer, { type: 'hello' }>): Promise<void> {
    if (this.#greeted) return this.close(CLOSE.policy, 'a second hello')
    this.#greeted = true
    const { store, alarm } = this.#deps
    const [host] = await vouchedHost(this.#deps, this.caller.name)
    if (!host?.clientSpki || !equalBytes(host.clientSpki, this.caller.clientSpki))
      return this.close(CLOSE.policy, 'this host is gone')
    this.#host = host
    if (hello.at !== undefined) this.#events.clocks.hear(host.name, new Date(hello.at))
    if (hello.incarnation === store.incarnation) {
      if (hello.revision > host.revision) {
        if (!this.#mayBeHeard()) return
        // A number alone is this host's alarm; a tree head that the log's key signed is everybody's.
        if (hello.checkpoint !== undefined) await this.#log.show(hello.checkpoint)
        alarm(
          `${host.name} has revision ${hello.revision} in force, the database knows ${host.revision}: rows were lost`,
        )
        return this.close(CLOSE.tryAgain, 'the server knows less than this host')
      }
      if (hello.checkpoint !== undefined && !this.#log.begin(hello.checkpoint))
        return this.close(CLOSE.policy, 'not a checkpoint')
      // Of another history: a newer one tells this server that its own was given up.
    } else if (hello.checkpoint !== undefined) {
      await this.#log.show(hello.checkpoint)
      if (this.#ended) return
    }
    this.#opened = {
      ...{ id: host.id, stream: this.#stream, agent: hello.agent, sshd: hello.sshd },
      seesLogins: hello.logins === true,
    }
    await this.#events.opened(this.#opened)
    if (hello.incarnation === store.incarnation) {
      // Which content has this number says nobody but this server itself: a row that somebody wrote would keep the host from
      // hearing of a revocation, and have it take for in force what it never got.
      this.#events.told.set(host.name, hello.revision)
      const known = this.#events.held.get(host.name)
      this.#holds = known?.revision === hello.revision ? known : { revision: hello.revision, hash: undefined }
    }
    this.#wantsNames = hello.names === true
    this.#seesLogins = hello.logins === true
    this.#dirty = true
    await this.pump(true)
  }

  async #answer(frame: Exclude<hostStream.FrameToServer, { type: 'hello' }>): Promise<void> {
    const host = this.#host
    if (!host) return
    const waiting = this.#waiting
    const { store, now, alarm } = this.#deps
    // A failure between two states (a check by the clock, a tree head) is heard too; 'in force' only of what was asked for.
    if (frame.type === 'failed') {
      if (!this.#mayBeHeard()) return
      if (frame.message.startsWith('ALARM')) {
        alarm(`${host.name}: ${frame.message}`)
        await this.#log.showAgain()
      }
      await setFailed(store, host.id, frame.revision, frame.message, now())
    }
    const asked = waiting?.revision === frame.revision
    const content = asked ? waiting : this.#answered?.content
    if (asked) clearTimeout(this.#deadline)
    // What failed may come right by itself, which nobody asked for; anything else of the kind is late, at most.
    else if (frame.type === 'in-force' && (!this.#mayBeHeard() || !this.#isNews(frame))) return
    if (content?.revision !== frame.revision) return
    const findings = frame.type === 'in-force' && !frame.looking ? (frame.findings ?? []) : undefined
    const held = findings === undefined ? (this.#answered?.findings ?? '') : JSON.stringify(findings)
    this.#answered = { content, failed: frame.type === 'failed', findings: held }
    if (frame.type === 'in-force') {
      if (this.#doubled !== undefined) await setFailed(store, host.id, content.revision, this.#doubled, now())
      else {
        const { revision, krlVersion, hash } = content
        await this.#events.inForce({ id: host.id, revision, krlVersion, hash, findings })
      }
      this.#holds = { revision: content.revision, hash: content.hash }
      this.#events.held.set(host.name, this.#holds)
    }
    if (asked) this.#waiting = undefined
    this.#events.answered()
    await this.pump()
  }

  /** What failed has come right, or what the host finds in its own configuration is something else. */
  #isNews({ findings = [], looking }: Extract<hostStream.FrameToServer, { type: 'in-force' }>): boolean {
    return this.#answered?.failed === true || (!looking && this.#answered?.findings !== JSON.stringify(findings))
  }

  /** A taken host must not drown the alarms of others, nor the database: whatever it says unasked is heard a few times a minute. */
  #mayBeHeard(): boolean {
    try {
      this.#deps.failureLimiter.take(this.caller.name)
      return true
    } catch {
      this.close(CLOSE.policy, 'too much was said unasked in a short time')
      return false
    }
  }

  /** What this host should have may have changed. */
  changed(): Promise<void> {
    this.#dirty = true
    return this.pump()
  }

  /** Some host has changed. Where it is another one nothing is new here. */
  async hostsChanged(): Promise<void> {
    const host = this.#events.living(this.caller.name)
    if (host && this.#toldAs !== undefined && this.#toldAs !== whatCounts(host)) await this.changed()
  }

  /** Sends what is new, if the host is ready for it. `greet` also says so where nothing is. */
  async pump(greet = false): Promise<void> {
    if (this.#pumping || this.#waiting || !this.#dirty || this.#ended || !this.#host) return
    this.#pumping = true
    try {
      while (this.#dirty && !this.#waiting && !this.#ended) {
        this.#dirty = false
        this.#toldAs = whatCounts(this.#asItIs(this.#host))
        await this.#sendNewest(this.#host, greet)
        await this.#sendNames(this.#host)
      }
    } catch (error) {
      this.#fail(error)
    } finally {
      this.#pumping = false
    }
  }

  #fail(error: unknown): void {
    this.#events.failed(error)
    this.close(CLOSE.tryAgain, 'try again')
  }

  async #sendNewest(host: HostRow, greet: boolean): Promise<void> {
    // Its labels say who may log in there.
    const content = await contentFor(this.#deps, this.#asItIs(host), this.#events.inTurn)
    const same = this.#holds.hash !== undefined && equalBytes(content.hash, this.#holds.hash)
    if (same && !greet) return
    const state = same ? { ...content, revision: this.#holds.revision } : await this.#number(host, content)
    if (!state) return
    if (state.leftOut.length > 0 && !same)
      this.#deps.alarm(`${host.name} is told of nobody for ${state.leftOut.join(', ')}: more persons than fit`)
    this.#waiting = state
    this.#events.told.set(host.name, state.revision)
    clearTimeout(this.#deadline)
    this.#deadline = this.#startDeadline()
    await this.#send(
      same
        ? { type: 'current', revision: state.revision }
        : { type: 'state', state: { revision: state.revision, ...this.#asTold(state.state) } },
    )
  }

  /** An agent that does not end sessions would refuse a state that orders it. */
  #asTold({ ends, ...state }: Content['state']): Content['state'] {
    return this.#seesLogins && ends ? { ...state, ends } : state
  }

  /** What its certificates are to carry, where that is something else than it was told. */
  async #sendNames(host: HostRow): Promise<void> {
    const { aliases } = this.#asItIs(host)
    const names = aliases.join()
    if (!this.#wantsNames || names === this.#toldNames) return
    await this.#send({ type: 'names', aliases: [...aliases] })
    this.#toldNames = names
  }

  #asItIs(host: HostRow) {
    return this.#events.living(host.name) ?? host
  }

  /**
   * Undefined where the host is gone. Another server may have given it a newer KRL than this one knows; but then the log says so.
   * What is no such number is not the database's own word: the host is told all the same.
   */
  async #number(host: HostRow, content: Content): Promise<NumberedContent | undefined> {
    const above = this.#holds.revision
    let newest = content
    for (let attempt = 1; ; attempt++) {
      const revision = await this.#events.number({ id: host.id, above, ...newest })
      if (revision !== undefined && revision > above && revision <= above + AHEAD) return { ...newest, revision }
      if (attempt === NUMBERED) break
      await this.#deps.ledger.follow()
      newest = await contentFor(this.#deps, this.#asItIs(host), this.#events.inTurn)
    }
    if (!this.#deps.ledger.facts.has(hostId(host.id))) return undefined
    if (!this.#saidWrong)
      this.#deps.alarm(
        `${host.name} would not be told what is new, by what the database says of its revision or KRL: somebody changed its row; it is told`,
      )
    this.#saidWrong = true
    return { ...newest, revision: above + 1 }
  }

  /** At most once a minute the newest tree head alone. */
  async sendLog(): Promise<void> {
    if (this.#ended || !this.#host || this.#waiting || this.#pumping) return
    if (!this.#log.isDue()) return
    const log = await this.#log.next()
    if (log && !this.#waiting) await this.#send({ type: 'log', log })
  }

  async #send(frame: hostStream.FrameToAgent): Promise<void> {
    const log = frame.type === 'log' ? frame.log : frame.type === 'names' ? undefined : await this.#log.next()
    if (!(await this.check())) return
    if (log) this.#log.sent(log)
    try {
      await this.#channel.send(
        JSON.stringify(frame.type === 'log' || frame.type === 'names' || !log ? frame : { ...frame, log }),
      )
    } catch {
      // The host is going, which its socket says in a moment: no fault of ours.
      this.close(CLOSE.goingAway, 'the stream has ended')
    }
  }

  #startDeadline(): NodeJS.Timeout {
    return setTimeout(() => this.close(CLOSE.policy, 'no answer in time'), ANSWER_MS)
  }
}

const whatCounts = ({ labels, place, aliases }: Pick<LivingHost, 'labels' | 'place' | 'aliases'>): string =>
  canonicalJson([labels, place ?? '', aliases])

function parse(text: string): hostStream.FrameToServer | undefined {
  try {
    return hostStream.frameToServer.parse(JSON.parse(text))
  } catch {
    return undefined
  }
}
