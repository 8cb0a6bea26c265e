import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  isKeyId,
  isWorkloadName,
  isWorkloadPrincipal,
  NAMES,
  parseWorkloadName,
  placeOfWorkload,
  workloadNamed,
  workloadPrincipal,
} from './names.ts'

describe('the name of a workload', () => {
  it.each(['payments/backup', 'payments/prod/backup', 'a/b', `${'p'.repeat(39)}/e/${'n'.repeat(37)}`])(
    'takes %s',
    name => expect(isWorkloadName(name)).toBe(true),
  )
  it.each([
    ...['', 'payments', '/backup', 'payments/', 'payments//backup', 'payments/prod/eu/backup', 'Payments/backup'],
    ...[
      'payments/prod/back up',
      'payments/prod/backup\n',
      'payments/../backup',
      'payments/prod/2',
      'payments/prod/b#x',
    ],
    ...['payments/prod/*', `p/${'n'.repeat(40)}`, `${'p'.repeat(39)}/${'e'.repeat(39)}/n`],
  ])('refuses %j', name => expect(isWorkloadName(name)).toBe(false))

  it('is in its principal, which no person and no team has, and fits into a key ID with its session', () => {
    const part = fc.stringMatching(/^[a-z][a-z0-9-]{0,24}$/)
    fc.assert(
      fc.property(fc.array(part, { minLength: 2, maxLength: 3 }), parts => {
        const text = parts.join('/')
        fc.pre(text.length <= NAMES.workloadName.most)
        const name = parseWorkloadName(text, 'test')
        const principal = workloadPrincipal(name)
        expect(workloadNamed(principal)).toBe(name)
        expect(placeOfWorkload(name)).toBe(parts.slice(0, -1).join('/'))
        expect(principal).not.toMatch(/@|^team:/)
        expect(isKeyId(`${principal}/token/session_${'a'.repeat(16)}`)).toBe(true)
      }),
    )
    expect(isWorkloadPrincipal('workload:payments')).toBe(false)
    expect(isWorkloadPrincipal('payments/prod/backup')).toBe(false)
    expect(isWorkloadPrincipal('team:payments/backup')).toBe(false)
  })
})
