import { execFileSync } from 'node:child_process'
import { expect, it } from 'vitest'
import { toHex } from './bytes.ts'
import { isMacOf, macOf } from './mac.ts'

const key = new Uint8Array(32).fill(7)

it('a MAC is what OpenSSL makes of the parts as a JSON array', () => {
  const parts = ['for-a-test-v1', 'a', 1, null, ['b']] as const
  const out = execFileSync('openssl', ['mac', '-digest', 'SHA256', '-macopt', `hexkey:${toHex(key)}`, 'HMAC'], {
    input: JSON.stringify(parts),
    encoding: 'utf8',
  })
  expect(toHex(macOf(key, parts))).toBe(out.trim().toLowerCase())
})

it('a MAC fits its own key, parts and length, and no other', () => {
  const mac = macOf(key, ['v1', 'a', 'b'])
  expect(isMacOf(key, ['v1', 'a', 'b'], mac)).toBe(true)
  expect(isMacOf(key, ['v1', 'a', 'b'], mac.subarray(0, 16), 16)).toBe(true)
  expect(isMacOf(key, ['v1', 'ab'], mac)).toBe(false)
  expect(isMacOf(key, ['v2', 'a', 'b'], mac)).toBe(false)
  expect(isMacOf(key.with(0, 8), ['v1', 'a', 'b'], mac)).toBe(false)
  expect(isMacOf(key, ['v1', 'a', 'b'], mac.with(31, (mac[31] ?? 0) ^ 1))).toBe(false)
  for (const length of [0, 16, 31]) expect(isMacOf(key, ['v1', 'a', 'b'], mac.subarray(0, length))).toBe(false)
})
