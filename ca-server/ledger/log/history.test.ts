import { expect, it } from 'vitest'
import { logName, newerBy } from './history.ts'

it('each history has a log of its own name, and names say which is newer', () => {
  const [first, second] = ['6c2f1de8-0000-4000-8000-000000000000', 'r2-6c2f1de8-0000-4000-8000-000000000000']
  expect(logName('acme', first)).toBe('acme/keyman-log')
  expect(logName('acme', second)).toBe('acme/keyman-log-2')
  expect(newerBy(logName('acme', second), logName('acme', first))).toBe(1)
  expect(newerBy('acme/keyman-log-3', 'acme/keyman-log-12')).toBe(-9)
  expect(newerBy('acme/keyman-log', 'acme/keyman-log')).toBe(0)
  for (const other of ['acme-2/keyman-log', 'acme/keyman-log-1', 'acme/keyman-log-02', 'acme/keyman-log-x', ''])
    expect(newerBy('acme/keyman-log', other), other).toBe(undefined)
})
