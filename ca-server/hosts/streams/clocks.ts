import type { HostName } from '#shared/names.ts'

/**
 * How far the clocks of hosts are from the server's. Each says its time when it comes; from there on it is counted by a clock that does not go
 * with the day's, so that a server whose own clock jumps learns of it without asking anybody.
 */
export class HostClocks {
  readonly #heard = new Map<HostName, { readonly at: number; readonly since: number }>()
  readonly #monotonic: () => number

  constructor(monotonic = () => performance.now()) {
    this.#monotonic = monotonic
  }

  hear(host: HostName, at: Date): void {
    this.#heard.set(host, { at: at.getTime(), since: this.#monotonic() })
  }

  forgetUnless(isThere: (host: HostName) => boolean): void {
    for (const host of this.#heard.keys()) if (!isThere(host)) this.#heard.delete(host)
  }

  /** In seconds, a host's time less `now`, of each that has said it. */
  apart(now: Date): number[] {
    const passed = this.#monotonic()
    return [...this.#heard.values()].map(({ at, since }) => (at + passed - since - now.getTime()) / 1000)
  }
}
