/** Pure: a fleet asks for the same things at the same moment; these make one question of many. */

/** Items handed in while a call is running go together into the next one, at most `max` at a time; results in their order. */
export function batched<Item, Result>(
  call: (items: readonly Item[]) => Promise<readonly Result[]>,
  max: number,
): (item: Item) => Promise<Result> {
  const waiting: { item: Item; resolve(result: Result): void; reject(error: unknown): void }[] = []
  let running = false
  const run = async (): Promise<void> => {
    if (running) return
    running = true
    // Those who ask in this very turn go together too.
    await Promise.resolve()
    while (waiting.length > 0) {
      const batch = waiting.splice(0, max)
      try {
        const results = await call(batch.map(({ item }) => item))
        for (const [i, result] of results.entries()) batch[i]?.resolve(result)
        for (const { reject } of batch.slice(results.length))
          reject(new Error('a batch came back with too few results'))
      } catch (error) {
        for (const { reject } of batch) reject(error)
      }
    }
    running = false
  }
  return item =>
    new Promise((resolve, reject) => {
      waiting.push({ item, resolve, reject })
      void run()
    })
}
