import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { requires } from '#test/support/requires.ts'
import { keyTypeHere } from './key-type.ts'

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
    expect(keyTypeHere(file)).toBe(type)
  })
})
