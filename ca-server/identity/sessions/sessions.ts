import { type Following, follow } from '#server/store/index.ts'
import { equalBytes, toHex } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import type { PersonIdentity } from '#shared/names.ts'
import { decodePublicKey, fingerprint, formatPublicKey } from '#shared/ssh/index.ts'
import type { BrowserCaller, MachineCaller, PersonCaller, SessionSshKey } from '../caller.ts'
import type { IdentityDeps } from '../port.ts'
import { sessionId } from '../records/facts.ts'
import { sha256 } from '../records/secrets.ts'
import { type SessionRow, selectChanges } from '../records/session-records.ts'
import { vouchedSession } from '../records/vouched.ts'

/** What is held in memory; the one unused for longest goes. */
const MAX_CALLERS = 20_000
const MAX_ENDED = 50_000
/** Changes of the last minute are read each time; after a gap nearly as long everything is forgotten instead. */
const MAX_GAP_MS = 45_000

/**
 * Sessions of machines in memory, so that a request asks no database. What must be forgotten is read each second and at
 * each notification; whoever was forgotten is read anew, or found to have ended.
 */
export class Sessions {
  readonly deps: IdentityDeps
  readonly #callers = new Map<string, MachineCaller>()
  /** An ended session never comes back. */
  readonly #ended = new Set<string>()
  #seen = new Set<bigint>()
  #changes = 0
  readonly #following: Following
  #stopHearing: (() => void) | undefined

  constructor(deps: IdentityDeps) {
    this.deps = deps
    const { store, monotonic, onError } = deps
    this.#following = follow({
      store,
      channels: ['identity'],
      what: 'which sessions have ended',
      read: sinceLast => this.#read(sinceLast),
      monotonic,
      onError,
    })
  }

  async start(): Promise<void> {
    const { ledger } = this.deps
    this.#stopHearing = ledger.onFacts(ids => {
      for (const id of ids) this.#forget(id)
    })
    await this.#following.start()
  }

  async stop(): Promise<void> {
    this.#stopHearing?.()
    await this.#following.stop()
  }

  /** Reads what has to be forgotten, in a statement that begins after the call; callers who come together share it. */
  refresh(): Promise<void> {
    return this.#following.read()
  }

  async #read(sinceLast: number): Promise<boolean> {
    const before = this.#changes
    // What the log says goes first: a row that would tell of it may have been taken away.
    await this.deps.ledger.follow()
    const changes = await selectChanges(this.deps.store)
    if (sinceLast > MAX_GAP_MS) {
      this.#callers.clear()
      this.#changes++
    } else {
      for (const { id, subject } of changes) if (!this.#seen.has(id)) this.#forget(subject)
    }
    this.#seen = new Set(changes.map(({ id }) => id))
    return this.#changes !== before
  }

  #forget(subject: string): void {
    this.#changes++
    const [, kind, name = ''] = /^(person|session|ended):(.*)$/.exec(subject) ?? []
    if (kind === 'session') this.#callers.delete(name)
    if (kind === 'person' || kind === 'ended')
      for (const [id, caller] of this.#callers) if (caller.identity === name) this.#callers.delete(id)
  }

  /** Throws `unavailable`. A clock that does not go with the day's: a suspended server must not believe what it knew. */
  assertFresh(): void {
    this.#following.assertFresh()
  }

  /** At once where it is in memory. Throws `not-signed-in` where the session has ended or is not this person's. */
  machine(id: string, identity: PersonIdentity): MachineCaller | Promise<MachineCaller> {
    const caller = this.#callers.get(id)
    if (!caller) return this.#ended.has(id) ? Promise.reject(ended()) : this.#loadMachine(id, identity)
    if (caller.identity !== identity || caller.endsAt.getTime() <= this.deps.now().getTime())
      return Promise.reject(ended())
    // A Map keeps the order of insertion: what is used goes to its end, once there are so many that one may have to go.
    if (this.#callers.size > MAX_CALLERS / 2) {
      this.#callers.delete(id)
      this.#callers.set(id, caller)
    }
    return caller
  }

  async #loadMachine(id: string, identity: PersonIdentity): Promise<MachineCaller> {
    const caller = await this.load(id, identity)
    if (caller.via !== 'machine') throw ended()
    return caller
  }

  /** From the database, in any case. `cookieHash`: only if it is the session's. */
  async load(id: string, identity: PersonIdentity, cookieHash?: Uint8Array): Promise<PersonCaller> {
    const { ledger, now } = this.deps
    const changes = this.#changes
    // Epochs first: a change in between makes the caller newer than its epochs, and what is issued is decided anew; never older.
    const epochs = await ledger.readEpochs([`person:${identity}`, `session:${id}`])
    const row = await vouchedSession(this, id)
    // Nothing comes back that the log says is gone. What the clock alone says has ended does, once the clock is right.
    if (ledger.facts.isGone(sessionId(id))) bounded(this.#ended.add(id), MAX_ENDED)
    if (!row || row.person !== identity || row.endsAt <= now() || row.state !== 'active') throw ended()
    if (cookieHash && !(row.cookieHash && equalBytes(row.cookieHash, cookieHash))) throw ended()
    const caller = toCaller(row, epochs)
    // What was read while something changed is good for this one request, and is not kept.
    if (caller.via === 'machine' && changes === this.#changes) {
      this.#callers.set(id, caller)
      bounded(this.#callers, MAX_CALLERS)
    }
    return caller
  }
}

export const ended = (): KeymanError =>
  new KeymanError('not-signed-in', 'the session has ended, or there is none', { hint: 'sign in again: keyman login' })

function toCaller(row: SessionRow, epochs: ReadonlyMap<string, bigint>): PersonCaller {
  const common = {
    kind: 'person',
    identity: row.person,
    owner: row.owner,
    session: row.id,
    startedAt: row.startedAt,
    endsAt: row.endsAt,
    assertedAt: row.assertedAt,
    device: row.device,
    epochs: [...epochs].map(([subject, epoch]) => ({ subject, epoch })),
  } as const
  if (!row.sshKey || !row.clientSpki) return { ...common, via: 'browser' } satisfies BrowserCaller
  return {
    ...common,
    via: 'machine',
    ssh: sessionSshKey(row.sshKey),
    clientSpki: row.clientSpki,
    clientFingerprint: toHex(sha256(row.clientSpki)),
  }
}

/** Of the blob that is kept. */
export function sessionSshKey(blob: Uint8Array): SessionSshKey {
  const key = decodePublicKey(blob)
  return { blob, fingerprint: fingerprint(key), line: formatPublicKey(key) }
}

/** Drops the oldest beyond `max`. */
function bounded(held: Map<string, unknown> | Set<string>, max: number): void {
  for (const oldest of held.keys()) {
    if (held.size <= max) return
    held.delete(oldest)
  }
}
