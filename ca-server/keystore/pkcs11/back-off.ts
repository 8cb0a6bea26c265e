import { setTimeout as delay } from 'node:timers/promises'
import { ckrOf } from './binding.ts'

/** Milliseconds. */
export const WAITS = [10, 20, 40, 80, 160, 320, 640] as const

/** About so many milliseconds: two that met once shall not meet again. */
export const pause = (milliseconds: number): Promise<void> => delay(milliseconds * (0.5 + Math.random()))

/**
 * SoftHSM rewrites its token's file at each login, and who reads it then sees half of it: processes that start at the same
 * moment get errors that are over a moment later. Calls again on these codes alone; throws the last error.
 */
export async function backingOff(codes: readonly number[], call: () => void): Promise<void> {
  for (let tried = 0; ; tried++) {
    try {
      call()
      return
    } catch (error) {
      const wait = codes.includes(ckrOf(error) ?? -1) ? WAITS[tried] : undefined
      if (wait === undefined) throw error
      await pause(wait)
    }
  }
}
