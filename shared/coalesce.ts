/** Pure: one running, the next one shared. */

/**
 * Shares one call among those who ask at the same time. Whoever asks while a call is running gets the result of the next
 * one, which begins afterwards: what is answered was never read before it was asked for.
 */
export function coalesce<T>(call: () => Promise<T>): () => Promise<T> {
  let running: Promise<T> | undefined
  let next: Promise<T> | undefined
  const start = (): Promise<T> => {
    running = call().finally(() => {
      running = undefined
    })
    return running
  }
  return () => {
    if (next) return next
    if (!running) return start()
    const again = () => {
      next = undefined
      return start()
    }
    next = running.then(again, again)
    return next
  }
}
