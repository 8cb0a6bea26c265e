import type pg from 'pg'
import { withDeadline } from '../deadline.ts'
import { classify, StoreError } from '../errors.ts'
import { tell } from '../tell.ts'
import { connectPrimary, type Target } from './connect.ts'

/** A connection that carries nothing still has to show that it lives: a lost host sends no goodbye. */
const PROBE_EVERY_MS = 5_000
const RECONNECT_AFTER_MS = [50, 200, 1_000] as const

/** One connection of its own for LISTEN, made at the first listener and replaced whenever it breaks. */
export class Listener {
  readonly #targets: readonly Target[]
  readonly #onError: (error: unknown) => void
  readonly #heard = new Map<string, Set<(payload: string) => void>>()
  #client: Promise<pg.Client> | undefined
  #probe: NodeJS.Timeout | undefined
  #closed = false

  constructor(targets: readonly Target[], onError: (error: unknown) => void) {
    this.#targets = targets
    this.#onError = onError
  }

  async listen(channel: string, onNotification: (payload: string) => void): Promise<() => Promise<void>> {
    const listeners = this.#heard.get(channel) ?? new Set()
    this.#heard.set(channel, listeners.add(onNotification))
    try {
      this.#client ??= this.#connect()
      await (await this.#client).query(`listen ${channel}`)
    } catch (error) {
      listeners.delete(onNotification)
      throw classify(error, 'connecting')
    }
    return async () => void listeners.delete(onNotification)
  }

  async close(): Promise<void> {
    this.#closed = true
    clearInterval(this.#probe)
    const client = await this.#client?.catch(() => undefined)
    if (client) await withDeadline(client.end(), 2_000, () => new Error()).catch(() => {})
  }

  async #connect(): Promise<pg.Client> {
    try {
      const client = await connectPrimary(this.#targets)
      let lost = false
      const onLost = () => {
        if (lost) return
        lost = true
        clearInterval(this.#probe)
        client.end().catch(() => {})
        if (!this.#closed) this.#reconnect(0)
      }
      client.on('error', onLost)
      client.on('end', onLost)
      client.on('notification', ({ channel, payload }) => this.#tell(channel, payload ?? ''))
      clearInterval(this.#probe)
      this.#probe = setInterval(() => {
        withDeadline(client.query('select 1'), PROBE_EVERY_MS, () => new StoreError('retryable', 'silent')).catch(
          onLost,
        )
      }, PROBE_EVERY_MS)
      this.#probe.unref()
      return client
    } catch (error) {
      this.#client = undefined
      throw error
    }
  }

  #reconnect(attempt: number): void {
    const client = this.#connect()
    this.#client = client
    client
      .then(async connected => {
        for (const channel of this.#heard.keys()) await connected.query(`listen ${channel}`)
        for (const channel of this.#heard.keys()) this.#tell(channel, '')
      })
      .catch(() => {
        if (this.#closed || this.#client !== undefined) return
        setTimeout(() => this.#closed || this.#reconnect(attempt + 1), RECONNECT_AFTER_MS[attempt] ?? 1_000).unref()
      })
  }

  #tell(channel: string, payload: string): void {
    for (const listener of this.#heard.get(channel) ?? []) tell(listener, payload, this.#onError)
  }
}
