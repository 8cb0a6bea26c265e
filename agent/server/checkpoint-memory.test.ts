import { beforeAll, describe, expect, it } from 'vitest'
import { toBase64 } from '#shared/bytes.ts'
import { newKey, newWorld } from '#test/support/trust-world.ts'
import { checkpointToKeep } from './checkpoint-memory.ts'

const world = newWorld()
const bundle = world.bundle()
// The same log key, another history: what a server does that shows two logs.
const fork = newWorld('acme', world.log)
beforeAll(() => {
  world.grow(40)
})

describe("the host's memory of the log", () => {
  it('keeps the first tree head it is shown, and then only such that extend it', async () => {
    const first = await world.logFrame(0, 10)
    const held = checkpointToKeep(first, undefined, bundle)
    const next = await world.logFrame(10, 40)
    expect(checkpointToKeep(next, held, bundle)).toBe(next.checkpoint)
    const again = await world.logFrame(10, 10)
    expect(checkpointToKeep(again, held, bundle)).toBe(again.checkpoint)
  })

  it('raises the alarm at a tree head that does not extend the last', async () => {
    const held = await world.checkpoint(10)
    fork.grow(10, true)
    fork.grow(40)
    const forked = await fork.logFrame(10, 40)
    expect(() => checkpointToKeep(forked, held, bundle)).toThrow(/ALARM.*does not extend/)
    const sameSize = await fork.logFrame(10, 10)
    expect(() => checkpointToKeep(sameSize, held, bundle)).toThrow(/ALARM.*does not extend/)
    const shortProof = { ...(await world.logFrame(10, 40)), proof: [] }
    expect(() => checkpointToKeep(shortProof, held, bundle)).toThrow(/ALARM.*does not extend/)
  })

  it('keeps its own when a server is behind and proves that its tree is the beginning of ours', async () => {
    const held = await world.checkpoint(40)
    expect(checkpointToKeep(await world.logFrame(40, 10), held, bundle)).toBe(held)
    const unproven = { ...(await world.logFrame(40, 10)), proof: [] }
    expect(() => checkpointToKeep(unproven, held, bundle)).toThrow(/ALARM.*does not extend/)
  })

  it('takes a tree head by any log key that the bundle names: the log goes on when a keystore was lost', async () => {
    const other = newKey()
    const goesOn = newWorld('acme', other)
    goesOn.grow(40)
    const frame = await goesOn.logFrame(10, 40)
    const held = await world.checkpoint(10)
    const both = { ...bundle, otherLogKeys: [toBase64(other.publicKey.blob.slice(-32))] }
    expect(checkpointToKeep(frame, held, both)).toBe(frame.checkpoint)
    expect(() => checkpointToKeep(frame, held, bundle)).toThrow(/ALARM.*not signed/)
  })

  it('raises the alarm at a tree head that another key signed', async () => {
    const forged = await world.logFrame(10, 40, newKey())
    const held = await world.checkpoint(10)
    expect(() => checkpointToKeep(forged, held, bundle)).toThrow(/ALARM.*not signed/)
  })
})
