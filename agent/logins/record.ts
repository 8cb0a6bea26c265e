import { randomBytes } from 'node:crypto'
import { appendFileSync, closeSync, existsSync, fdatasyncSync, openSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { hostStream } from '#shared/api/index.ts'
import { utf8 } from '#shared/bytes.ts'
import { told } from '#shared/told.ts'
import { writeAtomically } from '../state/atomic-write.ts'

/**
 * Who is logged in here, and what the server has not heard yet: `logins.jsonl` in the state folder, to which a line is added for each
 * thing that happens, and which is written anew when it has grown. What sshd's log said is in it before it is read on, so that each
 * login is counted once, whenever this program ends.
 */
type LoginEvent = hostStream.LoginEvent
export type Opened = hostStream.LoginOpened
/** sshd's process of a connection, where the log said which. `started`: as `connections.ts` has it. For this host alone. */
const processOf = z.strictObject({ pid: z.int().min(1), started: z.string().regex(/^[0-9]+$/) })
export type ProcessOf = z.infer<typeof processOf>
export type OpenLogin = Opened & { readonly process?: ProcessOf | undefined }

/** A server that is away for long must not fill the disk: of what is more the oldest is forgotten, which the numbers show. */
export const MOST_PENDING = 10_000
const REWRITE_BYTES = 4 * 1024 * 1024

const state = z.object({
  /** Of this record: another one begins to count anew. */
  id: z.string(),
  /** The number of the next event. */
  next: z.int().min(1),
  /** How far sshd's log was read. */
  cursor: z.string().optional(),
  /** The number of the last order to end sessions that was done. */
  ended: z.string().regex(/^[0-9]+$/),
})
const line = z.union([
  z.strictObject({ state }),
  z.strictObject({ open: hostStream.loginOpened, process: processOf.optional() }),
  z.strictObject({ event: hostStream.loginEvent, cursor: z.string().optional(), process: processOf.optional() }),
  z.strictObject({ sent: z.int() }),
  z.strictObject({ ended: z.string() }),
  z.strictObject({ cursor: z.string() }),
])
type Line = z.infer<typeof line>

export class LoginRecord {
  readonly #file: string
  #state: z.infer<typeof state> = { id: `logins_${randomBytes(9).toString('base64url')}`, next: 1, ended: '0' }
  readonly #open = new Map<number, OpenLogin>()
  #pending: LoginEvent[] = []
  #unwritten = false
  readonly #warn: (message: string) => void

  /** Reads what is there; a line that does not fit is passed over: the last one may have been cut off. */
  constructor(stateFolder: string, warn: (message: string) => void) {
    this.#warn = warn
    this.#file = join(stateFolder, 'logins.jsonl')
    if (existsSync(this.#file)) for (const text of readFileSync(this.#file, 'utf8').split('\n')) this.#fold(read(text))
    this.#write(() => this.#rewrite())
  }

  get id(): string {
    return this.#state.id
  }
  get cursor(): string | undefined {
    return this.#state.cursor
  }
  get ended(): bigint {
    return BigInt(this.#state.ended)
  }
  /** Those that are logged in. */
  get open(): readonly OpenLogin[] {
    return [...this.#open.values()]
  }
  /** What the server has not heard yet, in order. */
  get pending(): readonly LoginEvent[] {
    return this.#pending
  }

  /** `cursor`: of the line of sshd's log that says so. */
  opened(login: Omit<Opened, 'event' | 'number'>, cursor: string | undefined, process?: ProcessOf): OpenLogin {
    const event: Opened = { ...login, event: 'opened', number: this.#state.next }
    this.#add({ event, ...(cursor === undefined ? {} : { cursor }), ...(process ? { process } : {}) })
    return { ...event, process }
  }

  /** `order`: the number of the order by which it was ended. */
  closed(login: Opened, at: Date, order?: bigint): void {
    const { next: number } = this.#state
    const by = order === undefined ? {} : { order: order.toString() }
    this.#add({ event: { event: 'closed', number, opened: login.number, at: at.toISOString(), ...by } })
  }

  /** Up to this line there was nothing to remember. Not worth a line each: the next one says it, or the end. */
  readTo(cursor: string): void {
    this.#state = { ...this.#state, cursor }
  }
  /** Before this program ends. */
  keepCursor(): void {
    if (this.#state.cursor !== undefined) this.#add({ cursor: this.#state.cursor })
  }

  sent(upTo: number): void {
    this.#add({ sent: upTo })
  }

  setEnded(order: bigint): void {
    this.#add({ ended: order.toString() })
  }

  #add(added: Line): void {
    this.#fold(added)
    this.#write(() => {
      if (this.#unwritten || statSync(this.#file).size > REWRITE_BYTES) this.#rewrite()
      else append(this.#file, `${JSON.stringify(added)}\n`)
    })
  }

  /** Where it can't be written (a full disk) it is kept in memory, and all of it is written once it can be: no agent ends for it. */
  #write(how: () => void): void {
    try {
      how()
      this.#unwritten = false
    } catch (error) {
      if (!this.#unwritten) this.#warn(`${this.#file} could not be written: ${told(error).message}`)
      this.#unwritten = true
    }
  }

  #fold(added: Line | undefined): void {
    if (added === undefined) return
    if ('state' in added) this.#state = added.state
    else if ('open' in added) this.#open.set(added.open.number, { ...added.open, process: added.process })
    else if ('sent' in added) this.#pending = this.#pending.filter(({ number }) => number > added.sent)
    else if ('ended' in added) this.#state = { ...this.#state, ended: added.ended }
    else {
      if (added.cursor !== undefined) this.#state = { ...this.#state, cursor: added.cursor }
      if ('event' in added) this.#take(added.event, added.process)
    }
  }

  #take(event: LoginEvent, process?: ProcessOf): void {
    this.#state = { ...this.#state, next: Math.max(this.#state.next, event.number + 1) }
    this.#pending.push(event)
    if (this.#pending.length > MOST_PENDING) this.#pending.shift()
    if (event.event === 'opened') this.#open.set(event.number, { ...event, process })
    else this.#open.delete(event.opened)
  }

  #rewrite(): void {
    const open = this.open.map(({ process, ...open }) => ({ open, ...(process ? { process } : {}) }))
    const lines: Line[] = [{ state: this.#state }, ...open]
    // After those that are open: a pending `closed` takes out its own.
    const pending = this.#pending.map(event => {
      const process = this.#open.get(event.number)?.process
      return { event, ...(process ? { process } : {}) }
    })
    const text = [...lines, ...pending].map(each => `${JSON.stringify(each)}\n`)
    writeAtomically(this.#file, utf8(text.join('')), 0o600)
  }
}

function append(path: string, text: string): void {
  const file = openSync(path, 'a', 0o600)
  try {
    appendFileSync(file, text)
    fdatasyncSync(file)
  } finally {
    closeSync(file)
  }
}

function read(text: string): Line | undefined {
  try {
    return line.parse(JSON.parse(text))
  } catch {
    return undefined
  }
}
