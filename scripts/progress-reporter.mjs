/**
 * For vitest: says after each file how far the tests are, and ends them where one of them blocks its worker. Vitest's own
 * timeouts are of the worker's event loop, which a program that waits for an answer (`execFileSync`) keeps from running.
 */

/** Longer than any test may take, with what it begins and ends with. */
const PATIENCE_MS = Number(process.env.KEYMAN_TEST_PATIENCE_MS ?? 600_000)

export default class ProgressReporter {
  #began = 0
  #files = 0
  #done = 0
  /** By file: what runs there, and since when. Vitest tells of a test some 0.1 s after it began: one that blocks at once is the next. */
  #running = new Map()
  #timer

  onTestRunStart(specifications) {
    this.#began = performance.now()
    this.#files = specifications.length
    this.#timer = setInterval(() => this.#look(), Math.min(5_000, PATIENCE_MS / 4))
    this.#timer.unref()
  }
  onTestModuleStart({ moduleId }) {
    this.#running.set(moduleId, { what: 'in its first test, or before', since: performance.now() })
  }
  onTestCaseReady({ module, fullName }) {
    this.#running.set(module.moduleId, { what: fullName, since: performance.now() })
  }
  onTestCaseResult({ module, fullName }) {
    this.#running.set(module.moduleId, { what: `in the test after ${fullName}`, since: performance.now() })
  }
  onTestModuleEnd({ moduleId }) {
    this.#running.delete(moduleId)
    this.#done++
    const minutes = ((performance.now() - this.#began) / 60_000).toFixed(1)
    if (this.#files > 1) process.stdout.write(`${this.#done} of ${this.#files} files, ${minutes} min\n`)
  }
  onTestRunEnd() {
    clearInterval(this.#timer)
  }

  #look() {
    const blocked = [...this.#running].filter(([, { since }]) => performance.now() - since > PATIENCE_MS)
    if (blocked.length === 0) return
    for (const [file, { what }] of blocked)
      process.stdout.write(`blocked for ${Math.round(PATIENCE_MS / 1000)} s, so the tests end here: ${file}: ${what}\n`)
    process.exit(1)
  }
}
