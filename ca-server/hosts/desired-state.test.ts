import { expect, it } from 'vitest'
import { frameToAgent } from '#shared/api/resources/host-stream.ts'
import { parseHostName, parsePersonIdentity } from '#shared/names.ts'
import { contentFor } from './desired-state.ts'
import type { HostsDeps } from './port.ts'

it('what hosts with the same principals are to have is made once, and anew when any part of it changes', async () => {
  const line = { pty: true, portForwarding: true, agentForwarding: false, x11Forwarding: false }
  const files = { deploy: [{ principal: parsePersonIdentity('alice@example.com', 'test'), ...line }] }
  const parts = {
    krl: {
      version: 1n,
      bytes: new Uint8Array([1]),
      ofHosts: { bytes: new Uint8Array(), signature: '' },
      signature: 'by the log key',
      canaries: ['canary'],
    },
    bundles: [{ document: 'names', signatures: ['by the root'] }],
    incarnation: 'first',
    files,
    ends: ['host-sessions-end:3 1700000000 of alice@example.com'],
  }
  const made = (name: string, change: Partial<typeof parts> = {}) => {
    const { krl, bundles, incarnation, ends, files: principals } = { ...parts, ...change }
    const deps = {
      store: { incarnation } as HostsDeps['store'],
      ledger: { facts: { ids: () => ends } },
      principalsFor: () => principals,
      currentKrl: async () => krl,
      trustBundles: async () => [...bundles],
    }
    return contentFor(deps, { name: parseHostName(name, 'test'), labels: {}, place: undefined }, async work => work())
  }
  const first = await made('web1.prod.example.com')
  expect(await made('web2.prod.example.com')).toBe(first)
  const changes: Partial<typeof parts>[] = [
    { krl: { ...parts.krl, version: 2n } },
    { krl: { ...parts.krl, bytes: new Uint8Array([2]) } },
    { krl: { ...parts.krl, canaries: ['another'] } },
    { bundles: [...parts.bundles, ...parts.bundles] },
    { incarnation: 'second' },
    { ends: [...parts.ends, 'host-sessions-end:4 1700000001 session session_abcdefghij'] },
    { ends: [] },
    { files: { deploy: [...files.deploy, ...files.deploy] } },
  ]
  for (const change of changes) expect((await made('web1.prod.example.com', change)).hash).not.toEqual(first.hash)
  expect((await made('web1.prod.example.com', { krl: { ...parts.krl, signature: 'anew' } })).state.krl.signature).toBe(
    'anew',
  )
  expect((await made('web1.prod.example.com', { files: { deploy: [...files.deploy] } })).hash).toEqual(first.hash)
})

it('a login with more persons than a host can be told of is left out, so that the host hears all else', async () => {
  const line = (n: number) => ({
    principal: parsePersonIdentity(`person${n}@example.com`, 'test'),
    pty: true,
    portForwarding: true,
    agentForwarding: false,
    x11Forwarding: false,
    forceCommand: 'x'.repeat(500),
  })
  const lines = (many: number) => Array.from({ length: many }, (_, n) => line(n))
  const told = (principals: ReturnType<HostsDeps['principalsFor']>) =>
    contentFor(
      {
        store: { incarnation: 'first' } as HostsDeps['store'],
        ledger: { facts: { ids: () => [] } },
        principalsFor: () => principals,
        currentKrl: async () => ({
          version: 1n,
          bytes: new Uint8Array([1]),
          ofHosts: { bytes: new Uint8Array(), signature: '' },
          signature: SIGNATURE,
          canaries: [],
        }),
        trustBundles: async () => [{ document: 'names', signatures: [SIGNATURE] }],
      },
      { name: parseHostName('web1.prod.example.com', 'test'), labels: {}, place: undefined },
      async work => work(),
    )
  const SIGNATURE = '-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----\n'
  const most = await told({ deploy: lines(5_000), root: lines(1) })
  expect(most.leftOut).toEqual([])
  const beyond = await told({ deploy: lines(5_001), root: lines(1) })
  expect(beyond.leftOut).toEqual(['deploy'])
  expect(Object.keys(beyond.state.principals)).toEqual(['root'])
  // In bytes: each of the first two is some 3 MB.
  expect((await told({ a: lines(4_900), b: lines(4_900), c: lines(4_900), d: lines(1) })).leftOut).toEqual(['c'])
  for (const { state } of [most, beyond])
    expect(frameToAgent.safeParse({ type: 'state', state: { ...state, revision: 1 } }).error).toBeUndefined()
})

it('of a thousand orders to end sessions the newest are told', async () => {
  const ends = Array.from({ length: 1002 }, (_, i) => `host-sessions-end:${i + 1} 1700000000 of alice@example.com`)
  // Whatever somebody may have made of a name is nobody's order.
  ends.push('host-sessions-end:1003 1700000000 of deploy', 'host-sessions-end:x 1 of bob@example.com')
  const { state } = await contentFor(
    {
      store: { incarnation: 'first' } as HostsDeps['store'],
      ledger: { facts: { ids: () => ends } },
      principalsFor: () => ({}),
      currentKrl: async () => ({
        ...{ version: 1n, bytes: new Uint8Array([1]), signature: '', canaries: [] },
        ofHosts: { bytes: new Uint8Array(), signature: '' },
      }),
      trustBundles: async () => [],
    },
    { name: parseHostName('web1.prod.example.com', 'test'), labels: {}, place: undefined },
    async work => work(),
  )
  expect(state.ends?.length).toBe(999)
  expect(state.ends?.at(-1)).toEqual({ number: '1002', of: 'alice@example.com' })
})
