import { setTimeout as delay } from 'node:timers/promises'
import { api } from '#shared/api/index.ts'
import { MOST_LOGIN_EVENTS } from '#shared/api/resources/host-stream.ts'
import { told } from '#shared/told.ts'
import type { Log } from '../log.ts'
import { backOff } from '../server/back-off.ts'
import { type Connection, call } from '../server/call.ts'
import type { Logins } from './logins.ts'

/** Tells the server of logins, in order, as soon as there is something to tell; while it is away they are kept. */
export class LoginReport {
  readonly #logins: Logins
  readonly #connect: () => Connection
  readonly #log: Log
  #telling: Promise<void> | undefined

  constructor(logins: Logins, connect: () => Connection, log: Log) {
    this.#logins = logins
    this.#connect = connect
    this.#log = log
  }

  /** Until `signal`. */
  async run(signal: AbortSignal): Promise<void> {
    let failures = 0
    let wake = Promise.withResolvers<void>()
    const silence = this.#logins.onEvent(() => wake.resolve())
    const stopped = new Promise<void>(resolve => signal.addEventListener('abort', () => resolve(), { once: true }))
    while (!signal.aborted) {
      wake = Promise.withResolvers<void>()
      try {
        await this.tell()
        failures = 0
      } catch (error) {
        if (failures === 0) this.#log.warn(`logins could not be reported yet: ${told(error).message}`)
        failures++
        await delay(backOff(failures), undefined, { signal }).catch(() => undefined)
        continue
      }
      await Promise.race([wake.promise, stopped])
    }
    silence()
  }

  /** What is there to tell by now. Rejects where the server can not be told. */
  tell(): Promise<void> {
    this.#telling ??= this.#tellAll().finally(() => {
      this.#telling = undefined
    })
    return this.#telling
  }

  async #tellAll(): Promise<void> {
    const { record } = this.#logins
    while (record.pending.length > 0) {
      const events = record.pending.slice(0, MOST_LOGIN_EVENTS)
      const { upTo } = await call(this.#connect(), api.hostSelf.reportLogins, { body: { record: record.id, events } })
      record.sent(upTo)
    }
  }
}
