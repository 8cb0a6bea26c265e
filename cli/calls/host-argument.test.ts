import { expect, it } from 'vitest'
import { flagOf } from './call-by-flags.ts'
import { inFull, wholeName } from './host-argument.ts'

const known = ['web1.prod.example.com', 'web1.eu.example.com', 'web10.prod.example.com', 'db1.prod.example.com']
const both = ['prod.example.com', 'eu.example.com']

it('a short name is that of the one known host whose name begins so', () => {
  expect(wholeName('db1', known, both)).toBe('db1.prod.example.com')
  expect(wholeName('web10', known, both)).toBe('web10.prod.example.com')
})
it('a short name that may be several hosts is refused with their names', () => {
  expect(() => wholeName('web1', known, both)).toThrow(
    '"web1" may be any of web1.eu.example.com, web1.prod.example.com',
  )
})
it('where no host is known by it, a short name lies below the only suffix, and is never guessed below one of several', () => {
  expect(wholeName('web9', known, ['prod.example.com'])).toBe('web9.prod.example.com')
  expect(() => wholeName('web9', known, both)).toThrow('no host is known here whose name begins with web9.')
  expect(inFull('web9', both)).toBe('try web9.prod.example.com or web9.eu.example.com')
})
it('demo is the demo host of this machine, unless the organisation has a host of that name', () => {
  expect(wholeName('demo', known, both)).toBe('demo.keyman.localhost')
  expect(wholeName('demo', ['demo.prod.example.com'], both)).toBe('demo.prod.example.com')
})
it('a field of the API is called what its flag is called, one within after the one it is in', () => {
  const flags = { hosts: '--label', 'hosts.host': '--host', 'options.sourceAddress': '--source' }
  expect(
    ['hosts.host', 'hosts.labels.env', 'options.sourceAddress[0]', 'options.pty', 'constructor'].map(f =>
      flagOf(f, flags),
    ),
  ).toEqual(['--host', '--label', '--source', 'options.pty', 'constructor'])
})
