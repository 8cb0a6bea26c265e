const PAUSE_MS = 1_000

/**
 * For what has to be read anew when a notification says so: a reading that fails is tried again until it is done. Else
 * what somebody was just deprived of would be believed to hold until the next notification.
 */
export function insist(
  work: () => Promise<unknown>,
  onError: (error: unknown) => void,
  pauseMs = PAUSE_MS,
): { run(): void; stop(): void } {
  let timer: NodeJS.Timeout | undefined
  let stopped = false
  const run = (): void => {
    clearTimeout(timer)
    if (stopped) return
    work().catch((error: unknown) => {
      onError(error)
      clearTimeout(timer)
      if (stopped) return
      timer = setTimeout(run, pauseMs)
      timer.unref()
    })
  }
  return {
    run,
    stop() {
      stopped = true
      clearTimeout(timer)
    },
  }
}
