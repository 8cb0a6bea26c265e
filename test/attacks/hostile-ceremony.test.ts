import { afterEach, beforeEach, expect, it } from 'vitest'
import { newKey } from '#test/support/trust-world.ts'
import { openHostileCeremony } from '#test/support/worlds/hostile-ceremony.ts'

/** The real CLI, with the root in its hands, at a server that somebody has taken over. */
let ceremony: Awaited<ReturnType<typeof openHostileCeremony>>
beforeEach(async () => {
  ceremony = await openHostileCeremony()
})
afterEach(() => ceremony?.close())

it('a root that moves signs no authority key that the server slips in, be it the old root itself; without that it moves', async () => {
  const { hostile, keyman, key, rootFile, bundle, published } = ceremony
  const next = newKey()
  const file = key('next', next)
  const move = ['trust', 'move-root', '--to', `${file}.pub`, '--root-key', rootFile, '--root-key', file]
  for (const line of [bundle.roots.keys[0] ?? '', next.line]) {
    hostile.slips = ({ ssh }) => ({
      ssh: { ...ssh, userAuthorities: [...ssh.userAuthorities, { key: line, state: 'active' }] },
    })
    const refused = await keyman(...move)
    expect([refused.code, refused.stderr]).toEqual([2, expect.stringMatching(/nobody can be asked .*: ssh-user key/)])
  }
  expect(published).toEqual([])
  hostile.slips = () => ({})
  const moved = await keyman(...move)
  expect([moved.code, moved.stderr]).toEqual([0, expect.stringContaining('Published version 2')])
  expect(published.map(({ roots }) => roots.keys)).toEqual([[next.line]])
})

it('a server that hides what was published gets no second document of that version signed', async () => {
  const { hostile, keyman, rootFile, published, pinned } = ceremony
  const sign = (suffix: string) => {
    hostile.slips = () => ({ hostSuffixes: [suffix] })
    return keyman('trust', 'sign', '--root-key', rootFile, '--change', 'host-suffixes')
  }
  expect((await sign('one.example.com')).code).toBe(0)
  const second = await sign('two.example.com')
  expect([second.code, second.stderr]).toEqual([4, expect.stringContaining('is older than version 2, which is held')])
  expect(published.map(({ hostSuffixes }) => hostSuffixes)).toEqual([['one.example.com']])
  expect(pinned()?.bundleVersion).toBe(2)
})

it('a server that serves the pinned document without its signatures takes them away from nobody', async () => {
  const { hostile, keyman, pinned } = ceremony
  hostile.signatures = []
  expect((await keyman('trust', 'show')).code).toBe(0)
  expect(pinned()?.bundle.signatures).toHaveLength(1)
})
