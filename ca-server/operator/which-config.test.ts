import { expect, it } from 'vitest'
import { howToStart, nameConfig, noneNamed } from './which-config.ts'

const FILE = '/etc/keyman/server.toml'
const packaged = () => true
const nothing = () => false

it('names the packaged configuration where it is there, and was not meant by defaults', () => {
  expect(nameConfig(packaged)).toContain(`--config ${FILE}`)
  expect(nameConfig(nothing)).toContain('--config FILE')
  expect(noneNamed({}, packaged)).toContain(`--config ${FILE}`)
  expect(noneNamed({}, nothing)).toBeUndefined()
  expect(noneNamed({ file: '/srv/server.toml' }, packaged)).toBeUndefined()
})

it('starts the packaged server by its unit, and others by their configuration', () => {
  expect(howToStart({ file: FILE }, packaged)).toBe('systemctl start keyman-server')
  expect(howToStart({ file: FILE }, nothing)).toBe(`keyman-server start --config ${FILE}`)
  expect(howToStart({ file: '/srv/server.toml' }, packaged)).toBe('keyman-server start --config /srv/server.toml')
  expect(howToStart({}, packaged)).toBe('keyman-server start')
})
