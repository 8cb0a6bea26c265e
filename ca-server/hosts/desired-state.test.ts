import { expect, it } from 'vitest'
import { parseHostName, parsePersonIdentity } from '#shared/names.ts'
import { contentFor } from './desired-state.ts'
import type { HostsDeps } from './port.ts'

it('what hosts with the same principals are to have is made once, and anew when any part of it changes', async () => {
  const line = { pty: true, portForwarding: true, agentForwarding: false, x11Forwarding: false }
  const files = { deploy: [{ principal: parsePersonIdentity('alice@example.com', 'test'), ...line }] }
  const parts = {
    krl: { version: 1n, bytes: new Uint8Array([1]), signature: 'by the log key', canaries: ['canary'] },
    bundles: [{ document: 'names', signatures: ['by the root'] }],
    incarnation: 'first',
    files,
  }
  const made = (name: string, change: Partial<typeof parts> = {}) => {
    const { krl, bundles, incarnation, files: principals } = { ...parts, ...change }
    const deps = {
      store: { incarnation } as HostsDeps['store'],
      principalsFor: () => principals,
      currentKrl: async () => krl,
      trustBundles: async () => [...bundles],
    }
    return contentFor(deps, { name: parseHostName(name, 'test'), labels: {} }, async work => work())
  }
  const first = await made('web1.prod.example.com')
  expect(await made('web2.prod.example.com')).toBe(first)
  const changes: Partial<typeof parts>[] = [
    { krl: { ...parts.krl, version: 2n } },
    { krl: { ...parts.krl, bytes: new Uint8Array([2]) } },
    { krl: { ...parts.krl, canaries: ['another'] } },
    { bundles: [...parts.bundles, ...parts.bundles] },
    { incarnation: 'second' },
    { files: { deploy: [...files.deploy, ...files.deploy] } },
  ]
  for (const change of changes) expect((await made('web1.prod.example.com', change)).hash).not.toEqual(first.hash)
  expect((await made('web1.prod.example.com', { krl: { ...parts.krl, signature: 'anew' } })).state.krl.signature).toBe(
    'anew',
  )
  expect((await made('web1.prod.example.com', { files: { deploy: [...files.deploy] } })).hash).toEqual(first.hash)
})
