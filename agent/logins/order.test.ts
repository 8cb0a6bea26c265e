import { describe, expect, it } from 'vitest'
import type { hostStream } from '#shared/api/index.ts'
import { fromBase64 } from '#shared/bytes.ts'
import { parseKeyId, parseLogin } from '#shared/names.ts'
import { fingerprint, type Krl } from '#shared/ssh/index.ts'
import { newKey } from '#test/support/trust-world.ts'
import { endedBy, isOnList } from './order.ts'
import type { Opened } from './record.ts'

const [key, authority] = [newKey().publicKey, newKey().publicKey]
const by = {
  method: 'certificate',
  key: fingerprint(key),
  keyId: parseKeyId('workload:payments/prod/backup/token/session_abcdefghijkl', 'test'),
  serial: '7',
  authority: fingerprint(authority),
} as const
const login = (other: Partial<typeof by> = {}): Opened => ({
  ...{ event: 'opened', number: 1, at: '2026-11-30T10:00:00Z', login: parseLogin('deploy', 'test') },
  ...{ address: '192.0.2.7', port: 22, by: { ...by, ...other } },
})
type Whose = hostStream.EndOrder extends infer Order ? (Order extends unknown ? Omit<Order, 'number'> : never) : never
const ends = (whose: Whose, of = login()) => endedBy({ number: '3', ...whose } as hostStream.EndOrder, of)

describe('an order to end sessions', () => {
  it('means all of somebody, of a session, a key ID, a certificate or a key; and nobody whose name begins like it', () => {
    const yes: Whose[] = [
      { of: 'workload:payments/prod/backup' as never },
      { session: 'session_abcdefghijkl' },
      { keyId: by.keyId },
      { serial: '7', authority: by.authority },
      { key: by.key },
    ]
    const no: Whose[] = [
      { of: 'workload:payments/prod' as never },
      { of: 'workload:payments/prod/backup/token' as never },
      { session: 'session_bcdefghijklm' },
      { session: 'abcdefghijkl' },
      { keyId: parseKeyId('workload:payments/prod/backup/token/session_abc', 'test') },
      { serial: '7', authority: by.key },
      { serial: '8', authority: by.authority },
      { key: by.authority },
    ]
    for (const whose of yes) expect(ends(whose), JSON.stringify(whose)).toBe(true)
    for (const whose of no) expect(ends(whose), JSON.stringify(whose)).toBe(false)
  })

  it('means by a plain key that key alone, and nobody who came in by a password', () => {
    const plain: Opened = { ...login(), by: { method: 'publickey', key: by.key } }
    expect([ends({ key: by.key }, plain), ends({ session: 'session_abcdefghijkl' }, plain)]).toEqual([true, false])
    expect(ends({ key: by.key }, { ...login(), by: { method: 'password' } })).toBe(false)
  })
})

it('what somebody came in by is on the list by key or serial, or is not', () => {
  const list: Krl = { version: 1n, generatedAt: 0n, comment: '', certificates: [], keys: [], fingerprints: [] }
  const print = fromBase64(`${by.key.slice(7)}=`)
  const of = (from: bigint, to: bigint) => [{ authority, serials: [{ from, to }], keyIds: [] }]
  expect(isOnList(list, login())).toBe(false)
  expect(isOnList({ ...list, fingerprints: [print] }, login())).toBe(true)
  expect(isOnList({ ...list, fingerprints: [print] }, login({ key: by.authority }))).toBe(false)
  expect(isOnList({ ...list, certificates: of(5n, 7n) }, login())).toBe(true)
  expect(isOnList({ ...list, certificates: of(8n, 9n) }, login())).toBe(false)
  expect(isOnList({ ...list, certificates: of(5n, 7n) }, login({ authority: by.key }))).toBe(false)
  expect(isOnList({ ...list, fingerprints: [print] }, { ...login(), by: { method: 'password' } })).toBe(false)
})
