import { generateKeyPairSync } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { createSecureContext } from 'node:tls'
import { describe, expect, it } from 'vitest'
import { newMachineAuthority } from '#test/support/machine-authority.ts'
import { KeymanError } from './errors.ts'
import { told, toldInLine } from './told.ts'

const thrown = (work: () => unknown): unknown => {
  try {
    work()
  } catch (error) {
    return error
  }
  throw new Error('nothing was thrown')
}
/** Words that no person should read. */
const THEIRS = /\[object|routines|error:0|ERR_|SSL_|^E[A-Z]+\b|\b[0-9A-Z]{5}\)|undefined|^$/

describe('an error that something else threw', () => {
  it('of a file says which, what and what to do', () => {
    const error = told(thrown(() => readFileSync('/nowhere/at/all')))
    expect(error).toMatchObject({ code: 'not-found', message: '/nowhere/at/all: there is no such file' })
    expect(error.hint).toBe('see whether the path is right')
  })

  it('of a connection, also where several addresses were tried, is a sentence', async () => {
    const error = await new Promise(resolve => connect({ port: 1, host: 'localhost' }).once('error', resolve))
    expect(told(error).message).toBe('nothing listens there')
    expect(told(new AggregateError([Object.assign(new Error('x'), { code: 'ETIMEDOUT' })])).message).toBe(
      'it did not answer in time',
    )
  })

  it('of OpenSSL names no routine', () => {
    const { cert } = newMachineAuthority().server()
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const key = privateKey.export({ format: 'pem', type: 'pkcs8' })
    const mismatch = thrown(() => createSecureContext({ cert, key }))
    expect(String(mismatch)).toMatch(THEIRS)
    expect(told(mismatch).message).toBe('the private key does not belong to the certificate')
    for (const nonsense of [
      thrown(() => createSecureContext({ cert: 'x', key: 'y' })),
      Object.assign(new Error('write EPROTO error:0A00042E:SSL routines'), { code: 'EPROTO' }),
      Object.assign(new Error('error:0A000086:SSL routines::certificate verify failed'), { code: 'ERR_SSL_X' }),
    ])
      expect(toldInLine(nonsense)).not.toMatch(THEIRS)
  })

  it.each([
    ...['42501', '28P01', '28000', '3D000', '57P03', '08006', '42P01', '22P02', 'XX000'],
    ...['25006', '53100', '53200', '53300', '57014', '0LP01', '40001'],
  ])('of the database (%s) says no code', code => {
    const line = toldInLine(Object.assign(new Error(`permission denied for table person (${code})`), { code }))
    expect(line).toMatch(/^(the database|there is no such database|a (table|column))( |'s )/)
    expect(line).not.toContain(code)
  })

  it.each([[{}], [undefined], [null], ['text'], [42], [new Error('secret value of a row')], [Symbol('x')]])(
    'of no known kind (%#) says nothing of itself',
    error => {
      expect(told(error)).toMatchObject({ code: 'internal', message: 'something happened that KeyMan does not expect' })
      expect(told(error).hint).toContain('KEYMAN_DEBUG=1')
    },
  )

  it('of ours is as it is', () => {
    const ours = new KeymanError('conflict', 'it is there')
    expect(told(ours)).toBe(ours)
    expect(told(new Error('outer', { cause: ours }))).toBe(ours)
  })
})
