import { describe, expect, it } from 'vitest'
import { api, hostStream } from './index.ts'

const FINGERPRINT = `SHA256:${'a'.repeat(43)}`
const opened = (number: number) => ({
  ...{ event: 'opened', number, at: '2026-11-30T10:00:00Z', login: 'deploy', address: '192.0.2.7', port: 4711 },
  by: { method: 'certificate', key: FINGERPRINT, serial: '7', authority: FINGERPRINT },
})
const report = (events: readonly unknown[]) =>
  api.hostSelf.reportLogins.body?.safeParse({ record: 'logins_abcdefghijkl', events }).success
const many = (count: number) => Array.from({ length: count }, (_, i) => opened(i + 1))

describe('logins of a host', () => {
  it('are a hundred events a report, and a thousand orders a state', () => {
    expect([report(many(100)), report(many(101)), report([])]).toEqual([true, false, false])
    const orders = (count: number) =>
      hostStream.desiredState.shape.ends.safeParse(
        Array.from({ length: count }, (_, i) => ({ number: String(i + 1), of: 'alice@example.com' })),
      ).success
    expect([orders(1000), orders(1001)]).toEqual([true, false])
  })

  it('name exactly one of what is to end', () => {
    const order = (whose: object) => hostStream.endOrder.safeParse({ number: '7', ...whose }).success
    expect(order({ of: 'workload:payments/prod/backup' })).toBe(true)
    expect(order({ serial: '7', authority: FINGERPRINT })).toBe(true)
    for (const wrong of [
      {},
      { of: 'deploy' },
      { of: '*@example.com' },
      { serial: '7' },
      { of: 'alice@example.com', session: 'x' },
    ])
      expect(order(wrong), JSON.stringify(wrong)).toBe(false)
  })
})
