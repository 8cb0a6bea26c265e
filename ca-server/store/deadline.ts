/** Settles as `work` does, or rejects with `late()` after `milliseconds`. What `work` does afterwards is not heard any more. */
export function withDeadline<T>(work: Promise<T>, milliseconds: number, late: () => Error): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>()
  const timer = setTimeout(() => reject(late()), Math.max(0, milliseconds))
  work.then(resolve, reject)
  return promise.finally(() => clearTimeout(timer))
}
