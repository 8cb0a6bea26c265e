import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { requires } from '#test/support/requires.ts'
import type { Host } from '../context/context.ts'
import { commonKeyType, keyTypesHere } from './key-type.ts'

const folder = mkdtempSync(join(tmpdir(), 'keyman-key-type-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

describe.skipIf(!requires('ssh'))("a session's key, where nobody asks for a type,", () => {
  const P256 = 'ecdsa-sha2-nistp256-cert-v01@openssh.com'
  it.each([
    ['Ed25519 where ssh takes it', '', 'ed25519'],
    [
      'P-256 where a policy takes no Ed25519',
      `PubkeyAcceptedAlgorithms ${P256},rsa-sha2-512-cert-v01@openssh.com`,
      'ecdsa-p256',
    ],
    ['RSA where it takes nothing else', 'PubkeyAcceptedAlgorithms rsa-sha2-512-cert-v01@openssh.com', 'rsa-3072'],
    ['Ed25519 where ssh cannot say', 'NoSuchKeyword yes', 'ed25519'],
  ])('is %s', (_, config, type) => {
    const file = join(folder, 'ssh_config')
    writeFileSync(file, `${config}\n`)
    expect(keyTypesHere(file)[0]).toBe(type)
  })
})

describe('of several types', () => {
  const host = (...keyTypes: NonNullable<Host['keyTypes']>): Host => ({
    ...{ name: 'web1.example.com', logins: ['deploy'] },
    ...(keyTypes.length === 0 ? {} : { keyTypes }),
  })
  it.each([
    ['the best one, where hosts say nothing', ['ed25519', 'ecdsa-p256'], [host(), host()], 'ed25519'],
    [
      'the best that all take',
      ['ed25519', 'ecdsa-p256', 'rsa-3072'],
      [host('ecdsa-p256', 'rsa-3072'), host()],
      'ecdsa-p256',
    ],
    [
      'the best that all take, though one takes a better one',
      ['ed25519', 'ecdsa-p256', 'rsa-3072'],
      [host('ecdsa-p256', 'rsa-3072'), host('rsa-3072')],
      'rsa-3072',
    ],
    ['the best one here, where none is taken by all', ['ed25519'], [host('rsa-3072')], 'ed25519'],
  ] as const)('is %s', (_, here, hosts, type) => expect(commonKeyType(here, hosts)).toBe(type))
})
