import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { createLogKeys, findLogKeys } from '#server/authority/index.ts'
import { createLedger, type Ledger, type LogMemory, logName, openLogMemory, openSealKey } from '#server/ledger/index.ts'
import { openPins, type Pins } from '#server/pins/index.ts'
import { lockFolder } from '#shared/folder-lock.ts'
import type { TrustBundle } from '#shared/trust/index.ts'
import type { ServerConfig } from '../config/index.ts'
import { checkDataFolder } from '../data-folder.ts'
import { type Base, openBase } from '../open-base.ts'

/** Opens what a server opens, of two keystores the one that is there, while none runs on this data folder. Throws `conflict` where one does. */
export async function withoutServer<T>(config: ServerConfig, work: (base: Base, pins: Pins) => Promise<T>): Promise<T> {
  checkDataFolder(config.dataFolder)
  const unlock = lockFolder(`the data folder ${config.dataFolder}`, join(config.dataFolder, 'operator.lock'))
  try {
    const base = await openBase(config, () => {}, 'mayBeAway')
    try {
      return await work(base, openPins(config.dataFolder))
    } finally {
      await base.close()
    }
  } finally {
    unlock()
  }
}

export type OpenedLog = {
  readonly ledger: Ledger
  readonly logKeys: ReturnType<typeof createLogKeys>
  readonly memory: LogMemory
}

/** `bundle`: the newest that was verified, which names the log keys of keystores that are lost. `keeping`: what the log says is remembered from now on. */
export async function openLog(
  { store, logKeystores, wrappingKeystores: keystores }: Base,
  config: ServerConfig,
  {
    pins,
    bundle,
    now,
    keeping,
  }: {
    readonly pins: Pins
    readonly bundle: TrustBundle | undefined
    readonly now: () => Date
    readonly keeping?: 'as it goes on' | 'anew'
  },
): Promise<OpenedLog> {
  const origin = logName(config.organisation, store.incarnation)
  const logKeys = createLogKeys({ name: origin, held: await findLogKeys(logKeystores), bundle: () => bundle })
  const sealKey = await openSealKey({ store, keystores, random, now })
  const memory = await openLogMemory(pins)
  // Nothing of the history that was given up is remembered any more.
  const fresh = { ...memory, head: () => undefined, state: () => undefined }
  const kept = { 'as it goes on': { memory }, anew: { memory: fresh, sawEmpty: true } }
  const of = { store, origin, logKeys, sealKey, now, ...(keeping ? kept[keeping] : {}) }
  return { ledger: await createLedger(of), logKeys, memory }
}

const random = (bytes: number): Uint8Array => new Uint8Array(randomBytes(bytes))
