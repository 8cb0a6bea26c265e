import { createHash } from 'node:crypto'
import { expect, it } from 'vitest'
import { fingerprint } from '#shared/ssh/index.ts'
import { makeLoginKeys } from '../session/keys.ts'
import { shortClientKey, shortClientKeyOf, shortSshKey } from './shown-keys.ts'

it('the terminal shows the beginning of what the page shows of both keys, in the same groups', () => {
  const keys = makeLoginKeys('keyman:acme')
  const bare = (text: string) => text.replaceAll(/[ …]/g, '')
  const ssh = shortSshKey(keys.ssh.publicKey)
  expect(ssh).toMatch(/^SHA256:(\S{4} ){5}…$/)
  expect(fingerprint(keys.ssh.publicKey).startsWith(bare(ssh))).toBe(true)
  const client = shortClientKey(keys.client.spki)
  expect(client).toMatch(/^([0-9a-f]{4} ){5}…$/)
  expect(createHash('sha256').update(keys.client.spki).digest('hex').startsWith(bare(client))).toBe(true)
  expect(shortClientKeyOf(keys.client.pem)).toBe(client)
})
