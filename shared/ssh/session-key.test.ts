import { describe, expect, it } from 'vitest'
import { makeLoginKeys, privateKeyFile } from '#cli/session/keys.ts'
import { toHex } from '../bytes.ts'
import { LOGIN_KEY_TYPES } from '../login-key-types.ts'
import { decodeSessionKey } from './index.ts'

describe.each(LOGIN_KEY_TYPES)("a session's %s key", type => {
  const keys = makeLoginKeys('keyman:acme', type)
  const file = privateKeyFile(keys)
  it('is read back from its file as it was made', () => {
    const { privateKey, fields, comment } = decodeSessionKey(file)
    expect(privateKey.equals(keys.ssh.privateKey)).toBe(true)
    expect([toHex(fields.publicKey.blob), comment]).toEqual([toHex(keys.ssh.publicKey.blob), 'keyman:acme'])
  })
  it('is refused where the private part is of another key, with nothing of either in the message', () => {
    const other = makeLoginKeys('keyman:acme', type).ssh
    const mixed = privateKeyFile({
      ...keys,
      ssh: { ...keys.ssh, fields: { ...other.fields, publicKey: keys.ssh.publicKey } },
    })
    expect(() => decodeSessionKey(mixed)).toThrow(/^privateKey: its public and private parts do not belong together$/)
  })
})

it('what was cut is refused', () => {
  const file = privateKeyFile(makeLoginKeys('keyman:acme'))
  expect(() => decodeSessionKey(file.slice(0, 200))).toThrow('it is not a key that begins with')
  expect(() => decodeSessionKey('')).toThrow('it is not a key that begins with')
})
