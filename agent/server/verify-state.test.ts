import { describe, expect, it } from 'vitest'
import type { hostStream } from '#shared/api/index.ts'
import { toBase64 } from '#shared/bytes.ts'
import { parseLogin } from '#shared/names.ts'
import { newKey, newWorld, type World } from '#test/support/trust-world.ts'
import type { Memory } from '../state/memory.ts'
import { verifyState } from './verify-state.ts'

const world = newWorld()
const memory = (change: Partial<Memory> = {}): Memory => ({
  bundle: signed(world),
  incarnation: 'first',
  revision: 5,
  krlVersion: '5',
  canary: [],
  reloadPending: false,
  ...change,
})
function signed(of: World, ...args: Parameters<World['signedBundle']>) {
  const { document, signatures } = of.signedBundle(...args)
  return { document, signatures: [...signatures] }
}
const withBundles = (...bundles: ReturnType<typeof signed>[]): Partial<hostStream.DesiredState> => ({
  trust: { bundles },
})

describe('a desired state', () => {
  it('is taken when everything in it is signed and goes forward', () => {
    const state = verifyState(world.state(6), memory())
    expect(state.revision).toBe(6)
    expect(state.krl.version).toBe(6n)
    expect(state.userAuthorities.map(key => key.blob)).toEqual([world.userAuthority.publicKey.blob])
  })

  it('is refused when an older revision is replayed; the one in force is taken again', () => {
    expect(() => verifyState(world.state(4, { krl: world.state(6).krl }), memory())).toThrow(
      /revision 4 is older than 5/,
    )
    expect(verifyState(world.state(5), memory()).revision).toBe(5)
  })

  it('is refused when an older KRL than the one in force is replayed with a newer revision', () => {
    const old = world.signedKrl(world.krl(4n), 4n)
    expect(() => verifyState(world.state(6, { krl: old }), memory())).toThrow(/KRL 4 is older than 5/)
    const same = world.signedKrl(world.krl(5n), 5n)
    expect(verifyState(world.state(6, { krl: same }), memory()).krl.version).toBe(5n)
  })

  it('is refused when its KRL is not signed by the log key', () => {
    const forged = world.signedKrl(world.krl(6n), 6n, newKey())
    expect(() => verifyState(world.state(6, { krl: forged }), memory())).toThrow(/not signed by a log key/)
    const swapped = {
      ...world.signedKrl(world.krl(6n, [9n]), 6n),
      signature: world.signedKrl(world.krl(6n), 6n).signature,
    }
    expect(() => verifyState(world.state(6, { krl: swapped }), memory())).toThrow(/not signed by a log key/)
  })

  it('is taken with a KRL by any log key that the bundle names, and by no other', () => {
    const other = newKey()
    const signed = world.signedBundle({ version: 2, otherLogKeys: [toBase64(other.publicKey.blob.slice(-32))] })
    const trust = { bundles: [{ document: signed.document, signatures: [...signed.signatures] }] }
    const by = (key: typeof other) => world.signedKrl(world.krl(6n), 6n, key)
    for (const key of [world.log, other])
      expect(verifyState(world.state(6, { trust, krl: by(key) }), memory()).krl.version).toBe(6n)
    expect(() => verifyState(world.state(6, { trust, krl: by(newKey()) }), memory())).toThrow(/not signed by a log key/)
    expect(() => verifyState(world.state(6, { krl: by(other) }), memory())).toThrow(/not signed by a log key/)
  })

  it('is refused when its KRL says another version than the frame', () => {
    const lying = { ...world.signedKrl(world.krl(5n), 5n), version: '9' }
    expect(() => verifyState(world.state(6, { krl: lying }), memory())).toThrow(/another version/)
  })

  it('is refused when the canary is not revoked in its KRL, or is missing', () => {
    const empty = world.signedKrl(world.krl(6n, [], { withCanary: false }), 6n)
    expect(() => verifyState(world.state(6, { krl: empty }), memory())).toThrow(/does not revoke the canary/)
    const none = { ...world.signedKrl(world.krl(6n), 6n), canary: [] }
    expect(() => verifyState(world.state(6, { krl: none }), memory())).toThrow(/no canary/)
  })

  it('is refused with a trust bundle that the root did not sign', () => {
    const forged = withBundles(signed(world, { version: 2 }, [newKey()]))
    expect(() => verifyState(world.state(6, forged), memory())).toThrow(/not signed/)
    const real = withBundles(signed(world, { version: 2 }))
    expect(verifyState(world.state(6, real), memory()).trust.bundle.version).toBe(2)
  })

  it('is refused with a trust bundle older than the one that is held, or of another organisation', () => {
    const held = memory({ bundle: signed(world, { version: 2 }) })
    expect(() => verifyState(world.state(6), held)).toThrow(/older/)
    const other = withBundles(signed(world, { version: 3, organisation: 'umbrella' }))
    expect(() => verifyState(world.state(6, other), held)).toThrow(/another organisation/)
  })

  it('is refused when a new root of trust is signed by itself alone; taken when the old one signs too', () => {
    const next = newKey()
    const roots = { threshold: 1, keys: [next.line] }
    expect(() =>
      verifyState(world.state(6, withBundles(signed(world, { version: 2, roots }, [next]))), memory()),
    ).toThrow(/not signed/)
    const both = withBundles(signed(world, { version: 2, roots }, [world.root, next]))
    expect(verifyState(world.state(6, both), memory()).trust.bundle.roots).toEqual(roots)
  })

  it('may begin anew only in an incarnation that the root of trust has signed', () => {
    const lower = { krl: world.signedKrl(world.krl(1n), 1n) }
    expect(() => verifyState(world.state(1, { ...lower, incarnation: 'second' }), memory())).toThrow(/incarnation/)
    const restored = withBundles(signed(world, { version: 2, incarnation: 'second' }))
    expect(verifyState(world.state(1, { ...lower, ...restored, incarnation: 'second' }), memory()).revision).toBe(1)
  })

  it('gives a login without lines no file', () => {
    const state = verifyState(world.state(6, { principals: { [parseLogin('root', 'login')]: [] } }), memory())
    expect([...state.principals.keys()]).toEqual([])
  })
})
