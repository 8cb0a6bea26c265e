/** How long a whole fleet's work may hold the event loop at a time. */
const SLICE_MS = 5

export type InTurn = <T>(work: () => T) => Promise<T>

/**
 * For work that a whole fleet causes at the same moment: each piece is done in its turn, and between slices of it whatever
 * else has come in goes first.
 */
export function inSlices(now: () => number = () => performance.now()): InTurn {
  let began = -Infinity
  let next: Promise<void> | undefined
  return async work => {
    while (now() - began >= SLICE_MS) {
      next ??= new Promise(resolve => {
        setImmediate(() => {
          next = undefined
          began = now()
          resolve()
        })
      })
      await next
    }
    return work()
  }
}
