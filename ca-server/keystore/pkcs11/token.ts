import type { KeymanError } from '#shared/errors.ts'
import { createPool, type Pool } from '../pool.ts'
import { unavailable } from '../port.ts'
import { pause, WAITS } from './back-off.ts'
import { type Cryptoki, type Handle, isLost, normalise } from './binding.ts'
import { CKF } from './constants.ts'
import { findSlot, logIn } from './login.ts'
import { joinModule, type Module, type ModuleUser } from './module.ts'

/**
 * A token that we are logged in to: a pool of sessions, which come back by themselves after session, login, token or
 * module were lost. One operation runs in a session at a time.
 */
export interface Token {
  readonly cryptoki: Cryptoki
  readonly slot: Handle
  /** Object handles of another generation are dead. */
  readonly generation: number
  /**
   * Runs `work` in a session of the pool; where the session turns out to be lost, once more after recovery, so `work`
   * must be fit to be done twice. Throws KeymanError only. `doing` is for the message.
   */
  use<Result>(doing: string, work: (session: Handle) => Promise<Result>): Promise<Result>
  /** The same in a read-write session of its own. */
  useReadWrite<Result>(doing: string, work: (session: Handle) => Promise<Result>): Promise<Result>
  close(): Promise<void>
}

export type TokenConfig = {
  readonly module: string
  readonly token: string
  readonly pin: string
  readonly sessions: number
  readonly libraryParameters?: string
}

/** Milliseconds between attempts to recover a token that stays away. */
const RECOVERY_PAUSE = 500

/** Throws `denied` for a wrong PIN, `unavailable` where module or token is not there. */
export async function openToken(config: TokenConfig): Promise<Token> {
  const pool: Pool<Handle> = createPool<Handle>([])
  let slot: Handle = Buffer.alloc(0)
  /** Why there are no sessions. A refused PIN stays: only a restart tries another. */
  let down: KeymanError | undefined
  let lastAttempt = 0
  let closed = false

  async function openSessions(cryptoki: Cryptoki): Promise<void> {
    const opened: Handle[] = []
    try {
      slot = findSlot(cryptoki, config.token)
      for (let n = 0; n < config.sessions; n++) {
        opened.push(cryptoki.C_OpenSession(slot, CKF.SERIAL_SESSION))
        // The login counts for all sessions of this process; the first one shows a wrong PIN before more are opened.
        const [first] = opened
        if (n === 0 && first) await logIn(cryptoki, slot, first, config.pin)
      }
    } catch (error) {
      closeSessions(cryptoki, opened)
      throw normalise(error, 'opening the token')
    }
    down = undefined
    pool.refill(opened)
  }

  const user: ModuleUser = {
    async drain() {
      // The sessions themselves die with C_Finalize.
      await pool.drain()
    },
    async reopen(failure) {
      if (closed) return
      lastAttempt = performance.now()
      try {
        if (failure) throw failure
        await openSessions(module.cryptoki)
      } catch (error) {
        down = normalise(error, 'recovery')
        pool.refuseWaiting(asUnavailable(down))
      }
    },
  }
  const module: Module = await joinModule(config.module, user, config.libraryParameters)

  // Other processes that log in at this moment can hide the token, or make any call fail: what helps is to begin anew.
  await user.reopen()
  for (const wait of WAITS) {
    if (down?.retryAfter === undefined) break
    await pause(wait)
    await module.recover(module.generation)
  }
  if (down) {
    await module.leave(user)
    throw down
  }

  async function recover(seen: number): Promise<void> {
    await module.recover(seen)
    if (down) throw asUnavailable(down)
  }

  /** Sessions there, or an error now; a token that was away is tried again, but not by every request. */
  async function ready(): Promise<void> {
    if (closed) throw unavailable('the keystore is closed')
    if (!down) return
    if (down.code === 'denied' || performance.now() - lastAttempt < RECOVERY_PAUSE) throw asUnavailable(down)
    await recover(module.generation)
  }

  async function attempt<Result>(doing: string, once: (again: boolean) => Promise<Result>): Promise<Result> {
    if (down || closed) await ready()
    const seen = module.generation
    try {
      return await once(false)
    } catch (error) {
      if (!isLost(error) || closed) throw normalise(error, doing)
    }
    await recover(seen)
    try {
      return await once(true)
    } catch (error) {
      throw normalise(error, doing)
    }
  }

  return {
    cryptoki: module.cryptoki,
    get slot() {
      return slot
    },
    get generation() {
      return module.generation
    },
    use: (doing, work) => attempt(doing, again => pool.run(work, again)),
    // It holds a lane of the pool as well, so that recovery waits for it.
    useReadWrite: (doing, work) =>
      attempt(doing, again =>
        pool.run(async () => {
          const session = module.cryptoki.C_OpenSession(slot, CKF.SERIAL_SESSION | CKF.RW_SESSION)
          try {
            return await work(session)
          } finally {
            closeSessions(module.cryptoki, [session])
          }
        }, again),
      ),
    async close() {
      if (closed) return
      closed = true
      pool.refuseWaiting(unavailable('the keystore is closed'))
      await module.settled()
      closeSessions(module.cryptoki, await pool.drain())
      await module.leave(user)
    },
  }
}

function closeSessions(cryptoki: Cryptoki, sessions: readonly Handle[]): void {
  for (const session of sessions) {
    try {
      cryptoki.C_CloseSession(session)
    } catch {} // lost already
  }
}

/** At run time a refused PIN is the server's trouble, not the caller's: never 403. */
const asUnavailable = (error: KeymanError): KeymanError =>
  error.code === 'unavailable' ? error : unavailable(`the keystore is away: ${error.message}`, { cause: error })
