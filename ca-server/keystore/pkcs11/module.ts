import type { KeymanError } from '#shared/errors.ts'
import { backingOff } from './back-off.ts'
import { type Cryptoki, ckrOf, loadCryptoki, normalise } from './binding.ts'
import { CKF, CKR } from './constants.ts'

/**
 * A PKCS#11 module as this process has it: C_Initialize and C_Finalize count for all of its tokens together, so an active
 * and a standby keystore in one module recover together. Loaded once a path and never unloaded (some modules crash then).
 */
export interface Module {
  readonly cryptoki: Cryptoki
  /** Grows with each C_Initialize: sessions and handles of an earlier one are dead. */
  readonly generation: number
  /**
   * Drains every user, finalizes, initializes, reopens every user. One at a time: who comes while one runs, or with a
   * generation that is over, gets its result.
   */
  recover(seen: number): Promise<void>
  /** Resolves when no recovery runs. */
  settled(): Promise<void>
  leave(user: ModuleUser): Promise<void>
}

export interface ModuleUser {
  /** Resolves when no call of this user is running. */
  drain(): Promise<void>
  /**
   * Logs in and opens sessions, or hears why the module did not initialize. Keeps what went wrong for its own callers and
   * does not throw.
   */
  reopen(failure?: KeymanError): Promise<void>
}

type Loaded = { readonly module: Module; readonly join: (user: ModuleUser) => Promise<void> }
const loaded = new Map<string, Promise<Loaded>>()

/** Throws `unavailable` where the module is not there or does not initialize. */
export async function joinModule(path: string, user: ModuleUser, libraryParameters?: string): Promise<Module> {
  const how = JSON.stringify([path, libraryParameters])
  let entry = loaded.get(how)
  if (!entry) {
    entry = load(path, libraryParameters)
    loaded.set(how, entry)
    entry.catch(() => loaded.delete(how))
  }
  const { module, join } = await entry
  await join(user)
  return module
}

async function load(path: string, libraryParameters: string | undefined): Promise<Loaded> {
  const cryptoki = await loadCryptoki(path)
  const users = new Set<ModuleUser>()
  let generation = 0
  let started: Promise<void> | undefined
  let recovery: Promise<void> | undefined

  const start = (): Promise<void> => {
    generation++
    return initialize(cryptoki, libraryParameters)
  }

  const run = async () => {
    const all = [...users]
    await Promise.all(all.map(user => user.drain()))
    finalize(cryptoki)
    const failure = await start().then(
      () => undefined,
      error => normalise(error, 'C_Initialize'),
    )
    for (const user of all) await user.reopen(failure) // one after the other: logins disturb each other
  }

  const module: Module = {
    cryptoki,
    get generation() {
      return generation
    },
    recover(seen) {
      if (recovery) return recovery
      if (seen !== generation) return Promise.resolve()
      recovery = run().finally(() => {
        recovery = undefined
      })
      return recovery
    },
    async settled() {
      await recovery
    },
    async leave(user) {
      await recovery
      if (!users.delete(user) || users.size > 0) return
      finalize(cryptoki)
      started = undefined
    },
  }

  const join = async (user: ModuleUser) => {
    await recovery
    users.add(user)
    try {
      started ??= start()
      await started
    } catch (error) {
      users.delete(user)
      started = undefined
      throw normalise(error, 'C_Initialize')
    }
  }
  return { module, join }
}

async function initialize(cryptoki: Cryptoki, libraryParameters: string | undefined): Promise<void> {
  await backingOff([CKR.GENERAL_ERROR], () => {
    try {
      cryptoki.C_Initialize({
        flags: CKF.OS_LOCKING_OK, // threads of libuv call it
        // pkcs11js passes on all but the last character.
        ...(libraryParameters === undefined ? {} : { libraryParameters: `${libraryParameters} ` }),
      })
    } catch (error) {
      if (ckrOf(error) !== CKR.CRYPTOKI_ALREADY_INITIALIZED) throw error
    }
  })
}

/** Whatever it answers, what follows is C_Initialize, which tells. */
function finalize(cryptoki: Cryptoki): void {
  try {
    cryptoki.C_Finalize()
  } catch {}
}
