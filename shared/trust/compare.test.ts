import { describe, expect, it } from 'vitest'
import { toBase64, utf8 } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import { fingerprint } from '#shared/ssh/index.ts'
import { newMachineAuthority } from '#test/support/machine-authority.ts'
import { newKey, newWorld, sshsig, type TestKey } from '#test/support/trust-world.ts'
import { compareBundles, compareNext, NAMED_CHANGES, type NamedChange, verifyNext } from './compare.ts'
import { encodeTrustDocument, type TrustBundle } from './document.ts'

const world = newWorld()
const before = world.bundle()
const next = (change: Partial<TrustBundle> = {}): TrustBundle => ({ ...before, version: 2, ...change })
const other = newKey()
const print = (key: TestKey) => fingerprint(key.publicKey)
const refused = (work: () => unknown): string => {
  try {
    work()
    return 'accepted'
  } catch (error) {
    if (error instanceof KeymanError) return `${error.code}: ${error.message} (${error.hint})`
    throw error
  }
}

/** Each field of a bundle but version and organisation, changed alone. */
const values: readonly (readonly [NamedChange, Partial<TrustBundle>])[] = [
  ['incarnation', { incarnation: 'second' }],
  ['addresses', { publicUrl: 'https://evil.example.com' }],
  ['addresses', { machinesUrl: 'https://evil.example.com:4443' }],
  ['host-suffixes', { hostSuffixes: ['example.com', 'keyman.localhost', 'evil.example'] }],
  ['host-suffixes', { hostSuffixes: ['example.com'] }],
  ['roots', { roots: { threshold: 1, keys: [world.root.line, other.line] } }],
  ['roots', { roots: { threshold: 1, keys: [other.line] } }],
  ['log-key', { logKey: { ...before.logKey, name: 'evil.example.com/log' } }],
  ['log-key', { logKey: { ...before.logKey, key: Buffer.alloc(32, 1).toString('base64') } }],
  ['log-key', { otherLogKeys: [Buffer.alloc(32, 1).toString('base64')] }],
]

describe('the next trust bundle', () => {
  it('every field of the document is compared', () => {
    const compared = new Set([...values.flatMap(([, change]) => Object.keys(change)), 'ssh', 'x509'])
    expect([...compared, 'format', 'organisation', 'version'].sort()).toEqual(
      [...Object.keys(before), 'otherLogKeys'].sort(),
    )
  })

  it.each(values)('%s changes only where that very change was named', (change, fields) => {
    expect(refused(() => compareNext(before, next(fields), []))).toMatch(
      new RegExp(`^denied: .*changes what nobody named: ${change} .*--change ${change}`),
    )
    const others = NAMED_CHANGES.filter(name => name !== change)
    expect(refused(() => compareNext(before, next(fields), others))).toMatch(/^denied/)
    expect(compareNext(before, next(fields), [change]).map(found => found.change)).toContain(change)
  })

  it('the threshold is a change of its own: whoever names the roots has not named it', () => {
    const roots = { threshold: 2, keys: [world.root.line, other.line] }
    expect(refused(() => compareNext(before, next({ roots }), ['roots']))).toContain('--change threshold')
    expect(refused(() => compareNext(before, next({ roots }), ['roots', 'threshold']))).toBe('accepted')
  })

  it.each([1, 3, 4])('version %i does not come after version 1; version 2 does', version => {
    expect(refused(() => compareNext(before, next({ version }), NAMED_CHANGES))).toMatch(/^conflict/)
    expect(refused(() => compareNext(before, next(), NAMED_CHANGES))).toBe('accepted')
  })

  it('is never of another organisation, whatever was named', () => {
    const organisation = 'evil'
    expect(refused(() => compareNext(before, next({ organisation }), NAMED_CHANGES))).toMatch(/^denied: .*evil/)
  })

  it('the same, and the same in another order, is no difference', () => {
    expect(compareBundles(before, next())).toEqual([])
    expect(compareBundles(before, next({ hostSuffixes: [...before.hostSuffixes].reverse() }))).toEqual([])
  })
})

describe('keys are compared one by one', () => {
  const { userAuthorities, hostAuthorities } = before.ssh
  const another = newMachineAuthority()
  it.each([
    [
      'ssh-user',
      { ssh: { ...before.ssh, userAuthorities: [...userAuthorities, { key: other.line, state: 'standby' }] } },
    ],
    [
      'ssh-host',
      { ssh: { ...before.ssh, hostAuthorities: [...hostAuthorities, { key: other.line, state: 'standby' }] } },
    ],
  ] as const)('%s: an added key is shown with its fingerprint and state', (purpose, change) => {
    expect(compareBundles(before, next(change))).toEqual([
      { change: 'authority-keys', key: { purpose, fingerprint: print(other), how: 'added', after: 'standby' } },
    ])
  })

  it('an exchanged key is one that goes and one that comes', () => {
    const ssh = { ...before.ssh, userAuthorities: [{ key: other.line, state: 'active' as const }] }
    expect(
      compareBundles(before, next({ ssh })).map(found => 'key' in found && [found.key.fingerprint, found.key.how]),
    ).toEqual([
      [print(world.userAuthority), 'removed'],
      [print(other), 'added'],
    ])
  })

  it('a key that retires, and one that is listed twice, are changes', () => {
    const [first] = userAuthorities
    if (!first) throw new Error('no key')
    const retired = { ...first, state: 'retired' as const }
    const change = (...keys: (typeof first)[]) =>
      compareBundles(before, next({ ssh: { ...before.ssh, userAuthorities: keys } }))
    expect(change(retired)).toMatchObject([{ key: { how: 'changed', before: 'active', after: 'retired' } }])
    expect(change(first, retired)).toMatchObject([{ key: { how: 'changed' } }])
    expect(change(first)).toEqual([])
  })

  it('a user authority that becomes a host authority is not the same key', () => {
    const ssh = { ...before.ssh, hostAuthorities: [...hostAuthorities, ...userAuthorities] }
    expect(compareBundles(before, next({ ssh }))).toMatchObject([{ key: { purpose: 'ssh-host', how: 'added' } }])
  })

  it('a log key: one is as good as another, whichever stands first, and each that comes or goes is shown', () => {
    const { logKey } = before
    const added = toBase64(other.publicKey.blob.slice(-32))
    const two = { logKey, otherLogKeys: [added] }
    const swapped = { logKey: { ...logKey, key: added }, otherLogKeys: [logKey.key] }
    const key = { purpose: 'log', fingerprint: print(other) } as const
    expect(compareBundles(before, next(two))).toEqual([{ change: 'log-key', key: { ...key, how: 'added' } }])
    expect(compareBundles({ ...before, ...two }, next())).toEqual([
      { change: 'log-key', key: { ...key, how: 'removed' } },
    ])
    expect(compareBundles({ ...before, ...two }, next(swapped))).toEqual([])
    expect(refused(() => compareNext(before, next(two), []))).toMatch(/log-key \(SHA256:\S+ added\).*--change log-key/)
    expect(refused(() => compareNext(before, next(two), ['log-key']))).toBe('accepted')
  })

  it('a root certificate of another key is added', () => {
    const x509 = [
      ...before.x509,
      { purpose: 'machines' as const, certificate: another.root, state: 'retired' as const },
    ]
    expect(compareBundles(before, next({ x509 }))).toMatchObject([{ key: { purpose: 'machines', how: 'added' } }])
  })
})

describe('what was signed', () => {
  const held = world.signedBundle()
  const signed = (change: Partial<TrustBundle>, by: readonly TestKey[]) => {
    const document = encodeTrustDocument(next(change))
    return { document, signatures: by.map(key => sshsig(key, 'keyman-trust', utf8(document))) }
  }
  const verify = (
    change: Partial<TrustBundle>,
    by: readonly TestKey[],
    named: readonly NamedChange[] = NAMED_CHANGES,
  ) => refused(() => verifyNext(held, signed(change, by), named))

  it('counts by the old roots, not by those that it brings along', () => {
    const roots = { threshold: 1, keys: [other.line] }
    expect(verify({ roots }, [other])).toMatch(/^denied: .*not signed by the root of trust before it/)
    expect(verify({ roots }, [other, world.root])).toBe('accepted')
  })

  it('each added root has signed, even where the threshold does without it', () => {
    const third = newKey()
    const roots = { threshold: 1, keys: [world.root.line, other.line, third.line] }
    expect(verify({ roots }, [world.root, other])).toContain(`has not signed: ${print(third)}`)
    expect(verify({ roots }, [world.root, other, third])).toBe('accepted')
  })

  it('one key that signs twice, or is signed for in another namespace, is one signature', () => {
    const roots = { threshold: 2, keys: [world.root.line, other.line] }
    expect(verify({ roots }, [world.root, world.root])).toMatch(/^denied/)
    const document = encodeTrustDocument(next({ roots }))
    const signatures = [
      sshsig(world.root, 'keyman-trust', utf8(document)),
      sshsig(other, 'keyman-proof', utf8(document)),
    ]
    expect(refused(() => verifyNext(held, { document, signatures }, NAMED_CHANGES))).toMatch(/^denied/)
    expect(verify({ roots }, [world.root, other])).toBe('accepted')
  })

  it('with good signatures is still refused for a change that nobody named', () => {
    expect(verify({ incarnation: 'second' }, [world.root], ['addresses'])).toMatch(/^denied: .*incarnation/)
    expect(verify({ incarnation: 'second' }, [world.root], ['incarnation'])).toBe('accepted')
  })
})
